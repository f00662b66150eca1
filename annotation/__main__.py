"""`python -m annotation COMMAND`."""

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from annotation.commands import backend, report, select, simulate
from annotation.errors import AnnotationError
from semantic_service.store.errors import StoreError

_GROUPS: tuple[ModuleType, ...] = (select, backend, report, simulate)
_EPILOG = """exit status: 0 done, 1 what was checked does not hold, 2 wrong use or unusable input"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except (AnnotationError, StoreError) as error:
        print(f"annotation: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, AnnotationError) else 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m annotation",
        description="Have people label the posts that teach the model most.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`python -m annotation COMMAND`."""

import argparse
import sys
from collections.abc import Sequence

from annotation.commands import backend, init, pull, push, report, select, simulate, status, sync
from annotation.errors import AnnotationError
from semantic_service.store.errors import StoreError

_GROUPS = (init, push, pull, sync, status, select, report, backend, simulate)
_EPILOG = """examples
  python -m annotation init        make the project on Label Studio; ANNOTATION_URL and ANNOTATION_TOKEN say where
  python -m annotation push        send posts that people should label
  python -m annotation pull        fetch their answers
  python -m annotation sync        both, for ever
  python -m annotation status      how far it is

Settings are ANNOTATION_* variables: deploy/annotation.env.example.
exit status: 0 done, 1 what was checked does not hold, 2 wrong use or unusable input"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give its exit status."""
    options = _parser().parse_args(arguments)
    try:
        exit_status: int = options.command(options)
    except (AnnotationError, StoreError) as error:
        print(f"annotation: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, AnnotationError) else 2
    return exit_status


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

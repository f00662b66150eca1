"""What several commands have in common."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annotation.settings import Settings
    from semantic_service.store.store import Store

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no other name for it


def declare(commands: "Commands[argparse.ArgumentParser]", name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Declare a command."""
    return commands.add_parser(
        name,
        help=description[0].lower() + description[1:].rstrip("."),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@contextmanager
def opened(settings: "Settings") -> Iterator["Store"]:
    """Open the review store until the block ends."""
    from semantic_service.store.store import Store

    store = Store.open(settings.database_url)
    try:
        yield store
    finally:
        store.close()

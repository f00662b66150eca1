"""What several commands have in common."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annotation.settings import Settings
    from semantic_service.contract.reviews import Review
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


def read_reviews(source: str | None, text_column: str, settings: "Settings") -> "list[Review]":
    """Read the posts to choose from, out of the review store where no other source is named; names rows that can't be used."""
    from tqdm import tqdm

    from annotation.pool import Skipped, read
    from annotation.service import Service

    reviews = []
    with Service(settings.service_url, settings.key()) as service:
        for found in tqdm(read(source or settings.database_url, text_column, service), desc="reading", unit="post", disable=None):
            if isinstance(found, Skipped):
                tqdm.write(f"{found.place}: {found.reason}; skipped", file=sys.stderr)
            else:
                reviews.append(found)
    return reviews


@contextmanager
def opened(settings: "Settings") -> Iterator["Store"]:
    """Open the review store until the block ends."""
    from semantic_service.store.store import Store

    store = Store.open(settings.database_url)
    try:
        yield store
    finally:
        store.close()

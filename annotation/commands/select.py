"""`select`: which posts should be labelled, as a dry run of `push`."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from annotation.commands.options import read_reviews
from semantic_service.contract.answers import Purpose

if TYPE_CHECKING:
    from annotation.select import Chosen

_EPILOG = """examples
  python -m annotation select --count 50 --out chosen.jsonl               from the review store
  python -m annotation select scored.tsv --count 50 --out chosen.jsonl    what semantic_service.batch wrote
  python -m annotation select posts.txt --count 50 --out chosen.jsonl     the running service judges them first"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    select = commands.add_parser(
        "select",
        help="which posts to label next; sends nothing",
        description="Rank the posts whose labels should teach the model most: unsure ones, each flood of near-duplicates once, and a share "
        "drawn at random. Writes one JSON object a line, the most useful post first.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    select.add_argument(
        "source", nargs="?", metavar="SOURCE", help="a .tsv, .jsonl or .txt file, or another database's URL (default: the review store)"
    )
    select.add_argument("--count", type=int, default=50, metavar="N", help="at most so many (default: %(default)s)")
    select.add_argument("--out", type=Path, required=True, metavar="FILE", help="gets the posts, as JSON lines")
    select.add_argument("--text-column", default="text", metavar="C", help="of a file (default: %(default)s)")
    select.add_argument("--seed", type=int, default=7, metavar="N", help="(default: %(default)s)")
    select.set_defaults(command=_select)


def _select(options: argparse.Namespace) -> int:
    from annotation.labels import read_folder
    from annotation.select import Options, select
    from annotation.settings import Settings
    from semantic_service.contract.bundle import write_atomically

    settings = Settings.from_environment()
    reviews = read_reviews(options.source, options.text_column, settings)
    known = {record.id for record in read_folder(settings.data)}
    chosen = select(reviews, Options(options.count, known=known, seed=options.seed))
    write_atomically(options.out, "".join(_line(post) + "\n" for post in chosen))
    drawn = sum(post.purpose is Purpose.RANDOM for post in chosen)
    print(f"{len(chosen):,} of {len(reviews):,} posts, {drawn:,} of them drawn at random: {options.out}")
    return 0


def _line(post: "Chosen") -> str:
    review = post.review
    values = {
        "text": review.text,
        "purpose": post.purpose.value,
        "stands_for": post.stands_for,
        "label": review.label.english,
        "confidence": review.confidence,
        "model_version": review.model_version,
        "scene": review.scene,
        "data_id": review.data_id,
    }
    return json.dumps(values, ensure_ascii=False)

"""`select`: which posts should be labelled, as a dry run of `push`."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from annotation.errors import ServiceError
from semantic_service.contract.answers import Purpose

if TYPE_CHECKING:
    from annotation.select import Chosen

_EPILOG = """examples
  python -m annotation select sqlite:///var/moderation.db --count 50 --out chosen.jsonl     the review store
  python -m annotation select scored.tsv --count 50 --out chosen.jsonl                      what semantic_service.batch wrote
  python -m annotation select posts.txt --count 50 --out chosen.jsonl                       the running service judges them first"""


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
    select.add_argument("source", metavar="SOURCE", help="sqlite:///FILE, postgresql://…, or a .tsv, .jsonl or .txt file")
    select.add_argument("--count", type=int, default=50, metavar="N", help="at most so many (default: %(default)s)")
    select.add_argument("--out", type=Path, required=True, metavar="FILE", help="gets the posts, as JSON lines")
    select.add_argument("--labelled", type=Path, nargs="+", default=[], metavar="FILE", help="lines of data/annotations: left out")
    select.add_argument("--text-column", default="text", metavar="C", help="of a file (default: %(default)s)")
    select.add_argument("--service", default="http://127.0.0.1:8000", metavar="URL", help="judges unscored texts (default: %(default)s)")
    select.add_argument("--key-file", type=Path, metavar="FILE", help="holds the service's API key, if it wants one")
    select.add_argument("--seed", type=int, default=7, metavar="N", help="(default: %(default)s)")
    select.set_defaults(command=_select)


def _select(options: argparse.Namespace) -> int:
    from annotation.labels import read_records
    from annotation.pool import Skipped, read
    from annotation.select import Options, select
    from annotation.service import Service
    from semantic_service.contract.bundle import write_atomically

    known = {record.id for path in options.labelled for record in read_records(path)}
    reviews = []
    with Service(options.service, _key(options.key_file)) as service:
        for found in tqdm(read(options.source, options.text_column, service), desc="reading", unit="post", disable=None):
            if isinstance(found, Skipped):
                tqdm.write(f"{found.place}: {found.reason}; skipped", file=sys.stderr)
            else:
                reviews.append(found)
    chosen = select(reviews, Options(options.count, known=known, seed=options.seed))
    write_atomically(options.out, "".join(_line(post) + "\n" for post in chosen))
    drawn = sum(post.purpose is Purpose.RANDOM for post in chosen)
    print(f"{len(chosen):,} of {len(reviews):,} posts, {drawn:,} of them drawn at random: {options.out}")
    return 0


def _key(path: Path | None) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ServiceError(f"{path}: the key can't be read ({error.strerror})") from error


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

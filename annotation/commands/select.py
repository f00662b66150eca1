"""`select`: which posts should be labelled, as a dry run of `push`."""

import argparse
from pathlib import Path

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

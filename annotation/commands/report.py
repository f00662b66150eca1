"""`report`: what labelling has come to."""

import argparse
import json
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    report = commands.add_parser(
        "report",
        help="labels, agreement, annotators, the model's errors, and whether more labels pay",
        description="Report on the answers so far: what annotators agree on, how each does on posts with known labels, how often the model "
        "misses, by the posts that were drawn at random, and whether labelling more still pays, by the training runs.",
        epilog="example: python -m annotation report --gold gold.jsonl",
    )
    report.add_argument("--database", default="sqlite:///var/moderation.db", metavar="URL", help="the review store (default: %(default)s)")
    report.add_argument("--gold", type=Path, metavar="FILE", help="posts with known labels, as lines of data/annotations")
    report.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the training runs (default: %(default)s)")
    report.add_argument("--json", action="store_true", help="print JSON")
    report.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> int:
    from annotation.labels import read_records
    from annotation.payoff import read_points
    from annotation.report import Sources, report
    from annotation.report_page import to_markdown
    from semantic_service.store.store import Store

    gold = {} if options.gold is None else {record.id: record.label for record in read_records(options.gold)}
    store = Store.open(options.database)
    try:
        made = report(Sources(store.answers(), store.reviews(), store.feedback(), gold, read_points(options.runs)))
    finally:
        store.close()
    print(json.dumps(made.as_dict(), ensure_ascii=False, indent=2) if options.json else to_markdown(made))
    return 0

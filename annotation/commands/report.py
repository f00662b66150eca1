"""`report`: what labelling has come to."""

import argparse
import json
from pathlib import Path

from annotation.commands.options import opened


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    report = commands.add_parser(
        "report",
        help="labels, agreement, annotators, the model's errors, and whether more labels pay",
        description="Report on the answers so far: what annotators agree on, how each does on posts with known labels, how often the model "
        "misses, by the posts that were drawn at random, and whether labelling more still pays, by the training runs.",
        epilog="example: python -m annotation report --json",
    )
    report.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the training runs (default: %(default)s)")
    report.add_argument("--json", action="store_true", help="print JSON")
    report.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> int:
    from annotation.labels import read_records
    from annotation.payoff import read_points
    from annotation.report import Sources, report
    from annotation.report_page import to_markdown
    from annotation.settings import Settings

    settings = Settings.from_environment()
    gold = {} if settings.gold is None else {record.id: record.label for record in read_records(settings.gold)}
    with opened(settings) as store:
        made = report(Sources(store.answers(), store.reviews(), store.feedback(), gold, read_points(options.runs), settings.overlap()))
    print(json.dumps(made.as_dict(), ensure_ascii=False, indent=2) if options.json else to_markdown(made))
    return 0

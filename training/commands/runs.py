"""`runs` and `compare`: look at the runs on disk."""

import argparse
from pathlib import Path

from semantic_service.contract.bundle import write_atomically
from training.commands.options import Commands


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the commands."""
    runs = commands.add_parser("runs", help="list the runs", description="List every run with its stage, steps and best epoch.")
    runs.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the folder of the runs (default: %(default)s)")
    runs.set_defaults(command=_runs)
    compare = commands.add_parser(
        "compare", help="put two runs side by side", description="Show the config keys in which two runs differ, and what was measured."
    )
    compare.add_argument("first", type=Path, metavar="A", help="a run's folder")
    compare.add_argument("second", type=Path, metavar="B", help="another one")
    compare.add_argument("--html", type=Path, metavar="FILE", help="write a page with both losses as well")
    compare.set_defaults(command=_compare)


def _runs(options: argparse.Namespace) -> int:
    from training.runs import runs_table

    print(runs_table(options.runs))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from training.compare import compare, to_html, to_markdown

    tables = compare(options.first, options.second)
    print(to_markdown(tables))
    if options.html is not None:
        write_atomically(options.html, to_html(tables, options.first, options.second))
    return 0

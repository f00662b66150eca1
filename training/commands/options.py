"""Options that several commands have."""

import argparse
from pathlib import Path

from semantic_service.contract.tasks import Task
from training.dataset import Columns

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no other name for it


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare CONFIG and --set."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file, see training/configs/")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY.SUB=VALUE", dest="overrides", help="override a key; VALUE is YAML"
    )


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Declare --text-column and --label-column."""
    parser.add_argument("--text-column", default="text", metavar="C", help="(default: %(default)s; content is understood too)")
    parser.add_argument("--label-column", default="label", metavar="C", help="(default: %(default)s)")


def columns(options: argparse.Namespace, tasks: tuple[Task, ...] = ()) -> Columns:
    """Read what `add_columns` declared."""
    return Columns(options.text_column, options.label_column, tasks=tasks)


def hush_transformers() -> None:
    """Keep transformers from advising to train the head that an adapter is about to bring."""
    from transformers.utils import logging

    logging.set_verbosity_error()

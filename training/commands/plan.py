"""`plan`: look ahead at a run."""

import argparse
import json

from training.commands.options import Commands, add_config
from training.config import TrainConfig


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    plan = commands.add_parser(
        "plan",
        help="what a config would train and need, and what is wrong with it",
        description="Say, before any weight is loaded, what would train, the memory and time it should take here, the balance of the "
        "labels, and every problem of the data. Exit 1 if one would stop the run.",
        epilog="example: python -m training plan training/configs/base.yaml --set data.train=[posts.jsonl] --set train.batch_size=auto",
    )
    add_config(plan)
    plan.add_argument("--json", action="store_true", help="print JSON")
    plan.set_defaults(command=_plan)


def _plan(options: argparse.Namespace) -> int:
    from training.plan import plan, to_markdown

    found = plan(TrainConfig.load(options.config, options.overrides))
    print(json.dumps(found.as_dict(), ensure_ascii=False, indent=2) if options.json else to_markdown(found))
    return 1 if found.stops else 0

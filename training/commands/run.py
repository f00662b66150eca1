"""`run`: train from a config."""

import argparse
from pathlib import Path

from training.commands.options import Commands, add_config
from training.config import TrainConfig


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    run = commands.add_parser(
        "run", help="train from a config; prints the bundle's path last", description="Train, export, check and bundle."
    )
    add_config(run)
    run.add_argument("--run-dir", type=Path, metavar="DIR", help="where the run goes (default: runs/<time>-<base>)")
    run.add_argument(
        "--resume",
        default="auto",
        metavar="auto|none|PATH",
        help="auto (default): carry on with the newest unfinished run of this config, from its newest checkpoint; none: start anew; "
        "PATH: a checkpoint",
    )
    run.add_argument("--quick", action="store_true", help="a few hundred rows, one epoch: does everything work?")
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from training.cost import choose_batch_size
    from training.disk import one_message_when_full
    from training.pipeline import QUICK, run_pipeline
    from training.runs import RUNS, Run

    config = TrainConfig.load(options.config, [*(QUICK if options.quick else ()), *options.overrides])
    with one_message_when_full(options.run_dir or RUNS):
        run = Run.open(config, options.run_dir, anew=options.resume == "none")
        bundle = run_pipeline(run.settle(choose_batch_size), run, options.resume)
    print(bundle.path)
    return 0

"""`run`: train from a config."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from training.commands.options import Commands, add_config
from training.config import TrainConfig

if TYPE_CHECKING:
    from training.runs import Run

_EPILOG = """examples
  python -m training run training/configs/lora.yaml --set data.train=[posts.jsonl] --quick
  python -m training run training/configs/frozen.yaml --set data.train=[posts.jsonl] --set model.trained_layers=4
  torchrun --nproc-per-node 2 -m training run training/configs/full.yaml --set data.train=[posts.jsonl]      two GPUs"""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    run = commands.add_parser(
        "run",
        help="train from a config; prints the bundle's path last",
        description="Train, export, check and bundle.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    from training.disk import one_message_when_full
    from training.pipeline import assist, run_pipeline
    from training.processes import first_decides, joined
    from training.runs import RUNS
    from training.sets import QUICK

    config = TrainConfig.load(options.config, [*(QUICK if options.quick else ()), *options.overrides])
    with joined() as first, one_message_when_full(options.run_dir or RUNS):
        run, settled = first_decides(lambda: _begin(config, options))
        if not first:
            assist(settled, run, options.resume)
            return 0
        bundle = run_pipeline(settled, run, options.resume)
    print(bundle.path)
    return 0


def _begin(config: TrainConfig, options: argparse.Namespace) -> "tuple[Run, TrainConfig]":
    from training.cost import choose_batch_size
    from training.runs import Run

    run = Run.open(config, options.run_dir, anew=options.resume == "none")
    return run, run.settle(config, choose_batch_size)

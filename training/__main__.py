"""`python -m training COMMAND`."""

import argparse
import sys
from collections.abc import Sequence

from semantic_service.contract.bundle import BundleError
from training.commands import doctor, evaluate, plan, portable, predict, push_to_hub, registry, run, runs, sign, stages
from training.errors import TrainingError

_GROUPS = (doctor, plan, run, predict, evaluate, stages, portable, runs, registry, sign, push_to_hub)
_EPILOG = """examples
  python -m training doctor posts.jsonl                                       look at the data first
  python -m training plan training/configs/base.yaml --set data.train=[posts.jsonl]    what it will take, what is wrong
  python -m training run training/configs/base.yaml --set data.train=[posts.jsonl] --quick
  python -m training run training/configs/embedded.yaml
  python -m training predict semantic_service/default_model "加微信领彩金"        or --file posts.csv, --demo, a prompt
  python -m training evaluate semantic_service/default_model test.jsonl --json
  python -m training runs                                                     what is there, how far it is
  python -m training merge runs/20261122-034500-e5-small-zh --out merged      a stage by itself; export likewise
  python -m training push-to-hub runs/20261122-034500-e5-small-zh --repo me/moderation --dry-run
  python -m training promote runs/20261122-034500-e5-small-zh                 gate it, and make it the champion
  python -m training rollback --reason "it blocks recipes"

exit status: 0 done, 1 what was checked does not hold, 2 wrong use or unusable input"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except (TrainingError, BundleError) as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, TrainingError) else 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Fine-tune a model on labelled posts and make a bundle that the service loads.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

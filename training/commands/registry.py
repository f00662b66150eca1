"""`promote`, `rollback` and `models`: the champion, and how it changes."""

import argparse
from pathlib import Path

from semantic_service.contract.bundle import Bundle
from semantic_service.contract.registry import Registry
from training.commands.options import Commands
from training.config import GateConfig
from training.errors import ConfigError

GATE = Path("training/configs/gate.yaml")


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the commands."""
    promote = commands.add_parser(
        "promote",
        help="make a bundle the champion, if it passes the gate",
        description="Compare a bundle with the champion on the gate's files; if no share of right answers falls by more than is tolerated, "
        "copy it into the registry and point to it. Servers with MODERATION_MODELS take it up within seconds.",
    )
    promote.add_argument("bundle", type=Path, metavar="RUN|BUNDLE", help="a run's folder, or a bundle's")
    promote.add_argument("--gate", type=Path, default=GATE, metavar="FILE", help="what to compare on (default: %(default)s)")
    promote.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", dest="overrides", help="override a key of the gate")
    promote.add_argument("--force", action="store_true", help="promote though the gate does not hold; needs --reason")
    promote.add_argument("--reason", default="", metavar="TEXT", help="kept in the history")
    promote.set_defaults(command=_promote)
    rollback = commands.add_parser(
        "rollback", help="go back to an earlier champion", description="Make the champion before the current one the champion again."
    )
    rollback.add_argument("--to", metavar="VERSION", help="another version of the registry")
    rollback.add_argument("--reason", required=True, metavar="TEXT", help="kept in the history")
    rollback.set_defaults(command=_rollback)
    models = commands.add_parser("models", help="list the registry", description="List every bundle of the registry, the champion marked.")
    models.set_defaults(command=_models)
    for command in (promote, rollback, models):
        command.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help="the registry (default: %(default)s)")


def _promote(options: argparse.Namespace) -> int:
    from training.artifacts import find_bundle
    from training.promote import Order, promote

    if options.force and not options.reason:
        raise ConfigError("--force needs --reason TEXT: the history must say why")
    challenger = Bundle.read(find_bundle(options.bundle))
    gate = GateConfig.load(options.gate, options.overrides)
    previous = promote(Registry(options.models), challenger, gate, Order(options.reason, options.force))
    version = challenger.manifest.model_version
    print(f"{version} is the champion already" if version == previous else f"champion: {version}, before it {previous}")
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from training.promote import Order, roll_back

    change = roll_back(Registry(options.models), options.to, Order(options.reason))
    print(f"champion: {change.version}, before it {change.previous}")
    return 0


def _models(options: argparse.Namespace) -> int:
    from training.promote import models_table

    print(models_table(Registry(options.models)))
    return 0

"""`portable`: try a bundle on an older processor."""

import argparse
from pathlib import Path

from semantic_service.contract.bundle import Bundle
from training.commands.options import Commands


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    portable = commands.add_parser(
        "portable",
        help="try a bundle on an older processor",
        description="Load a bundle on an emulated processor without VNNI or AVX-512; takes minutes, needs qemu-user. Do so before an int8 "
        "model is given to others: where a probability is off by more than 0.001 the server would refuse to start.",
    )
    portable.add_argument("bundle", type=Path, metavar="RUN|BUNDLE", help="a run's folder, or a bundle's")
    portable.set_defaults(command=_portable)


def _portable(options: argparse.Namespace) -> int:
    from training.artifacts import find_bundle
    from training.portable import PROCESSOR, check_portable

    bundle = Bundle.read(find_bundle(options.bundle))
    check_portable(bundle.path)
    print(f"{bundle.path} answers on {PROCESSOR} as it did where it was made")
    return 0

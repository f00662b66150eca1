"""`sign`: sign a bundle, for servers that load signed bundles only."""

import argparse
from pathlib import Path

from semantic_service.contract.bundle import SIGNATURE_FILE, Bundle
from training.commands.options import Commands

_EPILOG = """Make a pair of keys once, keep the private one off the servers, and give them the public one:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out signing.pem
  openssl pkey -in signing.pem -pubout -out signing.pub.pem
  python -m training sign runs/20261122-034500-e5-small-zh --key signing.pem
  MODERATION_SIGNED_BY=signing.pub.pem MODERATION_MODEL=runs/20261122-034500-e5-small-zh/bundle python -m semantic_service
`run` signs by itself what it makes: --set export.signing_key=signing.pem"""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    sign = commands.add_parser(
        "sign",
        help="sign a bundle, for servers that load signed bundles only",
        description=f"Sign a bundle's manifest, which holds the digest of every file: adds {SIGNATURE_FILE}, and never replaces one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sign.add_argument("bundle", type=Path, metavar="RUN|BUNDLE", help="a run's folder, or a bundle's, also one in the registry")
    sign.add_argument("--key", type=Path, required=True, metavar="KEY", help="the private key of an elliptic curve, PEM")
    sign.set_defaults(command=_sign)


def _sign(options: argparse.Namespace) -> int:
    from training.artifacts import find_bundle
    from training.sign import SigningKey

    bundle = Bundle.read(find_bundle(options.bundle))
    SigningKey(options.key).sign(bundle.path)
    print(bundle.file(SIGNATURE_FILE))
    return 0

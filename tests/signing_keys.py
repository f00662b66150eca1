"""Pairs of keys for tests, and the mark of tests that need the library behind signatures."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

# Looked for, not imported: an installation that is broken must fail, not skip.
needs_signing = pytest.mark.skipif(find_spec("model_signing") is None, reason="signatures need pip install -r requirements/signing.txt")


@dataclass(frozen=True)
class Pair:
    private: Path
    public: Path


def write_pair(folder, name="signing", key=None):
    """Write a pair of keys as openssl does; of P-256 unless a key is given."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - comes with the signing extra
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = key or ec.generate_private_key(ec.SECP256R1())
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.pub.pem")
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    pair.private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    pair.public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return pair

import re
import subprocess

import pytest

from semantic_service.contract.bundle import MODEL_FILE, SIGNATURE_FILE, Bundle
from semantic_service.contract.registry import Registry
from semantic_service.engine.signature import PublicKey
from tests.signing_keys import needs_signing, write_pair
from tests.tiny_model import copy_of
from training.__main__ import main

pytestmark = needs_signing


@pytest.fixture
def keys(tmp_path):
    return write_pair(tmp_path)


@pytest.fixture
def run(tiny_bundle, tmp_path):
    """A run's folder, with its bundle."""
    copy_of(tiny_bundle, tmp_path / "run" / "bundle")
    return tmp_path / "run"


def sign(capsys, folder, key):
    status = main(["sign", str(folder), "--key", str(key)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_signed_bundle_keeps_its_files_and_gains_one(run, keys, capsys):
    before = {path.name: path.read_bytes() for path in (run / "bundle").iterdir()}
    signature = run / "bundle" / SIGNATURE_FILE
    assert sign(capsys, run, keys.private) == (0, f"{signature}\n", "")
    PublicKey(keys.public).verify(Bundle.read(run / "bundle"))
    assert {path.name: path.read_bytes() for path in (run / "bundle").iterdir()} == before | {SIGNATURE_FILE: signature.read_bytes()}


def test_a_promoted_bundle_is_signed_as_it_was(run, keys, capsys, tmp_path):
    sign(capsys, run / "bundle", keys.private)
    registry = Registry(tmp_path / "models")
    with registry.locked():
        PublicKey(keys.public).verify(registry.add(Bundle.read(run / "bundle")))


def test_a_signature_is_never_replaced(run, keys, capsys, tmp_path):
    sign(capsys, run, keys.private)
    before = (run / "bundle" / SIGNATURE_FILE).read_bytes()
    for key in (keys.private, write_pair(tmp_path, "other").private):
        status, out, err = sign(capsys, run, key)
        assert (status, out) == (2, "")
        assert err == f"training: {run}/bundle/{SIGNATURE_FILE} is there, and signatures are never replaced: remove it to sign anew\n"
    assert (run / "bundle" / SIGNATURE_FILE).read_bytes() == before


def test_a_broken_bundle_is_not_signed(run, keys, capsys):
    (run / "bundle" / MODEL_FILE).write_bytes(b"half a mod")
    status, _, err = sign(capsys, run, keys.private)
    assert status == 2
    assert "sha256" in err
    assert not (run / "bundle" / SIGNATURE_FILE).exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused_without_a_word_of_it(run, tmp_path, capsys, content):
    key = tmp_path / "key.pem"
    key.write_bytes(content)
    status, _, err = sign(capsys, run, key)
    assert status == 2
    assert err.startswith(f"training: {key}: not the private key of an elliptic curve")
    assert "c2VjcmV0" not in err
    assert not (run / "bundle" / SIGNATURE_FILE).exists()


def test_a_public_key_or_none_can_not_sign(run, keys, tmp_path, capsys):
    assert f"{keys.public}: not the private key" in sign(capsys, run, keys.public)[2]
    assert sign(capsys, run, tmp_path / "none.pem")[2] == f"training: {tmp_path}/none.pem: can't be read (No such file or directory)\n"


def test_the_commands_that_the_help_shows_make_a_pair_that_works(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["sign", "--help"])
    commands = re.findall(r"^  (openssl .*)$", capsys.readouterr().out, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    assert sign(capsys, run, tmp_path / "signing.pem")[0] == 0
    PublicKey(tmp_path / "signing.pub.pem").verify(Bundle.read(run / "bundle"))


def test_a_key_with_a_passphrase_is_refused(run, tmp_path, capsys):
    key = tmp_path / "locked.pem"
    options = ["-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", "pass:secret", "-out", str(key)]
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", *options], check=True, capture_output=True)
    assert "without a passphrase" in sign(capsys, run, key)[2]

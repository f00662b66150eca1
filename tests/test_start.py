import os
import sys

import pytest

from semantic_service import classify
from semantic_service.__main__ import main
from semantic_service.batch.__main__ import main as score
from semantic_service.contract.bundle import MODEL_FILE
from tests.served import serving
from tests.signing_keys import needs_signing, write_pair
from tests.tiny_model import copy_of
from training.sign import SigningKey


@pytest.fixture
def keys(tmp_path):
    return write_pair(tmp_path)


@pytest.fixture
def signed(tiny_bundle, keys, tmp_path):
    folder = copy_of(tiny_bundle, tmp_path / "signed")
    SigningKey(keys.private).sign(folder)
    return folder


@pytest.fixture
def refused(monkeypatch, capsys):
    """Run a command that must end with 2; gives what it says."""

    def run(command, arguments, **settings):
        for name in [name for name in os.environ if name.startswith("MODERATION_")]:  # noqa: TID251 - what a developer may have set
            monkeypatch.delenv(name)
        for name, value in settings.items():
            monkeypatch.setenv(f"MODERATION_{name.upper()}", str(value))
        monkeypatch.setattr(sys, "argv", ["python", *arguments])
        assert command() == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    return run


@needs_signing
@pytest.mark.slow
def test_a_server_with_a_key_serves_what_the_key_has_signed(signed, keys, tmp_path):
    with serving(signed, tmp_path, signed_by=keys.public, shadow_model=signed) as server:
        assert server.classify("来赌一把")[1]["label"] == "violation"
        assert server.stop() == 0


@needs_signing
@pytest.mark.parametrize("wrong", ["model", "shadow_model"])
def test_what_is_not_signed_stops_the_start(tiny_bundle, signed, keys, refused, wrong):
    settings = {"model": signed, "signed_by": keys.public} | {wrong: tiny_bundle.path}
    assert refused(main, [], **settings).startswith(f"can't start: {tiny_bundle.path}: not signed, and MODERATION_SIGNED_BY={keys.public}")


@needs_signing
def test_a_private_key_in_the_place_of_the_public_one_stops_the_start(signed, keys, refused):
    said = refused(main, [], model=signed, signed_by=keys.private)
    assert said.startswith(f"can't start: {keys.private}: not the public key")


@needs_signing
@pytest.mark.parametrize("command", [score, classify.main])
def test_the_other_commands_refuse_an_unsigned_model_too(tiny_bundle, keys, refused, command, tmp_path):
    arguments = {score: [str(tmp_path / "in.tsv"), str(tmp_path / "out.tsv")], classify.main: ["好"]}[command]
    assert f"{tiny_bundle.path}: not signed" in refused(command, arguments, model=tiny_bundle.path, signed_by=keys.public)


def test_a_broken_challenger_stops_the_start_and_the_file_is_named(tiny_bundle, refused, tmp_path):
    broken = copy_of(tiny_bundle, tmp_path / "broken")
    (broken / MODEL_FILE).write_bytes(b"half a mod")
    said = refused(main, [], model=tiny_bundle.path, shadow_model=broken)
    assert said.startswith(f"can't start: {broken / MODEL_FILE}: sha256 is")


def test_a_database_that_can_not_be_is_refused_at_the_start(tiny_bundle, refused):
    said = refused(main, [], model=tiny_bundle.path, database_url="mysql://root@db/moderation")
    assert said.startswith("can't start: mysql://root@db/moderation: use sqlite:///FILE or postgresql://")

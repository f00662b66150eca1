import shutil
from dataclasses import replace

import pytest

from tests.tiny_model import build_bundle
from training.__main__ import main
from training.errors import ConfigError
from training.portable import EMULATOR, check_portable

needs_emulator = pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"{EMULATOR} is not installed: apt-get install qemu-user")


def test_without_an_emulator_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="apt-get install qemu-user"):
        check_portable(tmp_path)


@needs_emulator
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_bundle_is_loaded_on_an_older_processor(tmp_path, capsys):
    bundle = build_bundle(tmp_path / "bundle")
    assert main(["portable", str(bundle.path)]) == 0
    assert "Haswell" in capsys.readouterr().out


@needs_emulator
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_bundle_that_answers_otherwise_there_is_told_with_its_reason(tmp_path, capsys):
    sound = build_bundle(tmp_path / "sound").manifest
    checks = tuple(replace(check, probabilities=(1.0, 0.0, 0.0)) for check in sound.self_check)
    other = build_bundle(tmp_path / "other", self_check=checks)
    assert main(["portable", str(other.path)]) == 1
    assert "self-check text" in capsys.readouterr().err

import errno
import os
import shutil
from types import SimpleNamespace

import pytest

from training.disk import one_message_when_full, refuse_small_disk
from training.errors import ConfigError, DiskFullError


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110
def test_a_write_that_finds_no_space_is_one_message(tmp_path):
    with pytest.raises(DiskFullError, match="make room") as refusal, one_message_when_full(tmp_path), open("/dev/full", "wb", 0) as full:  # noqa: PTH123
        full.write(b"x")
    assert str(refusal.value).startswith(f"the disk of {tmp_path} is full")
    assert refusal.value.exit_status == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors and tokenizers
    ],
)
def test_a_full_disk_is_known_by_the_words_of_other_libraries(error, tmp_path):
    with pytest.raises(DiskFullError), one_message_when_full(tmp_path):
        raise error


def test_a_full_disk_is_known_behind_the_error_that_it_led_to(tmp_path):
    error = ConfigError("can't be loaded")
    error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(DiskFullError), one_message_when_full(tmp_path):
        raise error


def test_an_error_without_a_cause_is_put_down_to_a_disk_that_has_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(DiskFullError), one_message_when_full(tmp_path / "runs" / "not-there-yet"):
        raise RuntimeError("unexpected pos 576 vs 534")  # torch.save
    with pytest.raises(ConfigError), one_message_when_full(tmp_path):
        raise ConfigError("unknown key")


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EACCES, "Permission denied"), KeyboardInterrupt()])
def test_other_errors_stay_what_they_are(error, tmp_path):
    with pytest.raises(type(error)) as raised, one_message_when_full(tmp_path):
        raise error
    assert raised.value is error


def test_a_run_that_would_fill_the_disk_is_refused_before_it_starts(tmp_path):
    refuse_small_disk(tmp_path / "runs", parameters=1000, trainable=10)
    with pytest.raises(DiskFullError, match=r"GB free, and a run writes about 11000\.0 GB: make room, or choose another --run-dir"):
        refuse_small_disk(tmp_path, parameters=10**12, trainable=0)

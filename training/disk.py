"""A full disk, told in one message whichever library met it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import DiskFullError, TrainingError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SAID = ("No space left on device", "Disk quota exceeded")  # by libraries written in Rust, which keep no errno
_NOTHING_BYTES = 1 << 20  # free space below which torch's "file write failed", which names no cause, is put down to the disk


@contextmanager
def one_message_when_full(folder: Path) -> Iterator[None]:
    """Turn whatever a full disk makes of a run in `folder` into one error.

    Raises:
        DiskFullError: something failed for want of space.

    """
    try:
        yield
    except Exception as error:
        if not _says_full(error) and (isinstance(error, TrainingError) or not _has_no_room(folder)):
            raise
        raise DiskFullError(
            f"the disk of {folder} is full: make room (older runs' checkpoints are the largest), and give the same command again; "
            "it carries on where it stopped"
        ) from error


def _says_full(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, is one of a full disk."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _FULL) or any(words in str(error) for words in _SAID):
            return True
        error = error.__cause__ or error.__context__
    return False


def _has_no_room(folder: Path) -> bool:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free < _NOTHING_BYTES

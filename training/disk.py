"""A full disk: refused before training where it can be foreseen, else told in one message whichever library met it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import DiskFullError, TrainingError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SAID = ("No space left on device", "Disk quota exceeded")  # by libraries written in Rust, which keep no errno
_GRAPH_BYTES = 4 + 3 + 4  # a parameter's, in the fp32 graph, three int8 graphs and the bundle
_CHECKPOINT_BYTES = 4 * 12 + 2 * 4  # a trainable one's, in four checkpoints with two moments each, and in two best epochs
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
        if not _says_full(error) and (isinstance(error, TrainingError) or _free_bytes(folder) > _NOTHING_BYTES):
            raise
        raise DiskFullError(
            f"the disk of {folder} is full: make room (older runs' checkpoints are the largest), and give the same command again; "
            "it carries on where it stopped"
        ) from error


def refuse_small_disk(folder: Path, parameters: int, trainable: int) -> None:
    """Refuse, before training, a disk that a run in `folder` would fill.

    Raises:
        DiskFullError: there is too little room for the checkpoints, graphs and bundle of so many parameters.

    """
    needed = _GRAPH_BYTES * parameters + _CHECKPOINT_BYTES * trainable
    if (free := _free_bytes(folder)) < needed:
        raise DiskFullError(
            f"the disk of {folder} has {free / 1e9:.1f} GB free, and a run writes about {needed / 1e9:.1f} GB: make room, or choose "
            "another --run-dir"
        )


def _says_full(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, is one of a full disk."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _FULL) or any(words in str(error) for words in _SAID):
            return True
        error = error.__cause__ or error.__context__
    return False


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free

"""Rows for people to look at, as JSON lines, until there is a review store: several processes may append, and no kill leaves half a row."""

import errno
import fcntl
import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_OWNER_ONLY = 0o600  # the rows hold what users wrote


@dataclass(frozen=True, slots=True)
class ReviewFile:
    """A JSONL file, opened for each row, so that it may be moved away at any time."""

    path: Path

    def append(self, row: Mapping[str, object]) -> None:
        """Add one line, after cutting off what a killed writer left of another one.

        Raises:
            OSError: the file can't be written, or the disk is full; no part of the row stays.

        """
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _OWNER_ONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # a closed file, or a dead process, lets go of it
            end = _cut_torn_line(descriptor)
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(descriptor)


def _cut_torn_line(descriptor: int) -> int:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
        end = content.rfind(b"\n") + 1
    os.ftruncate(descriptor, end)
    return end

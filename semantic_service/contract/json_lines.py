"""Rows as JSON lines: several processes append to one file, no kill leaves half a row, and what is taken out again is taken whole."""

import errno
import fcntl
import json
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

CHUNK_LINES = 100  # taken out together; a line may hold a text of 100,000 characters
_OWNER_ONLY = 0o600  # the rows hold what users wrote


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A JSONL file, opened anew for each use, so that it may be moved away at any time."""

    path: Path

    @property
    def size_bytes(self) -> int:
        """How much is in the file; 0 if there is none, or no looking at it."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def append(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add a line for each row, after cutting off what a killed writer left of another one. On return they are on the disk.

        Raises:
            OSError: the file can't be written, or the disk is full; no part of the rows stays.

        """
        lines = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _opened(self.path, os.O_APPEND) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # a closed file, or a dead process, lets go of it
            end = _cut_torn_line(descriptor)
            if os.write(descriptor, lines) < len(lines):
                os.ftruncate(descriptor, end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(descriptor)

    def drain(self, take: Callable[[list[bytes]], None]) -> None:
        """Hand the lines to `take`, the oldest first and up to `CHUNK_LINES` at once, then empty the file.

        A kill, or an error that `take` raises, leaves the file as it was: what has been taken comes again the next time. While one process
        drains, others may append, and find nothing to drain.

        Raises:
            OSError: the file can't be read or emptied.

        """
        if not self.size_bytes:
            return
        with _opened(self.path.with_name(self.path.name + ".lock")) as draining, self.path.open("r+b") as stream:
            try:
                fcntl.flock(draining, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            _take_all(stream, take)
            stream.truncate(0)


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, _OWNER_ONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take_all(stream: BinaryIO, take: Callable[[list[bytes]], None]) -> None:
    """Take lines until none is left; from then on nobody else can append, and what has no end is what a kill has left of a row."""
    while True:
        while chunk := list(islice(_whole_lines(stream), CHUNK_LINES)):
            take(chunk)
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not (chunk := list(islice(_whole_lines(stream), CHUNK_LINES))):
            return
        fcntl.flock(stream, fcntl.LOCK_UN)  # taking may last, and others want to append
        take(chunk)


def _whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    while (line := stream.readline()).endswith(b"\n"):
        yield line
    stream.seek(-len(line), os.SEEK_CUR)


def _cut_torn_line(descriptor: int) -> int:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
        end = content.rfind(b"\n") + 1
    os.ftruncate(descriptor, end)
    return end

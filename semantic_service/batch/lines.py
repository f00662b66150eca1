"""Lines of bounded length from a seekable stream, a part at a time."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from semantic_service.batch.tables import PART_BYTES, PART_ROWS, Part

MAX_ROW_BYTES = 1024 * 1024


def is_whole(line: bytes) -> bool:
    """Whether a line that `Lines` gave is all of it."""
    return len(line) < MAX_ROW_BYTES


def nothing_open(_: bytes) -> bytes:
    """Say of a piece of a line that its newline ends it."""
    return b""


class Lines:
    """Reads lines without their newline; of one above MAX_ROW_BYTES the beginning."""

    def __init__(self, stream: BinaryIO, open_end: Callable[[bytes], bytes] = nothing_open) -> None:
        r"""Read from `stream`; a newline does not end a line behind a piece whose `open_end` is a backslash."""
        self._stream = stream
        self._open_end = open_end

    def parts(self, start: int) -> Iterator[Part]:
        """Cut what follows a byte offset (a line's start) into parts; the last one is empty."""
        self._stream.seek(start)
        while lines := self._some():
            yield Part(lines, len(lines), self._stream.tell())
        yield Part((), 0, self._stream.tell())

    def _some(self) -> tuple[bytes, ...]:
        lines: list[bytes] = []
        size = 0
        while len(lines) < PART_ROWS and size < PART_BYTES and (line := self._line()) is not None:
            lines.append(line)
            size += len(line)
        return tuple(lines)

    def _line(self) -> bytes | None:
        """Read up to the next newline that is not escaped; keep no more than the bound."""
        kept: list[bytes] = []
        size, open_end, is_ended = 0, b"", False
        while not is_ended and (piece := self._stream.readline(MAX_ROW_BYTES)):
            content = piece.removesuffix(b"\n")
            open_end = self._open_end(open_end + content)
            is_ended = content != piece and open_end != b"\\"
            if size < MAX_ROW_BYTES:
                kept.append(content if is_ended else piece)
            size += len(piece)
            open_end = open_end if content == piece else b""
        return b"".join(kept) if size else None

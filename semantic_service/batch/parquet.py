"""Parquet dumps: the input's columns, then a verdict's. What has been judged waits as Arrow streams, one a part, until all is there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import parquet

from semantic_service.batch.errors import BatchError, RowError
from semantic_service.batch.tables import PART_ROWS, Outcome, Part, columns, free_name, values
from semantic_service.contract.tasks import Task

GROUP_ROWS = 65_536  # of the output, together in memory
_TYPES = {"uncertain": pa.bool_(), "confidence": pa.float64()}


@dataclass(frozen=True, slots=True)
class ParquetLayout:
    """The column that holds the post, and the columns that a verdict adds."""

    text_column: str
    tasks: tuple[Task, ...] = ()

    def header_out(self) -> bytes:
        """Write none: each part is a stream of its own."""
        return b""

    def texts(self, content: bytes) -> list[str | RowError]:
        """Read each row's text."""
        return [_text(value) for value in _batch(content).column(self.text_column).to_pylist()]

    def out(self, content: bytes, outcomes: Sequence[Outcome]) -> bytes:
        """Write the rows with their outcomes as an Arrow stream."""
        batch = _batch(content)
        schema = self.schema_out(batch.schema)
        added = zip(*(values(outcome, self.tasks) for outcome in outcomes), strict=True) if outcomes else ((),) * len(columns(self.tasks))
        fields = list(schema)[len(batch.schema) :]
        arrays = [pa.array(column, field.type) for column, field in zip(added, fields, strict=True)]
        return _stream(pa.record_batch([*batch.columns, *arrays], schema=schema))

    def schema_out(self, schema: pa.Schema) -> pa.Schema:
        """Give the output's schema."""
        added = columns(self.tasks)
        names = [free_name(name, (*added, *schema.names)) if name in added else name for name in schema.names]
        kept = [field.with_name(name) for field, name in zip(schema, names, strict=True)]
        return pa.schema([*kept, *(pa.field(name, _type(name)) for name in added)], schema.metadata)


def _type(name: str) -> pa.DataType:
    return pa.float64() if name.startswith("p_") else _TYPES.get(name, pa.string())


def _text(value: object) -> str | RowError:
    if value is None:
        return RowError("null_text: the text is null")
    if isinstance(value, str):
        return value
    assert isinstance(value, bytes)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        return RowError(f"bad_encoding: not utf-8 at byte {error.start} of the text")


def _stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _batch(content: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(content) as reader:
        return reader.read_next_batch()


class ParquetTable:
    """An open Parquet file; its units are rows."""

    start = 0

    def __init__(self, stream: BinaryIO, layout: ParquetLayout) -> None:
        """Read the file's schema.

        Raises:
            BatchError: not a Parquet file, or it lacks the text column, or that holds no text.

        """
        self.layout = layout
        try:
            self._file = parquet.ParquetFile(stream)
        except pa.ArrowInvalid as error:
            raise BatchError(f"not a Parquet file ({error})") from error
        self.size = self._file.metadata.num_rows
        self._schema = self._file.schema_arrow
        if layout.text_column not in self._schema.names:
            raise BatchError(
                f"no column {layout.text_column!r}: the file has {', '.join(self._schema.names)}; choose one with --text-column"
            )
        if not _holds_text(self._schema.field(layout.text_column).type):
            raise BatchError(f"column {layout.text_column!r} is {self._schema.field(layout.text_column).type}, it must hold text")

    def parts(self, start: int) -> Iterator[Part]:
        """Cut what follows `start` rows into parts; the last one is empty."""
        ends = list(accumulate(self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)))
        groups = [group for group, end in enumerate(ends) if end > start]
        position = ends[groups[0] - 1] if groups and groups[0] else 0
        for batch in self._file.iter_batches(PART_ROWS, row_groups=groups) if groups else ():
            rest = batch.slice(max(0, start - position))
            position += batch.num_rows
            if rest.num_rows:
                yield Part(_stream(rest), rest.num_rows, position)
        yield Part(_stream(pa.RecordBatch.from_pylist([], self._schema)), 0, self.size)

    def complete(self, partial: Path) -> Path:
        """Turn the streams into a Parquet file beside them."""
        done = partial.with_name(f"{partial.name}.parquet")
        with parquet.ParquetWriter(done, self.layout.schema_out(self._schema)) as writer:
            for table in _tables(partial):
                writer.write_table(table)
        return done


def _holds_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(holds(kind) for holds in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary))


def _tables(partial: Path) -> Iterator[pa.Table]:
    """Join the streams' batches into tables of some GROUP_ROWS."""
    waiting: list[pa.RecordBatch] = []
    with pa.OSFile(str(partial)) as file:
        while file.tell() < file.size():
            waiting.extend(pa.ipc.open_stream(file))
            if sum(batch.num_rows for batch in waiting) >= GROUP_ROWS:
                yield pa.Table.from_batches(waiting)
                waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)

"""A batch from its inputs to its outputs: parts go to the workers, come back in order, and are written by one hand."""

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Literal

from semantic_service.batch import places
from semantic_service.batch.errors import BatchError
from semantic_service.batch.jsonl import JsonlLayout, JsonlTable
from semantic_service.batch.output import Checkpoint, Output, digest, is_in_place, starting_point
from semantic_service.batch.places import Shard
from semantic_service.batch.pools import Pool, Work, in_order
from semantic_service.batch.progress import Progress
from semantic_service.batch.scoring import Recipe
from semantic_service.batch.tables import Table
from semantic_service.batch.tsv import Dialect, TsvTable
from semantic_service.contract.tasks import Task

Format = Literal["tsv", "jsonl", "parquet"]
_SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@dataclass(frozen=True, slots=True)
class Reading:
    """How inputs are read; without a format, by the end of their names."""

    dialect: Dialect
    format: Format | None = None

    def format_of(self, name: str) -> Format:
        """Give a file's format; TSV unless its name says otherwise."""
        return self.format or _SUFFIXES.get(PurePosixPath(name).suffix.lower(), "tsv")

    def check(self, shard: Shard) -> None:
        """Refuse to write a format under another one's name.

        Raises:
            BatchError: the output's name says so.

        """
        format_ = self.format_of(shard.input)
        if self.format_of(shard.output) != format_:
            raise BatchError(f"its output is {format_} too: let {shard.output} end like it, or give --format {format_}")

    def open(self, name: str, stream: BinaryIO, tasks: Sequence[Task]) -> Table:
        """Open a table.

        Raises:
            BatchError: it can't be read.

        """
        dialect, format_ = self.dialect, self.format_of(name)
        if format_ == "tsv":
            return TsvTable(stream, dialect, tasks)
        if dialect.mysql or (format_ == "parquet" and dialect.encoding != "utf-8"):
            raise BatchError(f"--mysql is for TSV alone, --encoding for TSV and JSONL: leave them out for {format_}")
        if format_ == "jsonl":
            return JsonlTable(stream, JsonlLayout(dialect.text_column, dialect.encoding, tuple(tasks)))
        try:
            from semantic_service.batch.parquet import ParquetLayout, ParquetTable  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise BatchError(f"Parquet needs pyarrow ({error}): python -m pip install -r requirements/batch.txt") from error
        return ParquetTable(stream, ParquetLayout(dialect.text_column, tuple(tasks)))


@dataclass(frozen=True, slots=True)
class Totals:
    """What has come out, earlier runs' rows included."""

    rows: int
    errors: int


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be scored, and by which model and policy."""

    shards: Sequence[Shard]
    reading: Reading
    recipe: Recipe

    def run(self, pool: Pool, *, resume: bool = False) -> Totals:
        """Score every shard that is not done.

        Raises:
            BatchError: an input can't be read, an output can't be written or resumed, or workers die again and again.

        """
        done: list[Checkpoint] = []
        with closing(Progress(sum(places.size(shard.input) for shard in self.shards))) as progress:
            for work, scored in in_order(pool, self._parts(progress, done, resume=resume)):
                output = work.owner
                if work.part.rows:
                    progress.update(scored.rows, output.write(scored, work.part.end), pool.workers)
                else:  # the last part
                    output.finish()
                    done.append(output.checkpoint)
        return Totals(sum(checkpoint.rows for checkpoint in done), sum(checkpoint.errors for checkpoint in done))

    def _parts(self, progress: Progress, done: list[Checkpoint], *, resume: bool) -> Iterator[Work[Output]]:
        for shard in self.shards:
            with places.open_input(shard.input) as stream:
                table = self._open(shard, stream)
                start = starting_point(shard, table, self._digest(shard), resume=resume)
                bytes_per_unit = places.size(shard.input) / max(table.size, 1)
                progress.skip(start.input_end * bytes_per_unit)
                if is_in_place(shard, table, start):
                    done.append(start)
                    continue
                output = Output(shard, table, start, bytes_per_unit)
                yield from (Work(output, table.layout, part) for part in table.parts(start.input_end))

    def _open(self, shard: Shard, stream: BinaryIO) -> Table:
        try:
            self.reading.check(shard)
            return self.reading.open(shard.input, stream, self.recipe.tasks)
        except (BatchError, io.UnsupportedOperation) as error:
            raise BatchError(f"{shard.input}: {error}") from error

    def _digest(self, shard: Shard) -> str:
        recipe = self.recipe
        return digest(shard.input, self.reading, recipe.model_version, recipe.policy, recipe.uncertain_max)

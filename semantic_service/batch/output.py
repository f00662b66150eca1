"""One shard's output as it grows: written aside, checkpointed, put in its place when complete."""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass

from semantic_service.batch import places
from semantic_service.batch.errors import BatchError
from semantic_service.batch.places import Shard
from semantic_service.batch.scoring import Scored
from semantic_service.batch.tables import Table
from semantic_service.contract.bundle import sync, write_atomically

COMMIT_S = 1.0  # between checkpoints: a kill costs the work since the last one
_HEAD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a shard has come. Everything before `input_end` has been written before `output_end` and synced."""

    job: str  # digest of input, options, model and policy: only the same job may go on
    input_end: int  # in the table's units
    output_end: int
    rows: int
    errors: int


def digest(name: str, *decisive: object) -> str:
    """Tell one job from another: by the input's size and first megabyte, and by what else the outcome depends on."""
    with places.open_input(name) as stream:
        head = hashlib.sha256(stream.read(_HEAD_BYTES)).hexdigest()
    return hashlib.sha256(repr((places.size(name), head, *decisive)).encode()).hexdigest()


class Output:
    """Appends judged parts, in order."""

    def __init__(self, shard: Shard, table: Table, start: Checkpoint, bytes_per_unit: float) -> None:
        self.shard = shard
        self.checkpoint = start
        self._table = table
        self._bytes_per_unit = bytes_per_unit
        self._committed_s = float("-inf")
        os.truncate(shard.partial, start.output_end)

    def write(self, scored: Scored, input_end: int) -> float:
        """Append a part; give how many of the input's bytes it was."""
        with self.shard.partial.open("ab") as partial:
            partial.write(scored.out)
        before = self.checkpoint
        self.checkpoint = Checkpoint(
            before.job, input_end, before.output_end + len(scored.out), before.rows + scored.rows, before.errors + scored.errors
        )
        if time.monotonic() - self._committed_s > COMMIT_S:
            self._commit()
        return (input_end - before.input_end) * self._bytes_per_unit

    def _commit(self) -> None:
        sync(self.shard.partial)
        write_atomically(self.shard.checkpoint, json.dumps(asdict(self.checkpoint)))
        self._committed_s = time.monotonic()

    def finish(self) -> None:
        """Put the output in its place. What is left of many outputs' checkpoints says that they are done."""
        self._commit()
        shard = self.shard
        places.put(self._table.complete(shard.partial), shard.output)
        shard.partial.unlink(missing_ok=True)
        if not shard.is_of_many:
            shard.checkpoint.unlink()
        elif places.is_remote(shard.output):
            places.put(shard.checkpoint, shard.record)


def starting_point(shard: Shard, table: Table, job: str, *, resume: bool) -> Checkpoint:
    """Find where to begin: at the table's start, or, if told to resume, at the checkpoint.

    Raises:
        BatchError: an earlier run's checkpoint is in the way, belongs to another job, or what it counts on is not there.

    """
    left = next((name for name in (str(shard.checkpoint), shard.record) if places.exists(name)), None)
    if left is None:
        if shard.is_of_many or places.is_remote(shard.output):
            shard.partial.parent.mkdir(parents=True, exist_ok=True)
        shard.partial.write_bytes(table.layout.header_out())
        return Checkpoint(job, table.start, shard.partial.stat().st_size, 0, 0)
    if not resume:
        raise BatchError(f"{left} is left from an earlier run: give --resume to go on, or remove it to start over")
    with places.open_input(left) as stream:
        checkpoint = Checkpoint(**json.load(stream))
    if checkpoint.job != job:
        raise BatchError(f"{left} belongs to another input, option, model or policy: remove it to start over")
    if not is_in_place(shard, table, checkpoint) and places.size(str(shard.partial)) < checkpoint.output_end:
        raise BatchError(f"{shard.partial} is not as long as {left} says: remove the checkpoint to start over")
    return checkpoint


def is_in_place(shard: Shard, table: Table, checkpoint: Checkpoint) -> bool:
    """Whether a shard is done: its partial goes when the output has come."""
    return checkpoint.input_end == table.size and not shard.partial.exists() and places.exists(shard.output)

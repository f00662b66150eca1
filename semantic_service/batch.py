"""Score a TSV dump: the input's columns, then a verdict's; order kept, constant memory, resumable after a kill."""

import argparse
import hashlib
import json
import os
import sys
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from semantic_service.contract.bundle import BundleError, write_atomically
from semantic_service.contract.verdict import PolicyError
from semantic_service.engine.live import Live
from semantic_service.engine.moderator import EmptyTextError, Judgement, Moderator
from semantic_service.engine.tsv import Dialect, Reader, Row, RowError, TsvError
from semantic_service.engine.workers import Done, Workers
from semantic_service.settings import Settings, SettingsError

CHUNK_ROWS = 512  # judged, written and checkpointed together
REPORT_S = 10.0  # between lines in a log
_HEAD_BYTES = 1024 * 1024

_EPILOG = """examples
  python -m semantic_service.batch dump.tsv scored.tsv --text-column content
  python -m semantic_service.batch dump.tsv scored.tsv --text-column content --resume     # go on after a kill; safe to give always
  python -m semantic_service.batch export.tsv scored.tsv --encoding gb18030 --mysql       # from mysql --batch or SELECT ... INTO OUTFILE

exit status: 0 every row judged, 1 some rows carry an error, 2 wrong use"""


class BatchError(Exception):
    """A batch that can't start or go on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a batch has come. Everything before `input_end` has been written before `output_end` and synced."""

    job: str  # digest of input, options, model and policy: only the same job may go on
    input_end: int
    output_end: int
    rows: int
    errors: int


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a batch reads and writes; `output` appears when it is complete."""

    input: Path
    output: Path

    @property
    def partial(self) -> Path:
        """The output so far."""
        return self.output.with_name(self.output.name + ".partial")

    @property
    def checkpoint(self) -> Path:
        """How far it has come."""
        return self.output.with_name(self.output.name + ".checkpoint")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; give its exit status."""
    options = _parser().parse_args(arguments)
    paths = Paths(options.input, options.output)
    dialect = Dialect(options.text_column, options.encoding, options.mysql)
    try:
        settings = Settings.from_environment()
        moderator = Live(settings.source(), settings.policy, settings.uncertain_max).moderator
        checkpoint = score_file(paths, dialect, moderator, threads=settings.threads, resume=options.resume)
    except (BatchError, TsvError, SettingsError, BundleError, PolicyError) as error:
        print(f"batch: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"batch: {error.filename or paths.input}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(f"{checkpoint.rows:,} rows, {checkpoint.errors:,} with an error: {paths.output}", file=sys.stderr)
    return 1 if checkpoint.errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m semantic_service.batch", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, help="a TSV file whose first row names the columns")
    parser.add_argument("output", type=Path, help="written as OUTPUT.partial until it is complete")
    parser.add_argument("--text-column", default="text", help="the column that holds the post (default: %(default)s)")
    parser.add_argument(
        "--encoding", choices=("utf-8", "gb18030"), default="utf-8", help="of the input; the output has the same (default: %(default)s)"
    )
    parser.add_argument("--mysql", action="store_true", help=r"understand MySQL's escapes \t \n \\ and \N in the text")
    parser.add_argument("--resume", action="store_true", help="go on where a killed batch stopped")
    return parser


def score_file(paths: Paths, dialect: Dialect, moderator: Moderator, *, threads: int, resume: bool) -> Checkpoint:
    """Score a dump from its start, or from its checkpoint.

    Raises:
        BatchError: the output is the input, or an unfinished output is in the way, belongs to another job or is not whole.
        TsvError: the input has no header or no such column.

    """
    if paths.output.exists() and paths.output.samefile(paths.input):
        raise BatchError(f"{paths.output}: the output must be another file than the input")
    with paths.input.open("rb") as stream:
        reader = Reader(stream, dialect, moderator.tasks)
        checkpoint = _starting_point(paths, _job(paths.input, dialect, moderator), reader, resume=resume)
        with paths.partial.open("r+b") as output:
            output.truncate(checkpoint.output_end)
            output.seek(checkpoint.output_end)
            checkpoint = _score_rest(reader, output, checkpoint, Scoring(paths, moderator, Workers(threads, bound=2 * CHUNK_ROWS)))
    paths.partial.replace(paths.output)
    paths.checkpoint.unlink(missing_ok=True)  # a header alone has none
    return checkpoint


def _job(path: Path, dialect: Dialect, moderator: Moderator) -> str:
    with path.open("rb") as stream:
        head = hashlib.sha256(stream.read(_HEAD_BYTES)).hexdigest()
    parts = (path.stat().st_size, head, dialect, moderator.model_version, moderator.policy, moderator.uncertain_max)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _starting_point(paths: Paths, job: str, reader: Reader, *, resume: bool) -> Checkpoint:
    if resume and paths.checkpoint.exists():
        checkpoint = Checkpoint(**json.loads(paths.checkpoint.read_text(encoding="utf-8")))
        if checkpoint.job != job:
            raise BatchError(f"{paths.checkpoint} belongs to another input, option, model or policy: remove it to start over")
        _check_partial(paths, checkpoint)
        return checkpoint
    if paths.checkpoint.exists():
        raise BatchError(f"{paths.partial} is an unfinished output: give --resume to go on, or remove {paths.checkpoint} to start over")
    header = reader.header_out()
    paths.partial.write_bytes(header)
    return Checkpoint(job, reader.start, len(header), 0, 0)


def _check_partial(paths: Paths, checkpoint: Checkpoint) -> None:
    is_read = checkpoint.input_end == paths.input.stat().st_size
    if is_read and not paths.partial.exists() and _size(paths.output) == checkpoint.output_end:
        paths.output.replace(paths.partial)  # killed between the last two steps: take them again
    if _size(paths.partial) < checkpoint.output_end:
        raise BatchError(f"{paths.partial} is not as long as {paths.checkpoint} says: remove the checkpoint to start over")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@dataclass(frozen=True, slots=True)
class Scoring:
    """What scores rows and where their progress is kept."""

    paths: Paths
    moderator: Moderator
    workers: Workers

    def judge(self, rows: list[Row]) -> list[Judgement | Exception]:
        """Judge rows on every core, in order; a row that can't be judged gives its error."""
        texts = [row.text for row in rows]
        futures = iter(self.workers.submit([partial(self.moderator.judge, text) for text in texts if isinstance(text, str)]))
        return [_outcome(next(futures)) if isinstance(text, str) else text for text in texts]


def _outcome(future: Future[Done[Judgement]]) -> Judgement | Exception:
    try:
        return future.result().answer
    except EmptyTextError as error:
        return RowError(f"empty_text: {error}")


def _score_rest(reader: Reader, output: BinaryIO, checkpoint: Checkpoint, scoring: Scoring) -> Checkpoint:
    progress = BatchProgress(scoring.paths.input.stat().st_size, checkpoint)
    rows = reader.rows(checkpoint.input_end)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        outcomes = scoring.judge(chunk)
        data = b"".join(map(reader.row_out, chunk, outcomes))
        output.write(data)
        output.flush()
        os.fsync(output.fileno())
        checkpoint = Checkpoint(
            checkpoint.job,
            chunk[-1].end,
            checkpoint.output_end + len(data),
            checkpoint.rows + len(chunk),
            checkpoint.errors + sum(isinstance(outcome, Exception) for outcome in outcomes),
        )
        write_atomically(scoring.paths.checkpoint, json.dumps(asdict(checkpoint)))
        progress.update(checkpoint)
    progress.close()
    scoring.workers.close()
    return checkpoint


class BatchProgress:
    """A bar on a terminal, a line every 10 s in a log: rows, rows/s and time left, reckoned by bytes read."""

    def __init__(self, total_bytes: int, start: Checkpoint) -> None:
        self._start = start
        self._total_bytes = total_bytes
        self._started = self._reported = time.monotonic()
        self._bar = tqdm(
            total=total_bytes,
            initial=start.input_end,
            disable=not sys.stderr.isatty(),
            bar_format="{percentage:3.0f}%|{bar}| {elapsed} < {remaining}{postfix}",
        )

    def update(self, checkpoint: Checkpoint) -> None:
        """Show how far the batch has come."""
        now = time.monotonic()
        rate = (checkpoint.rows - self._start.rows) / (now - self._started)
        shown = f"{checkpoint.rows:,} rows, {rate:,.0f} rows/s"
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(checkpoint.input_end - self._bar.n)
        if self._bar.disable and now - self._reported > REPORT_S:
            self._reported = now
            done = checkpoint.input_end - self._start.input_end
            left_s = (now - self._started) * (self._total_bytes - checkpoint.input_end) / done
            print(f"{checkpoint.input_end / self._total_bytes:.0%} {shown}, {left_s:,.0f} s left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


if __name__ == "__main__":
    sys.exit(main())

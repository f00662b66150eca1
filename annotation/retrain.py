"""Train anew and let the gate decide: one at a time, in a process of its own, which a restart of anything carries on."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

from annotation.errors import RetrainingError
from semantic_service.contract.bundle import MANIFEST_FILE, write_atomically

FOLDER = Path("var/retrain")
ATTEMPTS = 3  # that end without an exit status of training's own, such as by the kernel for want of memory
_INTERRUPTED = 130  # what `training run` exits with when it was told to stop


class Stage(StrEnum):
    """How far a retraining is; the first two are carried on with."""

    TRAINING = "training"
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    REFUSED = "refused"  # by the gate
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Retraining:
    """One retraining on disk. `labels` is how many labels annotators had given when it was ordered; `started` is ISO 8601 in UTC."""

    config: Path
    run: Path
    reason: str
    labels: int
    started: str
    stage: Stage = Stage.TRAINING
    attempts: int = 0

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is something else.

        """
        try:
            values = json.loads(text)
            paths = {name: Path(values[name]) for name in ("config", "run")}
            return cls(**values | paths | {"stage": Stage(values["stage"])})
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self), ensure_ascii=False, default=str) + "\n"

    @property
    def is_unfinished(self) -> bool:
        """Whether it has to be carried on with."""
        return self.stage in {Stage.TRAINING, Stage.PROMOTING}


@dataclass(frozen=True, slots=True)
class Retrainer:
    """Starts retrainings of one config; `models` is the registry that the gate's winner goes to, `folder` holds state, lock and log."""

    config: Path
    models: Path = Path("models")
    gate: Path = Path("training/configs/gate.yaml")
    runs: Path = Path("runs")
    folder: Path = FOLDER
    training: Sequence[str] = (sys.executable, "-m", "training")  # or torchrun … -m training, for several GPUs

    @property
    def log(self) -> Path:
        """What training said."""
        return self.folder / "log"

    def last(self) -> Retraining | None:
        """Give the retraining that was ordered last.

        Raises:
            RetrainingError: the state can't be read.

        """
        path = self.folder / "state.json"
        try:
            return Retraining.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RetrainingError(f"{path}: can't be read ({error}); remove it, and the next retraining starts anew") from error

    def check(self) -> None:
        """Refuse a config that is not there.

        Raises:
            RetrainingError: it is not.

        """
        if not self.config.is_file():
            raise RetrainingError(f"{self.config}: no such training config, see training/configs/")

    def is_running(self) -> bool:
        """Whether a retraining is under way, whoever started it."""
        with self._locked() as lock:
            return lock is None

    def start(self, reason: str, labels: int) -> bool:
        """Start a process that retrains, or carries on with what was interrupted, and outlives this one; False while one is running.

        Raises:
            RetrainingError: the config is not there, or the state can't be read.

        """
        self.check()
        with self._locked() as lock:
            if lock is None:
                return False
            self._order(reason, labels)
            with self.log.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "annotation.retrain", self._to_json(), str(lock)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),  # the lock is held until the last process with it ends
                    start_new_session=True,
                )
        threading.Thread(target=process.wait, daemon=True).start()  # how it ended stands in the state; here it only must not linger
        return True

    def _order(self, reason: str, labels: int) -> None:
        last = self.last()
        if last is None or not last.is_unfinished:
            now = datetime.now(UTC)
            run = self.runs / f"{now:%Y%m%d-%H%M%S-%f}-{self.config.stem}"  # never that of a retraining just before
            self.write(Retraining(self.config, run, reason, labels, now.isoformat(timespec="seconds")))

    def write(self, retraining: Retraining) -> None:
        """Keep the state."""
        write_atomically(self.folder / "state.json", retraining.to_json())

    def _to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `start` gives to its process."""
        values = json.loads(text)
        training = values.pop("training")
        return cls(**{name: Path(value) for name, value in values.items()}, training=training)

    @contextmanager
    def _locked(self) -> Iterator[int | None]:
        """Give the lock's descriptor, or None while another process has the lock; closing it leaves it to processes that inherited it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            yield descriptor if _lock(descriptor) else None
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def carry_out(retrainer: Retrainer, lock: int) -> Retraining:
    """Train and promote, from where the state says; children keep the lock, so that one that outlives a kill is not doubled."""

    def run(*arguments: str) -> int:
        return subprocess.run([*retrainer.training, *arguments], check=False, pass_fds=(lock,)).returncode

    retraining = retrainer.last()
    assert retraining is not None
    if retraining.stage is Stage.TRAINING:
        retraining = _train(retraining, run)
        retrainer.write(retraining)
    if retraining.stage is Stage.PROMOTING:
        places = ("--models", str(retrainer.models), "--gate", str(retrainer.gate))
        status = run("promote", str(retraining.run), *places, "--reason", retraining.reason)
        retraining = replace(retraining, stage={0: Stage.PROMOTED, 1: Stage.REFUSED}.get(status, Stage.FAILED))
        retrainer.write(retraining)
    return retraining


def _train(retraining: Retraining, run: Callable[..., int]) -> Retraining:
    """Train; what was interrupted stays unfinished, and the next start carries on from the newest checkpoint."""
    if not (retraining.run / "bundle" / MANIFEST_FILE).exists():  # it is, where a kill came between the end of training and its record
        kept = retraining.run / "config.yaml"  # names the very files that the run was begun with: there may be more batches by now
        status = run("run", str(kept if kept.exists() else retraining.config), "--run-dir", str(retraining.run))
        if status < 0 or status == _INTERRUPTED:
            attempts = retraining.attempts + 1
            return replace(retraining, attempts=attempts, stage=Stage.TRAINING if attempts < ATTEMPTS else Stage.FAILED)
        if status:
            return replace(retraining, stage=Stage.FAILED)
    return replace(retraining, stage=Stage.PROMOTING)


if __name__ == "__main__":
    carry_out(Retrainer.from_json(sys.argv[1]), int(sys.argv[2]))

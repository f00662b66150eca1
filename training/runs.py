"""A run's folder: config, status, metrics, log, checkpoints, report, bundle."""

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TextIO

import yaml
from tqdm import tqdm

from semantic_service.contract.bundle import write_atomically
from training.config import TrainConfig

PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Run:
    """One training run on disk. Its id sorts by time and names the base model."""

    path: Path

    @classmethod
    def start(cls, config: TrainConfig, path: Path | None) -> Self:
        """Make the run's folder and write its config.

        Raises:
            FileExistsError: `path` holds another run.

        """
        if path is None:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            path = Path("runs") / f"{stamp}-{Path(config.model.base).name}"
        if (path / "status.json").exists():
            raise FileExistsError(f"{path} holds a run already: choose another --run-dir")
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        write_atomically(path / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True, sort_keys=False))
        run.set_status("started")
        return run

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    def set_status(self, stage: str) -> None:
        """Record the stage that the run has reached."""
        status = {"stage": stage, "updated": datetime.now(UTC).isoformat(timespec="seconds")}
        write_atomically(self.path / "status.json", json.dumps(status) + "\n")

    def log_metrics(self, values: dict[str, Any]) -> None:
        """Append one logging step to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Read every logging step so far."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


class Progress:
    """A bar with loss, rate and time left on a terminal; a plain line a logging step elsewhere. Feeds metrics.jsonl."""

    def __init__(self, run: Run, total_steps: int, batch_size: int, stream: TextIO = sys.stderr) -> None:
        self._run = run
        self._total = total_steps
        self._batch_size = batch_size
        self._stream = stream
        self._started = time.monotonic()
        self._bar = tqdm(total=total_steps, unit="step", file=stream, disable=not stream.isatty(), desc="fine-tune")

    def step(self, step: int) -> None:
        """Move the bar to a step."""
        self._bar.update(step - self._bar.n)

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Write one logging step; `values` may hold loss, eval_loss, lr, epoch and more."""
        elapsed = time.monotonic() - self._started
        rate = step / elapsed if elapsed else 0.0
        entry = {
            "current_steps": step,
            "total_steps": self._total,
            **values,
            "percentage": round(100 * step / self._total, 2),
            "elapsed_time": round(elapsed, 1),  # s
            "remaining_time": round((self._total - step) / rate, 1) if rate else None,  # s
            "throughput": round(rate * self._batch_size, 2),  # texts/s
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,  # MiB, peak
        }
        self._run.log_metrics(entry)
        shown = {key: f"{value:.4g}" for key, value in values.items() if isinstance(value, float)}
        if self._bar.disable:
            texts = " ".join(f"{key}={value}" for key, value in shown.items())
            print(f"step {step}/{self._total} {texts} {entry['throughput']} texts/s, {entry['remaining_time']} s left", file=self._stream, flush=True)
        else:
            self._bar.set_postfix(shown)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def git_revision() -> str:
    """Name the code's revision, `unknown` outside a git checkout."""
    answer = subprocess.run(["git", "-C", str(PROJECT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"

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
from training.errors import ConfigError

PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Run:
    """One training run on disk. Its id sorts by time and names the base model."""

    path: Path

    @classmethod
    def open(cls, config: TrainConfig, path: Path | None) -> Self:
        """Start a run, or carry on with the one that `path` holds.

        Raises:
            ConfigError: `path` holds a run of another config, or a finished one.

        """
        if path is None:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            path = Path("runs") / f"{stamp}-{Path(config.model.base).name}"
        run = cls(path)
        text = yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True, sort_keys=False)
        if run.bundle.exists():
            raise ConfigError(f"{run.bundle} is finished: choose another --run-dir")
        if run.config.exists() and run.config.read_text(encoding="utf-8") != text:
            raise ConfigError(f"{path} holds a run of another config ({run.config}): choose another --run-dir")
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(run.config, text)
        return run

    @property
    def config(self) -> Path:
        """The config, with every key."""
        return self.path / "config.yaml"

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def adapter(self) -> Path:
        """The fine-tuned adapters, head and tokenizer; there when fine-tuning is done."""
        return self.path / "adapter"

    @property
    def exported(self) -> Path:
        """The fp32 ONNX graph with its tokenizer and config; there when it has passed the parity check."""
        return self.path / "onnx" / "fp32"

    @property
    def bundle(self) -> Path:
        """The finished bundle."""
        return self.path / "bundle"

    def keep_data(self, digest: str) -> None:
        """Record what the run is fine-tuned on."""
        write_atomically(self.path / "data.sha256", digest + "\n")

    def check_data(self, digest: str) -> None:
        """Refuse to carry on with other rows than those of the fine-tuning: the bundle would name data that it never saw.

        Raises:
            ConfigError: the rows have changed.

        """
        if (self.path / "data.sha256").read_text(encoding="utf-8").strip() != digest:
            raise ConfigError(f"{self.path} was fine-tuned on other rows than its data files hold now: choose another --run-dir")

    def set_status(self, stage: str) -> None:
        """Record the stage that the run has reached."""
        status = {"stage": stage, "updated": datetime.now(UTC).isoformat(timespec="seconds")}
        write_atomically(self.path / "status.json", json.dumps(status) + "\n")

    def log_metrics(self, values: dict[str, Any]) -> None:
        """Append one logging step to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def forget_metrics(self) -> None:
        """Drop the steps of a fine-tuning that was killed; it starts again."""
        (self.path / "metrics.jsonl").unlink(missing_ok=True)

    def metrics(self) -> list[dict[str, Any]]:
        """Read every logging step so far."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


class Progress:
    """A bar with loss, rate and time left on a terminal; a plain line a logging step elsewhere. Feeds metrics.jsonl."""

    def __init__(self, run: Run, total_steps: int, batch_size: int, stream: TextIO | None = None) -> None:
        self._run = run
        self._total = total_steps
        self._batch_size = batch_size
        self._stream = stream = stream or sys.stderr  # of now, not of the import
        self._started = time.monotonic()
        run.forget_metrics()
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
            print(
                f"step {step}/{self._total} {texts} {entry['throughput']} texts/s, {entry['remaining_time']} s left",
                file=self._stream,
                flush=True,
            )
        else:
            self._bar.set_postfix(shown)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def git_revision() -> str:
    """Name the code's revision, `unknown` outside a git checkout."""
    answer = subprocess.run(["git", "-C", str(PROJECT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"

"""A run's folder: config, status, metrics, log, checkpoints, report, bundle."""

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TextIO

import yaml
from tqdm import tqdm

from semantic_service.contract.bundle import write_atomically
from training.config import TrainConfig
from training.errors import ConfigError
from training.tables import cell, decimal, markdown_table

PROJECT = Path(__file__).parents[1]
RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Run:
    """One training run on disk. Its id sorts by time and names the base model."""

    path: Path

    @classmethod
    def open(cls, config: TrainConfig, path: Path | None, *, anew: bool = False) -> Self:
        """Start a run, or carry on with the one that `path` holds; without a path, with the newest unfinished one of this config.

        `anew` clears what the path holds, and looks for no unfinished run.

        Raises:
            ConfigError: `path` holds a run of another config, or a finished one.

        """
        if path is None:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            path = (None if anew else _unfinished(config)) or RUNS / f"{stamp}-{Path(config.model.base).name}"
        run = cls(path)
        if run.bundle.exists():
            raise ConfigError(f"{run.bundle} is finished: choose another --run-dir")
        if run.config.exists() and not run.is_of(config):
            raise ConfigError(f"{path} holds a run of another config ({run.config}): choose another --run-dir")
        path.mkdir(parents=True, exist_ok=True)
        if anew:
            for stage in (run.checkpoints, run.best, run.adapter, run.exported.parent):
                shutil.rmtree(stage, ignore_errors=True)
            run.data.unlink(missing_ok=True)
        if anew or not run.config.exists():
            run._keep_config(config)
        return run

    def is_of(self, config: TrainConfig) -> bool:
        """Whether the run was begun with this config; `auto` is any batch size."""
        kept, wanted = self.keys(), config.model_dump(mode="json")
        if wanted["train"]["batch_size"] == "auto":
            wanted["train"]["batch_size"] = kept.get("train", {}).get("batch_size")
        return kept == wanted

    def _keep_config(self, config: TrainConfig) -> None:
        write_atomically(self.config, yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True, sort_keys=False))

    def settle(self, config: TrainConfig, choose_batch_size: Callable[[TrainConfig], int]) -> TrainConfig:
        """Give the config with the run's own batch size; where that is still `auto` it becomes a number, once."""
        batch_size = self.keys()["train"]["batch_size"]
        settled = batch_size != "auto"
        number = batch_size if settled else choose_batch_size(config)
        config = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": number})})
        if not settled:
            self._keep_config(config)
        return config

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
    def checkpoints(self) -> Path:
        """The Trainer's newest checkpoints."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The best epoch so far; it becomes the adapter."""
        return self.path / "best"

    @property
    def exported(self) -> Path:
        """The fp32 ONNX graph with its tokenizer and config; there when it has passed the parity check."""
        return self.path / "onnx" / "fp32"

    @property
    def bundle(self) -> Path:
        """The finished bundle."""
        return self.path / "bundle"

    @property
    def data(self) -> Path:
        """The digest of the rows that the run was begun with."""
        return self.path / "data.sha256"

    def keep_data(self, digest: str) -> None:
        """Record the rows that the run is begun with, and refuse to carry on with others: the bundle would name data that it never saw.

        Raises:
            ConfigError: the rows have changed.

        """
        if self.data.exists() and self.data.read_text(encoding="utf-8").strip() != digest:
            raise ConfigError(
                f"{self.path} was begun with other rows than its data files hold now: put them back, or start anew "
                "(`training run` with another --run-dir, or --resume none)"
            )
        write_atomically(self.data, digest + "\n")

    def set_status(self, stage: str) -> None:
        """Record the stage that the run has reached."""
        status = {"stage": stage, "updated": datetime.now(UTC).isoformat(timespec="seconds")}
        write_atomically(self.path / "status.json", json.dumps(status) + "\n")

    def keys(self) -> dict[str, Any]:
        """Read the config as it stands on disk."""
        values: dict[str, Any] = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        return values

    def status(self) -> dict[str, str]:
        """Give the stage that the run has reached, and when."""
        path = self.path / "status.json"
        values: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return values

    def log_metrics(self, values: dict[str, Any]) -> None:
        """Append one logging step to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Drop what a killed fine-tuning logged behind the checkpoint that it carries on from."""
        lines = [json.dumps(values) + "\n" for values in self.metrics() if values["current_steps"] <= step]
        write_atomically(self.path / "metrics.jsonl", "".join(lines))

    def metrics(self) -> list[dict[str, Any]]:
        """Read every logging step so far; a last line that a kill cut short is not there."""
        path = self.path / "metrics.jsonl"
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]


def _unfinished(config: TrainConfig) -> Path | None:
    same = (path.parent for path in RUNS.glob("*/config.yaml") if Run(path.parent).is_of(config))
    found = max((path for path in same if not Run(path).bundle.exists()), default=None)
    if found is not None:
        print(f"carrying on with {found} (--resume none starts a new run)", flush=True)
    return found


def runs_table(folder: Path) -> str:
    """Write one Markdown row for each run of a folder, the oldest first."""
    names = ["run", "stage", "updated", "base", "steps", "loss", "validation macro-F1"]
    return markdown_table(names, [_run_row(Run(config.parent)) for config in sorted(folder.glob("*/config.yaml"))])


def _run_row(run: Run) -> list[str]:
    metrics = run.metrics()
    steps = f"{metrics[-1]['current_steps']:,}/{metrics[-1]['total_steps']:,}" if metrics else "–"
    best = max((entry["eval_macro_f1"] for entry in metrics if "eval_macro_f1" in entry), default=None)
    loss = next((entry["loss"] for entry in reversed(metrics) if "loss" in entry), None)
    status = run.status()
    base = Path(str(run.keys()["model"]["base"])).name
    return [cell(run.id), status.get("stage", "–"), status.get("updated", "–"), cell(base), steps, decimal(loss), decimal(best)]


class Progress:
    """A bar with loss, rate and time left on a terminal; a plain line a logging step elsewhere. Feeds metrics.jsonl."""

    def __init__(self, run: Run, total_steps: int, batch_size: int, first_step: int = 0, stream: TextIO | None = None) -> None:
        self._run = run
        self._total = total_steps
        self._batch_size = batch_size
        self._stream = stream = stream or sys.stderr  # of now, not of the import
        self._started = time.monotonic()
        self._first = first_step
        run.forget_metrics_after(first_step)
        self._bar = tqdm(total=total_steps, initial=first_step, unit="step", file=stream, disable=not stream.isatty(), desc="fine-tune")

    def step(self, step: int) -> None:
        """Move the bar to a step."""
        self._bar.update(step - self._bar.n)

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Write one logging step; `values` may hold loss, eval_loss, lr, epoch and more."""
        elapsed = time.monotonic() - self._started
        rate = (step - self._first) / elapsed if elapsed else 0.0
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

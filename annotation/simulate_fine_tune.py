"""Fine-tune on the labels that each strategy bought, to see whether what the cheap model says holds for the real one."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotation.errors import SimulationError
from annotation.simulate import Replay
from annotation.simulate_config import RANDOM, SimulationConfig
from annotation.simulate_data import Data
from annotation.simulate_statistics import Measured
from semantic_service.contract.bundle import write_atomically
from semantic_service.contract.labels import Label


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What a model fine-tuned on so many labels does on the test texts."""

    labels: int
    macro_f1: float


def fine_tune(config: SimulationConfig, data: Data, replays: Sequence[Replay], measured: Mapping[str, Measured]) -> dict[str, FineTuned]:
    """Run `python -m training run` on the first seed's labels of each strategy, if the config has `fine_tune`.

    For random these are all labels, for the others as many as they needed to do as well as random. A killed training carries on.

    Raises:
        SimulationError: a training failed; the message says where its log is.

    """
    if config.fine_tune is None:
        return {}
    first = {replay.strategy: replay for replay in replays if replay.seed == 0}
    tuned = {}
    for name, replay in first.items():
        needed = config.budget if name == RANDOM else min(config.budget, measured[name].needed_for_end.value)
        labelled = replay.labelled[: math.ceil(needed)]
        folder = config.out / "fine-tuned" / f"{replay.key}-{len(labelled)}"
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "labels.jsonl", [data.pool[text] for text in labelled], data.pool_labels[labelled])
        _write(folder / "test.jsonl", data.test, data.test_labels)
        tuned[name] = FineTuned(len(labelled), _macro_f1(config.fine_tune, folder))
    return tuned


def _write(path: Path, texts: Sequence[str], labels: NDArray[np.intp]) -> None:
    rows = ({"text": text, "label": Label(label).english} for text, label in zip(texts, labels, strict=True))
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _macro_f1(training: Path, folder: Path) -> float:
    report = folder / "run" / "report" / "report.json"
    if not report.exists():  # the last thing that a run writes
        _train(training, folder)
    return float(json.loads(report.read_text(encoding="utf-8"))["files"]["test"]["macro_f1"])


def _train(training: Path, folder: Path) -> None:
    files = {"data.train": folder / "labels.jsonl", "data.test": folder / "test.jsonl"}
    overrides = [part for key, path in files.items() for part in ("--set", f"{key}=[{json.dumps(str(path))}]")]
    command = [sys.executable, "-m", "training", "run", str(training), *overrides, "--run-dir", str(folder / "run")]
    with (folder / "log").open("wb") as log:
        status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if status:
        raise SimulationError(f"fine_tune: the training exited with {status}; see {folder / 'log'}")

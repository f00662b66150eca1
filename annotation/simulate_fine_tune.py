"""Fine-tune on the labels that each strategy bought, to see whether what the cheap model says holds for the real one."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotation.errors import SimulationError
from annotation.simulate import Replay
from annotation.simulate_config import RANDOM, SimulationConfig
from annotation.simulate_data import Data
from annotation.simulate_statistics import Measured
from semantic_service.contract.bundle import write_atomically
from semantic_service.contract.labels import Label


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What a model fine-tuned on so many labels does on the test file."""

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
        tuned[name] = FineTuned(len(labelled), _macro_f1(config.test, config.fine_tune, folder, _lines(data, labelled)))
    return tuned


def _lines(data: Data, labelled: Sequence[int]) -> str:
    rows = ({"text": data.pool[text], "label": Label(data.pool_labels[text]).english} for text in labelled)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _macro_f1(test: Path, training: Path, folder: Path, lines: str) -> float:
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "labels.jsonl", lines)
    settings = [f"data.train=[{json.dumps(str(folder / 'labels.jsonl'))}]", f"data.test=[{json.dumps(str(test))}]"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "training", "run", str(training), *overrides, "--run-dir", str(folder / "run")]
    with (folder / "log").open("wb") as log:
        status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if status:
        raise SimulationError(f"fine_tune: the training exited with {status}; see {folder / 'log'}")
    report = json.loads((folder / "run" / "report" / "report.json").read_text(encoding="utf-8"))
    return float(report["files"][str(test)]["macro_f1"])

"""What a fine-tuning leaves on disk while it runs: checkpoints to carry on from, and its best epoch."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler
from typing_extensions import override

from training.errors import ConfigError, InterruptedRunError, LossError

STATE_FILE = "trainer_state.json"  # the Trainer writes it last
KEPT = 3  # newest checkpoints
BEST_FILE = "metrics.json"


def newest_checkpoint(folder: Path) -> Path | None:
    """Find the newest complete checkpoint; one that a kill cut short is passed over."""
    numbered = {int(path.name.partition("-")[2]): path for path in folder.glob("checkpoint-*") if is_complete(path)}
    return numbered[max(numbered)] if numbered else None


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has everything, its state's file last."""
    try:
        json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def checkpoint_to_resume(folder: Path, resume: str) -> Path | None:
    """Give the checkpoint that `--resume` means: the one at a path, else the newest of the run (which `none` has cleared).

    Raises:
        ConfigError: the path is no complete checkpoint.

    """
    if resume in {"auto", "none"}:
        return newest_checkpoint(folder)
    if not is_complete(Path(resume)):
        raise ConfigError(f"--resume {resume}: no complete checkpoint is there, give a folder such as {folder}/checkpoint-200")
    return Path(resume)


class EpochOrder(LengthGroupedSampler):
    """Batches of texts of like length, in an order that follows from seed and epoch alone: a resumed run draws what it would have drawn."""

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; accelerate does."""
        self._epoch = epoch

    @override
    def __iter__(self) -> Any:
        self.generator.manual_seed(self._seed + self._epoch)
        return super().__iter__()  # type: ignore[no-untyped-call]


class BestEpoch(TrainerCallback):
    """Measures at the end of each epoch, before its checkpoint, and keeps the weights of the best one apart from the checkpoints."""

    def __init__(self, folder: Path, save: Callable[[Path], None]) -> None:
        self._folder = folder
        self._save = save

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if (state.epoch or 0.0).is_integer() or state.global_step == state.max_steps:
            control.should_evaluate = True

    @override
    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        macro_f1 = given["metrics"]["eval_macro_f1"]
        before = best_epoch(self._folder)
        if before is not None and _macro_f1(before) >= macro_f1:
            return
        folder = self._folder / f"step-{state.global_step}"
        shutil.rmtree(folder, ignore_errors=True)
        self._save(folder)
        (folder / BEST_FILE).write_text(json.dumps({"macro_f1": macro_f1, "step": state.global_step}) + "\n", encoding="utf-8")
        if before is not None:
            shutil.rmtree(before)


def best_epoch(folder: Path) -> Path | None:
    """Find the best epoch so far; one that a kill cut short does not count."""
    return max((path.parent for path in folder.glob(f"step-*/{BEST_FILE}") if _macro_f1(path.parent) >= 0), key=_macro_f1, default=None)


def _macro_f1(folder: Path) -> float:
    try:
        return float(json.loads((folder / BEST_FILE).read_text(encoding="utf-8"))["macro_f1"])
    except ValueError:
        return -1.0


class StopOnSignal(TrainerCallback):
    """Ctrl-C, or SIGTERM, saves a checkpoint after the step under way and stops; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.stopped_at: int | None = None
        self._asked = False
        self._before: dict[int, Any] = {}

    def _ask(self, number: int, _: FrameType | None) -> None:
        self._asked = True
        signal.signal(number, self._before[number])

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._asked:
            control.should_save = control.should_training_stop = True
            self.stopped_at = state.global_step

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_if_stopped(self, max_steps: int) -> None:
        """Say that the run is not over.

        Raises:
            InterruptedRunError: it was stopped before its last step.

        """
        if self.stopped_at is not None and self.stopped_at < max_steps:
            raise InterruptedRunError(f"stopped after step {self.stopped_at} of {max_steps}, saved: the same command carries on")


class RefuseNan(TrainerCallback):
    """Stops a run whose loss is no number: everything after it is lost."""

    @override
    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        loss = given["logs"].get("loss", 0.0)
        if loss != loss:  # noqa: PLR0124 - NaN alone is not itself
            raise LossError(f"the loss is no number by step {state.global_step}: lower train.learning_rate, or raise train.warmup_ratio")

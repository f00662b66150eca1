"""What a fine-tuning leaves on disk while it runs: checkpoints to carry on from, and its best epoch."""

import json
import math
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from training.errors import ConfigError, InterruptedRunError, LossError
from training.processes import any_of

STATE_FILE = "trainer_state.json"  # the Trainer writes it last
KEPT = 3  # newest checkpoints
BEST_FILE = "metrics.json"
POOL = 50  # batches that are filled together from rows of like length


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


class EpochOrder(Sampler[int]):
    """Rows in batches of like length, the batches in random order.

    Seed and epoch alone decide it: a resumed run draws what it would have drawn. Were the batches left in the order of their length,
    training would swing between long texts and short ones, and between the sources that they come from.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = torch.tensor(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; accelerate does."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    @override
    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        pools = torch.randperm(len(self), generator=generator).split(POOL * self._batch_size)
        batches = [batch for pool in pools for batch in pool[self._lengths[pool].argsort(stable=True)].split(self._batch_size)]
        order = torch.randperm(len(self) // self._batch_size, generator=generator).tolist()  # a smaller batch stays the last
        yield from torch.cat([batches[number] for number in (*order, *range(len(order), len(batches)))]).tolist()


class BestEpoch(TrainerCallback):
    """Measures at the end of each epoch, before its checkpoint, and keeps the weights of the best one apart from the checkpoints.

    After `patience` epochs without a better one it stops the training. Of several processes the first keeps the weights.
    """

    def __init__(self, folder: Path, save: Callable[[Path], None], patience: int | None = None) -> None:
        self._folder = folder
        self._save = save
        self._patience = patience

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if (state.epoch or 0.0).is_integer() or state.global_step == state.max_steps:
            control.should_evaluate = True

    @override
    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        if state.is_world_process_zero:
            self._keep(state.global_step, given["metrics"]["eval_macro_f1"])
        epochs = [entry["eval_macro_f1"] for entry in state.log_history if "eval_macro_f1" in entry]  # a resumed run's earlier ones too
        if self._patience is not None and len(epochs) - 1 - epochs.index(max(epochs)) >= self._patience:
            print(f"no better epoch in {self._patience}: stopping at step {state.global_step} of {state.max_steps}", flush=True)
            control.should_training_stop = True

    def _keep(self, step: int, macro_f1: float) -> None:
        before = best_epoch(self._folder)
        if before is not None and _macro_f1(before) >= macro_f1:
            return
        folder = self._folder / f"step-{step}"
        shutil.rmtree(folder, ignore_errors=True)
        self._save(folder)
        (folder / BEST_FILE).write_text(json.dumps({"macro_f1": macro_f1, "step": step}) + "\n", encoding="utf-8")
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
    """Within its block Ctrl-C, or SIGTERM, saves a checkpoint after the step under way and stops; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.stopped_at: int | None = None
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        self._asked = True
        signal.signal(number, self._before[number])

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if any_of(self._asked, args.device):
            control.should_save = control.should_training_stop = True
            self.stopped_at = state.global_step

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
        losses = [given["logs"].get(name, 0.0) for name in ("loss", "eval_loss", "train_loss")]
        if not all(map(math.isfinite, losses)):
            raise LossError(f"the loss is no number by step {state.global_step}: lower train.learning_rate, or raise train.warmup_ratio")

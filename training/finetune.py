"""Fine-tune on labelled texts, by the config's method, and keep the best epoch."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from training.checkpoints import BestEpoch, RefuseNan, StopOnSignal, best_epoch, checkpoint_to_resume
from training.config import TrainConfig
from training.dataset import Example
from training.disk import refuse_small_disk
from training.head_start import start_head
from training.heads import joint_loss
from training.methods import prepare
from training.parameters import parameter_table, parameters_by_part
from training.processes import is_first
from training.runs import Run
from training.trainer import Report, build_trainer, probe_batches, training_arguments


def finetune(config: TrainConfig, sets: tuple[Sequence[Example], Sequence[Example]], run: Run, resume: str = "auto") -> None:
    """Fine-tune on (train, validation), and save the epoch with the best macro-F1 on validation as `run.adapter`.

    A killed run that is called again, with `resume` as `checkpoint_to_resume` takes it, ends with the weights of an uninterrupted one.
    Of several processes the first writes.

    Raises:
        BaseModelError: the base can't be loaded or exported, or its positions are fewer than max_tokens.
        ConfigError: the method or a setting can't be used here, or there is no checkpoint to resume.
        DiskFullError: there is too little room for the run.
        LossError: the loss became NaN.
        InterruptedRunError: Ctrl-C or SIGTERM; a checkpoint is saved.

    """
    torch.manual_seed(config.train.seed)
    arguments = training_arguments(config, run)
    model, tokenizer = prepare(config, torch.bfloat16 if arguments.bf16 else torch.float16 if arguments.fp16 else torch.float32)
    counts = parameters_by_part(model)
    print(parameter_table(counts), flush=True)
    refuse_small_disk(run.path, sum(total for _, total in counts.values()), sum(some for some, _ in counts.values()))
    checkpoint = checkpoint_to_resume(run.checkpoints, resume)
    if checkpoint is None and is_first():
        shutil.rmtree(run.best, ignore_errors=True)

    def save(folder: Path) -> None:
        model.save_pretrained(str(folder))
        model.config.save_pretrained(folder)  # an adapter has none of its own, and it names the outputs
        tokenizer.save_pretrained(folder)

    trainer = build_trainer(config, arguments, model, tokenizer, sets)
    if checkpoint is None and config.model.adapter is None and config.train.probe_rows:
        loss = joint_loss(config.train, sets[0], config.further_tasks, config.sources)
        start_head(model, probe_batches(trainer, config.train.probe_rows), loss)
    with StopOnSignal() as stop:
        for callback in (*([Report(run)] if is_first() else []), RefuseNan(), BestEpoch(run.best, save, config.train.patience), stop):
            trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    stop.raise_if_stopped(trainer.state.max_steps)
    if is_first():
        best = best_epoch(run.best)
        assert best is not None  # the last step measures
        best.rename(run.adapter)

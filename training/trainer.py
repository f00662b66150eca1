"""The Trainer of a run: its arguments, rows, optimiser and reports."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import DataLoader, Subset
from transformers import (
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from typing_extensions import override

from training.checkpoints import KEPT, EpochOrder
from training.config import TrainConfig
from training.dataset import Example
from training.errors import ConfigError
from training.heads import joint_loss, mean_macro_f1, targets
from training.parameters import parameter_groups
from training.runs import Progress, Run


def training_arguments(config: TrainConfig, run: Run) -> TrainingArguments:
    """Give the Trainer's arguments.

    Raises:
        ConfigError: this machine can't compute as `train.mixed_precision` says, or a tracker of `train.report_to` isn't installed.

    """
    train = config.train
    assert isinstance(train.batch_size, int)  # auto is a number by now
    precision = _mixed_precision(train.mixed_precision)
    if missing := [name for name in train.report_to if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"train.report_to: {missing[0]} is not installed here: pip install {missing[0]}, or leave it out")
    arguments = TrainingArguments(
        output_dir=str(run.checkpoints),
        run_name=run.id,
        num_train_epochs=train.epochs,
        per_device_train_batch_size=train.batch_size,
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=train.gradient_accumulation,
        gradient_checkpointing=train.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if train.gradient_checkpointing else None,
        max_grad_norm=train.max_grad_norm,
        lr_scheduler_type=train.schedule,
        warmup_ratio=train.warmup_ratio,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        seed=train.seed,
        save_strategy="steps",
        save_steps=train.checkpoint_steps,
        save_total_limit=KEPT,
        logging_steps=train.logging_steps,
        logging_nan_inf_filter=False,
        logging_dir=str(run.path / "tensorboard"),
        disable_tqdm=True,
        report_to=list(train.report_to),
        remove_unused_columns=False,
        label_names=["labels"],
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001 - several GPUs are for torchrun, a process each
    return arguments


def _mixed_precision(named: str) -> str:
    """Give `no`, `bf16` or `fp16`; `auto` is what this machine computes fast."""
    cuda = torch.cuda.is_available()
    bf16 = torch.cuda.is_bf16_supported() if cuda else bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    if named == "auto":
        return "bf16" if bf16 else "fp16" if cuda else "no"
    if (named == "fp16" and not cuda) or (named == "bf16" and cuda and not bf16):
        raise ConfigError(f"train.mixed_precision {named}: this machine can't, use auto")
    return named


def build_trainer(
    config: TrainConfig,
    arguments: TrainingArguments,
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: tuple[Sequence[Example], Sequence[Example]],
) -> Trainer:
    """Give a Trainer of (train, validation) examples."""
    tasks, sources = config.further_tasks, config.sources
    train, validation = (
        _Encoded(examples, [targets(example, tasks, sources) for example in examples], tokenizer, config.model.max_tokens)
        for examples in sets
    )
    trainer: Trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8),
        compute_loss_func=joint_loss(config.train, sets[0], tasks, sources),
        compute_metrics=mean_macro_f1(tasks, sources),
        optimizers=(_optimiser(model, config), None),
    )
    trainer.remove_callback(PrinterCallback)  # Report says it already
    return trainer


def probe_batches(trainer: Trainer, rows: int) -> list[dict[str, torch.Tensor]]:
    """Give training rows, the same at each call, in batches of like length."""
    dataset = trainer.train_dataset
    assert isinstance(dataset, _Encoded)
    drawn = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(trainer.args.seed))[:rows].tolist()
    by_length = sorted(drawn, key=lambda row: dataset.lengths[row])
    return list(
        DataLoader(Subset(dataset, by_length), batch_size=trainer.args.per_device_eval_batch_size, collate_fn=trainer.data_collator)
    )


def _optimiser(model: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    groups = parameter_groups(model, config.train)
    if config.model.method == "qlora" and torch.cuda.is_available():
        from bitsandbytes.optim.adamw import PagedAdamW32bit  # noqa: PLC0415 - not on every platform

        return PagedAdamW32bit(groups)  # type: ignore[no-untyped-call]  # its state moves to main memory when the GPU's is short
    return torch.optim.AdamW(groups)


class _Trainer(Trainer):
    """The Trainer, with an order of the rows that a resumed run can draw again."""

    @override
    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        lengths = self.train_dataset.lengths  # type: ignore[union-attr]  # an _Encoded
        return EpochOrder(lengths, self.args.train_batch_size, self.args.seed)


class _Encoded(torch.utils.data.Dataset[dict[str, Any]]):
    """Examples as token ids, cut to one window, with their targets."""

    def __init__(self, examples: Sequence[Example], labels: list[list[int]], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self._encodings = tokenizer([example.text for example in examples], truncation=True, max_length=max_tokens)
        self._labels = labels
        self.lengths = [len(ids) for ids in self._encodings["input_ids"]]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: values[index] for key, values in self._encodings.items()} | {"labels": self._labels[index]}


class Report(TrainerCallback):
    """Carries the Trainer's steps and logs to the run's progress."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        self._progress = Progress(self._run, state.max_steps, rows, state.global_step)

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._progress.step(state.global_step)

    @override
    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        named = {"loss": "loss", "eval_loss": "eval_loss", "learning_rate": "lr", "epoch": "epoch", "eval_macro_f1": "eval_macro_f1"}
        values = {named[key]: value for key, value in given["logs"].items() if key in named}
        if "loss" in values or "eval_loss" in values:
            self._progress.log(state.global_step, values)

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._progress.close()

"""Fine-tune an encoder's LoRA adapters, pooler and classifier on labelled texts."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors import SafetensorError
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
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

from semantic_service.contract.labels import LABEL_NAMES, Label
from semantic_service.contract.tasks import Task
from training.checkpoints import KEPT, BestEpoch, EpochOrder, RefuseNan, StopOnSignal, best_epoch, checkpoint_to_resume
from training.config import LoraConfig as LoraSection
from training.config import TrainConfig
from training.dataset import Example, class_weights
from training.errors import BaseModelError, ConfigError
from training.heads import joint_loss, mean_macro_f1, output_names, targets
from training.runs import Progress, Run

# The head by the names that transformers gives it: BERT and RoBERTa, DistilBERT, and decoders such as Qwen.
HEAD_MODULES = ("pooler", "classifier", "pre_classifier", "score")


def load_base(base: str, outputs: Sequence[str] = LABEL_NAMES) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load an encoder with a new head that has an output for each name, and its tokenizer.

    Raises:
        BaseModelError: no such local folder, and the hub does not answer or has no such model; or its tokenizer is not a fast one.

    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = AutoModelForSequenceClassification.from_pretrained(
            base,
            num_labels=len(outputs),
            id2label=dict(enumerate(outputs)),
            label2id={name: index for index, name in enumerate(outputs)},
            dtype=torch.float32,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # not there; not a model; another head; cut short
        raise BaseModelError(f"model.base {base!r} can't be loaded, give a local folder or a Hugging Face name ({error})") from error
    if not tokenizer.is_fast:
        raise BaseModelError(f"model.base {base!r} has no fast tokenizer (tokenizer.json), and serving needs one: choose another base")
    return model, tokenizer


def add_lora(model: PreTrainedModel, section: LoraSection) -> PeftModel:
    """Wrap a model in LoRA adapters; its head trains in full and is saved with them.

    Raises:
        ConfigError: the model has no such target modules.

    """
    head = [name for name in HEAD_MODULES if any(part == name for path, _ in model.named_modules() for part in path.split("."))]
    linear = [
        path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear) and not set(path.split(".")) & set(head)
    ]
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=section.rank,
        lora_alpha=section.alpha,  # type: ignore[arg-type]  # PEFT says int, and divides by the rank
        lora_dropout=section.dropout,
        target_modules=linear if section.target_modules == "auto" else list(section.target_modules),
        bias=section.bias,
        modules_to_save=head,
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        known = ", ".join(sorted({path.rpartition(".")[2] for path in linear}))
        raise ConfigError(f"lora.target_modules {section.target_modules}: use auto, or some of {known} ({error})") from error
    assert isinstance(adapted, PeftModel)
    return adapted


def parameter_table(model: torch.nn.Module) -> str:
    """Count parameters by part as a Markdown table: trainable, total, share."""
    rows: dict[str, list[int]] = {"encoder": [0, 0], "adapters": [0, 0], "head": [0, 0]}
    for name, parameter in model.named_parameters():
        if ".original_module." in name:
            continue
        row = rows[_part(name)]
        row[0] += parameter.numel() if parameter.requires_grad else 0
        row[1] += parameter.numel()
    rows["all"] = [sum(row[column] for row in rows.values()) for column in (0, 1)]
    lines = ["| part | trainable | total | share |", "|---|---:|---:|---:|"]
    lines += [f"| {part} | {trains:,} | {total:,} | {trains / max(total, 1):.2%} |" for part, (trains, total) in rows.items()]
    return "\n".join(lines)


def _part(name: str) -> str:
    if "lora_" in name:
        return "adapters"
    return "head" if set(name.split(".")) & set(HEAD_MODULES) else "encoder"


def finetune(config: TrainConfig, sets: tuple[Sequence[Example], Sequence[Example]], run: Run, resume: str = "auto") -> None:
    """Fine-tune on (train, validation), and save the epoch with the best macro-F1 on validation as `run.adapter`.

    A killed run that is called again, with `resume` as `checkpoint_to_resume` takes it, ends with the weights of an uninterrupted one.

    Raises:
        BaseModelError: the base can't be loaded, or its positions are fewer than max_tokens.
        ConfigError: there is no checkpoint to resume.
        LossError: the loss became NaN.
        InterruptedRunError: Ctrl-C or SIGTERM; a checkpoint is saved.

    """
    torch.manual_seed(config.train.seed)
    base, tokenizer = load_base(config.model.base, output_names(config.further_tasks))
    positions = getattr(base.config, "max_position_embeddings", config.model.max_tokens)
    if config.model.max_tokens > positions:
        raise BaseModelError(f"model.max_tokens is {config.model.max_tokens}, but {config.model.base} has {positions} positions")
    model = add_lora(base, config.lora) if config.model.adapter is None else _go_on(base, config.model.adapter)
    print(parameter_table(model), flush=True)
    stop = StopOnSignal()
    checkpoint = checkpoint_to_resume(run.checkpoints, resume)
    if checkpoint is None:
        shutil.rmtree(run.best, ignore_errors=True)
    trainer = _trainer(config, model, tokenizer, sets, run)
    trainer.add_callback(stop)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    stop.raise_if_stopped(trainer.state.max_steps)
    best = best_epoch(run.best)
    assert best is not None  # the last step measures
    best.rename(run.adapter)


def _go_on(base: PreTrainedModel, adapter: Path) -> PeftModel:
    try:
        return PeftModel.from_pretrained(base, str(adapter), is_trainable=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise BaseModelError(f"model.adapter {adapter} can't be loaded onto this base ({error})") from error


def _trainer(
    config: TrainConfig,
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: tuple[Sequence[Example], Sequence[Example]],
    run: Run,
) -> Trainer:
    tasks = config.further_tasks
    train, validation = (_Encoded(examples, tasks, tokenizer, config.model.max_tokens) for examples in sets)
    loss = joint_loss(_weighted_loss(config, sets[0]), tasks, config.train.label_smoothing)

    def save(folder: Path) -> None:
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(folder)

    trainer: Trainer = _Trainer(
        model=model,
        args=_arguments(config, run),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8),
        compute_loss_func=loss,
        compute_metrics=mean_macro_f1(tasks),
        optimizers=(torch.optim.AdamW(_parameter_groups(model, config)), None),
        callbacks=[_Report(run, config.train.batch_size), RefuseNan(), BestEpoch(run.best, save)],
    )
    trainer.remove_callback(PrinterCallback)  # _Report says it already
    return trainer


class _Trainer(Trainer):
    """The Trainer, with an order of the rows that a resumed run can draw again."""

    @override
    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        lengths = self.train_dataset.lengths  # type: ignore[union-attr]  # an _Encoded
        return EpochOrder(lengths, self.args.train_batch_size, self.args.seed)


def _arguments(config: TrainConfig, run: Run) -> TrainingArguments:
    train = config.train
    cuda = torch.cuda.is_available()
    bf16 = torch.cuda.is_bf16_supported() if cuda else bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return TrainingArguments(
        output_dir=str(run.checkpoints),
        num_train_epochs=train.epochs,
        per_device_train_batch_size=train.batch_size,
        per_device_eval_batch_size=64,
        warmup_ratio=train.warmup_ratio,
        bf16=bf16,
        fp16=cuda and not bf16,
        use_cpu=not cuda,
        seed=train.seed,
        save_strategy="steps",
        save_steps=train.checkpoint_steps,
        save_total_limit=KEPT,
        logging_steps=train.logging_steps,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
    )


class _Encoded(torch.utils.data.Dataset[dict[str, Any]]):
    """Examples as token ids, cut to one window, with their targets."""

    def __init__(self, examples: Sequence[Example], tasks: Sequence[Task], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self._encodings = tokenizer([example.text for example in examples], truncation=True, max_length=max_tokens)
        self._labels = [targets(example, tasks) for example in examples]
        self.lengths = [len(ids) for ids in self._encodings["input_ids"]]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: values[index] for key, values in self._encodings.items()} | {"labels": self._labels[index]}


def _weighted_loss(config: TrainConfig, train: Sequence[Example]) -> Any:
    named = config.train.class_weights
    weights = class_weights(train) if named == "balanced" else (1.0,) * len(Label) if named == "none" else named

    def loss(outputs: Any, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        logits = outputs["logits"].float()
        weight = torch.tensor(weights, device=logits.device)
        return cross_entropy(logits, labels, weight=weight, label_smoothing=config.train.label_smoothing)

    return loss


def _parameter_groups(model: torch.nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    rates = {
        "encoder": config.train.learning_rate.base,
        "adapters": config.train.learning_rate.lora,
        "head": config.train.learning_rate.classifier,
    }
    groups: dict[tuple[str, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((_part(name), parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "lr": rates[part], "weight_decay": config.train.weight_decay if decays else 0.0}
        for (part, decays), parameters in groups.items()
    ]


class _Report(TrainerCallback):
    """Carries the Trainer's steps and logs to the run's progress."""

    def __init__(self, run: Run, batch_size: int) -> None:
        self._run = run
        self._batch_size = batch_size

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._progress = Progress(self._run, state.max_steps, self._batch_size, state.global_step)

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

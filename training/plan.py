"""What a run of a config would train, need and stumble over, found out before any weight is loaded."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from semantic_service.contract.labels import LABEL_NAMES
from training.config import DataConfig, TrainConfig
from training.dataset import Columns, Example, class_weights
from training.doctor import Diagnosis, examine
from training.errors import TrainingError
from training.estimate import Needs, gigabytes, load_tokenizer, outline, parameters_by_part
from training.hardware import device_and_dtype, device_name, flops_per_second, free_bytes
from training.pipeline import Sets, read_sets
from training.tables import cell, markdown_table

PADDED_TO = 8  # the Trainer's batches are padded to a multiple of it
TEXTS_AT_ONCE = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the base's tokenizer makes of the rows, cut to the window; `train` and `validation` are sums over one epoch."""

    longest: int
    train: int
    validation: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Memory (bytes) and time that fine-tuning should take on this machine. Exporting and measuring come on top."""

    device: str
    flops_per_second: float
    free: int
    batch_size: int
    largest_batch: int  # what `auto` means here
    longest: int  # tokens
    weights: int
    gradients: int
    optimiser: int
    activations: int
    steps: int
    tokens: int  # over all epochs
    seconds: float

    @property
    def memory(self) -> int:
        """Bytes in all."""
        return self.weights + self.gradients + self.optimiser + self.activations

    @classmethod
    def of(cls, config: TrainConfig, needs: Needs, tokens: Tokens, rows: int) -> Self:
        """Estimate what a config costs on this machine.

        Raises:
            ConfigError: not even one row fits into the free memory.

        """
        device, dtype = device_and_dtype()
        free = free_bytes(device)
        largest = needs.largest_batch(tokens.longest, free)
        batch_size = largest if config.train.batch_size == "auto" else config.train.batch_size
        speed = flops_per_second(batch_size * tokens.train // rows, needs.width, device, dtype)
        operations = needs.train_flops_per_token * tokens.train + needs.score_flops_per_token * tokens.validation
        return cls(
            device=device_name(device),
            flops_per_second=speed,
            free=free,
            batch_size=batch_size,
            largest_batch=largest,
            longest=tokens.longest,
            weights=needs.weights,
            gradients=needs.gradients,
            optimiser=needs.optimiser,
            activations=needs.activations(batch_size, tokens.longest),
            steps=round(-(-rows // batch_size) * config.train.epochs),
            tokens=round(tokens.train * config.train.epochs),
            seconds=operations * config.train.epochs / speed,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a run before it starts; what its problems hide is None."""

    base: str
    parameters: Mapping[str, tuple[int, int]] | None  # by part: those that train, all
    sets: Mapping[str, Mapping[str, int]]  # rows by label; of the files, where a problem keeps the sets from being made
    cost: Cost | None
    stops: tuple[str, ...]  # problems that would stop the run
    problems: tuple[str, ...]  # others that the doctor would put right
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return asdict(self)


def plan(config: TrainConfig) -> Plan:
    """Look at a config's base, files and machine; whatever is wrong with one of them, the others are looked at."""
    stops: list[str] = []
    diagnosis = examine(_labelled_files(config.data), Columns(config.data.text_column, config.data.label_column))
    stops += diagnosis.unusable
    sets = None if stops else _attempt(lambda: read_sets(config), stops)
    if sets is not None and config.train.class_weights == "balanced":
        _attempt(lambda: class_weights(sets.train), stops)
    model = _attempt(lambda: outline(config), stops)
    cost = None
    if sets is not None and model is not None:
        cost = _attempt(lambda: Cost.of(config, model[1], count_tokens(config, sets), len(sets.train)), stops)
    counts = {name: _count_labels(examples) for name, examples in _named(sets).items()} if sets is not None else {}
    return Plan(
        base=config.model.base,
        parameters=None if model is None else parameters_by_part(model[0]),
        sets=counts or {report.file: report.counts for report in diagnosis.files},
        cost=cost,
        stops=tuple(dict.fromkeys(stops)),
        problems=tuple(problem for problem in diagnosis.problems if problem not in stops),
        warnings=_warnings(diagnosis, counts, cost),
    )


def choose_batch_size(config: TrainConfig) -> int:
    """Give the number that `train.batch_size: auto` means for a config on this machine, and say it.

    Raises:
        TrainingError: the base or the files can't be used, or not even one row fits into the free memory.

    """
    sets = read_sets(config)
    _, needs = outline(config)
    longest, free = count_tokens(config, sets).longest, free_bytes(device_and_dtype()[0])
    chosen = needs.largest_batch(longest, free)
    print(f"batch size: {chosen}, for rows of up to {longest} tokens and {gigabytes(free)} of free memory", flush=True)
    return chosen


def count_tokens(config: TrainConfig, sets: Sets) -> Tokens:
    """Tokenise the rows as fine-tuning will; lengths are rounded up as its padding does.

    Raises:
        BaseModelError: the base has no tokenizer.

    """
    tokenizer = load_tokenizer(config.model.base)

    def lengths(examples: Sequence[Example]) -> list[int]:
        some = (examples[start : start + TEXTS_AT_ONCE] for start in range(0, len(examples), TEXTS_AT_ONCE))
        cut = (tokenizer([example.text for example in rows], truncation=True, max_length=config.model.max_tokens) for rows in some)
        return [-(-len(ids) // PADDED_TO) * PADDED_TO for encoded in cut for ids in encoded["input_ids"]]

    train, validation = lengths(sets.train), lengths(sets.validation)
    return Tokens(max(train), sum(train), sum(validation))


def _labelled_files(data: DataConfig) -> list[Path]:
    return [*data.train, *(() if isinstance(data.validation, float) else data.validation), *data.test]


def _attempt(step: Callable[[], T], stops: list[str]) -> T | None:
    """Take a step; where it fails, note why."""
    try:
        return step()
    except TrainingError as error:
        stops.append(str(error))
        return None


def _named(sets: Sets) -> dict[str, list[Example]]:
    return {"train": sets.train, "validation": sets.validation, **sets.test, **({"benign": sets.benign} if sets.benign else {})}


def _count_labels(examples: Sequence[Example]) -> dict[str, int]:
    counts = Counter(example.label.english for example in examples)
    return {name: counts[name] for name in LABEL_NAMES}


def _warnings(diagnosis: Diagnosis, sets: Mapping[str, Mapping[str, int]], cost: Cost | None) -> tuple[str, ...]:
    warnings = list(diagnosis.warnings)
    for name in LABEL_NAMES:
        if "validation" in sets and not sets["validation"][name]:
            warnings.append(f"validation has no row that is {name}: the best epoch is chosen without a look at it, add rows of it")
    if cost is not None and cost.batch_size > cost.largest_batch:
        warnings.append(
            f"train.batch_size {cost.batch_size} wants about {gigabytes(cost.memory)}, and {gigabytes(cost.free)} are free: "
            f"lower it to {cost.largest_batch}, or set it to auto"
        )
    return tuple(warnings)


def to_markdown(plan: Plan) -> str:
    """Write a plan for a terminal."""
    parts = [f"# Plan for a fine-tuning of {cell(plan.base)}"]
    if plan.parameters is not None:
        parts.append(_parameter_table(plan.parameters))
    parts.append(_set_table(plan.sets))
    if plan.cost is not None:
        parts += [_memory_table(plan.cost), _time(plan.cost)]
    for title, findings in (("Stops the run", plan.stops), ("Problems", plan.problems), ("Warnings", plan.warnings)):
        parts.append(f"## {title}\n\n" + ("\n".join(f"- {finding}" for finding in findings) or "None."))
    return "\n\n".join(parts)


def _parameter_table(parameters: Mapping[str, tuple[int, int]]) -> str:
    trainable, total = (sum(column) for column in zip(*parameters.values(), strict=True))
    rows = {**parameters, "all": (trainable, total)}.items()
    return markdown_table(
        ["parameters", "train", "total", "share"], [[part, f"{some:,}", f"{of:,}", f"{some / max(of, 1):.2%}"] for part, (some, of) in rows]
    )


def _set_table(sets: Mapping[str, Mapping[str, int]]) -> str:
    rows = []
    for name, counts in sets.items():
        total = sum(counts.values())
        rows.append([cell(name), f"{total:,}", *(f"{count:,} ({count / max(total, 1):.1%})" for count in counts.values())])
    return markdown_table(["set", "rows", *LABEL_NAMES], rows)


def _memory_table(cost: Cost) -> str:
    named = {
        "weights": cost.weights,
        "gradients": cost.gradients,
        "optimiser": cost.optimiser,
        f"activations of {cost.batch_size} rows of {cost.longest} tokens": cost.activations,
        "all": cost.memory,
        f"free ({cost.device})": cost.free,
    }
    return markdown_table(["memory, estimated", ""], [[name, gigabytes(count)] for name, count in named.items()])


def _time(cost: Cost) -> str:
    return (
        f"Batch size: {cost.batch_size}; auto would take {cost.largest_batch}.\n"
        f"Fine-tuning: about {_duration(cost.seconds)} for {cost.steps:,} steps and {cost.tokens:,} tokens at the "
        f"{cost.flops_per_second / 1e9:,.0f} GFLOP/s measured here. This is an estimate; count on up to three times as much, "
        "and exporting and measuring come on top."
    )


def _duration(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004 - from here on minutes say it better
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"  # noqa: PLR2004

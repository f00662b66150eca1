"""What a run of a config would train, need and stumble over, found out before any weight is loaded."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from semantic_service.contract.labels import LABEL_NAMES
from training.config import DataConfig, TrainConfig
from training.cost import Cost, count_tokens
from training.dataset import Example, class_weights
from training.disk import refuse_small_disk
from training.doctor import examine
from training.errors import TrainingError
from training.estimate import gigabytes, reckon
from training.parameters import parameter_table
from training.runs import RUNS
from training.sets import Sets, read_sets
from training.tables import cell, markdown_table

T = TypeVar("T")


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
    diagnosis = examine(_labelled_files(config.data), config.columns)
    stops = list(diagnosis.unusable)
    sets = None if stops else _attempt(lambda: read_sets(config), stops)
    if sets is not None and config.train.class_weights == "balanced":
        _attempt(lambda: class_weights(sets.train), stops)
    needs = _attempt(lambda: reckon(config), stops)
    if needs is not None:
        _attempt(lambda: refuse_small_disk(RUNS, needs.total, needs.trainable), stops)
    cost = None
    if sets is not None and needs is not None:
        cost = _attempt(lambda: Cost.of(config, needs, count_tokens(config, sets), len(sets.train)), stops)
    counts = {name: _count_labels(examples) for name, examples in _named(sets).items()} if sets is not None else {}
    return Plan(
        base=config.model.base,
        parameters=None if needs is None else needs.parameters,
        sets=counts or {report.file: report.counts for report in diagnosis.files},
        cost=cost,
        stops=tuple(stops),
        problems=tuple(problem for problem in diagnosis.problems if problem not in stops),
        warnings=(*diagnosis.warnings, *_warnings(counts, cost)),
    )


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
    counts = Counter(example.label.english for example in examples if example.label is not None)
    return {name: counts[name] for name in LABEL_NAMES}


def _warnings(sets: Mapping[str, Mapping[str, int]], cost: Cost | None) -> Iterator[str]:
    for name, count in sets.get("validation", {}).items():
        if not count:
            yield f"validation has no row that is {name}: the best epoch is chosen without a look at it, add rows of it"
    if cost is not None and cost.batch_size > cost.largest_batch:
        yield (
            f"train.batch_size {cost.batch_size} wants about {gigabytes(sum(cost.memory.values()))}, and {gigabytes(cost.free)} are free: "
            f"lower it to {cost.largest_batch}, or set it to auto"
        )


def to_markdown(plan: Plan) -> str:
    """Write a plan for a terminal."""
    parts = [f"# Plan for a fine-tuning of {cell(plan.base)}"]
    if plan.parameters is not None:
        parts.append(parameter_table(plan.parameters))
    parts.append(_set_table(plan.sets))
    if plan.cost is not None:
        parts += [_memory_table(plan.cost), _time(plan.cost)]
    for title, findings in (("Stops the run", plan.stops), ("Problems", plan.problems), ("Warnings", plan.warnings)):
        parts.append(f"## {title}\n\n" + ("\n".join(f"- {finding}" for finding in findings) or "None."))
    return "\n\n".join(parts)


def _set_table(sets: Mapping[str, Mapping[str, int]]) -> str:
    rows = []
    for name, counts in sets.items():
        total = sum(counts.values())
        rows.append([cell(name), f"{total:,}", *(f"{count:,} ({count / max(total, 1):.1%})" for count in counts.values())])
    return markdown_table(["set", "rows", *LABEL_NAMES], rows)


def _memory_table(cost: Cost) -> str:
    named = {**cost.memory, "all": sum(cost.memory.values()), f"free ({cost.device})": cost.free}
    return markdown_table(["memory, estimated", ""], [[name, gigabytes(count)] for name, count in named.items()])


def _time(cost: Cost) -> str:
    return (
        f"Batch size: {cost.batch_size}, its longest row {cost.longest} tokens; auto would take {cost.largest_batch}.\n"
        f"Fine-tuning: about {_duration(cost.seconds)} for {cost.steps:,} steps and {cost.tokens:,} tokens at the "
        f"{cost.flops_per_second / 1e9:,.0f} GFLOP/s measured here. This is an estimate: it may take half or twice as long, and "
        "exporting and measuring come on top."
    )


def _duration(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004 - from here on minutes say it better
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"  # noqa: PLR2004

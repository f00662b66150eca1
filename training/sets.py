"""The sets of a run, read from its config's files: which text is learnt, and which is held out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from semantic_service.contract.labels import Label
from training.config import TrainConfig
from training.dataset import Example, deduplicate, digest, read_benign, read_examples, split, without
from training.errors import ConfigError, DataError
from training.near import leave_to_last, twins
from training.tasks import require_every_label, require_task

QUICK_ROWS = 800
QUICK_EVALUATION_ROWS = 200
QUICK = (f"train.max_rows={QUICK_ROWS}", "train.epochs=1", "train.logging_steps=5")


@dataclass(frozen=True, slots=True)
class Sets:
    """The examples of a run; no validation or test text is in `train`."""

    train: list[Example]
    validation: list[Example]
    test: dict[str, list[Example]]  # by the file's stem
    benign: list[Example]
    left_out: int = 0  # rows whose text a later source has too, or nearly

    @property
    def digest(self) -> str:
        """Digest what a model learns and is calibrated from."""
        return digest([*self.train, *self.validation])


def read_sets(config: TrainConfig) -> Sets:
    """Read, de-duplicate and split a config's files.

    Raises:
        ConfigError: two sets would have one name in the report, or a file is named that is not in `data.train`.
        DataError: a file or a row can't be used, or a set has no row.

    """
    data, most = config.data, config.train.max_rows
    _check_names(config)
    by_file = {str(path): name for name, paths in data.sources.items() for path in paths}
    test = {path.stem: _with_sources(read_examples([path], config.columns), by_file) for path in data.test}
    benign = read_benign(data.benign, config.columns)
    held_out = [example for examples in (*test.values(), benign) for example in examples]
    rows = _with_sources(read_examples(dict.fromkeys((*data.train, *_shares(config))), config.columns), by_file)
    own = leave_to_last(rows, held_out, config.sources)
    train, validation = _split(own, held_out, config)
    require_every_label([example.tasks for example in train], config.further_tasks)
    times = {str(path): number for path, number in data.repeat.items()}
    repeated = [example for example in _some(train, most) for _ in range(_copies(example, times.get(example.file, 1)))]
    few = most and QUICK_EVALUATION_ROWS
    tested = {stem: _some(examples, few) for stem, examples in test.items()}
    sets = Sets(repeated, _some(validation, few), tested, _some(benign, few), len(rows) - len(own))
    _refuse_empty(sets)
    for task in config.further_tasks:
        require_task([example.tasks for example in sets.validation], task, "validation")  # its temperature is fitted on them
    return sets


def _check_names(config: TrainConfig) -> None:
    data = config.data
    names = Counter(["train", "validation", "benign", *(path.stem for path in data.test)])
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(f"data.test: two sets would be called {twice[0]!r}: rename a file")
    of_sources = [path for paths in data.sources.values() for path in paths]
    for key, named, known in (("repeat", [*data.repeat], data.train), ("sources", of_sources, (*data.train, *data.test, *_shares(config)))):
        if absent := [path for path in named if path not in known]:
            raise ConfigError(f"data.{key} names {absent[0]}, which is not in data.train")


def _shares(config: TrainConfig) -> dict[Path, float]:
    """Say how much of which file is for validation, where files are named."""
    named = config.data.validation
    return {} if isinstance(named, float) else named if isinstance(named, dict) else dict.fromkeys(named, 1.0)


def _split(rows: list[Example], held_out: list[Example], config: TrainConfig) -> tuple[list[Example], list[Example]]:
    named, files = config.data.validation, {str(path) for path in config.data.train}
    train = without(deduplicate(row for row in rows if row.file in files), held_out)
    if isinstance(named, float):
        train, validation = split(train, named)
    else:
        drawn = [row for path, share in _shares(config).items() for row in split((row for row in rows if row.file == str(path)), share)[1]]
        validation = without(deduplicate(drawn), held_out)
        train = without(train, validation)
    moved = twins(train, validation, config.sources)
    return [row for row in train if row.text not in moved], [*validation, *(row for row in train if row.text in moved)]


def _with_sources(examples: Iterable[Example], by_file: Mapping[str, str]) -> list[Example]:
    return [replace(example, source=by_file.get(example.file, "")) for example in examples]


def _copies(example: Example, times: float) -> int:
    """Round `times` up for the share of texts, chosen by hash, that its fraction stands for, else down."""
    whole = int(times)
    return whole + (int(example.id, 16) < (times - whole) * 2**64)


def _refuse_empty(sets: Sets) -> None:
    named = {"train": sets.train, "validation": sets.validation, **sets.test}
    if empty := [name for name, examples in named.items() if not examples]:
        raise DataError(f"{empty[0]} has no row: add some (a text of validation, test or benign files is taken out of train)")
    if bare := [name for name, examples in named.items() if all(example.label is None for example in examples)]:
        raise DataError(f"{bare[0]} has no row with a severity, only with labels of further tasks: add some that have it")


def _some(examples: list[Example], most: int | None) -> list[Example]:
    return examples if most is None else sorted(examples, key=lambda example: example.id)[:most]


def say_sets(sets: Sets) -> None:
    """Print how many rows of which label each set has."""
    named = {"train": sets.train, "validation": sets.validation, **sets.test, "benign": sets.benign}
    for name, examples in named.items():
        counts = Counter(example.label for example in examples)
        further = Counter(task for example in examples for task in example.tasks)
        named_counts = {label.english: counts[label] for label in Label} | further
        print(f"{name:24} {len(examples):7,} rows  " + "  ".join(f"{what} {count:,}" for what, count in named_counts.items()), flush=True)
    if sets.left_out:
        print(f"left out: {sets.left_out:,} rows whose text a source named later in data.sources has too, or nearly", flush=True)

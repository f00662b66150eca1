"""A run from config to bundle, stage by stage."""

from dataclasses import dataclass
from pathlib import Path

from training.config import TrainConfig
from training.dataset import Columns, Example, deduplicate, read_examples, split, without


@dataclass(frozen=True, slots=True)
class Sets:
    """The examples of a run; no text is in two of them."""

    train: list[Example]
    validation: list[Example]
    test: dict[Path, list[Example]]


def read_sets(config: TrainConfig) -> Sets:
    """Read, de-duplicate and split a config's files; validation and test texts are taken out of training.

    Raises:
        DataError: a file or a row can't be used.

    """
    columns = Columns(config.data.text_column, config.data.label_column)
    test = {path: read_examples([path], columns) for path in config.data.test}
    held_out = [example for examples in test.values() for example in examples]
    train = without(deduplicate(read_examples(config.data.train, columns)), held_out)
    if isinstance(config.data.validation, float):
        train, validation = split(train, config.data.validation)
    else:
        validation = without(deduplicate(read_examples(config.data.validation, columns)), held_out)
        train = without(train, validation)
    repeat = {str(path): times for path, times in config.data.repeat.items()}
    return Sets([example for example in train for _ in range(repeat.get(example.file, 1))], validation, test)

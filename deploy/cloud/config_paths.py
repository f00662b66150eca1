"""Name the files and folders that a training config needs: a kind, `path` or `base`, a tab and the path, one a line."""  # noqa: INP001 - a script

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from training.config import TrainConfig
from training.errors import TrainingError


def paths(values: object) -> Iterator[Path]:
    """Yield every path in a config's values, and among the keys of its tables."""
    if isinstance(values, Path):
        yield values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from paths(key)
            yield from paths(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from paths(value)


def main() -> int:
    """Print the paths of the config that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    try:
        config = TrainConfig.load(options.config, options.overrides)
    except TrainingError as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_status
    for path in dict.fromkeys(paths(config.model_dump())):
        print(f"path\t{path}")
    print(f"base\t{config.model.base}")  # a folder, or a name on the hub
    return 0


if __name__ == "__main__":
    sys.exit(main())

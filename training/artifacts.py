"""What a path on the command line names - a run, a bundle, an adapter, a merged model - and folders that appear whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import assert_never

from semantic_service.contract.bundle import CONFIG_FILE, MANIFEST_FILE, sync
from training.config import ModelConfig, TrainConfig
from training.errors import ConfigError
from training.runs import Run

ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")  # of a merged model, in one file or in several


class Kind(Enum):
    """What a folder is, by what it holds."""

    RUN = "a run"
    BUNDLE = "a bundle"
    ADAPTER = "an adapter"
    MERGED = "a merged model"

    @classmethod
    def of(cls, path: Path) -> "Kind":
        """Look at a folder.

        Raises:
            ConfigError: it is none of these.

        """
        if (path / "config.yaml").is_file():
            return cls.RUN
        if (path / MANIFEST_FILE).is_file():
            return cls.BUNDLE
        if (path / ADAPTER_CONFIG).is_file():
            return cls.ADAPTER
        if any((path / name).is_file() for name in WEIGHTS):
            _refuse_without_head(path)
            return cls.MERGED
        raise ConfigError(
            f"{path} is nothing that we know: give a run's folder (with config.yaml), a bundle's ({MANIFEST_FILE}), "
            f"an adapter's ({ADAPTER_CONFIG}) or a merged model's ({CONFIG_FILE} and {WEIGHTS[0]})"
        )


def _refuse_without_head(path: Path) -> None:
    try:
        architectures = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))["architectures"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path / CONFIG_FILE} does not say what model this is ({error})") from error
    if not any(str(name).endswith("ForSequenceClassification") for name in architectures or ()):
        raise ConfigError(f"{path} is a base that knows no labels yet: put an adapter on it, or train it with `python -m training run`")


def find_bundle(path: Path) -> Path:
    """Give the bundle's folder of a run, or of a bundle.

    Raises:
        ConfigError: the run has not come so far.

    """
    run = Run(path)
    if run.config.is_file() and not run.bundle.is_dir():
        raise ConfigError(f"{path} has no bundle yet: give the same `python -m training run` again to finish it")
    return run.bundle if run.bundle.is_dir() else path


def find_adapter(path: Path) -> Path:
    """Give the adapter's folder of a run, or of an adapter; of a run that fine-tuned the whole model, the folder of the model.

    Raises:
        ConfigError: it is neither, or the run has not come so far.

    """
    match Kind.of(path):
        case Kind.RUN:
            if not Run(path).adapter.is_dir():
                raise ConfigError(f"{path} has no adapter yet: give the same `python -m training run` again to finish it")
            return Run(path).adapter
        case Kind.ADAPTER:
            return path
        case Kind.BUNDLE | Kind.MERGED as kind:
            raise ConfigError(f"{path} is {kind.value}, its adapter is merged into it: give the run's folder, or the adapter's")
        case other:
            assert_never(other)


def run_config(run: Path, *overrides: str) -> TrainConfig:
    """Read the config that a run was begun with; `overrides` as in `TrainConfig.load`."""
    return TrainConfig.load(Run(run).config, overrides)


def window_of(model: Path) -> int:
    """Give the tokens of a window: as in the config of the run that an adapter, or a model, lies in, else the default."""
    run = model.parent
    return run_config(run).model.max_tokens if Run(run).config.is_file() else ModelConfig().max_tokens


def named_base(adapter: Path) -> str:
    """Read which base an adapter was trained on: a Hugging Face name, or a folder on the machine that trained it.

    Raises:
        ConfigError: it names none.

    """
    try:
        return str(json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{adapter / ADAPTER_CONFIG} does not name a base ({error}): give --base BASE") from error


def base_of(adapter: Path, given: str | None = None) -> str:
    """Say where an adapter's base is: what is given, else what it names.

    Raises:
        ConfigError: it names none, or a folder that is not here.

    """
    base = given or named_base(adapter)
    if given is None and is_local(base) and not Path(base).is_dir():
        raise ConfigError(f"{adapter} was trained on {base}, which is not here: give --base BASE, a folder or a Hugging Face name")
    return base


def is_local(name: str) -> bool:
    """Tell a path on this machine, or on another one, from a Hugging Face name."""
    return name.startswith(("/", ".", "~")) or "\\" in name or os.path.exists(name)  # noqa: PTH110 - Path's raises on long texts


@contextmanager
def workshop(out: Path) -> Iterator[Path]:
    """Give an empty folder beside `out` in which to make it; the folder goes when the block ends.

    Raises:
        ConfigError: `out` is there already.

    """
    if out.exists():
        raise ConfigError(f"--out {out} exists already: choose another name, or remove it")
    aside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)  # what a kill left
    aside.mkdir(parents=True)
    try:
        yield aside
    finally:
        shutil.rmtree(aside)


def publish(folder: Path, out: Path) -> None:
    """Let a finished folder appear under its name: a kill leaves `out` absent or complete."""
    for file in folder.iterdir():
        sync(file)
    folder.rename(out)
    sync(out.parent)

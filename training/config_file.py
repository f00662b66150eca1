"""A config file: YAML with `extends:`, every key checked, unknown keys refused with the nearest name."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from training.errors import ConfigError


class Section(BaseModel):
    """A table of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConfigFile(Section):
    """What a whole YAML file holds."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        _check_keys(cls, values, "")
        return values

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """Read a config; relative paths in it are relative to the working folder.

        Args:
            path: a YAML file; its `extends:` names another one beside it.
            overrides: `key.sub=value`, values in YAML; they win over the file.

        Raises:
            ConfigError: unreadable, not YAML, an unknown key, or a value out of range.

        """
        values = _read(path, seen=())
        for override in overrides:
            _merge(values, _parse_override(override))
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{path}: {_describe(error)}") from error


def _describe(error: ValidationError) -> str:
    return "; ".join(
        ": ".join((*filter(None, [".".join(map(str, item["loc"]))]), item["msg"].removeprefix("Value error, "))) for item in error.errors()
    )


def _check_keys(section: type[BaseModel], values: Any, prefix: str) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{prefix or 'the config'} must be a table of keys, got {values!r}")  # noqa: TRY004 - pydantic wants ValueError
    for key, value in values.items():
        if key not in section.model_fields:
            nearest = difflib.get_close_matches(str(key), section.model_fields, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown key {prefix}{key}: did you mean {prefix}{nearest}?")
        inner = section.model_fields[key].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            _check_keys(inner, value, f"{prefix}{key}.")


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in seen:
        raise ConfigError(f"{path}: extends itself")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not YAML ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a table of keys")
    parent = values.pop("extends", None)
    if parent is None:
        return values
    merged = _read(path.parent / str(parent), (*seen, path))
    _merge(merged, values)
    return merged


def _parse_override(override: str) -> dict[str, Any]:
    name, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: write key.sub=value")
    try:
        tree: Any = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {override}: not YAML ({error})") from error
    for key in reversed(name.split(".")):
        tree = {key: tree}
    return dict(tree)


def _merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value

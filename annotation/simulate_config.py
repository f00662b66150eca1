"""A simulation's config: YAML, every key checked, unknown keys refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from annotation.errors import SimulationError
from annotation.ranking import Strategy

RANDOM = "random"  # the strategy that all others are measured against


class SimulationConfig(BaseModel):
    """What is replayed. The texts of `train` are the pool that labels are bought from; those of `test` measure what they bought.

    `pool_rows` and `test_rows` cut a file to so many rows, drawn once. Every seed starts from `start` labels drawn at random and buys
    `batch` at a time up to `budget`. `encoder`: a folder with a Hugging Face encoder, whose embeddings the model sees beside the
    characters. `fine_tune`: a training config; each strategy's labels (as many as it needed to do as well as random) are trained on in
    the end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    train: Path
    test: Path
    out: Path
    pool_rows: Annotated[int, Field(ge=100)] | None = None
    test_rows: Annotated[int, Field(ge=100)] | None = None
    encoder: Path | None = None
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 128
    start: Annotated[int, Field(ge=10)] = 200
    batch: Annotated[int, Field(ge=1)] = 100
    budget: Annotated[int, Field(ge=20)] = 2000
    seeds: Annotated[int, Field(ge=2)] = 3
    levels: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    strategies: dict[str, Strategy]
    fine_tune: Path | None = None

    @model_validator(mode="after")
    def _can_compare(self) -> Self:
        if self.strategies.get(RANDOM) != Strategy(random_share=1):
            raise ValueError(f"strategies must hold `{RANDOM}: {{random_share: 1}}`: the others are measured against it")
        if self.budget <= self.start:
            raise ValueError(f"budget ({self.budget}) must be above start ({self.start})")
        return self

    @property
    def points(self) -> tuple[int, ...]:
        """The numbers of labels after which the model is measured."""
        return (*range(self.start, self.budget, self.batch), self.budget)

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """Read a config; relative paths in it are relative to the working folder.

        Args:
            path: a YAML file.
            overrides: `key=value`, values in YAML; they win over the file.

        Raises:
            SimulationError: unreadable, not YAML, an unknown key, or a value out of range.

        """
        try:
            values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
            changes = [override.partition("=") for override in overrides]
            return cls.model_validate({**values, **{key: yaml.safe_load(value) for key, _, value in changes}})
        except OSError as error:
            raise SimulationError(f"{path}: can't be read ({error.strerror})") from error
        except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
            raise SimulationError(f"{path}: not YAML with `key: value` lines ({error})") from error
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, item['loc'])) or 'config'}: {item['msg']}" for item in error.errors())
            raise SimulationError(f"{path}: {'; '.join(problems)}") from error

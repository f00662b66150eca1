"""Every setting an operator has, read once from the environment (MODERATION_*)."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from semantic_service.contract.registry import Registry
from semantic_service.engine.backends import Backend
from semantic_service.engine.live import Source
from semantic_service.engine.signature import PublicKey

EMBEDDED_MODEL = Path(__file__).parent / "default_model"


class SettingsError(ValueError):
    """A MODERATION_* variable that can't be used."""


class Settings(BaseSettings):
    """Defaults serve the embedded model on loopback; deploy/env.example explains each."""

    model_config = SettingsConfigDict(env_prefix="MODERATION_", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    model: Path = EMBEDDED_MODEL
    models: Path | None = None  # a registry; while it has no champion, `model` serves
    signed_by: Path | None = None  # a public key: only bundles that it has signed are loaded
    backend: Backend = Backend.CPU  # what runs the model
    policy: Path | None = None
    keys: Path | None = None
    shadow_model: Path | None = None  # a challenger's bundle: it judges a share of the posts beside the model, and is never answered by
    shadow_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    shadow_file: Path = Path("var/shadow.jsonl")  # gets the disagreements, with the texts
    database_url: str = "sqlite:///var/moderation.db"  # of the review store; empty: none
    spill_file: Path = Path("var/spill.jsonl")  # gets what is to be stored while the database is away
    audit_share: Annotated[float, Field(ge=0, le=1)] = 0.01  # of all posts is stored, whatever the verdict
    retention_days: Annotated[int, Field(ge=1)] = 180  # what `python -m semantic_service.store delete` leaves
    uncertain_max: Annotated[float, Field(ge=0, le=1)] = 0.6
    workers: Annotated[int, Field(ge=1, le=256)] = 1  # processes
    threads: Annotated[int, Field(ge=0, le=1024)] = 0  # a process; 0: one a core
    queue: Annotated[int, Field(ge=1)] = 2048  # texts waiting or running
    queue_ms: Annotated[int, Field(ge=1)] = 400  # that a single post may have to wait
    cache_size: Annotated[int, Field(ge=0)] = 20_000  # scores remembered; 0: none
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: an unknown MODERATION_* variable, or a value out of range.

        """
        try:
            return cls()
        except ValidationError as error:
            problems = (f"{cls._variable(*item['loc'])}{item['msg']}" for item in error.errors())
            raise SettingsError("; ".join(problems)) from error

    def source(self) -> Source:
        """Say where the model comes from.

        Raises:
            BundleError: `signed_by` is not a public key.

        """
        registry = None if self.models is None else Registry(self.models)
        return Source(self.model, registry, None if self.signed_by is None else PublicKey(self.signed_by), self.backend)

    @model_validator(mode="after")
    def _refuse_unknown_variables(self) -> Self:
        known = [f"MODERATION_{name.upper()}" for name in type(self).model_fields]
        for name in os.environ:  # noqa: TID251 - the one place
            if name.startswith("MODERATION_") and name not in known:
                raise ValueError(f"{name} is not a setting: did you mean {difflib.get_close_matches(name, known, n=1, cutoff=0)[0]}?")
        return self

    @staticmethod
    def _variable(*location: object) -> str:
        return f"MODERATION_{str(location[0]).upper()}: " if location else ""

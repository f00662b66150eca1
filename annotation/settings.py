"""Every setting of the annotation loop, read once from the environment (ANNOTATION_*)."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from annotation.errors import SettingsError
from annotation.settle import Overlap

SECRET_HEADER = "X-Annotation-Secret"  # noqa: S105 - the name of what webhooks carry


class Settings(BaseSettings):
    """Defaults fit a Label Studio on this machine; deploy/annotation.env.example explains each."""

    model_config = SettingsConfigDict(env_prefix="ANNOTATION_", frozen=True)

    url: str = "http://127.0.0.1:8080"  # Label Studio
    token: Annotated[SecretStr | None, Field(min_length=1)] = None  # legacy, or a personal access token
    project: Annotated[str, Field(min_length=3, max_length=50)] = "内容审核 Content moderation"  # Label Studio's own limits
    second_opinion_share: Annotated[float, Field(ge=0, le=1)] = 0.2  # of the tasks, that two annotators answer
    queue: Annotated[int, Field(ge=1)] = 200  # tasks that `sync` keeps waiting for annotators
    database_url: str = "sqlite:///var/moderation.db"  # the review store
    service_url: str = "http://127.0.0.1:8000"  # the moderation service
    service_key: SecretStr | None = None
    gold: Path | None = None  # posts with known labels, as lines of data/annotations: they measure the annotators
    gold_share: Annotated[float, Field(ge=0, lt=1)] = 0.05  # of all tasks
    suspects: Path | None = None  # what `python -m training doctor --label-errors` wrote: labels to look at again
    webhook_host: str = "127.0.0.1"
    webhook_port: Annotated[int, Field(ge=0, le=65535)] = 8090
    webhook_url: str | None = None  # the receiver's address as Label Studio sees it
    webhook_secret: Annotated[SecretStr | None, Field(min_length=16)] = None
    data: Path = Path("data/annotations")  # gets the labels
    state: Path = Path("var/annotation")  # what is under way, and how far pulling got

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: an unknown ANNOTATION_* variable, or a value out of range.

        """
        try:
            return cls()
        except ValidationError as error:
            problems = (f"{cls._variable(*item['loc'])}{item['msg']}" for item in error.errors())
            raise SettingsError("; ".join(problems)) from error

    def key(self) -> str | None:
        """Give the service's key in plain text."""
        return None if self.service_key is None else self.service_key.get_secret_value()

    def overlap(self) -> Overlap:
        """Say how many people label a post."""
        return Overlap(share=self.second_opinion_share)

    @model_validator(mode="after")
    def _refuse_unknown_variables(self) -> Self:
        known = [f"ANNOTATION_{name.upper()}" for name in type(self).model_fields]
        for name in os.environ:  # noqa: TID251 - the one place
            if name.startswith("ANNOTATION_") and name not in known:
                raise ValueError(f"{name} is not a setting: did you mean {difflib.get_close_matches(name, known, n=1, cutoff=0)[0]}?")
        return self

    @model_validator(mode="after")
    def _refuse_an_open_webhook(self) -> Self:
        if self.webhook_url is not None and self.webhook_secret is None:
            raise ValueError("ANNOTATION_WEBHOOK_URL needs ANNOTATION_WEBHOOK_SECRET: nothing else tells Label Studio from others")
        return self

    @staticmethod
    def _variable(*location: object) -> str:
        return f"ANNOTATION_{str(location[0]).upper()}: " if location else ""

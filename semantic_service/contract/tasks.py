"""Further tasks that a model answers beside the severity, such as the category of a violation."""

import re
from dataclasses import dataclass

MAX_LABELS = 64
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Task:
    """A task's labels in the order of the model's outputs, and the temperature of their probabilities."""

    name: str
    labels: tuple[str, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in (self.name, *self.labels):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(f"task {self.name}: {name!r} must be a lower-case word: up to 32 letters, digits and _, a letter first")
        if self.name == "severity":
            raise ValueError("no further task can be called severity: it is there always, as compliant, suspicious and violation")
        if not 2 <= len(self.labels) <= MAX_LABELS:  # noqa: PLR2004 - of one label there is nothing to learn
            raise ValueError(f"task {self.name}: must have 2 to {MAX_LABELS} labels, got {len(self.labels)}")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"task {self.name}: a label stands twice in {', '.join(self.labels)}")
        if not self.temperature > 0:
            raise ValueError(f"task {self.name}: temperature must be above 0, got {self.temperature}")


@dataclass(frozen=True, slots=True)
class TaskVerdict:
    """A task's answer on one text: calibrated probabilities in the order of its labels."""

    task: Task
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The likeliest label, the first of equals."""
        return self.task.labels[self.probabilities.index(self.confidence)]

    @property
    def confidence(self) -> float:
        """The largest probability."""
        return max(self.probabilities)

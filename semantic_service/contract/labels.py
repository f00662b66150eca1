"""The three labels, in order of severity; every other list of labels is made from this one."""

from enum import IntEnum
from typing import Self


class UnknownLabelError(ValueError):
    """A label that is neither a name, a Chinese name, an alias nor an id."""

    def __init__(self, value: object) -> None:
        super().__init__(f"unknown label {value!r}: use one of {', '.join(sorted(_NAMES))} or an id 0, 1, 2")


class Label(IntEnum):
    """A post's label. The value is the model's output index and the severity."""

    COMPLIANT = 0
    SUSPICIOUS = 1
    VIOLATION = 2

    @property
    def english(self) -> str:
        """The name on the wire and in files: `compliant`, `suspicious` or `violation`."""
        return self.name.lower()

    @property
    def chinese(self) -> str:
        """The name shown to Chinese readers."""
        return _CHINESE[self]

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a label from a name, a Chinese name, an alias (any case) or an id.

        Raises:
            UnknownLabelError: the value is none of these; there is no default.

        """
        name = str(value).strip().lower()
        if isinstance(value, bool) or name not in _NAMES:
            raise UnknownLabelError(value)
        return cls(_NAMES[name])


_CHINESE = {Label.COMPLIANT: "合规", Label.SUSPICIOUS: "疑似", Label.VIOLATION: "违规"}
_ALIASES = {
    Label.COMPLIANT: ("normal", "pass", "safe", "正常", "通过"),
    Label.SUSPICIOUS: ("suspect", "review", "可疑", "嫌疑"),
    Label.VIOLATION: ("block", "reject", "unsafe", "不通过"),
}
_NAMES = {name: int(label) for label in Label for name in (label.english, label.chinese, str(int(label)), *_ALIASES[label])}

LABEL_NAMES: tuple[str, ...] = tuple(label.english for label in Label)

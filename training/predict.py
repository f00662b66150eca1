"""Answers of one model, or of several side by side, for texts and for files of them."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from semantic_service.contract.bundle import Bundle
from semantic_service.contract.labels import Label
from semantic_service.contract.text import normalise
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.terminal import bars, confidence, title
from training.dataset import Columns, find_text
from training.errors import DataError
from training.rows import SUFFIXES, scan_rows

EMPTY = "the text is empty"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model says of a text: `probabilities` [3]."""

    model: str
    probabilities: Sequence[float]

    @property
    def label(self) -> Label:
        """The likeliest label."""
        return max(Label, key=self.probabilities.__getitem__)

    def as_dict(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return {
            "model": self.model,
            "label": self.label.english,
            "label_id": int(self.label),
            "confidence": max(self.probabilities),
            "probabilities": {label.english: self.probabilities[label] for label in Label},
        }


class Judge(Protocol):
    """One or several models; at most `threads` may call `judge` at once."""

    @property
    def threads(self) -> int: ...  # noqa: D102

    def judge(self, text: str) -> list[Answer]:
        """Answer for a normalised text, once for each model."""
        ...


class BundleJudge:
    """A bundle, judged by the serving engine: what it says here is what it serves."""

    def __init__(self, path: Path) -> None:
        """Load a bundle.

        Raises:
            BundleError: it must not be served.

        """
        bundle = Bundle.read(path)
        self.threads = os.cpu_count() or 1
        self._version = bundle.manifest.model_version
        self._classifier = OnnxClassifier.load(bundle)

    def judge(self, text: str) -> list[Answer]:
        """Answer for a normalised text."""
        return [Answer(self._version, self._classifier.score(text).probabilities.tolist())]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file, and its text or why it has none."""

    values: dict[str, Any]
    text: str = ""
    error: str = EMPTY


def read_texts(path: Path, columns: Columns) -> list[Row]:
    """Read JSONL, CSV or TSV rows, labelled or not; a file of another ending has a text a line.

    Raises:
        DataError: the file can't be read.

    """
    if path.suffix in SUFFIXES:
        return [_row(path, line, row, columns) for line, row in scan_rows(path)]
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    return [Row({"line": number, "text": line}, normalise(line).text) for number, line in enumerate(lines, start=1) if line.strip()]


def _row(path: Path, line: int | None, row: dict[str, Any] | str, columns: Columns) -> Row:
    if line is None:
        raise DataError(f"{path}: {row}")
    if isinstance(row, str):
        return Row({"line": line}, error=row)
    values = {"line": line, **row}
    try:
        return Row(values, normalise(find_text(row, columns)).text)
    except DataError as error:
        return Row(values, error=str(error))


def judge_rows(judge: Judge, rows: Sequence[Row], *, has_bar: bool) -> Iterator[dict[str, Any]]:
    """Judge rows in order, if wanted with a progress bar on a terminal.

    Yields:
        The row with `predicted`, once for each model; or with `error`.

    """
    with ThreadPoolExecutor(judge.threads) as pool:
        answers = pool.map(lambda row: judge.judge(row.text) if row.text else [], rows)
        bar = tqdm(answers, total=len(rows), desc="predict", unit="text", disable=None if has_bar else True)
        for row, said in zip(rows, bar, strict=True):
            if not said:
                yield {**row.values, "error": row.error}
            for answer in said:
                yield {**row.values, "predicted": answer.as_dict()}


def show(answers: Sequence[Answer], *, in_colour: bool) -> str:
    """Write one model's answer with bars, several models' answers line by line below each other."""
    if len(answers) == 1:
        answer = answers[0]
        heading = f"{title(answer.label, in_colour=in_colour)} · {confidence(max(answer.probabilities))}"
        return "\n".join([heading, *bars(answer.probabilities, in_colour=in_colour), ""])
    longest = max(len(answer.model) for answer in answers)
    lines = []
    for answer in answers:
        shares = "  ".join(f"{label.chinese} {label.english} {answer.probabilities[label]:>6.1%}" for label in Label)
        lines.append(f"  {answer.model:<{longest}}  {title(answer.label, in_colour=in_colour)} · {shares}")
    return "\n".join([*lines, ""])

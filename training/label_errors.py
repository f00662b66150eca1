"""Find rows whose label is probably wrong, by confident learning (Northcutt et al. 2021), and write them for annotators to look at."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from tqdm import tqdm

from semantic_service.contract.bundle import write_atomically
from semantic_service.contract.labels import Label
from semantic_service.contract.records import Record
from training.dataset import Columns, text_and_label
from training.diagnosis import Occurrence
from training.doctor import parse
from training.errors import DataError
from training.rows import scan_rows
from training.tables import markdown_table

FOLDS = 5
SHOWN = 20  # places in the table for a terminal; `as_dict` and the file have all
_SEED = 7


@dataclass(frozen=True, slots=True)
class _Row:
    """A usable row as it stands in its file, with its normalised text."""

    place: Occurrence
    values: dict[str, Any]
    original: str
    text: str
    label: Label


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose label a model of the other rows does not believe; `self_confidence` is the probability that it gives that label."""

    place: Occurrence
    suggested: str
    self_confidence: float
    record: Record

    def to_json(self) -> str:
        """Write a line of `data/annotations`, with `suggested` and `self_confidence` behind it."""
        values = json.loads(self.record.to_json()) | {"suggested": self.suggested, "self_confidence": round(self.self_confidence, 4)}
        return json.dumps(values, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Suspects:
    """The suspected rows, the least believable first, of so many different texts, and the file that they were written to."""

    rows: tuple[Suspect, ...]
    texts: int
    file: Path

    def as_dict(self) -> dict[str, Any]:
        """Give plain JSON values; every place is in, and no text."""
        rows = [asdict(row.place) | {"suggested": row.suggested, "self_confidence": row.self_confidence} for row in self.rows]
        return {"file": str(self.file), "texts": self.texts, "rows": rows}

    def to_markdown(self) -> str:
        """Write the count and the first places for a terminal."""
        said = f"## Suspected label errors\n\n{len(self.rows):,} of {self.texts:,} different texts, written to {self.file}"
        if not self.rows:
            return f"{said}."
        cells = [[str(row.place), row.place.labels, row.suggested, f"{row.self_confidence:.3f}"] for row in self.rows[:SHOWN]]
        table = markdown_table(["least believable first", "label", "suggested", "self-confidence"], cells)
        more = f"\n\nand {len(self.rows) - SHOWN:,} more" if len(self.rows) > SHOWN else ""
        return f"{said}:\n\n{table}{more}"


def find_label_errors(files: Sequence[Path], columns: Columns, out: Path) -> Suspects:
    """Judge each usable text by a model of the others, and write the rows with doubtful labels to `out`, for annotators.

    The model is a logistic regression on a text's characters, pairs and triples of them; a text that stands in several rows counts once.

    Raises:
        DataError: too few rows of a label, or of labels, to judge one by the others.

    """
    rows = list({row.text: row for row in _usable(files, columns)}.values())
    present = sorted({row.label for row in rows})
    labels = np.array([present.index(row.label) for row in rows])
    _refuse_few(rows, present)
    probabilities = _judged_by_the_others([row.text for row in rows], labels)
    doubtful = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    suspects = Suspects(
        tuple(_suspect(rows[index], present[probabilities[index].argmax()], probabilities[index][labels[index]]) for index in doubtful),
        len(rows),
        out,
    )
    write_atomically(out, "".join(row.to_json() + "\n" for row in suspects.rows))
    return suspects


def _usable(files: Sequence[Path], columns: Columns) -> Iterator[_Row]:
    for path in dict.fromkeys(files):
        for line, values in scan_rows(path):
            text, label, _ = parse(values, columns)
            if text and label is not None and line is not None and not isinstance(values, str):
                place = Occurrence(str(path), line, label.english)
                yield _Row(place, values, text_and_label(values, columns)[0], text, label)


def _refuse_few(rows: Sequence[_Row], present: Sequence[Label]) -> None:
    counts = Counter(row.label for row in rows)
    if few := [label.english for label in present if counts[label] < FOLDS]:
        number = counts[Label.parse(few[0])]
        raise DataError(
            f"--label-errors: only {number} different texts are {few[0]}, and each of {FOLDS} folds needs one: add some, or leave the "
            "option out"
        )
    if len(present) < 2:  # noqa: PLR2004 - one label has no other to be mistaken for
        raise DataError("--label-errors: the usable rows have fewer than two labels: add rows of others, or leave the option out")


def _judged_by_the_others(texts: Sequence[str], labels: NDArray[np.int_]) -> NDArray[np.float64]:
    """Give each text's probabilities [texts, labels] by a model that was fitted without it."""
    vectoriser = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=min(2, len(texts)), sublinear_tf=True)
    features = vectoriser.fit_transform(texts)
    probabilities = np.zeros((len(texts), labels.max() + 1))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=_SEED).split(texts, labels)
    for rest, held_out in tqdm(folds, desc="label errors", total=FOLDS, unit="fold", disable=None):
        model = LogisticRegression(C=5, tol=1e-3).fit(features[rest], labels[rest])
        probabilities[held_out] = model.predict_proba(features[held_out])
    return probabilities


def _suspect(row: _Row, suggested: Label, self_confidence: float) -> Suspect:
    return Suspect(row.place, suggested.english, float(self_confidence), _record(row))


def _record(row: _Row) -> Record:
    """Give the row as annotators know it; where it is none of theirs, its source is its place, and nobody has labelled it."""
    try:
        return Record.from_json(json.dumps(row.values))
    except ValueError:
        return Record(row.original, row.label, str(row.place), (), datetime.now(UTC).isoformat(timespec="seconds"))

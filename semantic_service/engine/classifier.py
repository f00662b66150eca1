"""One loaded model: a normalised text to calibrated probabilities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from semantic_service.contract.bundle import MODEL_FILE, SELF_CHECK_TOLERANCE, TOKENIZER_FILE, Bundle, CorruptBundleError, SelfCheckError
from semantic_service.contract.labels import Label
from semantic_service.contract.tasks import Task
from semantic_service.contract.text import normalise
from semantic_service.engine.backends import Backend, BackendError, open_bundle, open_session

Logits = NDArray[np.float32]
Probabilities = NDArray[np.float32]
_Feed = tuple[list[str] | None, Mapping[str, NDArray[Any]]]  # the outputs that a run is asked for (None: all), and its inputs

AT_ONCE = 32  # texts are tokenised before they run: what a tokenizer gives for a long one takes a megabyte
OVERLAP = 4  # neighbouring windows share 1/4 of their tokens
_SEVERITY = np.arange(len(Label), dtype=np.float32)
_YES = np.array(True)


@dataclass(frozen=True, slots=True)
class Score:
    """A text's calibrated probabilities [3], how many windows and tokens it took, and each further task's probabilities."""

    probabilities: Probabilities
    windows: int
    tokens: int
    tasks: tuple[Probabilities, ...] = ()


class OnnxClassifier:
    """Scores texts window by window, without padding, so that an answer never depends on what else is asked.

    A run is on the caller's thread alone: call it from as many threads as there are cores.
    """

    def __init__(
        self, model: Path | InferenceSession, tokenizer: Path, max_tokens: int, temperature: float = 1.0, tasks: Sequence[Task] = ()
    ) -> None:
        """Take an ONNX graph, open already or not, with `input_ids` (if it has them also `attention_mask`, `token_type_ids`) and `logits`.

        The logits are the severity's three, then those of each of the `tasks` in turn. A graph that was arranged for several
        windows side by side takes further ones as `input_ids_1` and so on, and gives `logits_1` and so on, when `several` is true.
        """
        self._session = open_session(model) if isinstance(model, Path) else model
        self._inputs = tuple(value.name for value in self._session.get_inputs())
        self._together = sum(value.name.startswith("logits") for value in self._session.get_outputs())
        self._masks_by_length: dict[int, dict[str, NDArray[np.int64]]] = {}
        ends = list(accumulate((len(task.labels) for task in tasks), initial=len(Label)))
        self._parts = tuple(
            (task, slice(start, end)) for task, (start, end) in zip(tasks, pairwise(ends), strict=True)
        )  # each task's logits
        _check_shape(self._session, ends[-1])
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, stride=max_tokens // OVERLAP)
        self.temperature = temperature
        self.tasks = tuple(tasks)

    @classmethod
    def load(cls, bundle: Bundle, backend: Backend = Backend.CPU) -> Self:
        """Load a bundle's model and check it against the recorded probabilities.

        Raises:
            BackendError: the backend is not here.
            CorruptBundleError: the graph or the tokenizer can't be opened.
            SelfCheckError: a probability is off by more than 1e-3.

        """
        manifest = bundle.manifest
        try:
            session, tokenizer = open_bundle(bundle, backend), bundle.file(TOKENIZER_FILE)
            classifier = cls(session, tokenizer, manifest.max_tokens, manifest.temperature, manifest.tasks)
        except BackendError:
            raise
        except Exception as error:  # ONNX Runtime and tokenizers raise their own, unrelated classes
            raise CorruptBundleError(f"{bundle.path}: the model or its tokenizer can't be opened ({error})") from error
        classifier.self_check(bundle)
        return classifier

    def self_check(self, bundle: Bundle) -> None:
        """Score the manifest's texts again, alone and together.

        Raises:
            SelfCheckError: a probability is off by more than 1e-3.

        """
        texts = [normalise(check.text).text for check in bundle.manifest.self_check]
        scores = zip(bundle.manifest.self_check, map(self.score, texts), self.score_all(texts), strict=True)
        for number, (check, *both) in enumerate(scores, start=1):
            recorded = np.array(check.probabilities, dtype=np.float32)
            scored = np.stack([np.concatenate((score.probabilities, *score.tasks)) for score in both])
            off = float(np.abs(scored - recorded).max())
            if not off <= SELF_CHECK_TOLERANCE:
                raise SelfCheckError(
                    f"{bundle.file(MODEL_FILE)}: self-check text {number} is off by {off:.4f}, at most {SELF_CHECK_TOLERANCE} is allowed; "
                    "the model does not run here as it ran where it was made"
                )

    def windows(self, text: str) -> list[list[int]]:
        """Cut a normalised text into overlapping windows of token ids, special tokens included."""
        return self._cut([text])[0]

    def _cut(self, texts: Sequence[str]) -> list[list[list[int]]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return [[encoding.ids, *(window.ids for window in encoding.overflowing)] for encoding in encodings]

    def logits(self, windows: Sequence[Sequence[int]]) -> list[Logits]:
        """Run windows: of each, logits [3], then those of the further tasks. They are the same, bit by bit, in whatever company."""
        return self._run(self._feeds(windows))

    def _feeds(self, windows: Sequence[Sequence[int]]) -> list[_Feed]:
        together = self._together
        alone = len(windows) % together if together > 1 else len(windows)
        several = [windows[start : start + together] for start in range(0, len(windows) - alone, together)]
        return [
            *((None, self._feed_all(each)) for each in several),
            *((["logits"], self._feed(window)) for window in windows[len(windows) - alone :]),
        ]

    def _run(self, feeds: Sequence[_Feed]) -> list[Logits]:
        return [logits[0] for outputs, inputs in feeds for logits in self._session.run(outputs, inputs)]

    def _feed_all(self, windows: Sequence[Sequence[int]]) -> Mapping[str, NDArray[Any]]:
        inputs: dict[str, NDArray[Any]] = {"several": _YES}
        for number, window in enumerate(windows):
            inputs |= {f"{name}_{number}" if number else name: value for name, value in self._feed(window).items()}
        return inputs

    def _feed(self, window: Sequence[int]) -> Mapping[str, NDArray[np.int64]]:
        return {"input_ids": np.array([window], dtype=np.int64), **self._masks(len(window))}

    def _masks(self, length: int) -> dict[str, NDArray[np.int64]]:
        """Give a window's further inputs, which depend on nothing but its length."""
        if length not in self._masks_by_length:
            masks = {"attention_mask": np.ones((1, length), dtype=np.int64), "token_type_ids": np.zeros((1, length), dtype=np.int64)}
            self._masks_by_length[length] = {name: masks[name] for name in self._inputs if name in masks}
        return self._masks_by_length[length]

    def score(self, text: str) -> Score:
        """Score a normalised text; of several windows the most severe one counts, for every task."""
        return self.score_all([text])[0]

    def score_all(self, texts: Sequence[str]) -> list[Score]:
        """Score some normalised texts, each as if it were alone."""
        parts = (texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE))
        return [score for part in parts for score in self.prepare(part)()]

    def prepare(self, texts: Sequence[str]) -> Callable[[], list[Score]]:
        """Tokenise some normalised texts; what is given scores them."""
        cut = self._cut(texts)
        return partial(self._scores, cut, self._feeds([window for windows in cut for window in windows]))

    def _scores(self, cut: Sequence[Sequence[Sequence[int]]], feeds: Sequence[_Feed]) -> list[Score]:
        rows = iter(self._run(feeds))
        return [self._score(windows, list(islice(rows, len(windows)))) for windows in cut]

    def _score(self, windows: Sequence[Sequence[int]], logits: Sequence[Logits]) -> Score:
        each = [softmax(row[: len(Label)] / np.float32(self.temperature)) for row in logits]
        worst = most_severe(np.stack(each)) if len(each) > 1 else 0
        tasks = tuple(softmax(logits[worst][part] / np.float32(task.temperature)) for task, part in self._parts)
        return Score(each[worst], len(windows), sum(map(len, windows)), tasks)


def most_severe(windows: Probabilities) -> int:
    """Find of a text's windows [n, 3] the one that counts: the highest mean label id."""
    return int(np.argmax(windows @ _SEVERITY))


def _check_shape(session: InferenceSession, outputs: int) -> None:
    if unknown := {value.name for value in session.get_inputs()} - {"input_ids", "attention_mask", "token_type_ids"}:
        raise ValueError(f"the graph wants {min(unknown)!r}, which is never given")
    widths = {value.name: value.shape[-1] for value in session.get_outputs()}
    if widths.get("logits") != outputs:
        raise ValueError(f"the graph must give logits of {outputs} labels, its outputs are {widths}")


def softmax(logits: Logits) -> Probabilities:
    """Softmax over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities

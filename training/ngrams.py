"""A linear model over tokens and pairs of neighbours, added to the encoder's logits: wide beside deep (Cheng et al. 2016)."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer
from tqdm import tqdm

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE
from semantic_service.contract.labels import Label
from semantic_service.engine.classifier import OnnxClassifier
from training.calibrate import negative_log_likelihood
from training.config import NgramConfig, TrainConfig
from training.dataset import Example
from training.parity import PARITY_TEXTS, check_logits
from training.sources import fold, severity_target

Encode = Callable[[str], Sequence[int]]  # a text's first window of token ids
PREFIX = "ngrams_"  # of what they add to a graph
PRIME = 1_000_003  # spreads pairs over the buckets
ITERATIONS = 150
ABSENT = -20.0  # a logit that never tells
MIN_TEXTS = 2  # with fewer, a feature says nothing of other texts
_TINY = np.float32(1e-12)


@dataclass(frozen=True, slots=True)
class Ngrams:
    """Logits [k] = bias + sum(table[feature, :k]) / sqrt(sum(table[feature, k])) over a window's features, in fp16; k is 3 a source.

    A feature is a token's id, or the bucket that a pair of neighbours falls into. The last column is idf², the others are weight * idf:
    that is tf-idf at unit length.
    """

    table: NDArray[np.float16]  # [vocabulary + buckets, k + 1]
    bias: NDArray[np.float32]  # [k]
    vocabulary: int

    def logits(self, window: Sequence[int]) -> NDArray[np.float32]:
        """Score a window of token ids: logits [k]."""
        rows = self.table[_features(window, self.vocabulary, len(self.table) - self.vocabulary)].astype(np.float32).sum(axis=0)
        logits: NDArray[np.float32] = self.bias + rows[:-1] / np.sqrt(rows[-1] + _TINY)
        return logits

    def weighed(self, weight: float) -> "Ngrams":
        """Scale the logits."""
        scale = np.array([*[weight] * len(self.bias), 1.0], dtype=np.float32)
        return Ngrams((self.table * scale).astype(np.float16), self.bias * np.float32(weight), self.vocabulary)


def add_ngrams(folder: Path, config: TrainConfig, train: Sequence[Example], validation: Sequence[Example]) -> float:
    """Fit a linear model on `train`, and how much it counts on `validation` if the config does not say it; add it to the graph in `folder`.

    It judges the severity, by each source: rows without one stay out, and the logits of further tasks as they are.

    Returns:
        How much it counts.

    Raises:
        ParityError: the new graph's logits are not the sum.

    """
    encoder = _classifier(folder, config)
    vocabulary = Tokenizer.from_file(str(folder / TOKENIZER_FILE)).get_vocab_size()
    ngrams = fit_ngrams(train, lambda text: encoder.windows(text)[0], vocabulary, config.ngrams, config.sources)
    labelled = [example for example in validation if example.label is not None]
    windows = [encoder.windows(example.text)[0] for example in labelled]
    weight = config.ngrams.weight
    if weight is None:
        own = np.stack([ngrams.logits(window) for window in windows])
        deep = [encoder.logits([window])[0][: own.shape[1]] for window in tqdm(windows, desc="validation", unit="text", disable=None)]
        weight = fit_weight(np.stack(deep), own, np.array([example.label for example in labelled]))
    weighed = ngrams.weighed(weight)
    graft(folder / MODEL_FILE, weighed)
    both = _classifier(folder, config)
    checked = windows[:PARITY_TEXTS]
    sums = [_sum(logits, weighed.logits(window)) for logits, window in zip(encoder.logits(checked), checked, strict=True)]
    check_logits(zip(sums, both.logits(checked), strict=True))
    return weight


def _sum(logits: NDArray[np.float32], own: NDArray[np.float32]) -> NDArray[np.float32]:
    return logits + np.pad(own, (0, len(logits) - len(own)))


def _classifier(folder: Path, config: TrainConfig) -> OnnxClassifier:
    return OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, config.model.max_tokens, tasks=config.outputs)


def fit_ngrams(examples: Sequence[Example], encode: Encode, vocabulary: int, config: NgramConfig, sources: Sequence[str] = ()) -> Ngrams:
    """Fit one softmax regression of the labels of each source; an example that stands n times weighs n."""
    counts = Counter((example.text, severity_target(example, sources)) for example in examples if example.label is not None)
    width = vocabulary + config.buckets
    features = _counted([_features(encode(text), vocabulary, config.buckets) for text, _ in counts], width)
    texts_with = np.asarray((features > 0).sum(axis=0)).ravel()
    idf = np.where(texts_with < MIN_TEXTS, 0.0, np.log((len(counts) + 1) / (texts_with + 1)) + 1)
    unit = diags(1 / np.sqrt(features @ idf**2 + _TINY)) @ features @ diags(idf)
    model = LogisticRegression(C=1 / (config.alpha * counts.total()), max_iter=ITERATIONS, tol=1e-3)
    model.fit(unit.tocsr(), [label for _, label in counts], sample_weight=list(counts.values()))
    weights, bias = _by_output(model, len(Label) * (1 + len(sources)))
    return Ngrams(np.column_stack([weights.T * idf[:, None], idf**2]).astype(np.float16), bias, vocabulary)


def _features(window: Sequence[int], vocabulary: int, buckets: int) -> NDArray[np.int64]:
    ids = np.asarray(window, dtype=np.int64)
    return np.concatenate([ids, vocabulary + (ids[:-1] * PRIME + ids[1:]) % buckets])


def _counted(features: Sequence[NDArray[np.int64]], width: int) -> csr_matrix:
    ends = np.cumsum([0, *map(len, features)])
    counted = csr_matrix((np.ones(ends[-1]), np.concatenate(features), ends), shape=(len(features), width))
    counted.sum_duplicates()
    return counted


def _by_output(model: LogisticRegression, outputs: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Give weights [outputs, features] and biases, ABSENT where no row has the label.

    Of two labels scikit-learn fits one model, the second against the first.
    """
    found, biases = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # noqa: PLR2004
        found, biases = np.concatenate([-found, found]), np.concatenate([-biases, biases])
    weights, bias = np.zeros((outputs, found.shape[1])), np.full(outputs, ABSENT, dtype=np.float32)
    weights[model.classes_], bias[model.classes_] = found, biases
    return weights, bias


def fit_weight(encoder: NDArray[np.floating], ngrams: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Find how much of the n-grams' logits [n, k] to add to the encoder's [n, k] (stacking, Wolpert 1992); `labels` [n] are severities.

    The weight and a temperature that goes with it have the least negative log-likelihood; the weight is at least 0.
    """
    sources = encoder.shape[1] // len(Label) - 1
    answer = minimize(
        lambda both: negative_log_likelihood(fold(encoder + both[0] * ngrams, sources) / np.exp(both[1]), labels),
        x0=[0.1, 0.0],
        bounds=[(0.0, 2.0), (-3.0, 3.0)],
    )
    return float(answer.x[0])


def graft(path: Path, ngrams: Ngrams) -> None:
    """Add the n-grams to a graph with `input_ids`, `attention_mask` [batch, tokens] and `logits` [batch, 3 or more]."""
    model = onnx.load(path)
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["encoder_logits" if name == "logits" else name for name in node.output]
    constants: dict[str, NDArray[Any]] = {
        "table": ngrams.table,
        "bias": ngrams.bias,
        "vocabulary": np.array(ngrams.vocabulary),
        "buckets": np.array(len(ngrams.table) - ngrams.vocabulary),
        "prime": np.array(PRIME),
        "tiny": np.array(_TINY),
        **{f"at_{number}": np.array([number]) for number in (-1, 0, 1, 2)},
        "outputs": np.array([len(ngrams.bias)]),
        "end": np.array([np.iinfo(np.int64).max]),
        "pads": np.array([0, 0, 0, graph.output[0].type.tensor_type.shape.dim[-1].dim_value - len(ngrams.bias)]),
    }
    graph.initializer.extend(numpy_helper.from_array(value, f"{PREFIX}{name}") for name, value in constants.items())
    for kind, inputs, output, attributes in _NODES:
        names = [name if name in _OUTSIDE else f"{PREFIX}{name}" for name in (*inputs.split(), output)]
        graph.node.append(helper.make_node(kind, names[:-1], names[-1:], name=f"{PREFIX}{output}", **attributes))
    onnx.save(model, path)


_OUTSIDE = {"input_ids", "attention_mask", "encoder_logits", "logits"}
_NODES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("Slice", "input_ids at_0 at_-1 at_1", "left", {}),
    ("Slice", "input_ids at_1 end at_1", "right", {}),
    ("Mul", "left prime", "spread", {}),
    ("Add", "spread right", "pair", {}),
    ("Mod", "pair buckets", "bucket", {}),
    ("Add", "bucket vocabulary", "row", {}),
    ("Concat", "input_ids row", "features", {"axis": 1}),
    ("Slice", "attention_mask at_0 at_-1 at_1", "left_mask", {}),
    ("Slice", "attention_mask at_1 end at_1", "right_mask", {}),
    ("Mul", "left_mask right_mask", "pair_mask", {}),
    ("Concat", "attention_mask pair_mask", "mask", {"axis": 1}),
    ("Unsqueeze", "mask at_2", "column", {}),
    ("Cast", "column", "counts", {"to": onnx.TensorProto.FLOAT}),
    ("Gather", "table features", "halves", {}),
    ("Cast", "halves", "rows", {"to": onnx.TensorProto.FLOAT}),
    ("Mul", "rows counts", "kept", {}),
    ("ReduceSum", "kept at_1", "sums", {"keepdims": 0}),
    ("Slice", "sums at_0 outputs at_1", "scores", {}),
    ("Slice", "sums outputs end at_1", "square", {}),
    ("Add", "square tiny", "positive", {}),
    ("Sqrt", "positive", "length", {}),
    ("Div", "scores length", "unit", {}),
    ("Add", "unit bias", "own_logits", {}),
    ("Pad", "own_logits pads", "wide", {}),  # nothing for the further tasks
    ("Add", "encoder_logits wide", "logits", {}),
)

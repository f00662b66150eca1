"""Replay the annotation loop on labelled texts: label a few, fit a model, choose some, label those, fit, ..."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from tqdm import tqdm

from annotation.diversity import Vectors
from annotation.errors import SimulationError
from annotation.ranking import Ranking, Strategy
from annotation.select import Options, Pool, choose
from annotation.simulate_config import SimulationConfig
from annotation.simulate_data import Data
from annotation.simulate_statistics import Curves
from annotation.uncertainty import Probabilities
from semantic_service.contract.labels import Label

JOURNAL = "replays.jsonl"
_C = 2.0  # inverse strength of the model's L2 penalty


@dataclass(frozen=True, slots=True)
class Replay:
    """A strategy from one seed: the pool's texts in the order of labelling, and the macro-F1 at each of the config's points."""

    key: str  # digest of everything that it follows from
    strategy: str
    seed: int
    labelled: list[int]
    scores: list[float]


def simulate(config: SimulationConfig, data: Data) -> list[Replay]:
    """Replay every strategy from every seed; what a killed simulation has finished is in the output folder, and is not repeated.

    Raises:
        SimulationError: a starting set in which all labels are the same.

    """
    journal = config.out / JOURNAL
    done = {replay.key: replay for replay in _read(journal)}
    replays = []
    wanted = [(name, seed) for seed in range(config.seeds) for name in config.strategies]
    for name, seed in tqdm(wanted, desc="simulate", unit="replay", disable=None):
        key = _key(config, data, config.strategies[name], seed)
        if key not in done:
            done[key] = Replay(key, name, seed, *replay(config, data, config.strategies[name], seed))
            _append(journal, done[key])
        replays.append(replace(done[key], strategy=name))  # which may have had another name
    return replays


def replay(config: SimulationConfig, data: Data, strategy: Strategy, seed: int) -> tuple[list[int], list[float]]:
    """Replay a strategy; give the pool's texts in the order of labelling, and the macro-F1 at each point.

    Where a strategy chooses fewer texts than it may, it is measured as if it had used up its labels.
    """
    labelled = np.random.default_rng(seed).permutation(len(data.pool))[: config.start]
    model = _fit(data, labelled)
    scores = [_macro_f1(model, data)]
    for round_, goal in enumerate(config.points[1:], start=1):
        rest = np.setdiff1d(np.arange(len(data.pool)), labelled)
        pool = Pool(_probabilities(model, data, rest), np.zeros(len(rest), bool), partial(_vectors, data, rest))
        options = Options(goal - len(labelled), strategy, seed=1000 * seed + round_)
        labelled = np.append(labelled, [rest[index] for index, _ in choose(pool, options)]).astype(np.intp)
        model = _fit(data, labelled)
        scores.append(_macro_f1(model, data))
    return labelled.tolist(), scores


def curves(config: SimulationConfig, replays: Sequence[Replay]) -> Curves:
    """Put the replays' scores together."""
    scores = {name: np.array([replay.scores for replay in replays if replay.strategy == name]) for name in config.strategies}
    return Curves(config.points, scores)


def _fit(data: Data, labelled: NDArray[np.intp]) -> LogisticRegression:
    labels = data.pool_labels[labelled]
    if len(np.unique(labels)) == 1:
        raise SimulationError(f"the first {len(labelled)} labels are all the same: raise `start`")
    return LogisticRegression(C=_C, class_weight="balanced", max_iter=300, tol=1e-3).fit(data.pool_features[labelled], labels)


def _probabilities(model: LogisticRegression, data: Data, texts: NDArray[np.intp]) -> Probabilities:
    probabilities = np.zeros((len(texts), len(Label)))
    probabilities[:, model.classes_] = model.predict_proba(data.pool_features[texts])
    return probabilities


def _macro_f1(model: LogisticRegression, data: Data) -> float:
    return float(f1_score(data.test_labels, model.predict(data.test_features), labels=np.unique(data.test_labels), average="macro"))


def _vectors(data: Data, texts: NDArray[np.intp], ranking: Ranking) -> Vectors:
    return data.pool_vectors[texts[ranking]]


def _key(config: SimulationConfig, data: Data, strategy: Strategy, seed: int) -> str:
    parts = (config.points, asdict(strategy), seed, _C, data.digest)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _append(journal: Path, replay: Replay) -> None:
    """Write a line, on a line of its own even where a kill has cut the last one short."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(asdict(replay))}\n")


def _read(journal: Path) -> list[Replay]:
    """Read what is whole: a kill may have cut the last line short."""
    replays = []
    with suppress(FileNotFoundError):
        for line in journal.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                replays.append(Replay(**json.loads(line)))
    return replays

"""The bare engine: texts scored by threads of this process, without HTTP."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice

from semantic_service.engine.classifier import OnnxClassifier

LENGTHS = (16, 32, 64, 128, 256, 512)  # tokens: the upper bounds of the groups


@dataclass(frozen=True, slots=True)
class Scored:
    """What some threads scored in some seconds. Texts scored at once have one latency; of one thread they are in the texts' order."""

    seconds: float
    tokens: int
    latencies_s: list[float]

    @property
    def texts_s(self) -> float:
        """Texts a second."""
        return len(self.latencies_s) / self.seconds

    @property
    def tokens_s(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def measure(classifier: OnnxClassifier, texts: list[str], threads: int, seconds: float, at_once: int = 1) -> Scored:
    """Score texts in turn, so many at once, from the start again when they run out, until the time is up."""
    waiting, latencies = cycle(texts), list[float]()
    started = time.perf_counter()

    def work() -> int:
        tokens, begun = 0, time.perf_counter()
        while begun < started + seconds:
            tokens += sum(score.tokens for score in classifier.score_all(list(islice(waiting, at_once))))
            ended = time.perf_counter()
            latencies.extend([ended - begun] * at_once)
            begun = ended
        return tokens

    with ThreadPoolExecutor(threads) as pool:
        tokens = sum(future.result() for future in [pool.submit(work) for _ in range(threads)])
    return Scored(time.perf_counter() - started, tokens, latencies)


def by_length(classifier: OnnxClassifier, texts: list[str]) -> dict[int, list[str]]:
    """Group texts that are one window of the model by their tokens."""
    groups: dict[int, list[str]] = {length: [] for length in LENGTHS}
    for text in texts:
        windows = classifier.windows(text)
        if len(windows) == 1:
            groups[next(length for length in LENGTHS if len(windows[0]) <= length)].append(text)
    return {length: group for length, group in groups.items() if group}

"""A bundle's classifier on the backend that was asked for, or on the fastest of those that are here."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from semantic_service.contract.bundle import Bundle, BundleError
from semantic_service.contract.text import normalise
from semantic_service.engine.backends import Backend, backends_here
from semantic_service.engine.classifier import OnnxClassifier

log = logging.getLogger(__name__)

ROUNDS = 8  # over the self-check's texts; 0.2 s of the embedded model


def load_classifier(bundle: Bundle, backend: Backend) -> OnnxClassifier:
    """Load a bundle on a backend; with `auto`, on the fastest one that is here.

    Raises:
        BundleError: the backend is not here, or the bundle can't be served by it; of `auto`, by any.

    """
    if backend is not Backend.AUTO:
        return OnnxClassifier.load(bundle, backend)
    texts = [normalise(check.text).text for check in bundle.manifest.self_check]
    return fastest({here: partial(OnnxClassifier.load, bundle, here) for here in backends_here()}, texts)


def fastest(loaders: Mapping[Backend, Callable[[], OnnxClassifier]], texts: Sequence[str]) -> OnnxClassifier:
    """Load on each backend, and keep the one that scores the texts fastest; one that fails its self-check is passed over.

    Raises:
        BundleError: none can serve.

    """
    loaded: dict[Backend, OnnxClassifier] = {}
    refusals: list[BundleError] = []
    for backend, load in loaders.items():
        try:
            loaded[backend] = load()
        except BundleError as error:
            refusals.append(error)
            log.warning("backend %s is passed over: %s", backend, error)
    if not loaded:
        raise refusals[0]
    milliseconds = {backend: 0.0 if len(loaded) == 1 else _milliseconds(classifier, texts) for backend, classifier in loaded.items()}
    chosen = min(loaded, key=milliseconds.__getitem__)
    log.info("backend chosen", extra={"backend": chosen, "text_ms": milliseconds})
    return loaded[chosen]


def _milliseconds(classifier: OnnxClassifier, texts: Sequence[str]) -> float:
    """Measure a text's time when each core has a thread that scores, as in the service."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = time.perf_counter()
        rounds = list(pool.map(classifier.score_all, [texts] * ROUNDS))
        return round(1000 * (time.perf_counter() - started) / sum(map(len, rounds)), 3)

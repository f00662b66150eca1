"""Prometheus metrics; no text, no user ids, and label values from closed sets."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from semantic_service.api import shared_metrics
from semantic_service.engine.classifier import Score
from semantic_service.engine.lanes import Done
from semantic_service.engine.live import Reload
from semantic_service.engine.moderator import Judgement
from semantic_service.engine.scorer import Lookup
from semantic_service.engine.shadow import Comparison
from semantic_service.store.keeper import Result
from semantic_service.store.spill import Spill

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Metrics:
    """One registry an app; several worker processes answer together."""

    def __init__(self, model_version: str) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter("moderation_requests", "HTTP requests answered", ("route", "status"), registry=registry)
        self.request_seconds = Histogram("moderation_request_seconds", "Time to answer", ("route",), buckets=_SECONDS, registry=registry)
        names = ("label", "suggestion", "scene", "decided_by")
        self.judgements = Counter("moderation_judgements", "Texts judged", names, registry=registry)
        tenths = [tenth / 10 for tenth in range(1, 11)]
        self.confidence = Histogram("moderation_confidence", "Largest probability", buckets=tenths, registry=registry)
        self.uncertain = Counter("moderation_uncertain", "Texts the model is unsure of", registry=registry)
        self.queue_seconds = Histogram("moderation_queue_seconds", "Time a text waits for a core", buckets=_SECONDS, registry=registry)
        self.inference_seconds = Histogram("moderation_inference_seconds", "Time to score a text", buckets=_SECONDS, registry=registry)
        lookups = Counter("moderation_cache", "Different texts of requests, by where their score came from", ("result",), registry=registry)
        self._lookups = {lookup: lookups.labels(lookup.value) for lookup in Lookup}
        self.batch_texts = Histogram("moderation_batch_texts", "Texts asked for together", buckets=_COUNTS, registry=registry)
        self.batch_tokens = Histogram("moderation_batch_tokens", "Tokens of one text, all windows", buckets=_COUNTS, registry=registry)
        self.reloads = Counter("moderation_model_reload", "Champions taken up or refused", ("result",), registry=registry)
        self.model_info = Gauge(
            "moderation_model_info", "1 for the model in use", ("version",), registry=registry, multiprocess_mode="livemax"
        )
        self._model_version = model_version
        self.model_info.labels(model_version).set(1)
        self.shadow = Counter("moderation_shadow", "Texts that the challenger was to judge too", ("result",), registry=registry)
        self.shadow_info = Gauge(
            "moderation_shadow_info", "The challenger in the shadow", ("version",), registry=registry, multiprocess_mode="livemax"
        )
        self.store = Counter("moderation_review_store", "Reviews and feedback that were to be kept", ("result",), registry=registry)
        self.spill = Gauge(
            "moderation_review_spill_bytes", "What waits for the database to be back", registry=registry, multiprocess_mode="livemostrecent"
        )
        self._spill: Spill | None = None

    def exposition(self) -> bytes:
        """Write all as Prometheus reads it."""
        if self._spill is not None:
            self.spill.set(self._spill.size_bytes)
        return shared_metrics.exposition() if shared_metrics.is_shared() else generate_latest(self.registry)

    def reviewed_by(self, spill: Spill) -> None:
        """Watch what waits, and begin to count at 0."""
        self._spill = spill
        for result in Result:
            self.store.labels(result.value)

    def kept(self, result: Result, entries: int) -> None:
        """Count what became of reviews or feedback."""
        self.store.labels(result.value).inc(entries)

    def shadowed_by(self, challenger_version: str) -> None:
        """Name the challenger, and begin to count at 0."""
        self.shadow_info.labels(challenger_version).set(1)
        for comparison in Comparison:
            self.shadow.labels(comparison.value)

    def compared(self, comparison: Comparison) -> None:
        """Count what became of a text in the challenger's sample."""
        self.shadow.labels(comparison.value).inc()

    def reloaded(self, outcome: Reload, model_version: str) -> None:
        """Count a look at the registry that changed something."""
        if outcome is Reload.UNCHANGED:
            return
        self.reloads.labels(outcome.value).inc()
        self.model_info.labels(self._model_version).set(0)  # a label can't be removed for all processes
        self.model_info.labels(model_version).set(1)
        self._model_version = model_version

    def looked_up(self, lookup: Lookup, texts: int) -> None:
        """Count where the scores of some texts come from."""
        self._lookups[lookup].inc(texts)

    def scored(self, done: Done[Score]) -> None:
        """Note a run of the model."""
        self.queue_seconds.observe(done.queue_s)
        self.inference_seconds.observe(done.run_s)
        self.batch_tokens.observe(done.answer.tokens)

    def judged(self, judgement: Judgement, known_scene: str) -> None:
        """Count one judgement; `known_scene` is one of the policy's."""
        verdict = judgement.verdict
        self.judgements.labels(verdict.label.english, verdict.suggestion.value, known_scene, verdict.decided_by.value).inc()
        self.confidence.observe(verdict.confidence)
        self.uncertain.inc(verdict.uncertain)

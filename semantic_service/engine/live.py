"""The model and the policy in use; a change on disk is taken up, a broken one leaves what was in use."""

import logging
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from semantic_service.contract.bundle import Bundle, BundleError
from semantic_service.contract.registry import Registry
from semantic_service.contract.verdict import Policy, PolicyError
from semantic_service.engine.backends import Backend
from semantic_service.engine.calibration import load_classifier
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.engine.moderator import Moderator
from semantic_service.engine.signature import PublicKey, read_bundle

log = logging.getLogger(__name__)


class Reload(StrEnum):
    """What came of looking at the registry."""

    UNCHANGED = "unchanged"
    LOADED = "loaded"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the model comes from, and what runs it: the registry's champion; without a registry, or before its first champion, `model`."""

    model: Path
    registry: Registry | None = None
    signed_by: PublicKey | None = None  # None: bundles need no signature
    backend: Backend = Backend.CPU

    def version(self) -> str | None:
        """Name the champion; None: `model` it is.

        Raises:
            BundleError: the registry can't say.

        """
        return None if self.registry is None else self.registry.pointer()

    def read(self, version: str | None) -> Bundle:
        """Read the bundle to load.

        Raises:
            BundleError: it must not be served.

        """
        folder = self.model if self.registry is None or version is None else self.registry.folder(version)
        return read_bundle(folder, self.signed_by)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One model in memory; `version` is what the registry's pointer said."""

    version: str | None
    bundle: Bundle
    classifier: OnnxClassifier


class Live:
    """What requests take their moderator from, once each; it is swapped whole."""

    def __init__(self, source: Source, policy_file: Path | None, uncertain_max: float) -> None:
        """Load the model, and the policy file as it stands (none: the default policy).

        Raises:
            BundleError: the bundle must not be served.
            PolicyError: the policy file can't be read or used.

        """
        self.model_error: str | None = None
        self.policy_error: str | None = None
        self._source = source
        self._policy_file = policy_file
        self._uncertain_max = uncertain_max
        self._changing = threading.Lock()
        self._policy_stamp = self._stamp()
        self._policy = read_policy(policy_file)
        self._seen = source.version()
        self._loaded = self._load(self._seen)
        self.moderator = self._moderator()

    @property
    def bundle(self) -> Bundle:
        """The bundle in use."""
        return self._loaded.bundle

    def self_check(self) -> None:
        """Score the bundle's own texts again.

        Raises:
            SelfCheckError: the model does not answer as it did where it was made.

        """
        loaded = self._loaded
        loaded.classifier.self_check(loaded.bundle)

    def refresh_model(self, *, again: bool = False) -> Reload:
        """Take up the registry's champion if it has changed; one that was refused only if told `again`. A failure keeps the old model."""
        with self._changing:
            try:
                version = self._source.version()
                if version == self._loaded.version:
                    self.model_error, self._seen = None, version
                    return Reload.UNCHANGED
                if version == self._seen and not again:
                    return Reload.UNCHANGED
                self._seen = version
                self._loaded = self._load(version)
            except BundleError as error:
                return self._refuse(str(error))
            self.moderator = self._moderator()
            self.model_error = None
            log.info("model taken up", extra={"model_version": self.moderator.model_version})
            return Reload.LOADED

    def _refuse(self, reason: str) -> Reload:
        if reason == self.model_error:
            return Reload.UNCHANGED
        self.model_error = reason
        log.error("model refused, the old one stays: %s", reason)
        return Reload.REFUSED

    def refresh_policy(self) -> None:
        """Take up the policy file if it has changed; keep the old policy, and say why, if it can't be used."""
        with self._changing:
            stamp = self._stamp()
            if stamp == self._policy_stamp:
                return
            self._policy_stamp = stamp
            try:
                self._policy = read_policy(self._policy_file)
            except PolicyError as error:
                self.policy_error = str(error)
                log.error("policy refused, the old one stays: %s", error)  # noqa: TRY400 - the message says it all
                return
            self.moderator = self._moderator()
            self.policy_error = None
            log.info("policy taken up")

    def _load(self, version: str | None) -> _Loaded:
        bundle = self._source.read(version)
        return _Loaded(version, bundle, load_classifier(bundle, self._source.backend))  # its self-check warms it up

    def _moderator(self) -> Moderator:
        loaded = self._loaded
        return Moderator(loaded.classifier, loaded.bundle.manifest.model_version, self._policy, self._uncertain_max)

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._policy_file is None:
            return None
        try:
            stat = self._policy_file.stat()
        except OSError:  # reading it will say why
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def read_policy(path: Path | None) -> Policy:
    """Read a policy file, or give the default policy where there is none.

    Raises:
        PolicyError: the file can't be read or used; the message names it.

    """
    if path is None:
        return Policy()
    try:
        return Policy.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"{path}: can't be read ({error.strerror})") from error
    except (PolicyError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: {error}") from error

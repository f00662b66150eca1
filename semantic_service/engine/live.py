"""The model and the policy in use; a changed policy file is taken up, a broken one leaves the old policy."""

import logging
from pathlib import Path
from typing import Self

from semantic_service.contract.bundle import Bundle
from semantic_service.contract.verdict import Policy, PolicyError
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.engine.moderator import Moderator

log = logging.getLogger(__name__)


class Live:
    """What requests take their moderator from, once each; it is swapped whole."""

    def __init__(self, bundle: Bundle, classifier: OnnxClassifier, policy_file: Path | None, uncertain_max: float) -> None:
        """Start with a loaded model and the policy file as it stands (none: the default policy).

        Raises:
            PolicyError: the file can't be read or used.

        """
        self.bundle = bundle
        self.policy_error: str | None = None
        self._classifier = classifier
        self._policy_file = policy_file
        self._uncertain_max = uncertain_max
        self._policy_stamp = self._stamp()
        self.moderator = self._moderator(read_policy(policy_file))

    @classmethod
    def open(cls, model: Path, policy_file: Path | None, uncertain_max: float) -> Self:
        """Verify and load a bundle.

        Raises:
            BundleError: the bundle must not be served.
            PolicyError: the policy file can't be read or used.

        """
        bundle = Bundle.read(model)
        return cls(bundle, OnnxClassifier.load(bundle), policy_file, uncertain_max)

    def self_check(self) -> None:
        """Score the bundle's own texts again.

        Raises:
            SelfCheckError: the model does not answer as it did where it was made.

        """
        self._classifier.self_check(self.bundle)

    def refresh_policy(self) -> None:
        """Take up the policy file if it has changed; keep the old policy, and say why, if it can't be used."""
        stamp = self._stamp()
        if stamp == self._policy_stamp:
            return
        self._policy_stamp = stamp
        try:
            self.moderator = self._moderator(read_policy(self._policy_file))
        except PolicyError as error:
            self.policy_error = str(error)
            log.error("policy refused, the old one stays: %s", error)  # noqa: TRY400 - the message says it all
        else:
            self.policy_error = None
            log.info("policy taken up")

    def _moderator(self, policy: Policy) -> Moderator:
        return Moderator(self._classifier, self.bundle.manifest.model_version, policy, self._uncertain_max)

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

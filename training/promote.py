"""Make a bundle the champion if the gate lets it pass, or go back to the one before."""

import getpass
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from semantic_service.contract.bundle import Bundle
from semantic_service.contract.registry import Change, Registry, RegistryError
from semantic_service.engine.classifier import OnnxClassifier
from training.config import GateConfig
from training.errors import GateError
from training.gate import gate_table, judge
from training.runs import PROJECT
from training.tables import cell, markdown_table

EMBEDDED_MODEL = PROJECT / "semantic_service" / "default_model"  # what serves before the first promotion


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants a change, and why; `force` passes a gate that does not hold."""

    reason: str
    force: bool = False


def promote(registry: Registry, challenger: Bundle, gate: GateConfig, order: Order) -> str:
    """Compare a bundle with the champion, and put it in its place; gives the champion's version before.

    A kill leaves the old champion or the new one; said again, the command carries on.

    Raises:
        GateError: the challenger is worse than the gate tolerates.
        DataError: a file of the gate can't be used.
        BundleError: a bundle must not be served, or another command is changing the registry.

    """
    with registry.locked():
        champion = Bundle.read(EMBEDDED_MODEL) if registry.pointer() is None else registry.champion()
        previous = champion.manifest.model_version
        if challenger.manifest == champion.manifest:
            return previous
        checks = judge(OnnxClassifier.load(champion), OnnxClassifier.load(challenger), gate)
        print(gate_table(checks), flush=True)
        failed = [check for check in checks if not check.holds]
        if failed and not order.force:
            worst = max(failed, key=lambda check: check.risk)
            raise GateError(
                f"not promoted: {worst.name} falls from {worst.champion:.4f} to {worst.challenger:.4f}, more than the {worst.tolerance:g} "
                "tolerated; train a better model, or promote with --force --reason TEXT"
            )
        for bundle in (champion, challenger):  # the embedded champion too, to go back to
            registry.add(bundle)
        reports = {"gate": [check.as_dict() for check in checks], "forced": bool(failed)}
        registry.change(_change("promote", challenger.manifest.model_version, previous, order.reason, reports))
    return previous


def roll_back(registry: Registry, to: str | None, order: Order) -> Change:
    """Make an earlier champion, by default the one that the current one replaced, the champion again.

    Raises:
        BundleError: there is none, it must not be served, or another command is changing the registry.

    """
    with registry.locked():
        current = registry.pointer()
        version = to or (registry.before(current) if current else None)
        if version is None:
            raise RegistryError(f"{registry.path}: nothing came before {current or 'the first champion'}, name a version with --to")
        change = _change("rollback", version, current, order.reason, {})
        registry.change(change)
    return change


def _change(action: Literal["promote", "rollback"], version: str, previous: str | None, reason: str, reports: dict[str, object]) -> Change:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Change(action, version, previous, getpass.getuser(), now, reason, reports)


def models_table(registry: Registry) -> str:
    """Write one Markdown row for each bundle of a registry, the champion marked.

    Raises:
        BundleError: a bundle, or the pointer, is broken.

    """
    champion = registry.pointer()
    rows = []
    for version in registry.versions():
        manifest = Bundle.read(registry.folder(version)).manifest
        base = str(manifest.train_config.get("model", {}).get("base", "–"))
        scores = "  ".join(
            f"{name} {values['macro_f1']:.4f}"
            for name, values in manifest.metrics.items()
            if isinstance(values, dict) and "macro_f1" in values
        )
        rows.append(
            [
                cell(version),
                manifest.created,
                cell(base),
                manifest.precision,
                cell(scores or "–"),
                "champion" if version == champion else "",
            ]
        )
    return markdown_table(["version", "created", "base", "precision", "macro-F1", ""], rows)

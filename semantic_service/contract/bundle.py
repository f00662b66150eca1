"""The model bundle: a folder that holds a model with everything needed to serve it, or is refused."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from semantic_service.contract.labels import LABEL_NAMES
from semantic_service.contract.tasks import Task
from semantic_service.contract.text import NORMALISER_VERSION

FORMAT_VERSION = 1
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
TOGETHER = 4  # windows side by side: two gain half as much, eight little more, and each waits for all that are with it
ARRANGED_FILE = "cpu.onnx"  # the same graph as processors run it, for one window a run or several; its weights are in model.onnx
MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.sig"  # there if the bundle is signed: of the manifest, which holds the digest of every other file
BUNDLE_FILES = (MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE, CARD_FILE)
MIN_TOKENS = 8  # of a window
SELF_CHECK_TOLERANCE = 1e-3  # absolute, on probabilities


class BundleError(Exception):
    """A bundle that must not be served; the message names the file and the reason.

    BundleError
     |- IncompleteBundleError   a file is missing, or the manifest is not one
     |- IncompatibleBundleError another format, label order or normaliser version
     |- CorruptBundleError      a file's digest is not the manifest's
     `- SelfCheckError          the loaded model does not give the recorded probabilities
    """


class IncompleteBundleError(BundleError):
    """A file is missing, or the manifest can't be read."""


class IncompatibleBundleError(BundleError):
    """Made for another format, label order or normaliser."""


class CorruptBundleError(BundleError):
    """A file is not the one that was written."""


class SelfCheckError(BundleError):
    """The loaded model answers differently from the day it was written."""


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """A text and the probabilities that the model gave it when the bundle was written: [3], then those of each further task."""

    text: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself. `metrics` and `train_config` are for people and the gate; serving ignores them."""

    model_version: str
    created: str  # ISO 8601, UTC
    max_tokens: int  # of one window, special tokens included
    temperature: float
    precision: str  # fp32 | fp16 | int8
    metrics: Mapping[str, Any]
    data_digest: str
    git_revision: str
    train_config: Mapping[str, Any]
    self_check: tuple[SelfCheck, ...]
    sha256: Mapping[str, str]
    format_version: int = FORMAT_VERSION
    labels: tuple[str, ...] = LABEL_NAMES
    normaliser_version: int = NORMALISER_VERSION
    tasks: tuple[Task, ...] = ()  # in the order of the logits, which follow those of `labels`

    @property
    def outputs(self) -> int:
        """How many logits the model gives: one for each label, of all tasks."""
        return len(self.labels) + sum(len(task.labels) for task in self.tasks)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a manifest of this format.

        Raises:
            IncompatibleBundleError: another format, label order or normaliser version.
            IncompleteBundleError: not JSON, or a key is missing, unknown or of the wrong type.

        """
        try:
            values = json.loads(text)
            _refuse_incompatible(values)
            checks = tuple(SelfCheck(check["text"], tuple(map(float, check["probabilities"]))) for check in values["self_check"])
            values = {"tasks": ()} | values  # left out where there are none
            tasks = tuple(Task(**task | {"labels": tuple(task["labels"])}) for task in values["tasks"])
            known = {name: values[name] for name in (field.name for field in fields(cls))}
            _refuse_unknown(values, known)
            manifest = cls(**known | {"self_check": checks, "labels": tuple(values["labels"]), "tasks": tasks})
            manifest.check()
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise IncompleteBundleError(f"{MANIFEST_FILE}: not a complete manifest ({type(error).__name__}: {error})") from error
        return manifest

    def check(self) -> None:
        """Refuse values that can't be served.

        Raises:
            ValueError: with the value and what is accepted.

        """
        if not isinstance(self.max_tokens, int):
            raise TypeError(f"max_tokens must be a whole number, got {self.max_tokens!r}")
        if not isinstance(self.sha256, dict) or not all(isinstance(digest, str) for digest in self.sha256.values()):
            raise TypeError("sha256 must be a table of names and digests")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if self.max_tokens < MIN_TOKENS:
            raise ValueError(f"max_tokens must be at least {MIN_TOKENS}, got {self.max_tokens}")
        if not self.self_check:
            raise ValueError("self_check must hold at least one text")
        if missing := [name for name in BUNDLE_FILES if name not in self.sha256]:
            raise ValueError(f"sha256 lacks {missing[0]}")
        self._check_outputs()

    def _check_outputs(self) -> None:
        if len({task.name for task in self.tasks}) < len(self.tasks):
            raise ValueError("tasks: two have one name")
        if wrong := [len(check.probabilities) for check in self.self_check if len(check.probabilities) != self.outputs]:
            raise ValueError(f"self_check must hold {self.outputs} probabilities of each text, got {wrong[0]}")

    def to_json(self) -> str:
        """Write the manifest, readable and in a stable order."""
        values = asdict(self)
        if not self.tasks:
            del values["tasks"]  # so that services from before there were tasks read it
        return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"unknown key {unknown[0]!r}")


def _refuse_incompatible(values: Mapping[str, Any]) -> None:
    wanted = {"format_version": FORMAT_VERSION, "labels": list(LABEL_NAMES), "normaliser_version": NORMALISER_VERSION}
    for key, value in wanted.items():
        if values[key] != value:
            raise IncompatibleBundleError(f"{MANIFEST_FILE}: {key} is {values[key]!r}, this version of the service needs {value!r}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle on disk."""

    path: Path
    manifest: Manifest

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a bundle's manifest and verify every file's digest.

        Raises:
            BundleError: the folder is not a complete, compatible, untouched bundle.

        """
        manifest_path = path / MANIFEST_FILE
        if not manifest_path.is_file():
            raise IncompleteBundleError(f"{manifest_path}: no such file; is {path} a bundle?")
        try:
            manifest = Manifest.from_json(manifest_path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise IncompleteBundleError(f"{manifest_path}: not UTF-8") from error
        except BundleError as error:
            raise type(error)(f"{path}: {error}") from error
        for name, digest in manifest.sha256.items():
            _verify(path / name, digest)
        return cls(path, manifest)

    def file(self, name: str) -> Path:
        """Give the path of one of the bundle's files."""
        return self.path / name

    @property
    def names(self) -> list[str]:
        """List the files that the manifest vouches for."""
        return [name for name in (*BUNDLE_FILES, ARRANGED_FILE) if name in self.manifest.sha256]


def _verify(path: Path, digest: str) -> None:
    if not path.is_file():
        raise IncompleteBundleError(f"{path}: the manifest lists this file, but it is missing")
    actual = file_sha256(path)
    if actual != digest:
        raise CorruptBundleError(f"{path}: sha256 is {actual[:12]}…, the manifest says {digest[:12]}…; copy the bundle again")


def file_sha256(path: Path) -> str:
    """Digest a file without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(staging: Path, manifest: Manifest, target: Path, sign: Callable[[Path], None] | None = None) -> Bundle:
    """Turn a folder with the files into a bundle at `target`: manifest, then signature if `sign` adds one, then one rename.

    `manifest.sha256` is filled here. A kill leaves `target` absent or complete.

    Raises:
        FileExistsError: `target` is there; bundles never change once written.
        IncompleteBundleError: `staging` lacks a file.

    """
    if target.exists():
        raise FileExistsError(f"{target} exists, and bundles never change: choose another version")
    names = [*BUNDLE_FILES, *([ARRANGED_FILE] if (staging / ARRANGED_FILE).is_file() else [])]
    for name in names:
        if not (staging / name).is_file():
            raise IncompleteBundleError(f"{staging / name}: missing, so the bundle can't be sealed")
        sync(staging / name)
    digests = {name: file_sha256(staging / name) for name in names}
    sealed = replace(manifest, sha256=digests).to_json()
    Manifest.from_json(sealed)  # what would be refused is never published
    write_atomically(staging / MANIFEST_FILE, sealed)
    if sign is not None:
        sign(staging)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(target)
    sync(target.parent)
    return Bundle.read(target)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content so that a reader, or a kill, sees the old or the new, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    aside.write_text(text, encoding="utf-8")
    sync(aside)
    aside.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have what was written to a file, or a folder's names, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

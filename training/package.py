"""Make a bundle of a measured model: card, self-check, manifest."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession

from semantic_service.contract.bundle import (
    ARRANGED_FILE,
    CARD_FILE,
    CONFIG_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Bundle,
    Manifest,
    SelfCheck,
    seal,
)
from semantic_service.contract.text import normalise
from semantic_service.engine.backends import open_arranged
from semantic_service.engine.classifier import OnnxClassifier
from training.adjustment import described
from training.arrange import arrange
from training.config import TrainConfig
from training.evaluate import Metrics
from training.precision import Candidate
from training.runs import git_revision
from training.sign import signer
from training.tables import task_table

# Scored again each time the bundle is loaded: short and long, plain and disguised, in and out of the model's language.
SELF_CHECK_TEXTS = (
    "今天下班早，去菜市场买了点排骨，晚上炖汤喝。",
    "加微信领彩金，日赚三千",
    "你这种废物就该滚出去，看见你就恶心",
    "有意私聊，懂的来",
    "楼上说得有道理，不过我觉得剧情后半段还是太拖了，配角的戏份加得莫名其妙。",
    "Is this thing on? 测试 123 😀",
)


@dataclass(frozen=True, slots=True)
class Product:
    """A chosen model with what was measured, by data set, and what it was made from."""

    chosen: Candidate
    metrics: Mapping[str, Metrics]
    data_digest: str
    training_rows: Mapping[str, int]  # by file


def package(config: TrainConfig, version: str, target: Path, product: Product) -> Bundle:
    """Seal the bundle `target`, signed if the config names a key."""
    chosen = product.chosen
    staging = target.with_name(f"{target.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    for name in (MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE):
        shutil.copyfile(chosen.folder / name, staging / name)
    is_arranged = arrange(staging) and _is_same(config, chosen, staging)
    print(f"processors: {'several windows side by side' if is_arranged else 'one window at a time'}", flush=True)
    (staging / CARD_FILE).write_text(model_card(config, version, product), encoding="utf-8")
    manifest = Manifest(
        model_version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        max_tokens=config.model.max_tokens,
        temperature=chosen.temperature,
        precision=chosen.precision,
        metrics={name: metrics.as_dict() for name, metrics in product.metrics.items()},
        data_digest=product.data_digest,
        git_revision=git_revision(),
        train_config=config.model_dump(mode="json"),
        self_check=_self_check(config, chosen, chosen.folder / MODEL_FILE),
        sha256={},
        tasks=chosen.tasks,
    )
    return seal(staging, manifest, target, signer(config))


def _is_same(config: TrainConfig, chosen: Candidate, staging: Path) -> bool:
    """Whether the arranged graph answers as model.onnx does, bit for bit; if not, it is removed."""
    arranged = staging / ARRANGED_FILE
    is_same = _self_check(config, chosen, open_arranged(arranged)) == _self_check(config, chosen, staging / MODEL_FILE)
    if not is_same:
        arranged.unlink()
    return is_same


def _self_check(config: TrainConfig, chosen: Candidate, model: Path | InferenceSession) -> tuple[SelfCheck, ...]:
    classifier = OnnxClassifier(model, chosen.folder / TOKENIZER_FILE, config.model.max_tokens, chosen.temperature, chosen.tasks)
    scores = classifier.score_all([normalise(text).text for text in SELF_CHECK_TEXTS])
    each = [np.concatenate((score.probabilities, *score.tasks)) for score in scores]
    return tuple(SelfCheck(text, tuple(map(float, score))) for text, score in zip(SELF_CHECK_TEXTS, each, strict=True))


def model_card(config: TrainConfig, version: str, product: Product) -> str:
    """Write the bundle's README.md, with the metadata block of Hugging Face model cards."""
    lines = [
        "---",
        "language: zh",
        "pipeline_tag: text-classification",
        "library_name: onnx",
        "---",
        f"# {version}",
        "",
        "Judges Chinese forum posts: compliant 合规 (0), suspicious 疑似 (1), violation 违规 (2).",
        "",
        f"- Base: `{config.model.base}`, {_method(config)}, ONNX {product.chosen.precision}",
        *([f"- Beside it: a linear model over tokens and pairs in {config.ngrams.buckets:,} buckets"] if config.ngrams.buckets else []),
        f"- Window: {config.model.max_tokens} tokens; temperature {product.chosen.temperature:.3f}",
        *([f"- Added to the sources' logits: {described(added, config.sources)}"] if (added := product.chosen.adjustment) else []),
        *(f"- Task {task.name}: {', '.join(task.labels)}; temperature {task.temperature:.3f}" for task in product.chosen.tasks),
        "- Trained on: " + ", ".join(f"`{file}` ({rows:,} rows)" for file, rows in product.training_rows.items()),
        "",
        config.export.card_notes.strip(),
        "",
        "## Measured on held-out rows, by the serving engine on this bundle",
        "",
        "| set | rows | accuracy | macro-F1 | flagged: accuracy | F1 | false alarms | ECE |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(_card_row(name, metrics) for name, metrics in product.metrics.items()),
        "",
        "Flagged means that the label is not compliant. ECE is of three-way confidence, after calibration.",
        *(["", task_table(product.metrics)] if product.chosen.tasks else []),
    ]
    return "\n".join(lines) + "\n"


def _method(config: TrainConfig) -> str:
    if config.model.method in {"full", "frozen"}:
        return "fine-tuned in full" if config.model.method == "full" else f"its upper {config.model.trained_layers} layers fine-tuned"
    return f"{'DoRA' if config.lora.use_dora else 'LoRA'} rank {config.lora.rank}{' on 4 bits' * (config.model.method == 'qlora')}, merged"


def _card_row(name: str, metrics: Metrics) -> str:
    flagged = metrics.flagged
    alarms = "" if flagged.false_positive_rate is None else f"{flagged.false_positive_rate:.1%}"
    return (
        f"| {name} | {metrics.rows:,} | {metrics.accuracy:.3f} | {metrics.macro_f1:.3f} | {flagged.accuracy:.3f} | {flagged.f1:.3f} "
        f"| {alarms} | {metrics.ece:.3f} |"
    )

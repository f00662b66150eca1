"""A tiny real bundle: one token a character, and logits that are the mean of what each character adds."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from semantic_service.contract import bundle as bundles
from semantic_service.contract.bundle import Bundle, Manifest, SelfCheck
from semantic_service.contract.labels import Label
from semantic_service.contract.tasks import Task
from semantic_service.contract.text import normalise
from semantic_service.engine.classifier import OnnxClassifier

VIOLATING = "赌彩"
DOUBTFUL = "疑"
NEUTRAL = "中"  # alone it says nothing: 1/3, 1/3, 1/3
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
VOCABULARY = {token: number for number, token in enumerate((*SPECIAL, *VIOLATING, *DOUBTFUL, *NEUTRAL))}
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
MAX_TOKENS = 16  # two of them special
STRENGTH = 64.0  # one 赌 in a full window outweighs 13 ordinary characters
CATEGORY = Task("category", ("none", "gambling", "lottery"), temperature=2.0)  # 赌 is gambling, 彩 lottery
CHECKED = ("今天天气真好", "来赌一把", "有点可疑的消息", "Hello, 世界!", NEUTRAL)


def build_bundle(target: Path, **changes: object) -> Bundle:
    """Seal a bundle at `target`; `changes` are manifest fields other than the defaults."""
    staging = stage(target.with_name(f"{target.name}.staging"))
    return bundles.seal(staging, manifest(staging, **changes), target)


def build_tasks_bundle(target: Path, **changes: object) -> Bundle:
    """Seal a bundle whose model answers `CATEGORY` too."""
    staging = stage(target.with_name(f"{target.name}.staging"))
    write_model(staging / bundles.MODEL_FILE, np.hstack([weights(), category_weights()]))
    return bundles.seal(staging, manifest(staging, tasks=(CATEGORY,), **changes), target)


def stage(folder: Path) -> Path:
    """Write the four files of a bundle, without a manifest."""
    folder.mkdir(parents=True)
    write_model(folder / bundles.MODEL_FILE)
    write_tokenizer(folder / bundles.TOKENIZER_FILE)
    (folder / bundles.CONFIG_FILE).write_text('{"model_type": "tiny"}\n', encoding="utf-8")
    (folder / bundles.CARD_FILE).write_text("# A model for tests\n", encoding="utf-8")
    return folder


def manifest(staging: Path, **changes: object) -> Manifest:
    """Describe a staged bundle, its self-check made by the real classifier."""
    plain = Manifest(
        model_version="tiny-1",
        created="2026-01-02T03:04:05+00:00",
        max_tokens=MAX_TOKENS,
        temperature=1.0,
        precision="fp32",
        metrics={"accuracy": 1.0},
        data_digest="0" * 64,
        git_revision="0" * 40,
        train_config={"model": {"base": "tiny"}},
        self_check=(),
        sha256={},
    )
    described = replace(plain, **changes)
    return described if "self_check" in changes else replace(described, self_check=self_check(staging, described))


def self_check(staging: Path, described: Manifest) -> tuple[SelfCheck, ...]:
    """Score the checked texts with the staged model."""
    model, tokenizer = staging / bundles.MODEL_FILE, staging / bundles.TOKENIZER_FILE
    classifier = OnnxClassifier(model, tokenizer, described.max_tokens, described.temperature, described.tasks)
    scores = [classifier.score(normalise(text).text) for text in CHECKED]
    each = [np.concatenate((score.probabilities, *score.tasks)) for score in scores]
    return tuple(SelfCheck(text, tuple(map(float, score))) for text, score in zip(CHECKED, each, strict=True))


def copy_of(bundle: Bundle, folder: Path) -> Path:
    """Copy a bundle's folder, to be spoilt."""
    return Path(shutil.copytree(bundle.path, folder))


def weights() -> np.ndarray:
    """What each token adds to the logits: [vocabulary, 3]."""
    table = np.zeros((len(VOCABULARY), len(Label)), dtype=np.float32)
    table[VOCABULARY["[UNK]"], Label.COMPLIANT] = 4.0
    for character in VIOLATING:
        table[VOCABULARY[character], Label.VIOLATION] = STRENGTH
    for character in DOUBTFUL:
        table[VOCABULARY[character], Label.SUSPICIOUS] = STRENGTH
    return table


def category_weights() -> np.ndarray:
    """What each token adds to the logits of the category: [vocabulary, 3]."""
    table = np.zeros((len(VOCABULARY), len(CATEGORY.labels)), dtype=np.float32)
    table[VOCABULARY["[UNK]"], 0] = 4.0
    for number, character in enumerate(VIOLATING, start=1):
        table[VOCABULARY[character], number] = STRENGTH
    return table


def write_model(path: Path, table: np.ndarray | None = None, inputs: tuple[str, ...] = INPUTS) -> None:
    """Write the graph: ids, mask and, if wanted, types [n, tokens] -> logits [n, labels], a masked mean."""
    table = weights() if table is None else table
    ids, mask, *types = inputs
    entries = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in inputs]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", table.shape[1]])
    constants = {"table": table, "types": np.zeros((2, table.shape[1]), np.float32), "last": np.array([2]), "tokens": np.array([1])}
    nodes = [
        helper.make_node("Gather", ["table", ids], ["by_token"]),
        *(helper.make_node("Gather", ["types", name], ["by_type"]) for name in types),
        helper.make_node("Sum", ["by_token", *("by_type" for _ in types)], ["added"]),
        helper.make_node("Cast", [mask], ["weight"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weight", "last"], ["column"]),
        helper.make_node("Mul", ["added", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "tokens"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["logits"]),
    ]
    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", entries, [output], initialisers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def write_tokenizer(path: Path) -> None:
    """Write a tokenizer with one token a character, between [CLS] and [SEP]."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    ends = [(token, VOCABULARY[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(path))

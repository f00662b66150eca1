"""Learn apart what each source means by its labels, and judge by all of them together.

Sets that several people labelled follow habits of their own, and contradict each other. So the model learns pairs of a source and a label,
and a label's probability is the sum over the sources: a mixture of experts (Jacobs et al. 1991) whose gate and experts are one softmax.
The first block of three logits is of rows without a named source, a block for each named one follows.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from scipy.special import softmax

from semantic_service.contract.bundle import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from semantic_service.contract.labels import LABEL_NAMES, Label
from semantic_service.contract.tasks import Task
from semantic_service.engine.classifier import OnnxClassifier
from training.dataset import Example
from training.parity import PARITY_TEXTS, check_logits

_TINY = np.float32(1e-30)  # a probability, so that its logarithm is finite


def severity_target(example: Example, sources: Sequence[str]) -> int:
    """Give the index of a labelled example's logit."""
    assert example.label is not None
    block = 1 + sources.index(example.source) if example.source else 0
    return block * len(Label) + int(example.label)


def fold(logits: NDArray[np.floating], sources: int) -> NDArray[np.floating]:
    """Sum each label's probability over all sources, `sources` of them named: logits [..., 3 * (1 + sources) + k] become [..., 3 + k].

    The first three are logarithms of probabilities then.
    """
    if not sources:
        return logits
    width = len(Label) * (1 + sources)
    shares = softmax(logits[..., :width], axis=-1).reshape(*logits.shape[:-1], 1 + sources, len(Label))
    return np.concatenate([np.log(shares.sum(axis=-2) + _TINY), logits[..., width:]], axis=-1)


def sources_in(tasks: Sequence[Task]) -> int:
    """Count the sources among the blocks of outputs behind the severity's: their labels are the severity's."""
    return sum(task.labels == LABEL_NAMES for task in tasks)


def fold_graph(folder: Path, tasks: Sequence[Task], max_tokens: int, texts: Sequence[str], adjustment: Sequence[float] = ()) -> None:
    """Fold the logits of the graph in a folder, once an adjustment [3 * (1 + sources)] is added to them, if one is given.

    `tasks` are its blocks of outputs behind the first one.

    Raises:
        ParityError: the new graph's logits are not those of the old one, folded.

    """
    sources, path = sources_in(tasks), folder / MODEL_FILE
    if not sources:
        return
    opened = partial(OnnxClassifier, path, folder / TOKENIZER_FILE, max_tokens)
    blocks = opened(tasks=tasks)
    windows = [blocks.windows(text)[0] for text in texts[:PARITY_TEXTS]]
    added = np.array(adjustment or (0.0,) * (len(Label) * (1 + sources)), dtype=np.float32)
    further = sum(len(task.labels) for task in tasks[sources:])
    wanted = [fold(logits + np.pad(added, (0, further)), sources).astype(np.float32) for logits in blocks.logits(windows)]
    _append_fold(path, added)
    folded = opened(tasks=tasks[sources:])
    check_logits(zip(wanted, folded.logits(windows), strict=True))
    _rename_outputs(folder / CONFIG_FILE, sources)


def _append_fold(path: Path, adjustment: NDArray[np.float32]) -> None:
    model = onnx.load(path)
    graph, width = model.graph, len(adjustment)
    for node in graph.node:
        node.output[:] = ["sources_all" if name == "logits" else name for name in node.output]
    constants = {
        "start": np.array([0]),
        "width": np.array([width]),
        "end": np.array([np.iinfo(np.int64).max]),
        "axis": np.array([1]),
        "adjustment": adjustment,
        "tiny": np.array(_TINY),
        "shape": np.array([0, width // len(Label), len(Label)]),  # 0: as many rows as there are
    }
    graph.initializer.extend(numpy_helper.from_array(value, f"sources_{name}") for name, value in constants.items())
    for kind, inputs, output, attributes in _NODES:
        names = [name if name == "logits" else f"sources_{name}" for name in (*inputs.split(), output)]
        graph.node.append(helper.make_node(kind, names[:-1], names[-1:], name=f"sources_{output}", **attributes))
    columns = graph.output[0].type.tensor_type.shape.dim[-1]
    columns.dim_value -= width - len(Label)
    onnx.save(model, path)


_NODES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("Slice", "all start width axis", "learnt", {}),
    ("Add", "learnt adjustment", "flat", {}),
    ("Slice", "all width end axis", "further", {}),
    ("Softmax", "flat", "shares", {"axis": 1}),
    ("Reshape", "shares shape", "blocks", {}),
    ("ReduceSum", "blocks axis", "sums", {"keepdims": 0}),
    ("Add", "sums tiny", "positive", {}),
    ("Log", "positive", "severity", {}),
    ("Concat", "severity further", "logits", {"axis": 1}),
)


def _rename_outputs(path: Path, sources: int) -> None:
    """Leave only the names of the outputs that the folded graph has."""
    config = json.loads(path.read_text(encoding="utf-8"))
    names = list(config["id2label"].values())
    kept = names[: len(Label)] + names[len(Label) * (1 + sources) :]
    config |= {"id2label": dict(enumerate(kept)), "label2id": {name: index for index, name in enumerate(kept)}}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

"""Compute an encoder's last layer for the first token alone: its classifier reads no other row."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, helper, numpy_helper

from semantic_service.engine.classifier import OnnxClassifier
from training.parity import PARITY_TEXTS

TOLERANCE = 1e-4  # absolute, on logits
_MOST_INPUTS = 4  # of an encoder's Attention: tokens, weights, bias, mask
_CROSS = "MultiHeadAttention"  # ONNX Runtime's, whose queries may be fewer than its keys
_PARTS = ("query", "key", "value")


def keep_first_token(path: Path, opened: Callable[[Path], OnnxClassifier], texts: Sequence[str]) -> float | None:
    """Rewrite a fused fp32 graph so that what follows its last attention is computed for row 0 alone.

    Keys and values still see every token. The new graph takes the old one's place if its logits agree to 1e-4 on the first windows of
    the texts; they do not where the head reads other rows too, as one that pools them by their mean does.

    Returns:
        The largest difference of a logit, or None if the graph stays as it was.

    """
    model = onnx.load(path)
    if not _narrow(model.graph):
        return None
    aside = path.with_suffix(".narrow")
    onnx.save(model, aside)
    full, narrow = opened(path), opened(aside)
    windows = [full.windows(text)[0] for text in texts[:PARITY_TEXTS]]
    difference = max(
        float(np.abs(before - after).max()) for before, after in zip(full.logits(windows), narrow.logits(windows), strict=True)
    )
    if not difference <= TOLERANCE:
        aside.unlink()
        return None
    aside.replace(path)
    return difference


def last_layer_rows(path: Path) -> str:
    """Say in words which rows of its last layer a graph computes."""
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    return "the first token's" if _CROSS in kinds else "every token's"


def _narrow(graph: GraphProto) -> bool:
    """Replace the last `Attention` (ONNX Runtime's: queries, keys and values come of one matrix) by one whose query is row 0."""
    numbers = [number for number, node in enumerate(graph.node) if node.op_type == "Attention"]
    if not numbers or len(graph.node[numbers[-1]].input) > _MOST_INPUTS:
        return False
    attention, behind = graph.node[numbers[-1]], graph.node[numbers[-1] + 1 :]
    tokens, first = attention.input[0], f"{attention.name}_first"
    for node in behind:  # the residual connection
        node.input[:] = [first if name == tokens else name for name in node.input]
    nodes = [*graph.node[: numbers[-1]], *_attend_from_first(graph, attention, first), *behind]
    del graph.node[:]
    graph.node.extend(nodes)
    return True


def _attend_from_first(graph: GraphProto, attention: NodeProto, first: str) -> list[NodeProto]:
    tokens, weights, bias, *mask = attention.input
    packed = next(tensor for tensor in graph.initializer if tensor.name == weights)
    constants = {f"{first}_{part}": matrix for part, matrix in zip(_PARTS, np.split(numpy_helper.to_array(packed), 3, axis=1), strict=True)}
    constants |= {f"{first}_{number}": np.array([number]) for number in (0, 1)}
    graph.initializer.remove(packed)
    graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items())
    start, end = f"{first}_0", f"{first}_1"
    matrices = list(constants)[:3]
    outputs = [f"{matrix}_output" for matrix in matrices]
    attend = helper.make_node(_CROSS, [*outputs, bias, *mask], attention.output, name=f"{first}_attention", domain=attention.domain)
    attend.attribute.extend(attribute for attribute in attention.attribute if attribute.name in {"num_heads", "mask_filter_value", "scale"})
    return [
        helper.make_node("Slice", [tokens, start, end, end], [first], name=first),
        *(
            helper.make_node("MatMul", [source, matrix], [output], name=matrix)
            for source, matrix, output in zip((first, tokens, tokens), matrices, outputs, strict=True)
        ),
        attend,
    ]

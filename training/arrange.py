"""Arrange a graph for processors: for one window a run, or for several whose operations take turns, so that they share the caches."""

from collections.abc import Iterable
from copy import deepcopy
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper
from onnx.external_data_helper import set_external_data

from semantic_service.contract.bundle import ARRANGED_FILE, MODEL_FILE, TOGETHER
from semantic_service.engine.backends import SLOWER_FUSED, Backend

SMALLEST_OUTSIDE = 1024  # bytes: smaller constants stand in the arranged graph itself
SMALLEST_SHARED = 2**13  # bytes: smaller constants stand in each branch, since what a branch takes from around it costs every run
ATTENTION_OPSET, ATTENTION_IR = 23, 10  # of ONNX, since which it has an Attention of its own
MOST_INSIDE = 2**18  # bytes of such constants as model.onnx does not hold, since ONNX Runtime reckons them


def arrange(folder: Path) -> bool:
    """Write a graph beside `folder`'s model.onnx, where its weights stay: it computes what that does, for windows without padding.

    It takes one window as model.onnx does. With `several` true it takes four, the further ones as `input_ids_1` and so on, and gives
    `logits`, `logits_1` and so on; these inputs may be left out.

    Returns:
        Whether it was written: not if the fused graph brings large constants of its own, or has graphs within it.

    """
    model = onnx.load(folder / MODEL_FILE)
    _split_attention(model)
    fused = _fused(model)
    if any(attribute.type in {AttributeProto.GRAPH, AttributeProto.GRAPHS} for node in fused.graph.node for attribute in node.attribute):
        return False
    if _leave_weights(fused.graph, (folder / MODEL_FILE).read_bytes()) > MOST_INSIDE:
        return False
    _branch(fused.graph)
    onnx.save(fused, folder / ARRANGED_FILE)
    return True


def _split_attention(model: ModelProto) -> None:
    """Let each int8 attention be a product, a split and ONNX's own Attention, to the same effect in less time; no token is masked."""
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += _parts(node) if node.op_type == "QAttention" else [node]
    if len(nodes) > len(model.graph.node):
        model.ir_version = max(model.ir_version, ATTENTION_IR)
        for opset in model.opset_import:
            if not opset.domain:
                opset.version = max(opset.version, ATTENTION_OPSET)
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def _parts(attention: NodeProto) -> list[NodeProto]:
    """Take ONNX Runtime's QAttention apart: one product for queries, keys and values, as the quantiser writes it for other matrices."""
    tokens, weights, bias, tokens_scale, weights_scale, _, tokens_zero, weights_zero, *_ = attention.input
    heads = next(attribute.i for attribute in attention.attribute if attribute.name == "num_heads")
    scale, whole, floats, scaled, packed, *three = (
        f"{attention.name}_{part}" for part in ("scale", "whole", "floats", "scaled", "packed", "query", "key", "value")
    )
    return [
        helper.make_node("Mul", [tokens_scale, weights_scale], [scale]),
        helper.make_node("MatMulInteger", [tokens, weights, tokens_zero, weights_zero], [whole]),
        helper.make_node("Cast", [whole], [floats], to=TensorProto.FLOAT),
        helper.make_node("Mul", [floats, scale], [scaled]),
        helper.make_node("Add", [scaled, bias], [packed]),
        helper.make_node("Split", [packed], three, axis=2, num_outputs=3),
        helper.make_node("Attention", three, attention.output, q_num_heads=heads, kv_num_heads=heads),
    ]


def _fused(model: ModelProto) -> ModelProto:
    """Give the graph as ONNX Runtime rewrites it for any processor, in the order in which it runs."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3  # errors: it warns that a fused graph suits this machine alone, which holds for the level above
    with TemporaryDirectory() as aside:
        options.optimized_model_filepath = str(Path(aside) / MODEL_FILE)
        serialised, disabled = model.SerializeToString(), SLOWER_FUSED[Backend.CPU]
        onnxruntime.InferenceSession(serialised, options, ["CPUExecutionProvider"], disabled_optimizers=disabled)
        return onnx.load(options.optimized_model_filepath)


def _leave_weights(graph: GraphProto, file: bytes) -> int:
    """Point each large constant to its bytes in model.onnx; give the bytes of those that are not there."""
    inside = 0
    for tensor in graph.initializer:
        if len(tensor.raw_data) >= SMALLEST_OUTSIDE:
            offset = file.find(tensor.raw_data)
            if offset < 0:
                inside += len(tensor.raw_data)
                continue
            set_external_data(tensor, MODEL_FILE, offset, len(tensor.raw_data))
            tensor.ClearField("raw_data")
    return inside


def _shorten_names(graph: GraphProto) -> None:
    """Number whatever is not an input: long names are most of a graph without weights."""
    numbers = map(str, count())
    short = {value.name: value.name for value in graph.input} | {"": ""}
    for node in graph.node:
        node.name = ""
        _rename(node, {name: short.setdefault(name, next(numbers)) for name in (*node.input, *node.output)})
    for named in (*graph.initializer, *graph.output):
        named.name = short.setdefault(named.name, next(numbers))
    del graph.value_info[:]


def _branch(graph: GraphProto) -> None:
    """Make the graph a choice between itself and itself several times side by side, with one set of large constants around both.

    ONNX Runtime repacks a matrix once for both. A choice gives as many results either way: the one of one window stands for all.
    """
    results = _numbered(graph.output)
    _shorten_names(graph)
    (result,) = (value.name for value in graph.output)
    copies = [helper.make_node("Identity", [result], [_numbered_name(result, number)]) for number in range(1, TOGETHER)]
    sides = {"then_branch": _side_by_side(graph), "else_branch": [*graph.node, *copies]}
    small = [tensor for tensor in graph.initializer if _outside(tensor) < SMALLEST_SHARED]
    branches = {name: helper.make_graph(nodes, name, [], _numbered(graph.output), small) for name, nodes in sides.items()}
    choice = helper.make_node("If", ["several"], [value.name for value in results], **branches)
    entries = [*_numbered(graph.input), helper.make_tensor_value_info("several", TensorProto.BOOL, [])]
    large = [tensor for tensor in graph.initializer if _outside(tensor) >= SMALLEST_SHARED]
    defaults = list(map(_nothing, entries[len(graph.input) :]))
    graph.CopyFrom(helper.make_graph([choice], graph.name, entries, results, [*large, *defaults]))


def _nothing(value: ValueInfoProto) -> TensorProto:
    """Give an input a default, so that it may be left out: a zero, or false."""
    kind = value.type.tensor_type
    return helper.make_tensor(value.name, kind.elem_type, [1] * len(kind.shape.dim), [0])


def _side_by_side(graph: GraphProto) -> list[NodeProto]:
    """Let each operation stand once for each window in turn; the names of all but the first are numbered."""
    constants = {tensor.name for tensor in graph.initializer} | {""}
    return [
        _rename(deepcopy(node), {name: name if name in constants else _numbered_name(name, number) for name in (*node.input, *node.output)})
        for node in graph.node
        for number in range(TOGETHER)
    ]


def _outside(tensor: TensorProto) -> int:
    """Give how many of a constant's bytes are in model.onnx: all or none."""
    return next((int(entry.value) for entry in tensor.external_data if entry.key == "length"), 0)


def _rename(node: NodeProto, names: dict[str, str]) -> NodeProto:
    node.input[:] = [names[name] for name in node.input]
    node.output[:] = [names[name] for name in node.output]
    return node


def _numbered(values: Iterable[ValueInfoProto]) -> list[ValueInfoProto]:
    """Give values of the first window again for each window."""
    all_values = []
    for number in range(TOGETHER):
        for value in values:
            one = deepcopy(value)
            one.name = _numbered_name(value.name, number)
            for size in one.type.tensor_type.shape.dim:
                if size.dim_param:
                    size.dim_param = _numbered_name(size.dim_param, number)
            all_values.append(one)
    return all_values


def _numbered_name(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name

"""Measure which share of the processor's int8 peak the engine reaches: .venv/train/bin/python tests/bench/peak.py

The peak is counted twice. By arithmetic: the clock that the processor states x operations a cycle, 256 on a core with two AVX-512 VNNI
units (64 products and 64 sums each: Intel's servers, AMD's since Zen 5), 128 on others with VNNI; a core that runs faster than it states
has more. By measurement: the best of some plain products of int8 matrices on ONNX Runtime.
The engine's operations are two for each weight of each matrix that a row goes through; a row is a token, or the first token alone where
the graph computes no other. Products of activations with each other, in attention, are not counted. All is divided by processor time,
so that what else the machine does counts little, and measured in turn.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT))

from semantic_service.contract.bundle import MODEL_FILE, Bundle  # noqa: E402 - run as a script, from anywhere
from semantic_service.contract.text import normalise  # noqa: E402
from semantic_service.engine.classifier import OnnxClassifier  # noqa: E402
from semantic_service.settings import EMBEDDED_MODEL  # noqa: E402

SHAPES = ((64, 384, 1536), (128, 384, 1536), (128, 1536, 384), (256, 1024, 1024))  # rows, inner, columns
MATRIX_OPERATORS = {"MatMulInteger", "QAttention", "MatMul", "Attention", "Gemm"}
OPERATIONS_A_PRODUCT = 4e9
ZEN_5 = 26  # AMD's number of the family
GIGA = 1e9


@dataclass(frozen=True, slots=True)
class Operations:
    """Of one text: for each token, and once."""

    a_token: int
    once: int

    def of(self, tokens: Iterable[int]) -> int:
        """Count those of texts of so many tokens."""
        return sum(self.a_token * count + self.once for count in tokens)


def main() -> None:
    """Print the peak, the engine's rate and the share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL, help="a bundle's folder, in int8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=120)
    options = parser.parse_args()
    bundle = Bundle.read(options.model)
    classifier = OnnxClassifier.load(bundle)
    operations = count_operations(onnx.load(bundle.file(MODEL_FILE)).graph)
    lines = (PROJECT / "data/annotations/validation.jsonl").read_text(encoding="utf-8").splitlines()[: options.texts]
    windows = [classifier.windows(normalise(json.loads(line)["text"]).text)[0] for line in lines]
    work = operations.of(map(len, windows))
    products = {shape: product(*shape) for shape in SHAPES}
    rates: dict[object, list[float]] = {name: [] for name in ("engine", *SHAPES)}
    for _ in range(options.rounds):
        rates["engine"].append(work / processor_seconds(lambda: classifier.logits(windows)) / GIGA)
        for shape, multiply in products.items():
            rates[shape].append(OPERATIONS_A_PRODUCT / processor_seconds(multiply) / GIGA)
    print(
        f"{operations.a_token / 1e6:.1f} M operations a token, {operations.once / 1e6:.1f} M more a text, "
        f"{sum(map(len, windows)) / len(windows):.0f} tokens a text"
    )
    report({name: statistics.median(taken) for name, taken in rates.items()})


def report(gops: dict[object, float]) -> None:
    """Print Gop/s a core, and the engine's shares of the peaks."""
    engine = gops.pop("engine")
    for name, rate in gops.items():
        print(f"MatMulInteger {name}: {rate:.0f} Gop/s a core")
    for name, peak in (("measured", max(gops.values())), ("by arithmetic", arithmetic_peak())):
        print(f"engine {engine:.0f} Gop/s a core: {engine / peak:.0%} of the peak {name}, {peak:.0f}")


def processor_seconds(work: Callable[[], object]) -> float:
    """Do the work on a thread a core at once; give the processor time of one."""
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        started = time.process_time()
        for done in [pool.submit(work) for _ in range(cores)]:
            done.result()
        return (time.process_time() - started) / cores


def product(rows: int, inner: int, columns: int) -> Callable[[], None]:
    """Make a product of int8 matrices that is repeated up to `OPERATIONS_A_PRODUCT`."""
    source = np.random.default_rng(7)
    weights = numpy_helper.from_array(source.integers(-64, 64, (inner, columns)).astype(np.int8), "weights")
    entry = helper.make_tensor_value_info("rows", TensorProto.UINT8, [rows, inner])
    out = helper.make_tensor_value_info("out", TensorProto.INT32, [rows, columns])
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["rows", "weights"], ["out"])], "product", [entry], [out], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = source.integers(0, 255, (rows, inner)).astype(np.uint8)
    times = int(OPERATIONS_A_PRODUCT / (2 * rows * inner * columns))

    def multiply() -> None:
        for _ in range(times):
            session.run(None, {"rows": values})

    return multiply


def count_operations(graph: onnx.GraphProto) -> Operations:
    """Count two operations for each weight of each constant matrix, by how many rows go through it."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer if len(tensor.dims) == 2}
    single: set[str] = set()  # tensors of one row
    a_token = once = 0
    for node in graph.node:
        is_single = node.name.endswith("_first") or "pooler" in node.name or bool(single & set(node.input))
        if is_single:
            single.update(node.output)
        if node.op_type in MATRIX_OPERATORS:
            count = 2 * sum(sizes.get(name, 0) for name in node.input)
            a_token, once = (a_token, once + count) if is_single else (a_token + count, once)
    return Operations(a_token, once)


def arithmetic_peak() -> float:
    """Give Gop/s a core at the clock that the processor states."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    stated = {name.strip(): value for name, _, value in (line.partition(":") for line in info.splitlines())}
    has_two_units = "avx512_vnni" in info and ("GenuineIntel" in info or int(stated["cpu family"]) >= ZEN_5)
    return float(stated["cpu MHz"]) / 1000 * (256 if has_two_units else 128)


if __name__ == "__main__":
    main()

"""How many operations a second the processor makes of int8 products, and how many a model needs."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime

PRODUCT = Path(__file__).with_name("int8_product.onnx")  # MatMulInteger of uint8 [rows, 1024] with a constant int8 [1024, 1024]
ROWS, SIZE = 256, 1024


def peak_gops(seconds: float) -> float:
    """Multiply large int8 matrices, one single-threaded session on every core; give 10^9 operations a second, an addition counted too."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(PRODUCT, options, providers=["CPUExecutionProvider"])
    values = {"x": np.random.default_rng(0).integers(0, 255, (ROWS, SIZE), dtype=np.uint8)}
    cores = os.cpu_count() or 1
    end = time.perf_counter() + seconds

    def work() -> int:
        runs = 0
        while time.perf_counter() < end:
            session.run(None, values)
            runs += 1
        return runs

    with ThreadPoolExecutor(cores) as pool:
        runs = sum(future.result() for future in [pool.submit(work) for _ in range(cores)])
    return runs * 2 * ROWS * SIZE * SIZE / seconds / 1e9


def gops_per_token(config: Path, tokens: float) -> float:
    """Count a BERT encoder's products for one token of a text of so many, in 10^9 operations: projections, feed-forward, attention."""
    shape = json.loads(config.read_text(encoding="utf-8"))
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    layer = 2 * (4 * hidden * hidden + 2 * hidden * inner) + 4 * tokens * hidden
    return float(shape["num_hidden_layers"] * layer / 1e9)

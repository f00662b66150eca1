"""Prove that an ONNX graph computes the logits that it should."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from training.errors import ParityError

PARITY_TOLERANCE = 1e-3  # absolute, on logits
PARITY_TEXTS = 64


def check_logits(pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> float:
    """Compare wanted logits [3] with those of an ONNX graph; give the largest absolute difference.

    Raises:
        ParityError: it is above 1e-3.

    """
    largest = max(float(np.abs(wanted - given).max()) for wanted, given in pairs)
    if not largest <= PARITY_TOLERANCE:
        raise ParityError(f"the ONNX graph's logits are off by {largest:.2g}, at most {PARITY_TOLERANCE} is allowed: the export is wrong")
    return largest

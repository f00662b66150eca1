"""Wait for what happens elsewhere."""

import threading
import time

PATIENCE_S = 30.0
STEP_S = 0.02


def until(holds, patience_s=PATIENCE_S):
    """Look until `holds()` gives something true, and give it; fail after `patience_s`."""
    end = time.monotonic() + patience_s
    pause = threading.Event()
    while not (found := holds()):
        assert time.monotonic() < end, f"did not happen within {patience_s} s"
        pause.wait(STEP_S)
    return found

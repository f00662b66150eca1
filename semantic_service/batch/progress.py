"""How far a batch is: a bar on a terminal, a line now and then in a log."""

import sys
import time

from tqdm import tqdm

REPORT_S = 10.0  # between lines in a log


class Progress:
    """Rows, rows/s and time left, reckoned by the inputs' bytes; what an earlier run had done counts for neither."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._bytes = self._bytes_before = 0.0
        self._rows = 0
        self._started = self._reported = time.monotonic()
        self._bar = tqdm(
            total=total_bytes, disable=not sys.stderr.isatty(), bar_format="{percentage:3.0f}%|{bar}| {elapsed} < {remaining}{postfix}"
        )

    def skip(self, done_bytes: float) -> None:
        """Count input that an earlier run had done."""
        self._bytes_before += done_bytes
        self._bytes += done_bytes
        self._bar.initial = self._bytes_before
        self._bar.update(done_bytes)

    def update(self, rows: int, done_bytes: float, workers: int) -> None:
        """Count and show what has been written."""
        now = time.monotonic()
        self._rows += rows
        self._bytes += done_bytes
        shown = f"{self._rows:,} rows, {self._rows / (now - self._started):,.0f} rows/s on {workers} workers"
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(done_bytes)
        if self._bar.disable and now - self._reported > REPORT_S:
            self._reported = now
            left_s = (now - self._started) * (self._total_bytes - self._bytes) / (self._bytes - self._bytes_before)
            print(f"{self._bytes / self._total_bytes:.0%} {shown}, {left_s:,.0f} s left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

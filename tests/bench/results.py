"""What was measured: figures by row and round, and where and when."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from semantic_service.contract.bundle import write_atomically

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure over the rounds."""

    median: float
    least: float
    most: float


class Results:
    """Figures, one for each round, by row and name; a name ends in its unit."""

    def __init__(self) -> None:
        self._taken: dict[str, dict[str, list[float]]] = {}

    def add(self, row: str, **figures: float) -> None:
        """Keep a round's figures of a row."""
        for name, value in figures.items():
            self._taken.setdefault(row, {}).setdefault(name, []).append(value)

    def figures(self) -> dict[str, dict[str, Figure]]:
        """Sum up the rounds."""
        return {
            row: {name: Figure(statistics.median(v), min(v), max(v)) for name, v in taken.items()} for row, taken in self._taken.items()
        }


def write(path: Path, about: Mapping[str, str], results: Results, **further: object) -> None:
    """Write every figure as JSON."""
    figures = {row: {name: asdict(figure) for name, figure in named.items()} for row, named in results.figures().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"about": about, "figures": figures, **further}, indent=2))
    print(f"all figures: {path}", file=sys.stderr)


def p50(values: Sequence[float]) -> float:
    """Half of the values are not above it."""
    return statistics.median(values) if values else float("nan")


def p99(values: Sequence[float]) -> float:
    """Ninety-nine in a hundred of the values are not above it."""
    return sorted(values)[int(len(values) * 0.99)] if values else float("nan")


def circumstances(command: str) -> dict[str, str]:
    """Say when, where, by which command and of what."""
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=PROJECT, capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "command": command,
        "revision": revision.stdout.strip(),
        "onnxruntime": version("onnxruntime"),
    }


def machine() -> str:
    """Name the processor and its cores."""
    return f"{processor()}, {os.cpu_count()} cores"


def processor() -> str:
    """Name the processor; of a name that covers several generations the numbers say which it is."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    stated = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    numbers = ", ".join(f"{what} {stated[key]}" for what, key in (("family", "cpu family"), ("model", "model")) if key in stated)
    return stated.get("model name", platform.machine()) + (f" ({numbers})" if numbers else "")

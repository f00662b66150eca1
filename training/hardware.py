"""What the machine at hand offers a fine-tuning: its device, free memory, and how fast that multiplies."""

import os
import time
from pathlib import Path

import torch

BENCHMARK_S = 0.5
_CGROUP = Path("/sys/fs/cgroup")  # version 2, as a container sees its own


def device_and_dtype() -> tuple[torch.device, torch.dtype]:
    """Give the device that the Trainer takes, and the type that its matrix products run in."""
    cuda = torch.cuda.is_available()
    bf16 = torch.cuda.is_bf16_supported() if cuda else bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return torch.device("cuda" if cuda else "cpu"), torch.bfloat16 if bf16 else torch.float16 if cuda else torch.float32


def device_name(device: torch.device) -> str:
    """Name a device for a person."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"processor, {torch.get_num_threads()} threads"


def free_bytes(device: torch.device) -> int:
    """Give the memory that a device has left; a container's limit counts as well as the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    container = _container_free()
    return _machine_free() if container is None else min(_machine_free(), container)


def _machine_free() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux: all that it has
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _container_free() -> int | None:
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="utf-8").strip()
        used = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines())["anon"]
    except OSError:
        return None
    return None if limit == "max" else max(int(limit) - int(used), 0)


def flops_per_second(rows: int, width: int, device: torch.device, dtype: torch.dtype) -> float:
    """Time products [rows, width] x [width, width], as a model of that width makes them; the fastest counts, others were disturbed."""
    left, right = (torch.randn(count, width, device=device, dtype=dtype) for count in (rows, width))
    fastest, end = float("inf"), time.perf_counter() + BENCHMARK_S
    while fastest == float("inf") or time.perf_counter() < end:
        started = time.perf_counter()
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * rows * width * width / fastest

"""The device, what it is and how fast it multiplies, and records of what was found on it."""

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semirobust.records.origin import code_version, device_name

__all__ = ["Records", "described", "matrix_peak", "memory_of", "peak_of", "synchronised", "timed"]


@dataclass(frozen=True)
class Records:
    """Lines of JSON, each written as soon as it is known.

    Attributes:
        path: the file, to which is added.
        about: what stands in every line.
    """

    path: Path
    about: dict[str, Any] = field(default_factory=dict)

    def write(self, part: str, what: str, **values: Any) -> None:
        """One record; numbers have their unit in their name."""
        with self.path.open("a") as file:
            file.write(json.dumps({"part": part, "what": what, **values, **self.about}) + "\n")
        shown = ", ".join(f"{key} {_shown(value)}" for key, value in values.items())
        print(f"{part:<12} {what}: {shown}", flush=True)

    def leave_out(self, part: str, why: str) -> None:
        """A record of what was not done."""
        self.write(part, "left out", why=why)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def described(device: torch.device) -> dict[str, Any]:
    """The device with its driver, and versions of all that computes."""
    about: dict[str, Any] = {
        "device": device_name(threads=torch.get_num_threads()),
        "driver": None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "semirobust": code_version(),
    }
    if device.type == "cuda":
        own = torch.cuda.get_device_properties(device)
        about["device"] = f"{own.name}, {own.total_memory / 1e9:.0f} GB, {own.multi_processor_count} SMs"
        about["cudnn"], about["devices"] = torch.backends.cudnn.version(), torch.cuda.device_count()
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            about["driver"] = done.stdout.split("\n")[0].strip() or None
        except OSError:
            about["driver"] = None
    return about


def synchronised(device: torch.device) -> None:
    """Wait for all that was given to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of the work, its end on the device included."""
    synchronised(device)
    started = time.perf_counter()
    work()
    synchronised(device)
    return time.perf_counter() - started


def memory_of(device: torch.device, work: Callable[[], object]) -> int | None:
    """Bytes of all tensors at the peak of the work; None where nothing counts them."""
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    synchronised(device)
    return torch.cuda.max_memory_allocated(device)


def matrix_peak(device: torch.device, dtype: torch.dtype, side: int, runs: int = 10) -> float:
    """Operations (2 a multiplication) a second of a product of square matrices, the median of some."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = [timed(device, lambda: a @ b) for _ in range(runs + 2)][2:]
    return 2 * side**3 / statistics.median(seconds)


def peak_of(device: torch.device, *, small: bool) -> dict[str, float]:
    """Operations a second of products in each precision that the device has."""
    side, found = 256 if small else 8192, dict[str, float]()
    before = torch.get_float32_matmul_precision()
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        if name == "tf32" and device.type != "cuda":
            continue
        torch.set_float32_matmul_precision(precision)
        found[name] = matrix_peak(device, dtype, side)
    torch.set_float32_matmul_precision(before)
    return found

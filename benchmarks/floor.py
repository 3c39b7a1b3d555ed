"""Where the time of AutoAttack goes, against what the processor needs for its convolutions alone."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.compare import run
from benchmarks.subjects import subject
from semirobust.layers.macs import macs_by_module

__all__ = ["convolution_peak", "floor"]


def convolution_peak(dtype: torch.dtype) -> float:
    """The best of several convolutions 3x3 in channels last, in operations (2 a multiplication) a second."""
    best = 0.0
    for channels, side, batch in ((32, 16, 128), (64, 8, 128), (128, 4, 128), (128, 16, 32), (256, 8, 64)):
        x = torch.randn(batch, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
        w = torch.randn(channels, channels, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
        seconds = []
        for _ in range(12):
            started = time.perf_counter()
            F.conv2d(x, w, padding=1)
            seconds.append(time.perf_counter() - started)
        best = max(best, 18 * channels**2 * side**2 * batch / statistics.median(seconds))
    return best


def floor(folder: Path) -> Iterator[str]:
    """For each part of AutoAttack: images through the model by us and by the reference, and the least time
    ours could take.
    """
    peak = {dtype: convolution_peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
    yield (
        f"convolution peak: float32 {peak[torch.float32] / 1e9:.0f}, bfloat16"
        f" {peak[torch.bfloat16] / 1e9:.0f} GFLOP/s"
    )
    for name, examples in (("small", 300), ("quarter", 100)):
        s = subject(name, folder, 2)
        each = 2 * sum(macs_by_module(s.model, s.x).values())
        for attack in ("apgd-ce", "apgd-t", "fab-t", "square"):
            ours, theirs = (run(lib, attack, name, folder, examples, 0) for lib in ("ours", "pyautoattack"))
            # FAB and Square need full precision; the gradient costs as much again as the pass.
            dtype = torch.bfloat16 if attack.startswith("apgd") else torch.float32
            least = (ours.forward + 2 * ours.both) * each / peak[dtype]
            yield (
                f"{name:<8} {attack:<8} images forward {ours.forward:>9,} (reference {theirs.forward:>9,}),"
                f" with gradient {ours.both:>9,} ({theirs.both:>9,}); floor {least:6.1f} s, ours"
                f" {ours.seconds:6.1f} s, reference {theirs.seconds:6.1f} s; {least / ours.seconds:.0%} of"
                " the time is convolution at peak"
            )

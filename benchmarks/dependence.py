"""EDGE against its per-sample loop, a million rows in little memory, and the cost of a connectivity
profile.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import semirobust as sr
from benchmarks.timing import compare
from benchmarks.worker import memory

__all__ = ["main", "run"]

Floats = NDArray[np.float64]


def run(folder: Path) -> Iterator[str]:
    """All three; the last one needs CIFAR-10 in ``folder``."""
    for part in ("edge", "stream", "connectivity"):
        command = [sys.executable, "-m", "benchmarks.dependence", part, str(folder)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        yield (
            result.stdout.strip()
            if not result.returncode
            else f"{part} failed: {result.stderr.strip().splitlines()[-1:]}"
        )


def main() -> None:
    """One part in a process of its own."""
    part, folder = sys.argv[1], Path(sys.argv[2])
    print({"edge": edge, "stream": stream, "connectivity": lambda: profile(folder)}[part]())


def edge() -> str:
    """One core, N = 10,000, 512 features on both sides, 4.4.1 with renormalisation, without the null."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((10_000, 512))
    y = np.maximum(x @ rng.standard_normal((512, 512)) / math.sqrt(512), 0)
    measure = sr.EDGE(permutations=0, groups=0)
    difference = abs(measure(x, y).bits - by_loop(x, y))
    made = compare(
        "EDGE, N 10,000, d 512, one core", lambda: measure(x, y), "its loop", lambda: by_loop(x, y), runs=3
    )
    with_null = time.perf_counter()
    sr.EDGE()(x, y)
    seconds = time.perf_counter() - with_null
    return f"{made}; results differ by {difference:.1e} bits; with null and standard error {seconds:.2f} s"


def stream() -> str:
    """A million rows of 512 features on both sides, made batch by batch."""
    before = memory(reset=True)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        weights = torch.randn(512, 512, generator=torch.Generator().manual_seed(1)) / math.sqrt(512)
        generator = torch.Generator().manual_seed(0)
        for _ in range(500):
            x = torch.randn(2000, 512, generator=generator)
            yield x, torch.relu(x @ weights)

    started = time.perf_counter()
    for _ in range(2):
        for _ in batches():
            pass
    drawing = time.perf_counter() - started
    started = time.perf_counter()
    found = sr.EDGE(version="4.3.1", permutations=1, groups=0).of_batches(batches)
    seconds, peak = time.perf_counter() - started, memory()
    return (
        f"EDGE 4.3.1 with one permutation on 1,000,000 x 512, streamed: {seconds:.0f} s, of which"
        f" {drawing:.0f} s make the data; peak memory of the process {peak:.0f} MB ({peak - before:.0f} MB"
        f" above the start); {found}"
    )


def profile(folder: Path, examples: int = 10_000) -> str:
    """A ResNet-18 of width 1 on clean CIFAR-10 images, raw outputs, EDGE as in the paper, 20 permutations."""
    x, y = sr.load_data("cifar10", root=str(folder)).train.first(examples).all()
    model = sr.build_model("resnet18").eval()
    layers = sr.layer_map(model, x)
    with torch.no_grad():
        model(x[:256])  # what the pass itself needs is there before the count starts
        before = memory(reset=True)
        started = time.perf_counter()
        for batch in x.split(64):
            model(batch)
        forward = time.perf_counter() - started
        started = time.perf_counter()
        found = sr.connectivity(model, x, y, layers=layers)
        seconds, peak = time.perf_counter() - started, memory()
    verdicts = {
        verdict: sum(e.verdict == verdict for e in found.estimates)
        for verdict in {e.verdict for e in found.estimates}
    }
    return (
        f"connectivity of a ResNet-18 on {len(x):,} images: {seconds:.0f} s, {seconds / forward:.2f} forward"
        f" passes over them (two are needed; one takes {forward:.0f} s); {peak - before:.0f} MB above model"
        f" and images; {json.dumps(verdicts)}"
    )


def by_loop(x: Floats, y: Floats) -> float:
    """EDGE 4.4.1 written as its published code works: one example after the other into dictionaries."""
    from sklearn.neighbors import NearestNeighbors

    def widths(kept: Floats, features: int) -> Floats:
        n, d = kept.shape
        k = math.floor(0.43 * n ** (2 / 3 + 0.17 * (d / (d + 1))) * math.exp(-1 / max(10_000, d**4)))
        found = []
        for column in kept.T:
            points = np.random.RandomState(3334).choice(column, 500)[:, None]
            distances, _ = NearestNeighbors(n_neighbors=k).fit(column[:, None]).kneighbors(points)
            found.append(distances[:, -1].mean() + 1e-4)
        return np.array(found) * 18 * d / max(1 + math.log(features), 1)

    def once(gamma: float) -> float:
        draws = np.random.RandomState(3334)
        sides = []
        for side in (x, y):
            deviation = np.array([side[:, [j]].std() for j in range(side.shape[1])])
            deviation[deviation < 1e-4] = 1
            kept = min(side.shape[1], math.floor(math.log(len(side) / 10, 2)))
            scale = np.tile(1 / (deviation[:, None] * math.sqrt(side.shape[1])), (1, kept))
            projected = side @ draws.normal(0, scale)
            sides.append((projected, widths(projected, side.shape[1]) * gamma))
        return float(np.median([member(sides, t) for t in range(10)]))

    def member(sides: list[tuple[Floats, Floats]], t: int) -> float:
        growth = 1 + 0.1 * t / 9
        tables: tuple[dict[object, list[int]], ...] = (
            {},
            {},
            {},
        )  # buckets of x, of y, of both, with the examples in them
        for i in range(len(x)):
            cell = tuple(
                tuple(np.floor((p[i] + t / 10 * w * growth) / (w * growth)).tolist()) for p, w in sides
            )
            for table, key in zip(tables, (*cell, cell), strict=True):
                if key in table:
                    table[key].append(i)
                else:
                    table[key] = [i]
        n, total = len(x), 0.0
        for (a, b), together in tables[2].items():  # type: ignore[misc]
            count = len(together)
            total += count * max(
                min(math.log2(count * n / (len(tables[0][a]) * len(tables[1][b]))), 10), 0.001
            )
        return total / n

    first = once(0.4)
    return once(0.4 * 0.4 * 2 ** (0.5 / first - math.sqrt(2 * first)))


if __name__ == "__main__":
    main()

"""Every measure of dependence where the truth is known: ``python -m stress.estimators FILE.csv
[SECONDS]``.

One row for each cell, appended as it comes; cells that are there already are not measured again, and none
starts that is expected to take longer than SECONDS (600), judged by the same measure on fewer examples."""

import csv
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import semirobust as sr
from semirobust.dependence import AbstractDependence

__all__ = ["MEASURES", "main"]

MEASURES: dict[str, AbstractDependence] = {
    "EDGE 4.4.1": sr.EDGE(),
    "EDGE 4.3.1": sr.EDGE(version="4.3.1"),
    "EDGE paper": sr.EDGE(version="paper"),
    "KSG": sr.KSG(),
    "InfoNCE": sr.InfoNCE(),
    "CKA": sr.CKA(),
    "CKA debiased": sr.CKA(debiased=True),
    "distance correlation": sr.DistanceCorrelation(),
    "HSIC normalized": sr.HSIC(normalized=True),
}
FIELDS = (
    "data",
    "dimension",
    "n",
    "truth",
    "measure",
    "value",
    "error",
    "null",
    "null_sd",
    "ceiling",
    "p",
    "verdict",
    "seconds",
)


@dataclass(frozen=True)
class Cell:
    """One data set."""

    data: str
    dimension: int
    n: int
    bits: float

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(
            [self.dimension, self.n, 0 if math.isinf(self.bits) else round(10 * self.bits)]
        )
        x = rng.standard_normal((self.n, self.dimension), dtype=np.float32)
        if self.data == "layer":
            weights = rng.standard_normal((self.dimension, max(self.dimension // 2, 1)), dtype=np.float32)
            return x, np.maximum(x @ weights / math.sqrt(self.dimension), 0)
        share = 1 - 2 ** (
            -2 * self.bits / self.dimension
        )  # rho squared, so that all dimensions together have the bits
        noise = rng.standard_normal((self.n, self.dimension), dtype=np.float32)
        return x, math.sqrt(share) * x + math.sqrt(1 - share) * noise


def cells() -> Iterator[Cell]:
    """Gaussians of 0, 1 and 4 bits, and random ReLU layers that halve the width, small ones first."""
    for n in (100, 1000, 10_000, 100_000):
        for d in (1, 3, 10, 100, 1000):
            for bits in (0.0, 1.0, 4.0):
                yield Cell("gaussian", d, n, bits)
        for d in (64, 512, 2048):
            if n * d <= 10_000 * 2048:
                yield Cell("layer", d, n, math.inf)


def main() -> None:
    """Measure what is missing in the file."""
    path, most = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 600.0
    torch.set_num_threads(1)
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    seconds = {
        (r["data"], r["dimension"], r["n"], r["truth"], r["measure"]): float(r["seconds"]) for r in rows
    }
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not rows:
            writer.writeheader()
        for cell in cells():
            pair = None
            for name, measure in MEASURES.items():
                key = (cell.data, str(cell.dimension), str(cell.n), str(cell.bits), name)
                smaller = seconds.get(
                    (cell.data, str(cell.dimension), str(cell.n // 10), str(cell.bits), name), 0.0
                )
                if key in seconds or 12 * smaller > most:
                    continue
                pair = pair or cell.draw()
                started = time.perf_counter()
                found = measure(*pair, seed=0)
                seconds[key] = time.perf_counter() - started
                numbers = (
                    found.value,
                    found.error,
                    found.null_mean,
                    found.null_sd,
                    found.ceiling,
                    found.p_value,
                )
                measured = [f"{v:.6g}" for v in numbers] + [found.verdict, f"{seconds[key]:.3g}"]
                writer.writerow(dict(zip(FIELDS, [*key, *measured], strict=True)))
                file.flush()


if __name__ == "__main__":
    main()

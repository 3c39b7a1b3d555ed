"""How cost grows: ``python -m benchmarks.scaling`` times each kind of work at sizes two apart and fits a line
to the logarithms.

Random images and untrained networks: cost does not depend on what they show.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

import semirobust as sr
from semirobust.attacks.pgd import PGD
from semirobust.core.seed import as_seed
from semirobust.dependence.edge import EDGE
from semirobust.layers.macs import macs_by_module
from semirobust.measures import MeasureContext
from semirobust.measures.connectivity import Connectivity
from semirobust.measures.usefulness import FeatureAttack

__all__ = ["main"]

_RUNS = 3
_START = {"images": 256, "side": 16, "layers": 20, "classes": 10}
_AXES: Mapping[str, Sequence[int]] = {
    "images": (128, 256, 512, 1024), "side": (8, 16, 32, 64), "layers": (8, 20, 56), "classes": (5, 10, 20),
}  # fmt: skip
_THREAT = sr.Linf(8 / 255)


def main() -> None:
    """A table: kinds of work by what grows, exponents with the largest residual of the fit."""
    torch.set_num_threads(1)
    print(
        "| work | "
        + " | ".join(f"{axis}: {', '.join(map(str, sizes))}" for axis, sizes in _AXES.items())
        + " |"
    )
    print("|---" * (len(_AXES) + 1) + "|")
    for name, make in KINDS.items():
        cells = []
        for axis, sizes in _AXES.items():
            seconds = _timed([make(**{**_START, axis: size}) for size in sizes])
            slope, off = _fit(sizes, seconds)
            cells.append(
                f"{slope:.2f} (fit within {100 * off:.0f} %; {seconds[0]:.2g} to {seconds[-1]:.2g} s)"
            )
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    rows = (4_000, 16_000, 64_000, 256_000, 1_024_000)
    seconds = _timed([_pair(n) for n in rows])
    slope, off = _fit(rows, seconds)
    print(
        f"EDGE of one pair, {rows[0]:,} to {rows[-1]:,} rows: {slope:.2f} (fit within {100 * off:.0f} %; ",
        end="",
    )
    print(f"{seconds[0]:.2g} to {seconds[-1]:.2g} s)")
    counts = [
        sum(macs_by_module(_model(1, 16, layers, 10)[0], torch.rand(1, 3, 16, 16)).values())
        for layers in _AXES["layers"]
    ]
    print(f"MACs by layers: exponent {_fit(_AXES['layers'], counts)[0]:.2f}")


def _timed(works: Sequence[Callable[[], object]]) -> list[float]:
    """Medians, all sizes in turn, after one warm-up each."""
    spent: list[list[float]] = [[] for _ in works]
    for run in range(_RUNS + 1):
        for own, work in zip(spent, works, strict=True):
            began = time.perf_counter()
            work()
            if run:
                own.append(time.perf_counter() - began)
    return [statistics.median(own) for own in spent]


def _fit(sizes: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """The exponent, and how far the line is from the point that is farthest."""
    x, y = np.log(sizes), np.log(values)
    slope, start = np.polyfit(x, y, 1)
    return float(slope), math.exp(float(np.abs(y - slope * x - start).max())) - 1


def _model(images: int, side: int, layers: int, classes: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = sr.build_model(f"resnet{layers}", classes, 0.5, image_size=side).eval()
    x = torch.rand(images, 3, side, side, generator=torch.Generator().manual_seed(0))
    return model, x, torch.arange(images) % classes


def _attack(**sizes: int) -> Callable[[], object]:
    model, x, y = _model(**sizes)
    return lambda: PGD(_THREAT, steps=5).in_batches(model, x, y, seed=as_seed(0), batch_size=128)


def _training(**sizes: int) -> Callable[[], object]:
    model, x, y = _model(**sizes)
    images = sr.images_from_tensors(x, y)
    training = sr.Training(
        objective=sr.Adversarial(), attack=PGD(_THREAT, steps=3), epochs=1, batch_size=64, learning_rate=1e-6
    )
    return lambda: training(model, images)


def _criticality(**sizes: int) -> Callable[[], object]:
    model, x, y = _model(**sizes)
    x_adv = (x + 0.01).clamp(0, 1)
    return lambda: sr.criticality(model, x, y, x_adv=x_adv)


def _edge(**sizes: int) -> Callable[[], object]:
    model, x, y = _model(**{**sizes, "images": 4 * sizes["images"]})  # it needs some 25 of each class
    layers, attack = sr.layer_map(model, x[:1]), PGD(_THREAT, steps=1)
    measure = Connectivity("edge", {"permutations": 0})
    context = MeasureContext(model, layers, x, y, x, attack, as_seed(0))
    return lambda: measure.scores(context)


def _pair(rows: int) -> Callable[[], object]:
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(0))
    edge = EDGE(permutations=0, groups=0)
    return lambda: edge(x[:, :32], x[:, 16:48], seed=0)


def _usefulness(**sizes: int) -> Callable[[], object]:
    model, x, y = _model(**sizes)
    attack = FeatureAttack(_THREAT, steps=2)
    return lambda: sr.usefulness(model, x[: len(x) // 8], y[: len(x) // 8], attack=attack)


KINDS: Mapping[str, Callable[..., Callable[[], object]]] = {
    "PGD-5": _attack,
    "PGD-AT, an epoch": _training,
    "criticality": _criticality,
    "EDGE, all pairs (four times the images)": _edge,
    "robust usefulness (an eighth of the images)": _usefulness,
}


if __name__ == "__main__":
    main()

"""What an epoch of each method costs, in shares of an epoch of PGD-AT of everything, and what it does beside
its epochs.
"""

import statistics
import time
from collections.abc import Iterator

import torch

import semirobust as sr
from semirobust.attacks.pgd import PGD
from semirobust.core.errors import InputError
from semirobust.cost import Operations
from semirobust.data import Images
from semirobust.methods import METHODS
from semirobust.training import Trained

__all__ = ["run"]

_IMAGES, _BATCH = 256, 64
_LIKE_FOR_LIKE = {"clat": {"layers": [11]}, "selected": {"layers": [11]}, "suffix": {"layers": 4}}
_CHOOSES = ("clat",)


def run(runs: int, width: float = 0.125) -> Iterator[str]:
    """A ResNet-18 on images of CIFAR's size, every registered method with its defaults, one after the other
    in each turn.
    """
    images = _images(_IMAGES)
    ways = {f"{name} {options or ''}".strip(): (name, options) for name, options in _ways()}
    epochs: dict[str, list[float]] = {way: [] for way in ways}
    beside: dict[str, list[float]] = {way: [] for way in ways}
    parameters: dict[str, int] = {}
    refused: dict[str, str] = {}
    for turn in range(runs + 1):
        for way, (name, options) in ways.items():
            started = time.perf_counter()
            try:
                trained = _hardened(name, options, images, width)
            except InputError as error:  # such as adapters of linear layers, of which a ResNet has one
                refused[way] = str(error)
                continue
            whole = time.perf_counter() - started
            parameters[way] = trained.logs[-1].trained_parameters
            if turn:
                epochs[way].append(trained.logs[-1].seconds)
                beside[way].append(whole - sum(log.seconds for log in trained.logs))
    counted = {way: _counted(*ways[way], width) for way in ways if way not in refused}
    yield (
        f"{_IMAGES} images, ResNet-18 of width {width}: an epoch's time and arithmetic as shares of PGD-AT's;"
        " beside its epochs, in such epochs"
    )
    for way, why in refused.items():
        yield f"{way:<24} not run: {why}"
    for way, found in ((way, found) for way, found in epochs.items() if way not in refused):
        shares = sorted(a / b for a, b in zip(found, epochs["adversarial"], strict=True))
        extra = statistics.median(a / b for a, b in zip(beside[way], epochs["adversarial"], strict=True))
        yield (
            f"{way:<24} {statistics.median(found):6.2f} s  "
            f"{statistics.median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f})  "
            f"arithmetic {counted[way] / counted['adversarial']:.2f}  beside {extra:.2f}  "
            f"trains {parameters[way]:,} parameters"
        )


def _images(count: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 3, 32, 32, generator=generator)
    y = torch.randint(0, 10, (count,), generator=generator)
    return sr.images_from_tensors(x, y, [str(c) for c in range(10)])


def _hardened(
    name: str, options: dict[str, object], images: Images, width: float, *callbacks: object
) -> Trained:
    """After two epochs."""
    return sr.harden(
        sr.build_model("resnet18", width=width),
        images,
        METHODS.make(name, options),
        attack=PGD(sr.Linf(8 / 255), steps=10),
        epochs=2,
        batch_size=_BATCH,
        learning_rate=0.001,
        validate=lambda network, seed: {"clean": 0.5, "robust": 0.5},
        callbacks=callbacks,
    )


def _counted(name: str, options: dict[str, object], width: float) -> float:
    """Operations of convolutions and matrix products in an epoch of one batch, the second."""
    with Operations() as counted:
        _hardened(name, options, _images(_BATCH), width, counted)
    return counted.epochs[1]


def _ways() -> Iterator[tuple[str, dict[str, object]]]:
    """Every method, and once more with one layer named where it chooses otherwise."""
    yield "adversarial", {}
    for name in METHODS.names():
        if name in _LIKE_FOR_LIKE:
            yield name, dict(_LIKE_FOR_LIKE[name])
        if name in _CHOOSES or name not in ("adversarial", *_LIKE_FOR_LIKE):
            yield name, {}

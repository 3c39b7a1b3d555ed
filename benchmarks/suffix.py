"""What an epoch costs when only a suffix trains, in shares of an epoch of PGD-AT of everything."""

import statistics
from collections.abc import Iterator
from dataclasses import replace

import torch

import semirobust as sr
from semirobust.attacks.pgd import PGD
from semirobust.layers.macs import macs_by_module
from semirobust.layers.map import LayerMap
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.hooks.stored_starts import StoredStarts
from semirobust.training.trainable import All, Fixed
from semirobust.training.training import Training

__all__ = ["run"]

_IMAGES, _BATCH = 256, 64


def run(runs: int, width: float = 0.25) -> Iterator[str]:
    """A ResNet-18 on images of CIFAR's size: seconds of the second epoch, in turn, and the passes that it
    counts.

    A pass is one forward or backward through a layer; the backward pass to the input and that to the weights
    count one each."""
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.rand(_IMAGES, 3, 32, 32, generator=generator),
        torch.randint(0, 10, (_IMAGES,), generator=generator),
    )
    images = sr.images_from_tensors(x, y, [str(c) for c in range(10)])
    model = sr.build_model("resnet18", width=width)
    layers = sr.layer_map(model, x[:1])
    costs = macs_by_module(model, x[:1])
    base = Training(
        objective=Adversarial(),
        attack=PGD(sr.Linf(8 / 255), steps=10),
        epochs=2,
        batch_size=_BATCH,
        learning_rate=0.001,
    )
    ways: dict[str, Training] = {"everything, 10 steps": base}
    for count in (4, 8, 12, 16):
        ways[f"suffix of {count}, 10 steps"] = replace(base, trainable=Fixed(layers.indices[-count:]))
    for steps in (4, 2):
        stored = replace(base, attack=PGD(sr.Linf(8 / 255), steps=steps), hooks=(StoredStarts(),))
        for count in (4, 12):
            ways[f"suffix of {count}, {steps} stored steps"] = replace(
                stored, trainable=Fixed(layers.indices[-count:])
            )
        ways[f"everything, {steps} stored steps"] = stored
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name, training in ways.items():
            trained = training(sr.build_model("resnet18", width=width), images)
            if turn:
                seconds[name].append(trained.logs[-1].seconds)
    whole = seconds["everything, 10 steps"]
    yield (
        f"an epoch of {_IMAGES} images, ResNet-18 of width {width}: share of PGD-AT of everything with 10"
        " steps"
    )
    for name, training in ways.items():
        shares = sorted(a / b for a, b in zip(seconds[name], whole, strict=True))
        counted = _passes(training, costs, layers) / _passes(base, costs, layers)
        yield (
            f"{name:<30} {statistics.median(seconds[name]):7.2f} s   {statistics.median(shares):.2f} "
            f"({shares[0]:.2f} to {shares[-1]:.2f}), counted {counted:.2f}"
        )


def _passes(training: Training, costs: dict[str, float], layers: LayerMap) -> float:
    """Operations of one example's step: attack, forward, and backward as far as it must go."""
    assert isinstance(training.attack, PGD)
    trained = set(layers.indices) if isinstance(training.trainable, All) else set(training.trainable.layers)
    own = {i: sum(c for name, c in costs.items() if name in layers.at(i).modules) for i in layers.indices}
    weights, inputs = sum(own[i] for i in trained), sum(own[i] for i in trained if i != min(trained))
    return sum(own.values()) * (2 * training.attack.steps + 1) + weights + inputs

"""What a step of PGD-AT, an epoch of CLAT and its index cost, at full width."""

import copy
import csv
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

import semirobust as sr
from benchmarks.floor import convolution_peak
from benchmarks.subjects import SHARED
from semirobust.core.seed import as_seed
from semirobust.data.base.images import Images
from semirobust.data.base.locate import unpack
from semirobust.layers.macs import macs_by_module
from semirobust.objectives import Step
from semirobust.training.trainable import Fixed

__all__ = ["run"]

_THREAT, _STEPS, _BATCH = sr.Linf(8 / 255), 10, 64
_RATE = 0.01


def run(seeds: int = 3, steps: int = 10, width: float = 1.0, curves: Path | None = None) -> Iterator[str]:
    """Against a plain loop, then CLAT against PGD-AT, then the index against an epoch; a ResNet-18."""
    images, what = _images(steps * _BATCH)
    yield f"ResNet-18 of width {width:g}, {what}, batches of {_BATCH}, PGD-{_STEPS}, radius 8/255"
    yield from _against_a_plain_loop(images, seeds, steps, width, curves)
    pace: dict[str, float] = {}
    yield from _epochs_of_clat(images.first(2 * _BATCH), seeds, width, pace)
    yield from _index(images, width, pace)


def _images(count: int) -> tuple[Images, str]:
    if not SHARED.is_dir():
        generator = torch.Generator().manual_seed(0)
        x, y = (
            torch.rand(count, 3, 32, 32, generator=generator),
            torch.randint(0, 10, (count,), generator=generator),
        )
        return sr.images_from_tensors(x, y, [str(c) for c in range(10)]), "noise"
    with tempfile.TemporaryDirectory(prefix="semirobust-bench-") as name:
        unpack(SHARED / "cifar10-sample.tar.gz", Path(name))
        return sr.load_data("cifar10", root=name).train.first(count), "CIFAR-10"


@dataclass(frozen=True)
class _Recorded(sr.Adversarial):
    """PGD-AT that notes the loss of each step."""

    losses: list[float] = field(default_factory=list)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        loss = super().outer(step, x_adv)
        self.losses.append(float(loss.detach()))
        return loss


def _against_a_plain_loop(
    images: Images, seeds: int, steps: int, width: float, curves: Path | None
) -> Iterator[str]:
    """Seconds a step of ours in two forms and of a loop around torchattacks' PGD, in turn; losses after equal
    steps.
    """
    attack = sr.PGD(_THREAT, steps=_STEPS, step_size=2 / 255)
    forms: dict[str, Any] = {"ours": "32-true", "ours, outer loss in bfloat16 too": "bf16-mixed"}
    seconds: dict[str, list[float]] = {name: [] for name in (*forms, "torchattacks")}
    losses: dict[str, list[list[float]]] = {name: [] for name in seconds}
    for seed in range(seeds):
        start = sr.build_model("resnet18", width=width, seed=seed)
        for name, precision in forms.items():
            objective, fabric = _Recorded(), Fabric(accelerator="cpu", devices=1, precision=precision)
            training = sr.Training(
                objective=objective,
                attack=attack,
                epochs=1,
                batch_size=_BATCH,
                learning_rate=_RATE,
                schedule="constant",
            )
            trained = training(copy.deepcopy(start), images, seed=seed, fabric=fabric)
            seconds[name].append(trained.logs[0].seconds / steps)
            losses[name].append(objective.losses)
        order = list(images.batches(_BATCH, seed=as_seed(seed) / "epoch" / 0 / "order"))
        spent, found = _plain_loop(start, [images.batch(rows) for rows in order])
        seconds["torchattacks"].append(spent / steps)
        losses["torchattacks"].append(found)
    each = _passes(start, images) * _BATCH
    peaks = {dtype: convolution_peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
    search = 2 * _STEPS / (2 * _STEPS + 3)  # the share of a step's passes that the attack makes
    for name, found in seconds.items():
        ratios = sorted(b / a for a, b in zip(found, seconds["torchattacks"], strict=True))
        lowered = {"ours": search, "ours, outer loss in bfloat16 too": 1.0}.get(name, 0.0)
        least = each * (lowered / peaks[torch.bfloat16] + (1 - lowered) / peaks[torch.float32])
        last = statistics.mean(sum(run[-5:]) / 5 for run in losses[name])
        yield (
            f"a step, {name:<33} {statistics.median(found):6.2f} s  {statistics.median(ratios):5.2f} times as"
            f" fast ({ratios[0]:.2f} to {ratios[-1]:.2f}); {least / statistics.median(found):.0%} of it is"
            f" convolution at peak; loss of the last five of {steps} steps {last:.4f}"
        )
    gaps = [
        abs(a - b)
        for x, y in zip(losses["ours"], losses["torchattacks"], strict=True)
        for a, b in zip(x, y, strict=True)
    ]
    spread = (
        statistics.mean(statistics.stdev(values) for values in zip(*losses["torchattacks"], strict=True))
        if seeds > 1
        else 0.0
    )
    yield (
        f"losses step by step, ours and torchattacks': {statistics.mean(gaps):.4f} apart on average; between"
        f" seeds {spread:.4f}"
    )
    if curves is not None:
        _write(curves, losses)


def _plain_loop(start: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> tuple[float, list[float]]:
    """What one would write: torchattacks, a loss, a step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchattacks
    model = copy.deepcopy(start)
    attack = torchattacks.PGD(model, eps=8 / 255, alpha=2 / 255, steps=_STEPS)
    optimiser = torch.optim.SGD(model.parameters(), _RATE, momentum=0.9, weight_decay=5e-4)
    losses: list[float] = []
    started = time.perf_counter()
    for x, y in batches:
        model.eval()
        x_adv = attack(x, y)
        model.train()
        optimiser.zero_grad()
        loss = F.cross_entropy(model(x_adv), y)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return time.perf_counter() - started, losses


def _passes(model: nn.Module, images: Images) -> float:
    """Operations (2 a multiplication) of one image in a step: attack, forward, both gradients."""
    x, _ = images.batch(torch.tensor([0]))
    return 2 * sum(macs_by_module(model, x).values()) * (2 * _STEPS + 3)


def _epochs_of_clat(images: Images, runs: int, width: float, pace: dict[str, float]) -> Iterator[str]:
    """CLAT with one layer against PGD-AT of everything: equal steps, batch and precision, in turn."""
    base = sr.Training(
        objective=sr.Adversarial(),
        attack=sr.PGD(_THREAT, steps=_STEPS),
        epochs=2,
        batch_size=_BATCH,
        learning_rate=0.001,
    )
    x, _ = images.batch(torch.tensor([0]))
    model = sr.build_model("resnet18", width=width)
    layers, costs = sr.layer_map(model, x), macs_by_module(model, x)
    own = {i: sum(c for name, c in costs.items() if name in layers.at(i).modules) for i in layers.indices}
    for fast in ("auto", "off"):
        ways = {"PGD-AT": base} | {
            f"CLAT, layer {i}": replace(base, objective=sr.CLAT(), trainable=Fixed((i,))) for i in (11, 4)
        }  # fmt: skip
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs):
            for name, training in ways.items():
                trained = replace(training, fast=fast)(sr.build_model("resnet18", width=width), images)
                seconds[name].append(trained.logs[-1].seconds)
        pace.setdefault("step", statistics.median(seconds["PGD-AT"]) / len(images))
        for name, found in seconds.items():
            shares = sorted(a / b for a, b in zip(found, seconds["PGD-AT"], strict=True))
            layer = int(name.rpartition(" ")[2]) if "layer" in name else None
            yield (
                f"an epoch, fast {fast:<6} {name:<14} {statistics.median(found):6.2f} s  "
                f"{statistics.median(shares):.2f} of PGD-AT ({shares[0]:.2f} to {shares[-1]:.2f}), "
                f"counted {1.0 if layer is None else _counted(own, layer):.2f}"
            )


def _counted(own: dict[int, float], layer: int) -> float:
    """Multiplications of CLAT with one layer as a share of PGD-AT's: forward passes, gradients of inputs and
    of weights.
    """
    below = sum(cost for i, cost in own.items() if i <= layer)
    above = sum(own.values()) - below
    attack = below + 2 * _STEPS * below  # the clean features once, then forward and back in each step
    outer = (
        sum(own.values()) + above + below + 2 * own[layer]
    )  # clean pass and back, adversarial pass, weights twice
    return (attack + outer) / (sum(own.values()) * (2 * _STEPS + 3))


def _index(images: Images, width: float, pace: dict[str, float]) -> Iterator[str]:
    """One computation of the index on a batch, against an epoch of 50,000 images at the pace just
    measured.
    """
    from semirobust.methods import METHODS, Context

    model = sr.build_model("resnet18", width=width)
    x, _ = images.batch(torch.tensor([0]))
    epoch = 50_000 * pace["step"]
    for examples in (10, 100, 512):
        method = METHODS.make("clat", {"examples": examples})
        context = Context(sr.layer_map(model, x), images, sr.PGD(_THREAT, steps=_STEPS))
        trainable = method.plan(context).trainable
        started = time.perf_counter()
        trainable(0, model, as_seed(0))
        spent = time.perf_counter() - started
        yield (
            f"the index on {examples:>3} images {spent:6.2f} s: {spent / epoch:.2%} of an epoch of PGD-AT on"
            f" 50,000 images ({epoch:.0f} s at this pace), {spent / epoch / 10:.3%} an epoch when computed"
            " every 10 epochs"
        )


def _write(path: Path, losses: dict[str, list[list[float]]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("way", "seed", "step", "loss"))
        for way, runs in losses.items():
            for seed, values in enumerate(runs):
                writer.writerows((way, seed, step, f"{value:.5f}") for step, value in enumerate(values, 1))

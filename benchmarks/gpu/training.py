"""A step of PGD-AT against a plain loop, an epoch of CLAT, and memory counted against measured."""

import copy
import statistics
from dataclasses import replace

import torch

import semirobust as sr
from benchmarks.gpu.machine import Records, memory_of, peak_of
from benchmarks.gpu.plain import training_steps
from benchmarks.gpu.subject import SMALL, Size, Subject
from semirobust.core.seed import as_seed
from semirobust.cost.memory import footprint
from semirobust.data.base.images import Images
from semirobust.layers.macs import macs_by_module
from semirobust.training.trainable import Fixed

__all__ = ["WORKS"]

_ATTACK = sr.PGD(sr.Linf(8 / 255), steps=10, step_size=2 / 255)
_RATE = 0.01


def _images(size: Size, s: Subject) -> Images:
    n = size.steps * size.batch
    x, y = (part[:n].cpu() for part in s.train)
    return sr.images_from_tensors(x, y, [str(label) for label in range(10)])


def _training(size: Size) -> sr.Training:
    return sr.Training(
        objective=sr.Adversarial(),
        attack=_ATTACK,
        epochs=1,
        batch_size=size.batch,
        learning_rate=_RATE,
        schedule="constant",
    )


def step(size: Size, s: Subject, device: torch.device, records: Records) -> None:
    """Seconds of a step, ours and the loop in turn over three seeds, and the share of the matrix peak."""
    images, ours, theirs = _images(size, s), list[float](), list[float]()
    for seed in range(size.turns):  # the first of each is not counted
        trained = _training(size)(copy.deepcopy(s.model), images, seed=seed)
        order = images.batches(size.batch, seed=as_seed(seed) / "epoch" / 0 / "order")
        batches = [tuple(part.to(device) for part in images.batch(rows)) for rows in order]
        loop = training_steps(s.model, batches, _ATTACK.steps, _RATE)
        if seed:
            ours.append(trained.logs[0].seconds / len(batches))
            theirs.append(loop / len(batches))
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    macs = sum(macs_by_module(s.model, s.x[:1]).values())
    each = 2 * macs * size.batch * (2 * _ATTACK.steps + 3)
    for name, peak in peak_of(device, small=size is SMALL).items():
        records.write("training", f"matrix peak in {name}", tflops=peak / 1e12)
        records.write(
            "training",
            f"share of that peak in {name}",
            ours=each / statistics.median(ours) / peak,
            loop=each / statistics.median(theirs) / peak,
        )
    records.write(
        "training",
        "a step of PGD-AT-10 against a plain loop",
        batch=size.batch,
        seconds=statistics.median(ours),
        loop_seconds=statistics.median(theirs),
        times_as_fast=statistics.median(ratios),
        range=[ratios[0], ratios[-1]],
    )


def clat(size: Size, s: Subject, device: torch.device, records: Records) -> None:
    """The second epoch with one layer as a share of PGD-AT's, in turn."""
    images, base = _images(size, s), replace(_training(size), epochs=2, learning_rate=0.001)
    layers = sr.layer_map(s.model, s.x[:1])
    for layer in sorted({len(layers) // 4, (len(layers) * 2) // 3}):
        one = replace(base, objective=sr.CLAT(), trainable=Fixed((layer,)))
        shares = []
        for _ in range(size.turns - 1):
            whole, part = (each(copy.deepcopy(s.model), images).logs[-1].seconds for each in (base, one))
            shares.append(part / whole)
        records.write(
            "training",
            f"an epoch of CLAT, layer {layer} of {len(layers)}, as a share of PGD-AT's",
            share=statistics.median(shares),
            range=[min(shares), max(shares)],
        )


def memory(size: Size, s: Subject, device: torch.device, records: Records) -> None:
    """What a step is counted to hold, and what it held."""
    images = _images(size, s).first(2 * size.batch)
    counted = footprint(s.model, s.x[:1], size.batch, objective=sr.Adversarial())
    model = copy.deepcopy(s.model)
    measured = memory_of(device, lambda: replace(_training(size), fast="off")(model, images))
    if measured is None:
        records.leave_out("training", f"memory measured: nothing counts it on a {device.type}")
        return
    records.write(
        "training",
        "memory of a step",
        counted_bytes=counted,
        measured_bytes=measured,
        measured_by_counted=measured / counted,
    )


WORKS = (step, memory, clat)

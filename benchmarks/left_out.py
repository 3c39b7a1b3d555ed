"""APGD-T, FAB and Square with and without the work that would change nothing, verdict by verdict.

More than a thousand images and several networks, some of them with gradients that are of no use.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

import semirobust as sr
from benchmarks.subjects import Subject, subject
from semirobust.attacks import AbstractAttack
from semirobust.attacks.base.sight import Tally, watched
from semirobust.fast.model import FastModel
from semirobust.fast.policy import fast_model

__all__ = ["run"]


class _Wrapped(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Quantised(_Wrapped):
    """Pixels of 64 levels, whose gradient is 0."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model((x * 63).round() / 63)
        return logits


class Saturated(_Wrapped):
    """Ten times the probabilities of logits of a large scale, nearly all 0 or 10."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return 10 * (100 * logits).softmax(1)


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return (x * 63).floor() / 63

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        raise RuntimeError("the derivative of this layer is not implemented")


class NotDifferentiable(_Wrapped):
    """A layer without a backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(_Steps.apply(x))  # type: ignore[no-untyped-call]
        return logits


@dataclass(frozen=True)
class _Result:
    stands: Tensor
    seconds: float
    passes: int
    tally: Tally


def run(folder: Path) -> Iterator[str]:
    """A line for each network and attack."""
    examples = 0
    for title, s in _subjects(folder):
        examples += len(s.x)
        blind = isinstance(s.model, NotDifferentiable)
        found = sr.evaluate(s.model, s.x, s.y, () if blind else sr.AutoAttack(s.threat).parts[0], seed=0)
        x, y = (part[found.unbroken] for part in (s.x, s.y))
        form = fast_model(s.model, x[:32])
        for attack in sr.AutoAttack(s.threat).parts[1:]:
            if attack.uses_gradients and blind:
                continue
            part, exact = (
                _attacked(s, attack, form, x, y),
                _attacked(s, attack, replace(form, audited=False), x, y),
            )
            equal = int((part.stands == exact.stands).sum())
            yield (
                f"{title:<28} {attack.name:<7} on {len(x)} of {len(s.x)} images: {equal} verdicts equal,"
                f" {int(part.stands.sum())} and {int(exact.stands.sum())} stand; passes {part.passes:,} and"
                f" {exact.passes:,} ({exact.passes / part.passes:.1f} times), time {part.seconds:.1f} s and"
                f" {exact.seconds:.1f} s ({exact.seconds / part.seconds:.1f} times);"
                f" {attack.left_out(part.tally) or 'nothing was left out'}"
            )
    yield f"{examples} images in all"


def _subjects(folder: Path) -> Iterator[tuple[str, Subject]]:
    small = subject("small", folder, 300)
    yield "small", small
    yield "ResNet-18 / 4", subject("quarter", folder, 200)
    yield "ResNet-20, 0.5/255", replace(subject("clean", folder, 100), threat=sr.Linf(0.5 / 255))
    for title, wrap in (
        ("small, 64 levels", Quantised),
        ("small, saturated", Saturated),
        ("small, not differentiable", NotDifferentiable),
    ):
        yield title, replace(small, model=wrap(small.model).eval(), x=small.x[:150], y=small.y[:150])


def _attacked(s: Subject, attack: AbstractAttack, form: FastModel, x: Tensor, y: Tensor) -> _Result:
    before, started = s.passes.forward + 2 * s.passes.both, time.perf_counter()
    with watched(len(x)) as sight:
        x_adv = attack.fool(s.model, x, y, seed=0, form=form)
    seconds, passes = time.perf_counter() - started, s.passes.forward + 2 * s.passes.both - before
    with torch.no_grad():
        return _Result(s.model(x_adv).argmax(1) == y, seconds, passes, sight.tally)

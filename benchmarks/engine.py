"""Square with and without ONNX Runtime for its passes without a gradient, verdict by verdict."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import semirobust as sr
from benchmarks.subjects import subject
from semirobust.attacks import AbstractAttack
from semirobust.fast.model import FastModel
from semirobust.fast.policy import Fast, fast_model

__all__ = ["run"]

_FORMS: tuple[Fast, Fast] = ("auto", "onnx")


def run(folder: Path, runs: int) -> Iterator[str]:
    """A line for each network: Square on what withstands APGD-CE, both forms in turn once they are built."""
    for title, name, examples in (("small", "small", 300), ("ResNet-18 / 4", "quarter", 200)):
        s = subject(name, folder, examples)
        model = next(s.model.children())  # without what counts its passes, which cannot be exported
        apgd, *_, square = sr.AutoAttack(s.threat).parts
        stands = sr.evaluate(model, s.x, s.y, apgd, seed=0).unbroken
        x, y = s.x[stands], s.y[stands]
        forms: list[FastModel] = []
        building: list[float] = []
        for fast in _FORMS:
            started = time.perf_counter()
            forms.append(fast_model(model, x[:32], fast=fast))
            building.append(time.perf_counter() - started)
        if not forms[1].in_full_precision().runtime:
            yield f"{title:<14} ONNX Runtime is not used"
            continue
        seconds: tuple[list[float], list[float]] = ([], [])
        verdicts: list[Tensor] = []
        for _ in range(runs):
            for form, taken in zip(forms, seconds, strict=True):
                stood, took = _attacked(model, square, form, x, y)
                verdicts.append(stood)
                taken.append(took)
        plain, runtime = (statistics.median(taken) for taken in seconds)
        ratios = sorted(a / b for a, b in zip(*seconds, strict=True))
        equal = min(int((verdict == verdicts[0]).sum()) for verdict in verdicts)
        yield (
            f"{title:<14} {square.name} on {len(x)} images: {plain:.1f} s without and {runtime:.1f} s with"
            f" ONNX Runtime, {plain / runtime:.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f}); building the"
            f" forms {building[0]:.1f} and {building[1]:.1f} s; {equal} verdicts equal,"
            f" {int(verdicts[0].sum())} and {int(verdicts[1].sum())} stand"
        )


def _attacked(
    model: nn.Module, attack: AbstractAttack, form: FastModel, x: Tensor, y: Tensor
) -> tuple[Tensor, float]:
    """Who stands, and the seconds that took."""
    started = time.perf_counter()
    x_adv = attack.fool(model, x, y, seed=0, form=form)
    seconds = time.perf_counter() - started
    with torch.no_grad():
        return model(x_adv).argmax(1) == y, seconds

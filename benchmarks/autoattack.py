"""AutoAttack and its parts against the authors' code: verdicts, and time in the same run."""

import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import semirobust as sr
from semirobust.data.locate import unpack

__all__ = ["Verdicts", "run"]

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Verdicts:
    """One attack on one model, by both.

    Attributes:
        what: the model and the attack.
        equal: share of equal verdicts.
        ours, theirs: robust accuracy.
        ratios: their seconds over ours, run by run.
        seconds: ours.
    """

    what: str
    equal: float
    ours: float
    theirs: float
    ratios: tuple[float, ...]
    seconds: tuple[float, ...]

    def __str__(self) -> str:
        ratios = sorted(self.ratios)
        return (
            f"{self.what:<44} robust {self.ours:6.1%} (theirs {self.theirs:6.1%}), verdicts equal {self.equal:6.1%}, "
            f"{statistics.median(self.seconds):7.1f} s, {statistics.median(ratios):5.2f} times as fast"
            f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def run(runs: int = 1) -> Iterator[Verdicts | str]:
    """The small robust network at 2/255 on 300 images, and a ResNet-18 of width 1/4 at 8/255 on 100."""
    logging.getLogger("auto-attack").setLevel("ERROR")
    if not _SHARED.is_dir():
        yield "AutoAttack: skipped, no CIFAR-10 and no robust checkpoint beside the checkout"
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack(_SHARED / "cifar10-sample.tar.gz", Path(folder))
        data = sr.load_data("cifar10", root=folder)
    sys.path.insert(0, str(_SHARED / "checkpoints"))
    import models  # type: ignore[import-not-found]

    small = sr.load_checkpoint(models.resnet2b(), _SHARED / "checkpoints" / "cifar10-resnet2b-robust.pth")
    yield from _both("small robust network, 2/255", small, *data.test.first(300).all(), sr.Linf(2 / 255), runs)
    threat = sr.Linf(8 / 255)
    wide = sr.build_model("resnet18", width=0.25)
    attack = sr.PGD(threat, steps=2)
    sr.Training(objective=sr.Adversarial(), attack=attack, epochs=4, augment="crop-flip")(wide, data.train.first(3000))
    yield from _both("ResNet-18 / 4, 8/255", wide, *data.test.first(100).all(), threat, runs)


def _both(what: str, model: nn.Module, x: Tensor, y: Tensor, threat: sr.Linf, runs: int) -> Iterator[Verdicts]:
    whole = sr.AutoAttack(threat)
    parts = dict(zip(("apgd-ce", "apgd-t", "fab-t", "square"), whole.parts, strict=True))
    for name, attack in {"autoattack": whole, **parts}.items():
        ours, theirs, ratios, seconds = torch.empty(0), torch.empty(0), [], []
        for seed in range(runs):
            started = time.perf_counter()
            ours = sr.evaluate(model, x, y, {name: attack}, seed=seed).robust[name]
            middle = time.perf_counter()
            theirs = _reference(name, model, x, y, threat, seed)
            seconds.append(middle - started)
            ratios.append((time.perf_counter() - middle) / (middle - started))
        equal, a, b = (float(v.float().mean()) for v in (ours == theirs, ours, theirs))
        yield Verdicts(f"{what}, {name}", equal, a, b, tuple(ratios), tuple(seconds))


def _reference(name: str, model: nn.Module, x: Tensor, y: Tensor, threat: sr.Linf, seed: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyautoattack import AutoAttack  # type: ignore[import-not-found]

        form = {"version": "standard"} if name == "autoattack" else {"version": "custom", "attacks": [name]}
        x_adv, _ = AutoAttack(model, eps=threat.epsilon, norm="Linf", seed=seed, **form).run_standard_evaluation(x, y)
    with torch.no_grad():
        return model(x_adv).argmax(1) == y

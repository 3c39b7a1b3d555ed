"""The models and images that are attacked, the same for every library."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import semirobust as sr
from semirobust.data.base.locate import unpack

__all__ = ["SHARED", "Passes", "Subject", "prepare", "subject"]

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
SHARED = Path(os.environ.get("SEMIROBUST_DATA") or _BESIDE).resolve()


class Passes:
    """How many images went through a model, with and without a gradient."""

    def __init__(self) -> None:
        self.forward, self.both = 0, 0

    def __deepcopy__(self, memo: object) -> "Passes":
        return self  # copies of a model count together


class _Counted(nn.Module):
    def __init__(self, model: nn.Module, passes: Passes) -> None:
        super().__init__()
        self.model, self.passes = model, passes

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            self.passes.both += len(x)
        else:
            self.passes.forward += len(x)
        logits: Tensor = self.model(x)
        return logits


@dataclass(frozen=True)
class Subject:
    """A model, the images it is attacked on, and the threat model."""

    model: nn.Module
    x: Tensor
    y: Tensor
    threat: sr.Linf
    passes: Passes


def prepare(folder: Path, *, models: bool = True) -> None:
    """Unpack the data and train the models that are not at hand, into ``folder``: about nine minutes."""
    unpack(SHARED / "cifar10-sample.tar.gz", folder)
    if not models:
        return
    data = sr.load_data("cifar10", root=str(folder))
    attack = sr.PGD(sr.Linf(8 / 255), steps=2)
    robust, plain = sr.Adversarial(), sr.Standard()
    for name, width, count, training in (
        (
            "quarter",
            0.25,
            3000,
            sr.Training(objective=robust, attack=attack, epochs=4, batch_size=64, augment="crop-flip"),
        ),
        (
            "whole",
            1.0,
            1000,
            sr.Training(objective=robust, attack=attack, epochs=3, batch_size=64, augment="crop-flip"),
        ),
        ("undefended", 1.0, 2500, sr.Training(objective=plain, epochs=8, batch_size=64, learning_rate=0.02)),
    ):
        model = sr.build_model("resnet18", width=width)
        training(model, data.train.first(count), seed=0)
        sr.save_model(model, folder / f"{name}.safetensors")


def subject(name: str, folder: Path, examples: int) -> Subject:
    """``small``, ``clean`` (the two checkpoints), or one that :func:`prepare` trained."""
    x, y = sr.load_data("cifar10", root=str(folder)).test.first(examples).all()
    radius = 2 / 255 if name == "small" else 8 / 255
    if name in ("small", "clean"):
        sys.path.insert(0, str(SHARED / "checkpoints"))
        import models  # type: ignore[import-not-found]

        file = {"small": "cifar10-resnet2b-robust.pth", "clean": "cifar10-resnet20-clean.th"}[name]
        model = sr.load_checkpoint(
            {"small": models.resnet2b, "clean": models.resnet20}[name](), SHARED / "checkpoints" / file
        )
    else:
        model = sr.build_model("resnet18", width=0.25 if name == "quarter" else 1.0)
        sr.load_checkpoint(model, folder / f"{name}.safetensors")
    passes = Passes()
    return Subject(_Counted(model, passes).eval(), x, y, sr.Linf(radius), passes)

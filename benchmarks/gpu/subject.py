"""The network and the images of the accelerator's bench, the same in every part."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import semirobust as sr
from benchmarks.gpu.machine import Records

__all__ = ["FULL", "SMALL", "Size", "Subject", "prepare", "subject"]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        network, width, side: of the classifier.
        images: under attack at most.
        train: images to prepare it on.
        batch, steps: of adversarial training, and how many of its steps are timed.
        seconds: of preparing it.
        rows, features: of EDGE.
        turns: of everything that is timed, the first of which is not counted.
    """

    network: str
    width: float
    side: int
    images: int
    train: int
    batch: int
    steps: int
    seconds: float
    rows: int
    features: int
    turns: int


FULL = Size("resnet18", 1.0, 32, 1000, 5120, 128, 10, 30, 10_000, 512, 4)
SMALL = Size("resnet8", 0.125, 8, 6, 64, 8, 2, 1, 400, 8, 2)


@dataclass(frozen=True)
class Subject:
    """A network in eval mode and the images that it is attacked on, on the device."""

    model: nn.Module
    x: Tensor
    y: Tensor
    train: tuple[Tensor, Tensor]
    images: str


def _images(size: Size, folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], str]:
    """To train and to test, and what they are."""
    why = "CIFAR-10 is not at hand"
    root = os.environ.get("SEMIROBUST_DATA")
    if size is FULL and root is not None:
        try:
            splits = sr.load_data("cifar10", root=root)
            train, test = splits.train.first(size.train).all(), splits.test.first(size.images).all()
            return train, test, "CIFAR-10"
        except (sr.InputError, ImportError) as error:
            why = f"CIFAR-10 cannot be read ({error})"
    return _made(size, size.train, 0), _made(size, size.images, 1), f"made up, seed 0: {why}"


def _made(size: Size, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Smooth patterns, one for each of ten classes and barely beyond the radius, in noise."""
    patterns = torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(7))
    patterns = F.interpolate(patterns, size=size.side, mode="bilinear").sign()
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 10, (count,), generator=generator)
    strength = 0.02 + 0.08 * torch.rand(count, 1, 1, 1, generator=generator)
    noise = torch.randn(count, 3, size.side, size.side, generator=generator)
    return (0.5 + strength * patterns[y] + 0.1 * noise).clamp(0, 1), y


def _network(size: Size) -> nn.Module:
    return sr.build_model(size.network, width=size.width, image_size=size.side)


def prepare(size: Size, device: torch.device, folder: Path, records: Records) -> None:
    """Train the network by PGD-AT for some seconds, and keep it in ``folder``."""
    (x, y), test, what = _images(size, folder)
    images = sr.images_from_tensors(x, y, [str(label) for label in range(10)])
    model, began = _network(size).to(device), time.perf_counter()

    def enough(log: object) -> None:
        if time.perf_counter() - began > size.seconds:
            raise StopIteration

    training = sr.Training(
        objective=sr.Adversarial(),
        attack=sr.PGD(sr.Linf(8 / 255), steps=3),
        epochs=20,
        batch_size=size.batch,
        learning_rate=0.05,
    )
    trained = training(model, images, seed=0, callbacks=[enough])
    kept = {"model": trained.model.state_dict(), "train": (x, y), "test": test, "images": what}
    torch.save(kept, folder / "subject.pt")
    found = {"epochs": len(trained.logs), "loss_nats": trained.logs[-1].loss, "images": what}
    records.write("prepare", f"PGD-AT of a {size.network} of width {size.width:g}", **found)


def subject(size: Size, device: torch.device, folder: Path) -> Subject:
    """What :func:`prepare` kept."""
    kept = torch.load(folder / "subject.pt", map_location=device, weights_only=True)
    model = _network(size).to(device)
    model.load_state_dict(kept["model"])
    x, y = kept["test"]
    return Subject(model.eval(), x, y, kept["train"], kept["images"])

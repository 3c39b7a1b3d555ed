"""PGD-10 and one step of PGD-AT against torchattacks, at equal settings."""

import copy
import warnings

import torch
from torch.nn import functional as F

import semirobust as sr
from benchmarks.timing import Comparison, compare

__all__ = ["run"]


def run() -> list[Comparison]:
    """A ResNet-18 of width 1/2 on 64 images of CIFAR's size, after a few steps of training, so that it is no
    constant.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchattacks
    threat = sr.Linf(8 / 255)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(64, 3, 32, 32, generator=generator), torch.randint(0, 10, (64,), generator=generator)
    images = sr.images_from_tensors(x, y, [str(c) for c in range(10)])
    model = sr.build_model("resnet18", width=0.5)
    sr.Training(objective=sr.Standard(), epochs=3, batch_size=64, learning_rate=0.05)(model, images)

    ours = sr.PGD(threat, steps=10, step_size=2 / 255)
    theirs = torchattacks.PGD(model, eps=8 / 255, alpha=2 / 255, steps=10)
    attack = compare(
        "PGD-10, 64 images, ResNet-18 / 2", lambda: ours(model, x, y), "torchattacks", lambda: theirs(x, y)
    )

    training = sr.Training(
        objective=sr.Adversarial(), attack=ours, epochs=1, batch_size=64, learning_rate=0.01
    )
    hers, plain = copy.deepcopy(model), copy.deepcopy(model)
    inner = torchattacks.PGD(plain, eps=8 / 255, alpha=2 / 255, steps=10)
    optimiser = torch.optim.SGD(plain.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)

    def plain_step() -> None:
        x_adv = inner(x, y)
        plain.train()
        optimiser.zero_grad()
        F.cross_entropy(plain(x_adv), y).backward()
        optimiser.step()
        plain.eval()

    step = compare("one PGD-AT step, same", lambda: training(hers, images), "torchattacks", plain_step)
    return [attack, step]

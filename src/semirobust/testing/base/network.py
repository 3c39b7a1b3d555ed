"""A small network with what makes networks difficult, and a guard of what must be left alone."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from semirobust.core.seed import as_seed
from semirobust.data.base.images import Images
from semirobust.testing.base.check import require

__all__ = ["SmallResidual", "examples", "fingerprint", "network", "small_images", "untouched"]


class SmallResidual(nn.Module):
    """A convolution, a residual block with a projection named ``shortcut``, a head; batch norm and dropout
    throughout.

    Args:
        classes: outputs.
        channels: of the images.
    """

    def __init__(self, classes: int = 3, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(4)
        self.block = _Block(4, 6)
        self.drop = nn.Dropout(0.2)
        self.linear = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, H, W)."""
        h = self.block(torch.relu(self.bn1(self.conv1(x))))
        logits: Tensor = self.linear(self.drop(h.mean((2, 3))))
        return logits


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))
        self.conv2 = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv3 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.bn3 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        side = self.shortcut(x)  # before the main path, as some implementations do
        h = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(h)) + side)


def network(seed: int = 1) -> nn.Module:
    """A :class:`SmallResidual` in eval mode, whose norms do not train: a mixture that must come back."""
    with as_seed(seed).globally():
        model = SmallResidual().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.dim() > 1)
    return model


def examples(n: int, seed: int = 0, size: int = 5) -> tuple[Tensor, Tensor]:
    """``n`` images (n, 3, size, size) with black and white pixels among them, and labels of 3 classes."""
    x = torch.rand(n, 3, size, size, generator=as_seed(seed).generator())
    x[0, 0], x[-1, -1] = 0, 1
    return x, torch.arange(n) % 3


def small_images(n: int = 60, size: int = 8) -> Images:
    """``n`` images of 3 classes that differ in brightness."""
    x, _ = examples(n, 0, size)
    return Images(x, (x.mean((1, 2, 3)) * 60).long() % 3, ("a", "b", "c"))


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Fails if the block changes the model or the global random state: tensors, ``.grad``, modes,
    ``requires_grad``, hooks and attributes.
    """
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    before, state = fingerprint(model), torch.get_rng_state()
    yield
    require(fingerprint(model) == before, "the model is not as it was: weights, modes, gradients or hooks")
    require(torch.equal(torch.get_rng_state(), state), "the global random state has moved")


def fingerprint(model: nn.Module) -> str:
    """A hash of everything that measuring must leave alone."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict(keep_vars=True).items():
        grad = None if tensor.grad is None else tensor.grad.numpy().tobytes()
        digest.update(repr((name, tensor.requires_grad, grad)).encode() + tensor.detach().numpy().tobytes())
    for name, module in model.named_modules():
        hooks = (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        digest.update(repr((name, module.training, hooks, sorted(module.__dict__))).encode())
    return digest.hexdigest()

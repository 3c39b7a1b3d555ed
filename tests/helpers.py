"""Small networks and tools for tests."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["SmallResidual", "fingerprint", "untouched"]


class SmallResidual(nn.Module):
    """A convolution, a residual block with a projection named ``shortcut``, a head; batch norm and dropout
    throughout.
    """

    def __init__(self, classes: int = 3, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(4)
        self.block = _Block(4, 6)
        self.drop = nn.Dropout(0.2)
        self.linear = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.block(torch.relu(self.bn1(self.conv1(x))))
        return self.linear(self.drop(h.mean((2, 3))))


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


def fingerprint(model: nn.Module) -> str:
    """Everything that measuring must leave alone: tensors, ``.grad``, modes, ``requires_grad``, hooks,
    attributes.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict(keep_vars=True).items():
        grad = None if tensor.grad is None else tensor.grad.numpy().tobytes()
        digest.update(repr((name, tensor.requires_grad, grad)).encode() + tensor.detach().numpy().tobytes())
    for name, module in model.named_modules():
        hooks = (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        digest.update(repr((name, module.training, hooks, sorted(module.__dict__))).encode())
    return digest.hexdigest()


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Fails if the block changes the model or the global random state."""
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    before, state = fingerprint(model), torch.get_rng_state()
    yield
    assert fingerprint(model) == before
    assert torch.equal(torch.get_rng_state(), state)

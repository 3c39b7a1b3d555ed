"""The form of every perturbation of the weights at which the outer loss is taken."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap
from semirobust.training.hooks.base.hook import AbstractHook, AbstractHookState

if TYPE_CHECKING:
    from semirobust.training.run import Run

__all__ = ["AbstractWeightPerturbation", "check_radius", "matrices", "relative"]

_TINY = 1e-20


class AbstractWeightPerturbation(AbstractHook):
    """min_w of the outer loss at w + v, where v is one step along the gradient of that loss at w.

    v is taken back after the step of the optimiser. Batch statistics move by the outer loss at w + v alone.

    Attributes:
        warm_up: epochs before it begins; each member declares it behind its own settings.
    """

    warm_up: int

    def begin(self, run: "Run") -> AbstractHookState:
        return _State(self, run)

    @property
    @abstractmethod
    def off(self) -> bool:
        """Whether nothing is perturbed."""

    @abstractmethod
    def named(self, model: nn.Module, layers: LayerMap) -> Mapping[str, Tensor]:
        """The parameters that are perturbed, of those that train, by name."""

    @abstractmethod
    def along(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """v by name, from the parameters and the gradients of the outer loss in those that it depends on."""

    def offsets(self, model: nn.Module, layers: LayerMap, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
        """v for each weight that is perturbed; ``loss`` runs the model in train mode, whose batch statistics
        are left as they were.
        """
        weights = self.named(model, layers)
        if not weights:
            return {}
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        found = torch.autograd.grad(loss(), list(weights.values()), allow_unused=True)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])
            return self.along(weights, {n: g for n, g in zip(weights, found, strict=True) if g is not None})


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """The weights of convolutions and linear layers that train, as the code of AWP finds them: of two
    dimensions or more.
    """
    return {n: p for n, p in model.named_parameters() if p.requires_grad and p.dim() > 1 and "weight" in n}


def relative(weight: Tensor, gradient: Tensor, radius: float) -> Tensor:
    """A step along the gradient whose length is ``radius`` times that of the weight."""
    return radius * weight.norm() / (gradient.norm() + _TINY) * gradient


def check_radius(name: str, radius: float, warm_up: int) -> None:
    """Raise ``InputError`` for what is below 0."""
    if not radius >= 0 or warm_up < 0:
        raise InputError(f"{name} and warm_up: expected at least 0, got {radius} and {warm_up}")


class _State(AbstractHookState):
    def __init__(self, hook: AbstractWeightPerturbation, run: "Run") -> None:
        self._hook, self._run = hook, run
        self._offsets: dict[str, Tensor] = {}

    def before_loss(self, loss: Callable[[], Tensor]) -> None:
        self._offsets = {}
        if not self._hook.off and self._run.state.epoch >= self._hook.warm_up:
            self._offsets = self._hook.offsets(self._run.model, self._run.layers, loss)
            self._run.processes.mean_(self._offsets.values())
            self._move_weights(1)

    def after_optimiser(self) -> None:
        self._move_weights(-1)

    def _move_weights(self, sign: int) -> None:
        named = dict(self._run.model.named_parameters())
        with torch.no_grad():
            for name, offset in self._offsets.items():
                named[name].add_(offset, alpha=sign)

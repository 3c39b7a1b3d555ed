"""Attacks of other libraries, used wherever ours can be."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.attacks.base.attack import AbstractAttack
from semirobust.attacks.base.goals import AbstractGoal
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.fast.model import FastModel
from semirobust.threats import AbstractBall, AbstractThreat

__all__ = ["Foreign", "adapt"]


def adapt(attack: Any, threat: AbstractThreat, *, name: str | None = None) -> "Foreign":
    """An attack of torchattacks or foolbox, or any ``attack(model, x, y) -> x_adv``, as one of ours.

    What leaves ``threat`` or [0, 1], or does not fool the model, is not counted by
    :func:`semirobust.evaluate`, and reported.

    Args:
        attack: an object of torchattacks (made for any model; it is used on the one that is evaluated), an
            attack of foolbox (run at the epsilon of ``threat``), or a function.
        threat: what it is meant to stay in.
        name: in tables; by default that of its class or function.

    Raises:
        InputError: something that cannot be called.
    """
    return Foreign(attack, threat, name or _name(attack))


@dataclass(frozen=True)
class Foreign(AbstractAttack):
    """The adapter that :func:`adapt` makes. Random numbers come from ``seed`` by way of the global
    generators.

    Args:
        attack, threat: as there.
        called: its name.
    """

    attack: Any
    threat: AbstractThreat
    called: str

    def __post_init__(self) -> None:
        if not callable(self.attack) or isinstance(self.attack, type):
            raise InputError(f"attack: expected an attack object or a function, got {self.attack!r}")

    @property
    def name(self) -> str:
        return self.called

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        raise InputError(f"{self.called}: expected a classifier to fool; it cannot raise other losses")

    def perturb(
        self, model: nn.Module, x: Tensor, y: Tensor, seed: Seed, *, early_exit: bool, form: FastModel | None
    ) -> Tensor:
        with seed.globally():
            x_adv = self._runner(model, x.device)(x.detach().clone(), y)
        if not (isinstance(x_adv, Tensor) and x_adv.shape == x.shape):
            raise InputError(
                f"{self.called}: expected examples of shape {tuple(x.shape)}, got {type(x_adv).__name__}"
            )
        return x_adv.to(x.dtype)

    def _runner(self, model: nn.Module, device: torch.device) -> Callable[[Tensor, Tensor], Any]:
        library = type(self.attack).__module__.partition(".")[0]
        if library == "torchattacks":
            # All of it is copied but the model, whose place the given one takes.
            clone: Any = copy.deepcopy(self.attack, {id(self.attack.model): model})
            if hasattr(clone, "set_device"):
                clone.set_device(device)
            runner: Callable[[Tensor, Tensor], Any] = clone
            return runner
        if library == "foolbox":
            return lambda x, y: self._by_foolbox(model, x, y)
        return lambda x, y: self.attack(model, x, y)

    def _by_foolbox(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        from foolbox.models import PyTorchModel  # type: ignore[attr-defined]

        if not isinstance(self.threat, AbstractBall):
            raise InputError(
                f"{self.called}: expected a norm ball, whose epsilon foolbox needs; got {self.threat}"
            )
        wrapped = PyTorchModel(model, bounds=(0, 1), device=x.device)
        with torch.enable_grad():
            x_adv: Tensor = self.attack(wrapped, x, y, epsilons=self.threat.epsilon)[1]
        return x_adv


def _name(attack: Any) -> str:
    if not callable(attack):
        raise InputError(f"attack: expected an attack object or a function, got {attack!r}")
    library = type(attack).__module__.partition(".")[0]
    own = getattr(attack, "__name__", type(attack).__name__)
    return f"{library}-{own}" if library in ("torchattacks", "foolbox") else own

"""Attacks that want one certain class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from semirobust.attacks.base.attack import AbstractAttack
from semirobust.attacks.base.goals import AbstractGoal
from semirobust.attacks.base.losses import cross_entropy
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.fast.model import FastModel
from semirobust.threats import AbstractThreat

__all__ = ["Rule", "Targeted"]

Rule = Literal["least-likely", "runner-up", "random"]
_RULES = ("least-likely", "runner-up", "random")
Target = Rule | int | Tensor | Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Targeted(AbstractAttack):
    """An attack that wants one certain class: it lowers the cross entropy of that class (Kurakin et al. 2017,
    section 3.3, for the least likely one).

    In :func:`semirobust.evaluate` it counts like any other: an example that is misclassified, as whatever
    class, is fooled. How many reach their class is ``(model(x_adv).argmax(1) == attack.targets(model, x,
    y)).float().mean()``.

    Args:
        attack: one that can raise any loss: FGSM, PGD or APGD.
        target: the class of each example: ``least-likely``, ``runner-up`` (the likeliest wrong one) or
            ``random``, by the clean logits and never the true one; a number, for all; a tensor (N,); or a
            function of the model, x and y that gives one.

    Raises:
        InputError: an attack or a target of another kind.
    """

    attack: AbstractAttack
    target: Target = "least-likely"

    def __post_init__(self) -> None:
        if isinstance(self.attack, Targeted):
            raise InputError(f"attack: expected one without a target, got {self.attack!r}")
        known = isinstance(self.target, int | Tensor) and not isinstance(self.target, bool)
        if not (known or callable(self.target) or self.target in _RULES):
            raise InputError(
                f"target: expected {', '.join(_RULES)}, a class, a tensor of classes (N,) or a function; got"
                f" {self.target!r}"
            )

    @property
    def threat(self) -> AbstractThreat:  # type: ignore[override]
        return self.attack.threat

    @property
    def name(self) -> str:
        if isinstance(self.target, str):
            return f"{self.attack.name} to {self.target}"
        where = f"class {self.target}" if isinstance(self.target, int) else "given classes"
        return f"{self.attack.name} to {where}"

    @property
    def cost(self) -> int:
        return self.attack.cost + 1

    def check_shape(self, x: Tensor) -> None:
        self.attack.check_shape(x)

    def within_threat(self, x: Tensor, x_adv: Tensor) -> Tensor:
        return self.attack.within_threat(x, x_adv)

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        raise InputError(f"{self.name}: expected a classifier to fool; it cannot raise other losses")

    def targets(self, model: nn.Module, x: Tensor, y: Tensor, *, seed: Seed = Seed(())) -> Tensor:
        """The class (N,) that each example is to have.

        Raises:
            InputError: classes of another number than examples, or that the model does not have, or true
                ones.
        """
        with torch.no_grad():
            logits = model(x)
        if isinstance(self.target, str):
            return _by_rule(self.target, logits, y, seed)
        found = self.target(model, x, y) if callable(self.target) else self.target
        wanted = torch.as_tensor(found, device=y.device)
        wanted = wanted.expand(len(y)) if wanted.dim() == 0 else wanted
        if wanted.shape != y.shape or wanted.is_floating_point() or wanted.dtype == torch.bool:
            raise InputError(
                f"target: expected a class for each of {len(y)} examples, got {wanted.dtype} of shape"
                f" {tuple(wanted.shape)}; evaluate attacks in parts, so give it a rule, a class or a function"
            )
        low, high, classes = int(wanted.min()), int(wanted.max()), logits.shape[1]
        if low < 0 or high >= classes:
            raise InputError(f"target: expected classes from 0 to {classes - 1}, got {low} to {high}")
        if same := int((wanted == y).sum()):
            raise InputError(
                f"target: expected other classes than the true ones, got these for {same} of {len(y)}"
                " examples; leave them out, as by x[y != target]"
            )
        return wanted.long()

    def perturb(
        self, model: nn.Module, x: Tensor, y: Tensor, seed: Seed, *, early_exit: bool, form: FastModel | None
    ) -> Tensor:
        target = self.targets(model, x, y, seed=seed / "target")
        return self.attack.maximise(lambda z: -cross_entropy(model(z), target), x, seed=seed)


def _by_rule(rule: str, logits: Tensor, y: Tensor, seed: Seed) -> Tensor:
    others = logits.scatter(1, y[:, None], torch.inf if rule == "least-likely" else -torch.inf)
    if rule == "least-likely":
        return others.argmin(1)
    if rule == "runner-up":
        return others.argmax(1)
    shift = torch.randint(1, logits.shape[1], y.shape, generator=seed.generator())
    return (y + shift.to(y.device)) % logits.shape[1]

"""Attacks that start where the last one on the same image ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from semirobust.attacks import AbstractAttack
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.augment import augmentation
from semirobust.core.devices import uploaded
from semirobust.core.errors import InputError
from semirobust.core.processes import ALONE, Processes
from semirobust.training.hooks import HOOKS, AbstractHook
from semirobust.training.hooks.base.hook import AbstractHookState
from semirobust.training.hooks.base.perturbation import PERTURBS

if TYPE_CHECKING:
    from semirobust.training.run import Batch, Move, Run
    from semirobust.training.training import Training

__all__ = ["Perturbations", "StoredStarts"]

_LEVELS, _UNSEEN = 127, -128


@HOOKS.register("stored-starts")
@dataclass(frozen=True)
class StoredStarts(AbstractHook):
    """Starts each attack where the last one on the same image ended (Zheng et al. 2020, ATTA).

    A few steps from there do what many do from a random point, because the network changes little in an
    epoch. In the first epoch the attack starts as it does by itself. What is stored, and how, is said at
    :class:`Perturbations`.
    """

    role: ClassVar[str] = PERTURBS

    def check(self, training: "Training") -> None:
        attack = training.attack
        if not isinstance(attack, AbstractBallAttack):
            raise InputError("stored-starts: expected an attack within a norm ball to store perturbations of")
        if type(attack).continue_from is AbstractAttack.continue_from:
            raise InputError(
                f"stored-starts: {attack.name} cannot start from stored perturbations; expected one such as"
                " pgd-4"
            )
        if (augment := augmentation(training.augment)) is not None and not augment.only_moves:
            raise InputError(
                "augment: expected one that only moves pixels beside stored perturbations, got"
                f" {training.augment}"
            )

    def begin(self, run: "Run") -> AbstractHookState:
        return _State(run)


class Perturbations:
    """One perturbation for every training image: where the last attack on it ended.

    It is kept in the frame of the image before augmentation: an augmentation is undone by its adjoint, and
    what it had cut off keeps its older value. It is kept in eight bits (ours): no part of a perturbation
    exceeds epsilon, so the rounding is epsilon / 254 at most. There are two tensors, of the last epoch and of
    this one, each as large as the images in eight bits.

    Args:
        count: how many images.
        shape: of one image.
        epsilon: the radius of the ball.
        device: where they are kept: that of the images, so that no batch has to be copied there.
    """

    def __init__(
        self,
        count: int,
        shape: tuple[int, ...],
        epsilon: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.last_epoch = torch.zeros((count, *shape), dtype=torch.int8, device=device)
        self.this_epoch = torch.full_like(self.last_epoch, _UNSEEN)
        self._scale = min(epsilon, 1.0) / _LEVELS  # pixels lie in [0, 1], whatever the radius

    def of(self, rows: Tensor, move: "Move", device: torch.device) -> Tensor:
        """The perturbations (n, ...) of the images ``rows``, augmented as these are."""
        stored = self.last_epoch[uploaded(rows, self.last_epoch.device)]
        return move(uploaded(stored, device).float() * self._scale)

    def keep(self, rows: Tensor, delta: Tensor, move: "Move") -> None:
        """Keep ``delta`` (n, ...) of the images ``rows``, which were augmented by ``move``."""
        kept_at = self.last_epoch.device
        rows = uploaded(rows, kept_at)
        before = self.last_epoch[rows]
        with torch.enable_grad():
            # On the device of the images, where an augmentation draws as it drew for them.
            still = torch.zeros(before.shape, device=delta.device, requires_grad=True)
            moved = move(still)
        back, seen = delta.detach().float(), torch.ones((), device=delta.device)
        if moved is not still:
            (back,) = torch.autograd.grad(moved, still, back, retain_graph=True)
            (seen,) = torch.autograd.grad(moved, still, torch.ones_like(moved))
        codes = (back / self._scale if self._scale else back).round().clamp(-_LEVELS, _LEVELS).to(torch.int8)
        self.this_epoch[rows] = torch.where((seen > 0).to(kept_at), codes.to(kept_at), before)

    def end_epoch(self, processes: Processes = ALONE) -> None:
        """What all processes kept in this epoch is what the next one starts from."""
        self.last_epoch = processes.max(self.this_epoch)
        self.this_epoch = torch.full_like(self.last_epoch, _UNSEEN)


class _State(AbstractHookState):
    def __init__(self, run: "Run") -> None:
        assert isinstance(run.training.attack, AbstractBallAttack)
        self._run = run
        shape = tuple(run.images.batch(torch.tensor([0]), run.fabric.device)[0].shape[1:])
        epsilon, at = run.training.attack.threat.epsilon, run.images.y.device
        self._stored = Perturbations(len(run.images), shape, epsilon, at)

    def start(self, batch: "Batch") -> Tensor | None:
        if self._run.state.epoch == 0:
            return None
        return batch.x + self._stored.of(batch.rows, batch.move, batch.x.device).to(batch.x)

    def after_attack(self, batch: "Batch", x_adv: Tensor) -> None:
        self._stored.keep(batch.rows, x_adv - batch.x, batch.move)

    def after_epoch(self) -> None:
        self._stored.end_epoch(self._run.processes)

    def tensors(self) -> Mapping[str, Tensor]:
        # Between two epochs nothing is kept of this one yet.
        within = self._run.state.underway is not None
        this_epoch = {"this_epoch": self._stored.this_epoch} if within else {}
        return {"last_epoch": self._stored.last_epoch, **this_epoch}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        at = self._stored.last_epoch.device
        self._stored.last_epoch = tensors["last_epoch"].to(at)
        self._stored.this_epoch = tensors.get("this_epoch", self._stored.this_epoch).to(at)

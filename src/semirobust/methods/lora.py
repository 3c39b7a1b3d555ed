"""Low-rank adversarial fine-tuning."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import nn

from semirobust.adapters.low_rank import low_rank, merged
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import ChosenLayers
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import Fixed
from semirobust.training.training import Trained

__all__ = ["LoRA"]


@METHODS.register("lora")
@dataclass(frozen=True)
class LoRA(AbstractMethod):
    """PGD-AT of a low-rank update of each weight, everything else frozen; merged afterwards, so the network
    keeps its build.

    W <- W + scale * up down with ``up`` (outputs, rank) from 0 and ``down`` (rank, fan-in) from N(0, 1 /
    fan-in) (Hu et al. 2022; for convolutions as in AutoLoRA, Xu et al. 2024, over outputs x inputs and taps).
    Batch norm is frozen too (ours). The projections of shortcuts have no update.

    Args:
        rank: of each update; 8 in AutoLoRA.
        scale: of the update.
        layers, selection, k, every, examples, criterion: the layers with an update that trains, as in
            :class:`semirobust.methods.base.layer_choice.ChosenLayers`; all of them where neither ``layers``
            nor ``k`` is given.
    """

    rank: int = 8
    scale: float = 1.0
    layers: Sequence[int] | None = None
    selection: str = "top"
    k: int | None = None
    every: int = 0
    examples: int = 512
    criterion: str = "criticality"

    def plan(self, context: Context) -> Plan:
        if self.rank < 1 or not self.scale > 0:
            raise InputError(
                f"rank and scale: expected at least 1 and a positive number, got {self.rank} and {self.scale}"
            )
        if self.every:
            raise InputError(f"every: expected 0, since updates stay where they are; got {self.every}")
        everything = self.layers is None and self.k is None
        chosen = ChosenLayers(
            self.layers, self.selection, self.k, 0, self.examples, "paper", "input", criterion=self.criterion
        )
        trainable = Fixed(context.layers.indices) if everything else chosen.trainable(context)
        names = [layer.name for layer in context.layers]

        @contextmanager
        def prepare(model: nn.Module, seed: Seed) -> Iterator[None]:
            with low_rank(model, names, self.rank, self.scale, seed):
                yield

        def as_before(trained: Trained) -> Trained:
            return replace(trained, best=merged(trained.best, self.scale))

        return Plan(Adversarial(), trainable, prepare=prepare, as_before=as_before)

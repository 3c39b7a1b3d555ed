"""Low-rank adversarial fine-tuning."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from torch import nn

from semirobust.adapters.low_rank import low_rank, merged
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.methods import METHODS
from semirobust.methods.base.called import check_called
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import Fixed
from semirobust.training.training import Trained

__all__ = ["LoRA"]


@METHODS.register("lora")
@dataclass(frozen=True)
class LoRA(AbstractMethod):
    """PGD-AT of a low-rank update of each weight, the rest frozen; the update is merged into the weight
    afterwards.

    W <- W + scale * up down. ``up`` (outputs, rank) starts at 0 and ``down`` (rank, fan-in) is drawn from
    N(0, 1 / fan-in) (Hu et al. 2022). For convolutions the fan-in is inputs x taps, as in AutoLoRA (Xu et al.
    2024). Batch norm is frozen too (ours). The projections of shortcuts have no update.

    Args:
        rank: of each update; 8 in AutoLoRA.
        scale: of the update.
        choice: the layers whose update trains; all of them where neither ``layers`` nor ``k`` is given. They
            are chosen once.
    """

    rank: int = 8
    scale: float = 1.0
    choice: LayerChoice = field(default_factory=lambda: LayerChoice(every=0))

    def plan(self, context: Context) -> Plan:
        if self.rank < 1 or not self.scale > 0:
            raise InputError(
                f"rank and scale: expected at least 1 and a positive number, got {self.rank} and {self.scale}"
            )
        if self.choice.every and self.choice.layers is None:
            raise InputError(f"every: expected 0, since updates stay where they are; got {self.choice.every}")
        if self.choice.trains != "layer":
            raise InputError(
                f"trains: expected layer, since an update is of weights; got {self.choice.trains!r}"
            )
        # An update of every weight is the usual LoRA.
        everything = self.choice.layers is None and self.choice.k is None
        trainable = Fixed(context.layers.indices) if everything else self.choice.trainable(context)
        names = [layer.name for layer in context.layers]
        check_called(context.layers, names)

        @contextmanager
        def prepare(model: nn.Module, seed: Seed) -> Iterator[None]:
            with low_rank(model, names, self.rank, self.scale, seed):
                yield

        def as_before(trained: Trained) -> Trained:
            return replace(trained, best=merged(trained.best, self.scale))

        return Plan(Adversarial(), trainable, prepare=prepare, as_before=as_before)

    def with_random_layers(self) -> "LoRA":
        return replace(self, choice=self.choice.at_random())

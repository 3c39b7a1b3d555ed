"""Adversarial fine-tuning with a low-rank branch for clean images."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from torch import nn

from semirobust.adapters.low_rank import branch, without_branch
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.map import LayerMap
from semirobust.methods import METHODS
from semirobust.methods.base.automatic_rate import AutomaticRate
from semirobust.methods.base.called import check_called
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.autolora import AutoLoRA
from semirobust.training.trainable import All
from semirobust.training.training import Trained

__all__ = ["AutoLoRAFineTuning"]


@METHODS.register("autolora")
@dataclass(frozen=True)
class AutoLoRAFineTuning(AbstractMethod):
    """Adversarial images train the network, clean ones a low-rank branch that is dropped afterwards; held-out
    images set the learning rate.

    Source: AutoLoRA (Xu et al. 2024) and its code, with the loss of
    :class:`semirobust.objectives.autolora.AutoLoRA`. Every convolution but the first has an update of rank
    ``rank`` x k for k x k taps, the projections of shortcuts too. In it ``down`` begins as N(0, 1), ``up`` as
    0, and the scale is 1 / ``rank``. The classifier has none and is shared. Where linear layers stand before
    it they have one too (ours; the authors have ResNets only).

    Args:
        rank: of the branch; 8 in the authors' code.
        weight: as in the objective.
        automatic_rate: the learning rate begins as given and falls by
            :class:`semirobust.methods.base.automatic_rate.AutomaticRate`, for which images must be held out;
            the schedule is then not used. Without it the schedule is that of the training.

    Raises:
        InputError: the rank is not positive, or nothing is held out for the automatic rate.
    """

    rank: int = 8
    weight: float = 6.0
    automatic_rate: bool = True

    def plan(self, context: Context) -> Plan:
        if self.rank < 1:
            raise InputError(f"rank: expected at least 1, got {self.rank}")

        def prepare(model: nn.Module, seed: Seed) -> AbstractContextManager[None]:
            return branch(model, _updated(model, context.layers), self.rank, seed, by_kernel=True)

        def as_before(trained: Trained) -> Trained:
            return replace(trained, best=without_branch(trained.best))

        return Plan(
            AutoLoRA(self.weight),
            All(),
            prepare=prepare,
            as_before=as_before,
            hooks=(AutomaticRate(),) if self.automatic_rate else (),
            schedule="constant" if self.automatic_rate else "",
        )


def _updated(model: nn.Module, layers: LayerMap) -> list[str]:
    """The modules with an update: layers but the first and the classifier, and projections of any."""
    mains = [layer.name for layer in layers]
    inner = [layer.name for layer in layers[1:] if layer.index not in layers.classifier]
    kinds = (nn.Conv2d, nn.Linear)
    beside = [n for n in layers.modules(layers.indices) if isinstance(model.get_submodule(n), kinds)]
    names = [*inner, *(name for name in dict.fromkeys(beside) if name not in mains)]
    check_called(layers, names)
    return names

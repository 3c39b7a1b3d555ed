"""Adversarial fine-tuning of peft's adapters in linear layers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from torch import nn

from semirobust.adapters.peft_adapters import Kind, PeftAdapters
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.scores import LayerScores
from semirobust.methods import METHODS
from semirobust.methods.base.called import check_called
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import AbstractTrainable, Choice, Fixed, Reselected
from semirobust.training.training import Trained

__all__ = ["PeftFineTuning"]

_ADVERSARIAL = Adversarial()


@METHODS.register("peft")
@dataclass(frozen=True)
class PeftFineTuning(AbstractMethod):
    """PGD-AT of adapters of the package peft in linear layers, the rest frozen; merged into the weights
    afterwards.

    ``lora`` (Hu et al. 2022): W <- W + (alpha / rank) B A, where B (outputs, rank) begins as 0. ``dora`` (Liu
    et al. 2024): the same, and the length of each row of W trains by itself. ``loha`` (Hyeon-Woo et al.
    2022): a product by elements of two such updates. ``lokr`` (Yeh et al. 2024): a Kronecker product. ``ia3``
    (Liu et al. 2022): W <- diag(l) W and b <- l b, where l begins as 1; here of any linear layer (ours).

    All of them compute what W does at the start, and peft can merge them, so that the saved network has its
    own build. That they train under attack, and in layers chosen by a measure, is ours.

    Args:
        kind: lora, dora, loha, lokr or ia3.
        rank: of each update; ``ia3`` has none.
        alpha: the scale of the update, times its rank. With 0 ``lora`` leaves every weight as it is.
        dropout: in train mode the chance that a value on its way into the update is left out; of ``loha`` and
            ``lokr`` the whole update; ``ia3`` has none.
        choice: the layers with adapters; all linear ones but the classifier where neither ``layers`` nor
            ``k`` nor ``share`` is given. They are chosen once, among linear layers.
        objective: what training minimises and the attack maximises.

    Raises:
        InputError: peft is not installed, a value is out of range, or there are no linear layers to choose.
    """

    package: ClassVar[str] = "peft"

    kind: Kind = "lora"
    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.0
    choice: LayerChoice = field(default_factory=lambda: LayerChoice(every=0))
    objective: AbstractObjective = _ADVERSARIAL

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha >= 0 or not 0 <= self.dropout < 1:
            raise InputError(
                "rank, alpha and dropout: expected at least 1, at least 0 and from 0 to less than 1, got"
                f" {self.rank}, {self.alpha} and {self.dropout}"
            )

    def plan(self, context: Context) -> Plan:
        if self.choice.every and self.choice.layers is None:
            raise InputError(
                f"every: expected 0, since adapters stay where they are; got {self.choice.every}"
            )
        if self.choice.trains != "layer":
            raise InputError(
                f"trains: expected layer, since an adapter is of weights; got {self.choice.trains!r}"
            )
        chooses, chosen = self._chooses(context), _Chosen()
        adapters = PeftAdapters(self.kind, self.rank, self.alpha, self.dropout)

        @contextmanager
        def prepare(model: nn.Module, seed: Seed) -> Iterator[None]:
            # Before there are adapters, since a measure looks at the weights.
            choice = chooses(0, model, seed / "choice")
            assert choice is not None and choice.layers is not None
            chosen.choice = choice
            names = [context.layers.at(index).name for index in choice.layers]
            with adapters.inside(model, names, seed / "adapters"):
                yield

        def as_before(trained: Trained) -> Trained:
            return replace(trained, best=adapters.merged(trained.best))

        return Plan(self.objective, chosen, prepare=prepare, as_before=as_before)

    def with_random_layers(self) -> "PeftFineTuning":
        return replace(self, choice=self.choice.at_random())

    def _chooses(self, context: Context) -> AbstractTrainable:
        layers, choice = context.layers, self.choice
        check_called(layers, (layers.at(index).name for index in choice.layers or ()))
        linear = tuple(x.index for x in layers if x.kind == "Linear" and x.name not in layers.shared)
        inner = tuple(index for index in linear if index not in layers.classifier)
        if choice.layers is None and not inner:
            raise InputError(
                "layers: expected linear layers before the classifier, whose weights act in them alone, found"
                " none; lora updates convolutions too"
            )
        if choice.layers is None and choice.k is None and choice.share is None and choice.selection == "top":
            return Fixed(inner)
        chooses = choice.trainable(context)
        if isinstance(chooses, Reselected):
            measured = chooses.score
            return replace(chooses, score=lambda model, seed: _among(measured(model, seed), linear))
        return chooses


class _Chosen(AbstractTrainable):
    """The layers that were chosen before the training."""

    choice: Choice | None = None

    def __call__(self, epoch: int, model: nn.Module, seed: Seed) -> Choice | None:
        return self.choice if epoch == 0 else None


def _among(scores: LayerScores, layers: tuple[int, ...]) -> LayerScores:
    """The scores, without those of other layers."""
    return replace(scores, values=np.where(np.isin(scores.indices, layers), scores.values, np.nan))

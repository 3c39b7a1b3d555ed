"""The choice of the layers that train, by a measure of layers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.attacks import AbstractAttack
from semirobust.core.errors import InputError
from semirobust.core.nearest import meant
from semirobust.core.seed import Seed
from semirobust.core.typed import Typed
from semirobust.fast.policy import FastFollower
from semirobust.layers.features import Place
from semirobust.layers.freeze import Part, check_part, part_of
from semirobust.layers.map import LayerMap
from semirobust.layers.quiet import device_of
from semirobust.layers.reach import without_effect
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES, MeasureContext
from semirobust.measures.criticality import Criticality, First, Form, Scale
from semirobust.methods.base.method import Context
from semirobust.selection import SELECTIONS, AbstractLayerSelection, AbstractSelection
from semirobust.selection.base.costs import Cost
from semirobust.threats import AbstractBall
from semirobust.training.trainable import AbstractTrainable, Fixed, Reselected, Score

__all__ = ["LayerChoice"]

_BATCH = 256
_COMPARED = 32  # images on which a fast copy must agree with the model


@dataclass(frozen=True)
class LayerChoice(Typed):
    """Which layers train: given ones, or those that a measure of layers selects, again every few epochs.

    Args:
        layers: the layers; nothing is then measured. None selects them.
        selection: ``top``, ``bottom`` or ``random`` of a number of layers; ``cumulative``, the fewest that
            hold a share of all scores; ``budget`` or ``knapsack``, within a share of the parameters or MACs.
        k: how many layers are selected; None for 5 % of all, rounded up. Of a number of layers alone.
        share: what ``cumulative``, ``budget`` and ``knapsack`` take; None for their defaults.
        cost: ``parameters`` or ``macs``, of which ``budget`` and ``knapsack`` take a share.
        every: epochs from one selection to the next; 0 selects once.
        examples: number of training images for the measure.
        scale, at, form, first: as in :class:`semirobust.measures.criticality.Criticality`; for that criterion
            alone.
        criterion: the measure by name: criticality, another one with its defaults, or one of its by-products
            such as ``connectivity.excess``.
        trains: of these layers the ``layer`` (weight, norm, bias and projection), the same with class tokens
            and embeddings of positions (``layer+tokens``), ``weights+biases`` without norms, ``weights`` or
            ``biases``. CLAT's table 9 and RiFT's code have weights alone. The rest of the layer is then
            frozen, batch statistics too (ours).
    """

    like: ClassVar[str] = "LayerChoice(k=1)"

    layers: Sequence[int] | None = None
    selection: str = "top"
    k: int | None = None
    every: int = 10
    examples: int = 512
    scale: Scale = "paper"
    at: Place = "input"
    form: Form = "distance"
    first: First = "weakness"
    criterion: str = "criticality"
    trains: Part = "layer"
    share: float | None = None
    cost: Cost = "parameters"

    def at_random(self) -> "LayerChoice":
        """As many layers, drawn at random.

        Raises:
            InputError: how many follows from what they cost or from their scores.
        """
        if self.layers is None and not self._counts:
            raise InputError(
                f"selection: {self.selection} chooses no fixed number of layers, so there are no random ones"
                " beside it; run the method with selection=random and k as another arm"
            )
        k = len(set(self.layers)) if self.layers else self.k
        return replace(self, selection="random", layers=None, k=k)

    def trainable(self, context: Context, *, by_feature: bool = False) -> AbstractTrainable:
        """The policy for the training loop.

        No layer is selected whose own parameters take no gradient; with ``by_feature`` neither one whose
        feature does not depend on it with the weights of now.
        """
        check_part(self.trains, "trains")
        if self.layers is not None:
            if not self.layers:
                raise InputError("layers: expected at least one layer, got none")
            return Fixed(
                tuple(sorted(context.layers.at(index).index for index in set(self.layers))), self.trains
            )
        if self.every < 0 or self.examples < 1:
            raise InputError(
                f"every and examples: expected at least 0 and 1, got {self.every} and {self.examples}"
            )
        score = self._score(context, by_feature)
        return Reselected(score, self._selection(), self.every, self.trains, context.layers)

    @property
    def _counts(self) -> bool:
        """Whether the selection is of a number of layers."""
        member = SELECTIONS.find(self.selection)[0]
        return isinstance(member, type) and issubclass(member, AbstractSelection)

    def _selection(self) -> AbstractLayerSelection:
        if self._counts:
            if self.share is not None:
                raise InputError(f"share: {self.selection} takes k, a number of layers; got {self.share}")
            return SELECTIONS.make(self.selection, {"k": self.k})
        if self.k is not None:
            raise InputError(f"k: {self.selection} takes no number of layers but a share; got {self.k}")
        options = {setting.name for setting in SELECTIONS.options_of(self.selection)}
        given = {"share": self.share, "cost": self.cost}
        return SELECTIONS.make(
            self.selection, {n: v for n, v in given.items() if n in options and v is not None}
        )

    def _score(self, context: Context, by_feature: bool) -> Score:
        # Criticality alone has settings here; of another measure ``connectivity.excess`` names a by-product.
        measure = (
            Criticality(self.scale, self.at, self.form, first=self.first)
            if self.criterion == "criticality"
            else MEASURES.make(self.criterion.partition(".")[0])
        )

        def score(model: nn.Module, seed: Seed) -> LayerScores:
            device = device_of(model, torch.device("cpu"))
            order = torch.randperm(len(context.images), generator=(seed / "examples").generator())
            x, y = context.images.batch(order[: self.examples], device)
            model.eval()  # between epochs, where the loop sets the mode anew before each step
            form = FastFollower(model, context.fast)
            # Forms are compared by a step within a ball; for other threat models the model itself is used.
            if isinstance(threat := context.attack.threat, AbstractBall):
                labels = y[:_COMPARED]
                form.choose(
                    lambda f: lambda z: F.cross_entropy(f(z), labels, reduction="none"),
                    x[:_COMPARED],
                    threat,
                    seed / "search",
                )
            x_adv = _attacked(context.attack, form, model, x, y, seed / "attack")
            found = measure(
                MeasureContext(model, context.layers, x, y, x_adv, context.attack, seed / "bootstrap")
            )
            by_name = {scores.name: scores for scores in found}
            if self.criterion not in by_name:
                raise InputError(
                    f"criterion: expected one of {', '.join(by_name)}; got {self.criterion!r}"
                    f"{meant(self.criterion, by_name)}"
                )
            scores = by_name[self.criterion]
            passed = {*_untrainable(model, context.layers, self.trains)}
            if by_feature:
                passed.update(without_effect(model, context.layers, x, scores.indices))
            values = np.where(np.isin(scores.indices, [*passed]), np.nan, scores.values)
            return replace(scores, values=values)

        return score


def _untrainable(model: nn.Module, layers: LayerMap, part: Part) -> Iterator[int]:
    """The layers whose own parameters take no gradient, as below a low-rank update of another library.

    Norms and what is beside a layer, such as a scale of the whole network, count only where no layer has a
    weight or bias that trains.
    """
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if part not in ("layer", "layer+tokens"):
        return (layer.index for layer in layers if not names & set(part_of(model, layer, part)))
    # A low-rank update of our own has other parameters in the same module.
    modules = {name.rpartition(".")[0] for name in names}
    train = {x.index for x in layers if names.intersection(x.linear, x.parameters) or x.name in modules}
    train = train or {x.index for x in layers if names.intersection(part_of(model, x, part))}
    return (index for index in layers.indices if index not in train)


def _attacked(
    attack: AbstractAttack, form: FastFollower, model: nn.Module, x: Tensor, y: Tensor, seed: Seed
) -> Tensor:
    """``x_adv`` by the attack on the form that was chosen, a fast copy of ``model`` or the model itself."""
    if (network := form.network()) is model:
        return attack.in_batches(model, x, y, seed=seed)
    parts = zip(x.split(_BATCH), y.split(_BATCH), strict=True)

    def loss(y: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda z: F.cross_entropy(network(z), y, reduction="none")

    try:
        return torch.cat([attack.maximise(loss(b), a, seed=seed / i) for i, (a, b) in enumerate(parts)])
    except Exception as error:  # a copy may fail on what it was not tried on
        form.give_up(error)
        return _attacked(attack, form, model, x, y, seed)

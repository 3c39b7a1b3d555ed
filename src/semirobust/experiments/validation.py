"""What is measured on held-out images after each epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from semirobust.attacks import AbstractAttack
from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.processes import Processes
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.evaluation.accuracy import evaluate
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import device_of
from semirobust.layers.scores import ScoreName
from semirobust.measures import MEASURES, AbstractLayerMeasure, MeasureContext
from semirobust.training.validation import Validate, ValidationScores

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Validation"]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Clean and robust accuracy on held-out images after each epoch, and measures by layer.

    Args:
        validation_examples: how many held-out images are attacked after each epoch; 0 for none.
        validation_attack: the attack that validates; that of training where none is named, which is too weak
            if it has few steps.
        watch: measures by layer to follow on the held-out images, epoch by epoch, such as ``criticality``.
    """

    validation_examples: int = 500
    validation_attack: AbstractAttack | None = None
    watch: tuple[AbstractLayerMeasure, ...] = ()

    def __post_init__(self) -> None:
        check_counts(0, validation_examples=self.validation_examples)

    def attack(self, training: AbstractAttack | None) -> AbstractAttack:
        """The attack that validates, beside that of ``training``.

        Raises:
            InputError: there is neither.
        """
        attack = self.validation_attack or training
        if attack is None:
            raise InputError("validation_attack: expected an attack, since training has none; got none")
        return attack

    def on(
        self, images: Images, training: AbstractAttack | None, fabric: "Fabric | None" = None
    ) -> Validate | None:
        """The validation on the first of the held-out ``images``; None where there are none.

        The processes of a ``fabric`` attack a part of the images each.

        Args:
            images: those held out.
            training: the attack of training.
            fabric: the processes; one where None.

        Raises:
            InputError: too few images for a measure.
        """
        if len(images) == 0 or self.validation_examples == 0:
            return None
        part, attack = images.first(min(self.validation_examples, len(images))), self.attack(training)
        for measure in self.watch:
            if measure.min_examples > len(part):
                name = MEASURES.name_of(measure)
                raise InputError(
                    f"watch: {name} needs {measure.min_examples} held-out images, got {len(part)}"
                )

        def validate(model: nn.Module, seed: Seed) -> ValidationScores:
            x, y = part.all(device_of(model, torch.device("cpu")))
            summary = evaluate(
                model, x, y, {"robust": attack}, seed=seed, processes=Processes(fabric)
            ).summary()
            metrics = {"clean": float(summary["clean"]), "robust": float(summary["robust"])}
            by_layer: dict[ScoreName, Mapping[int, float]] = {}
            if self.watch:
                layers = layer_map(model, x)
                x_adv = attack.in_batches(model, x, y, seed=seed / "watch")
                context = MeasureContext(model, layers, x, y, x_adv, attack, seed / "measure")
                for measure in self.watch:
                    by_layer |= {scores.key: scores.by_index() for scores in measure(context)}
            return ValidationScores(metrics, by_layer)

        return validate

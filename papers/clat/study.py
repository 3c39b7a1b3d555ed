"""The CLAT paper: what fine-tuning only the critical layers is worth, with the controls that it lacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from semirobust.experiments import AbstractStudy, LeftOut, Row, Unit, read_recipe
from semirobust.records import Quantity
from semirobust.reports import Claim, Source

from .claims import claims
from .networks import NETWORKS
from .page import page
from .rows import rows
from .units import Units

__all__ = ["ClatStudy"]

_SEEDS = {"cpu": 5, "paper": 3}


@dataclass(frozen=True)
class ClatStudy(AbstractStudy):
    """All tables and figures that need no data set of its own: before and after robust overfitting, with
    rivals and criteria.
    """

    paper: ClassVar[str] = (
        "Boosting Adversarial Robustness with CLAT: Criticality-Leveraged Adversarial Training"
    )
    scales: ClassVar[dict[str, str]] = {
        "cpu": (
            "ResNet-18 of width 1/8 on CIFAR-10, PGD-10, 8/255; 4,000 images, crops and flips, 12 + 5 epochs"
            " (early), 2,000 images as they are, 40 + 5 epochs (late); an hour a seed, and half an hour each"
            " other network"
        ),
        "paper": "the paper's architectures, data and epochs; a GPU",
    }
    left_out: ClassVar[LeftOut] = LeftOut(
        quantities=frozenset({Quantity.LEARNING_RATE}), validated=frozenset({("weakness", None)})
    )

    def units(self, scale: str, seeds: int | None, changes: dict[str, Any]) -> list[Unit]:
        base = self.recipe(scale, changes)
        found, keys = list[Unit](), dict[str, str]()
        for name, network in NETWORKS[scale].items():
            count = _SEEDS[scale] if seeds is None else seeds
            for seed in range(count if network.seeds is None else min(count, network.seeds)):
                recipe = read_recipe(None, {**network.changes, **changes, "seed": seed}, base)
                found += list(Units(name, network, seed, recipe, scale, keys).all())
        return found

    def page(self, source: Source, scale: str) -> str:
        return page(source, scale, self.scales[scale])

    def claims(self) -> Sequence[Claim]:
        return claims()

    def rows(self) -> Sequence[Row]:
        return rows()

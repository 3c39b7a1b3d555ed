"""The semirobustness paper: its tables 1 to 3 and figures 1 to 3."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from semirobust.progress import Progress
from semirobust.records.origin import config_hash
from semirobust.records.store import AnyRecord, read_records
from semirobust.stages.harden import harden_subject
from semirobust.stages.recipe import Recipe, read_recipe
from semirobust.stages.recover import Part, recover_subject
from semirobust.stages.reproduce import REPRODUCTIONS
from semirobust.stages.reproduce.base import AbstractReproduction, Unit
from semirobust.stages.run import build_subject
from semirobust.stages.train import train

__all__ = ["Semirobustness"]

_Work = Callable[..., Sequence[AnyRecord]]
_ALL = ("table 1", "table 3", "figure 1", "figure 2", "figure 3")
_NETWORKS: dict[str, dict[str, dict[str, Any]]] = {
    "cpu": {"resnet18-cifar10": {}},
    "paper": {
        "resnet18-cifar10": {},
        "resnet18-cifar100": {"data.source": "cifar100"},
        "wrn34-10-cifar10": {"model.name": "wrn_34_10"},
        "wrn34-10-cifar100": {"model.name": "wrn_34_10", "data.source": "cifar100"},
    },
}
_SEEDS, _WHOLE = {"cpu": 5, "paper": 3}, 3  # seeds from the fourth on run only what five seeds are to decide
_DECIDED = 12  # the suffix at which variants are compared: the paper's larger one


@REPRODUCTIONS.register("semirobustness")
@dataclass(frozen=True)
class Semirobustness(AbstractReproduction):
    """Algorithm 1 at several cuts, algorithm 2, the bounds; and what the paper leaves out: controls and intervals.

    Each seed trains its own F and f*, so that intervals are over networks and not over trials of one (figure 3).
    """

    paper: ClassVar[str] = "A Theoretical Perspective on Subnetwork Contributions to Adversarial Robustness (arXiv 2307.03803)"
    scales: ClassVar[dict[str, str]] = {
        "cpu": "ResNet-18 of width 1/8, 4,500 training images of CIFAR-10, PGD-10 at 8/255; two hours a seed on one core",
        "paper": "the paper's networks, data and epochs; a GPU",
    }

    def units(self, scale: str, seeds: int | None, changes: dict[str, Any]) -> list[Unit]:
        found = []
        base = self.recipe("semirobustness", scale, changes)
        for network, own in _NETWORKS[scale].items():
            for seed in range(seeds or _SEEDS[scale]):
                recipe = read_recipe(None, {**own, "seed": seed}, base)
                found += _units(network, seed, recipe, whole=seed < _WHOLE)
        return found


def _units(network: str, seed: int, recipe: Recipe, *, whole: bool) -> list[Unit]:
    """The units of one network and seed, in the order in which they run."""
    place = f"{network}/seed-{seed}"

    def unit(name: str, items: Sequence[str], sections: Sequence[str], work: _Work, *needs: str, **more: Any) -> Unit:
        key = config_hash({**recipe.for_hash("data", "model", "threat", *sections), **more})
        needed = tuple(f"{place}/{other}" for other in needs)
        return Unit(f"{place}/{name}", seed, tuple(items), key, partial(work, recipe, place, **more), needed)

    both, decided = ("normal", "robust"), ("train", "harden", "recover", "evaluate")
    found = [
        unit("normal", [*_ALL, "table 2"], ["train"], _normal),
        unit("robust", [*_ALL, "table 2"], ["train", "harden"], _robust, "normal"),
        unit("references", _ALL, decided, _recover, *both, parts=("references",)),
    ]
    sizes = recipe.recover.layers if whole else (_DECIDED,)
    for size in sizes:
        found.append(unit(f"suffix-{size}", _ALL, decided, _recover, *both, parts=("trials",), layers=(size,)))
    for term, weight in (("hsic", 0.5), ("cka", 0.5)):  # one weight, not tuned
        options = {"dependence": term, "weight": weight}
        found.append(
            unit(
                f"suffix-{_DECIDED}-{term}", ["dependency-enforcing training"], decided, _recover, *both,
                parts=("trials",), layers=(_DECIDED,), recover__method_options=options,
            )
        )  # fmt: skip
    found.append(
        unit(
            f"suffix-{_DECIDED}-stored", ["cost"], decided, _recover, *both, parts=("trials",), layers=(_DECIDED,),
            recover__start="stored", recover__attack="pgd-4", recover__judge="pgd-10",
        )
    )  # fmt: skip
    if whole:
        found.append(unit("controls", ["table 1"], decided, _recover, *both, parts=("controls",), layers=(_DECIDED,)))
    return found


def _normal(recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress) -> Sequence[AnyRecord]:
    train(recipe, folder, progress=progress)
    return read_records(folder)


def _robust(recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress) -> Sequence[AnyRecord]:
    subject = build_subject(str(home / place / "normal"), None, None, None, _places(recipe))
    return harden_subject(subject, folder, progress=progress)


def _recover(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    parts: tuple[Part, ...],
    layers: tuple[int, ...] = (),
    **changes: Any,
) -> Sequence[AnyRecord]:
    robust = build_subject(str(home / place / "robust"), None, None, None, _places(recipe))
    normal = build_subject(str(home / place / "normal"), None, None, None, _places(recipe))
    own = {key.replace("__", "."): value for key, value in changes.items()}
    changed = read_recipe(None, {**own, **({"recover.layers": layers} if layers else {})}, recipe)
    subject = copy.copy(robust)
    object.__setattr__(subject, "recipe", changed)
    return recover_subject(subject, normal, folder, parts=parts, progress=progress)


def _places(recipe: Recipe) -> dict[str, Any]:
    return {} if recipe.data.root is None else {"data.root": recipe.data.root}

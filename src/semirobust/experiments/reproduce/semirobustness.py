"""The semirobustness paper: its tables 1 to 3 and figures 1 to 3."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from semirobust.attacks.autoattack import AutoAttack
from semirobust.attacks.pgd import PGD
from semirobust.core.progress import Progress
from semirobust.core.seed import as_seed
from semirobust.dependence import DEPENDENCES
from semirobust.experiments import build
from semirobust.experiments.build import threat_of
from semirobust.experiments.commands.evaluate import accuracy_records
from semirobust.experiments.commands.harden import harden_subject
from semirobust.experiments.commands.profile import layer_scores, score_records
from semirobust.experiments.commands.recover import Part, recover_subject
from semirobust.experiments.commands.train import train
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.provenance import origin_of, settings_record
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.reproduce import REPRODUCTIONS
from semirobust.experiments.reproduce.base import AbstractReproduction, Unit
from semirobust.experiments.subject import Subject, build_subject
from semirobust.layers.map import layer_map
from semirobust.measures.connectivity import Connectivity
from semirobust.measures.readout import ReadoutMeasure
from semirobust.measures.semirobustness import Semirobustness
from semirobust.procedures.recovery import Recovery
from semirobust.records.origin import config_hash
from semirobust.records.schema import Label, Number, Origin
from semirobust.records.store import AnyRecord, read_records
from semirobust.reports.reproductions.semirobustness import page
from semirobust.reports.source import Source

__all__ = ["SemirobustnessPaper"]

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
# What no table needs; an excess is a value less its null.
_LEFT_OUT = frozenset(
    {
        *(f"train.{name}" for name in ("learning_rate", "layer", "best_epoch")),
        *(
            f"layer.{name}"
            for name in ("connectivity.null", "connectivity.excess", "criticality", "weakness")
        ),
        *("validation.rho.excess", "measure.connectivity", "network.linear"),
    }
)
_SEEDS, _WHOLE = {"cpu": 5, "paper": 3}, 3  # seeds from the fourth on run only what five seeds are to decide
_DECIDED = 12  # the suffix at which variants are compared: the paper's larger one


@REPRODUCTIONS.register("semirobustness")
@dataclass(frozen=True)
class SemirobustnessPaper(AbstractReproduction):
    """Algorithm 1 at several cuts, algorithm 2, the bounds; and what the paper leaves out: controls and
    intervals.

    Each seed trains its own F and f*, so that intervals are over networks and not over trials of one (figure
    3)."""

    paper: ClassVar[str] = (
        "A Theoretical Perspective on Subnetwork Contributions to Adversarial Robustness (arXiv 2307.03803)"
    )
    scales: ClassVar[dict[str, str]] = {
        "cpu": (
            "ResNet-18 of width 1/8, 4,000 images of CIFAR-10 to train, 500 to decide, PGD-10, 8/255; an hour"
            " a seed"
        ),
        "paper": "the paper's networks, data and epochs; a GPU",
    }
    left_out: ClassVar[frozenset[str]] = _LEFT_OUT

    def units(self, scale: str, seeds: int | None, changes: dict[str, Any]) -> list[Unit]:
        found = []
        base = self.recipe("semirobustness", scale, changes)
        for network, own in _NETWORKS[scale].items():
            for seed in range(seeds or _SEEDS[scale]):
                recipe = read_recipe(None, {**own, **changes, "seed": seed}, base)
                found += _units(network, seed, recipe, whole=seed < _WHOLE)
        return found

    def page(self, source: Source, scale: str) -> str:
        return page(source, scale, self.scales[scale])


def _units(network: str, seed: int, recipe: Recipe, *, whole: bool) -> list[Unit]:
    """The units of one network and seed, in the order in which they run."""
    place = f"{network}/seed-{seed}"

    def unit(
        name: str, items: Sequence[str], sections: Sequence[str], work: _Work, *needs: str, **more: Any
    ) -> Unit:
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
        found.append(
            unit(f"suffix-{size}", _ALL, decided, _recover, *both, parts=("trials",), layers=(size,))
        )
    found.append(
        unit(
            f"suffix-{_DECIDED}-hsic",
            ["dependency-enforcing training"],
            decided,
            _recover,
            *both,
            parts=("trials",),
            # A weight that was not tuned
            layers=(_DECIDED,),
            recover__method_options={"dependence": "hsic", "weight": 0.5},
        )
    )
    found.append(
        unit(
            f"suffix-{_DECIDED}-stored",
            ["cost"],
            decided,
            _recover,
            *both,
            parts=("trials",),
            layers=(_DECIDED,),
            recover__start="stored",
            recover__attack="pgd-4",
            recover__judge="pgd-10",
        )
    )
    rivals = (f"suffix-{_DECIDED}", f"suffix-{_DECIDED}-stored")
    found.append(unit("precise", ["cost"], decided, _precise, *both, *rivals, networks=rivals, examples=5000))
    if whole and recipe.recover.epochs < recipe.harden.epochs:  # as many epochs as f* had
        found.append(
            unit(
                f"suffix-{_DECIDED}-long",
                ["cost"],
                decided,
                _recover,
                *both,
                parts=("trials",),
                layers=(_DECIDED,),
                recover__start="stored",
                recover__attack="pgd-4",
                recover__judge="pgd-10",
                recover__epochs=recipe.harden.epochs,
            )
        )
    if whole:
        found.append(
            unit("controls", ["table 1"], decided, _recover, *both, parts=("controls",), layers=(_DECIDED,))
        )
        trained = tuple(f"suffix-{size}" for size in sizes)
        found.append(
            unit("prefixes", ["table 2", "definition 1"], decided, _prefixes, *both, cuts=tuple(sizes))
        )
        found.append(
            unit(
                "dependences", ["which dependence"], decided, _dependences, *both, *trained, cuts=tuple(sizes)
            )
        )
        if "autoattack" not in recipe.evaluate.attacks:
            tables = tuple(size for size in sizes if size in (4, _DECIDED))  # those of the paper's tables
            found.append(
                unit(
                    "autoattack",
                    ["table 1"],
                    decided,
                    _autoattack,
                    *both,
                    *trained,
                    cuts=tables,
                    examples=200,
                )
            )
    return found


def _normal(recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress) -> Sequence[AnyRecord]:
    train(recipe, folder, progress=progress)
    return read_records(folder)


def _robust(recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress) -> Sequence[AnyRecord]:
    return harden_subject(_trained(recipe, place, home, "normal").under(recipe), folder, progress=progress)


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
    robust, normal = (_trained(recipe, place, home, name) for name in ("robust", "normal"))
    own = {key.replace("__", "."): value for key, value in changes.items()}
    changed = read_recipe(None, {**own, **({"recover.layers": layers} if layers else {})}, recipe)
    return recover_subject(robust.under(changed), normal, folder, parts=parts, progress=progress)


def _prefixes(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress, *, cuts: tuple[int, ...]
) -> Sequence[AnyRecord]:
    """Heads and read-outs of the prefixes that the cuts leave, and of all layers but the last; of f* and of
    F.
    """
    images, attack = (
        Inputs.of(recipe).test.first(recipe.evaluate.examples),
        PGD(threat_of(recipe), steps=10),
    )
    at, seed, records = _origin(recipe), as_seed(recipe.seed) / "prefixes", list[AnyRecord]()
    for name in ("robust", "normal"):
        model = _trained(recipe, place, home, name).model
        x, _ = images.batch(torch.tensor([0]), _device())
        n = len(layer_map(model, x))
        measures = [Semirobustness(layers=sorted({n, *(n - size for size in (1, *cuts))})), ReadoutMeasure()]
        _, scores = layer_scores(model, images, measures, attack, seed=seed, progress=progress)
        records += score_records(scores, at, {"arm": name})
    return [settings_record(recipe, "prefixes", at), *records]


def _dependences(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress, *, cuts: tuple[int, ...]
) -> Sequence[AnyRecord]:
    """Every measure of dependence on the semirobust networks before and after training, on the images that
    decided.
    """
    images = Inputs.of(recipe).held_out
    images = images.first(min(recipe.recover.validation_examples, len(images)))
    robust, normal = (_trained(recipe, place, home, name).model for name in ("robust", "normal"))
    attack, at, records = PGD(threat_of(recipe), steps=10), _origin(recipe), list[AnyRecord]()
    layers = layer_map(robust, images.batch(torch.tensor([0]), _device())[0])
    for size in cuts:
        networks = {"start": Recovery(layers=size).start(robust, normal, layers)}
        networks["end"] = _trained(recipe, place, home, f"suffix-{size}").model
        for when, model in networks.items():
            for name in DEPENDENCES.names():
                if (
                    name != "infonce"
                ):  # it trains a critic for each pair and class: hours for what the others do in minutes
                    measure = Connectivity(name, {"permutations": 0})
                    _, scores = layer_scores(
                        model, images, [measure], attack, seed=as_seed(recipe.seed) / "dependences"
                    )
                    records += score_records(scores, at, {"arm": when, "suffix": size})
            progress("dependences", 2 * cuts.index(size) + 1 + (when == "end"), 2 * len(cuts))
    return [settings_record(recipe, "dependences", at), *(r for r in records if isinstance(r, Number))]


def _autoattack(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    cuts: tuple[int, ...],
    examples: int,
) -> Sequence[AnyRecord]:
    """AutoAttack on the first test images: f*, and each network before and after its suffix was trained."""
    images, attacks = Inputs.of(recipe).test.first(examples), [AutoAttack(threat_of(recipe))]
    robust, normal = (_trained(recipe, place, home, name).model for name in ("robust", "normal"))
    at, seed = _origin(recipe), as_seed(recipe.seed) / "autoattack"
    layers = layer_map(robust, images.batch(torch.tensor([0]), _device())[0])
    networks: list[tuple[nn.Module, dict[str, Label]]] = [(robust, {"arm": "robust"})]
    for size in cuts:
        networks.append(
            (Recovery(layers=size).start(robust, normal, layers), {"arm": "start", "suffix": size})
        )
        networks.append(
            (_trained(recipe, place, home, f"suffix-{size}").model, {"arm": "suffix", "suffix": size})
        )
    records: list[AnyRecord] = [settings_record(recipe, "autoattack", at)]
    for model, labels in networks:
        records += accuracy_records(model, images, attacks, at, seed=seed, labels=labels, progress=progress)[
            0
        ]
    return records


def _precise(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    networks: tuple[str, ...],
    examples: int,
) -> Sequence[AnyRecord]:
    """PGD-20 on more test images, where half a point is to be decided."""
    images = Inputs.of(read_recipe(None, {"data.test": examples}, recipe)).test
    at, seed, records = _origin(recipe), as_seed(recipe.seed) / "precise", list[AnyRecord]()
    for name in networks:
        model = _trained(recipe, place, home, name).model
        attacks = [PGD(threat_of(recipe), steps=20)]
        records += accuracy_records(
            model, images, attacks, at, seed=seed, labels={"arm": name}, progress=progress
        )[0]
    return [settings_record(recipe, "precise", at), *records]


def _trained(recipe: Recipe, place: str, home: Path, name: str) -> Subject:
    """The network of another unit, where there is most to compute with."""
    subject = build_subject(str(home / place / name), None, None, None, {"data.root": recipe.data.root})
    return replace(subject, model=subject.model.to(_device()))


def _device() -> torch.device:
    return build.make_fabric(build.Devices(), "32-true").device


def _origin(recipe: Recipe) -> Origin:
    return origin_of(recipe, "recover", device=_device())

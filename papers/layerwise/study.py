"""Every layer-wise method and criterion of the field, from the same networks and at the same budget."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar

from semirobust.experiments import AbstractStudy, LeftOut, Recipe, Unit, read_recipe, with_changes
from semirobust.measures import MEASURES
from semirobust.methods import METHODS
from semirobust.records import Quantity, config_hash
from semirobust.reports import Source

from .page import page
from .runs import BASE, Work, run_base, run_costs, run_criterion, run_each, run_method, run_start

__all__ = ["LayerwiseStudy"]


def _rates(**rates: float) -> dict[str, float]:
    """Learning rates by section."""
    return {f"{section}.learning_rate": rate for section, rate in rates.items()}


_SEEDS = 3
_LATE = {
    "data.train": 2000,
    "train.epochs": 60,
    "train.augment": "none",
    "harden.epochs": 4,
    "harden.augment": "none",
}
_REGIMES: dict[str, Mapping[str, Any]] = {"early": {}, "late": _LATE}
_ARCHITECTURES: dict[str, Mapping[str, Any]] = {
    "resnet18": {},
    "vgg19": {"model.name": "vgg19"},
    # A transformer diverges where the rate is high from the first step on, and hardly learns where it is low.
    "vit": {
        "model.name": "vit_small",
        "model.options": {"depth": 4},
        "train.schedule": "cyclic",
        **_rates(train=0.05, harden=0.01),
    },
}
NETWORKS: dict[str, Mapping[str, Any]] = {
    f"{name}-{regime}": {**changes, **own}
    for name, changes in _ARCHITECTURES.items()
    for regime, own in _REGIMES.items()
}
"""Name -> changes to the recipe of the scale."""
# Of other papers on other questions, or forms that were replaced; and the control, which each page has.
_NO_LAYERS = ("autolora-ours", "twins-ours")
# Options where the defaults do not fit a network of few layers, or a method needs some.
_OPTIONS: dict[str, dict[str, Any]] = {"suffix": {"layers": 4}}
_OPTIONS_LATE: dict[str, dict[str, Any]] = {"clat": {"weight": 3.0}}  # of the sweep in papers/clat
# What chooses by held-out images: a learning rate, or how far back it goes. All others end with their last
# epoch, so that nothing is chosen for them.
_HELD_OUT = ("autolora", "rift", "wise")
_VALIDATED = {"harden__validation_examples": 500, "harden__validation_attack": "pgd-10"}
# What needs linear layers before the classifier.
_OF_TRANSFORMERS = ("peft",)
# Measures that order no layers, and one of dependence, whose settings papers/semirobustness compares.
_NO_CRITERIA = ("connectivity", "readout", "stability")


@dataclass(frozen=True)
class LayerwiseStudy(AbstractStudy):
    """A run for each method and each criterion that is registered, so that the next one is one run away."""

    paper: ClassVar[str] = "None: a comparison of the layer-wise methods and criteria of several papers"
    scales: ClassVar[dict[str, str]] = {
        "cpu": "ResNet-18 and VGG-19 of width 1/8 and a ViT of 4 blocks on CIFAR-10, PGD-3 at 8/255"
    }
    left_out: ClassVar[LeftOut] = LeftOut(quantities=frozenset({Quantity.LEARNING_RATE}))

    def units(self, scale: str, seeds: int | None, changes: dict[str, Any]) -> list[Unit]:
        base, found = self.recipe(scale, changes), list[Unit]()
        for name, network in NETWORKS.items():
            for seed in range(_SEEDS if seeds is None else seeds):
                recipe = read_recipe(None, {**network, **changes, "seed": seed}, base)
                found += list(_units(name, seed, recipe))
        return found

    def page(self, source: Source, scale: str) -> str:
        return page(source, scale, self.scales[scale])


def _units(network: str, seed: int, recipe: Recipe) -> Iterator[Unit]:
    """The units of one network and seed."""
    place = f"{network}/seed-{seed}"

    def unit(name: str, items: str, work: Work, **more: Any) -> Unit:
        own = with_changes(recipe, **_VALIDATED) if name in _HELD_OUT else recipe
        needs = () if name == BASE else (f"{place}/{BASE}",)
        sections = ("train", "harden", "evaluate") if needs else ("train",)
        key = config_hash({**own.for_hash("data", "model", "threat", *sections), **more})
        leaves = ("last.safetensors", "settings.json") if name == BASE else ()
        return Unit(network, name, seed, (items,), key, partial(work, own, place, **more), needs, leaves)

    yield unit(BASE, "the start", run_base)
    yield unit("start", "the start", run_start)
    late = _OPTIONS_LATE if network.endswith("late") else {}
    methods = {
        name: {**_OPTIONS.get(name, {}), **late.get(name, {})}
        for name in METHODS.names()
        if name not in _NO_LAYERS and _runs_here(name, network)
    }
    for name, options in methods.items():
        yield unit(name, "methods", run_method, method=name, options=options)
    if seed == 0:  # a count, which hardly differs from seed to seed
        yield unit("costs", "methods", run_costs, methods=methods)
    for name in MEASURES.names():
        if name not in _NO_CRITERIA:
            yield unit(f"by-{name}", "criteria", run_criterion, measure=name)
    yield unit("each", "criteria", run_each)


def _runs_here(method: str, network: str) -> bool:
    """Whether a method can run on a network of that name, with the packages that there are."""
    package = getattr(METHODS.member(method), "package", "")
    fits = method not in _OF_TRANSFORMERS or network.startswith("vit-")
    return fits and (not package or find_spec(package) is not None)

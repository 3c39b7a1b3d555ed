"""The paper on lighter robust models: what robustness asks of size, of features and of single weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from semirobust.experiments import AbstractStudy, LeftOut, Recipe, Row, Unit, read_recipe
from semirobust.records import About, Quantity, config_hash
from semirobust.reports import Claim, Source

from .claims import claims
from .page import page
from .rows import rows
from .runs import (
    Work,
    run_base,
    run_capacity,
    run_decided,
    run_features,
    run_narrow,
    run_pruned,
    run_shrunk,
    run_tickets,
)

__all__ = ["LighterStudy"]

_SEEDS, _MORE_SEEDS = 3, 5
_SCALES = range(6)
_LARGE = {"cpu": 1, "paper": 3}  # seeds of the largest network, which takes four times as long as the next
_TRAININGS: Mapping[str, Mapping[str, Any]] = {
    "standard": {"train.objective": "standard", "train.attack": "fgsm", "train.attack_options": {}},
    "fgsm": {"train.attack": "fgsm", "train.attack_options": {}},
    "pgd": {},
}
# The paper planned the other two and gives no radius for them; these are the usual ones, and steps that fit
# them.
_DATA: dict[str, Mapping[str, Any]] = {
    "mnist": {},
    "fashion-mnist": {
        "data.source": "fashion-mnist",
        "threat.epsilon": 0.1,
        "train.attack_options": {"step_size": 0.025},
    },
    "cifar10": {
        "data.source": "cifar10",
        "threat.epsilon": 8 / 255,
        "train.attack_options": {"step_size": 2 / 255},
    },
}
# As many steps on five times the images: whether it is size or too few images that robustness lacks.
_MORE_IMAGES: Mapping[str, dict[str, Mapping[str, Any]]] = {
    "cpu": {"cifar10-more": {**_DATA["cifar10"], "data.train": 30000, "train.epochs": 5}},
    "paper": {},
}
_DENSE: Mapping[str, Mapping[str, Any]] = {
    "cpu": {
        "model.name": "mlp_300_100_100",
        "data.train": 20000,
        "data.test": 5000,
        "evaluate.examples": 5000,
    },
    "paper": {"model.name": "mlp_300_100_100"},
}
_STRONGER: Mapping[str, Mapping[str, Any]] = {
    "cpu": {"prune.attack": "pgd-5", "prune.attack_options": {"step_size": 0.1}},
    "paper": {"prune.attack": "pgd-40", "prune.attack_options": {"step_size": 0.01}},
}
_LONGER: Mapping[str, Mapping[str, Any]] = {
    "cpu": {"prune.attack": "pgd-20", "prune.attack_options": {"step_size": 0.03}},
    "paper": {"prune.attack": "pgd-100", "prune.attack_options": {"step_size": 0.01}},
}
_TICKETS: Mapping[str, Mapping[str, Any]] = {
    "ticket": {},
    "fresh-weights": {"prune.rewind": "reinitialise"},
    "random-weights": {"prune.saliency": "random"},
}
_TWO_DIGITS: Mapping[str, Any] = {"data.classes": [3, 7], "model.name": "capacity_cnn_0"}  # 100 features
_DROPPED: Mapping[str, Mapping[str, Any]] = {
    "cpu": {
        "model.name": "capacity_cnn_2",
        "prune.attack": "pgd-10",
        "prune.attack_options": {"step_size": 0.04},
    },
    "paper": {
        "model.name": "capacity_cnn_3",
        "prune.attack": "pgd-40",
        "prune.attack_options": {"step_size": 0.01},
    },
}
_DROPS: Mapping[str, Mapping[str, Any]] = {
    "usefulness": {"prune.saliency": "usefulness"},
    "robust-usefulness": {"prune.saliency": "usefulness", "prune.saliency_options": {"kind": "robust"}},
    "magnitude": {},
    "gradient": {"prune.saliency": "gradient"},
    "random": {"prune.saliency": "random"},
}
# Layers and pruning: a ResNet-18 as in the runs of CLAT before overfitting; a fifth of its weights stays, or
# half of its work.
_SPARSE: Mapping[str, Any] = {
    "prune.objective": "adversarial",
    "prune.levels": 1,
    "prune.fraction": 0.8,
    "prune.whole": False,
    "prune.rewind": "none",
    "prune.epochs": 4,
    "prune.batch_size": 64,
    "prune.learning_rate": 0.02,
    "prune.augment": "crop-flip",
}
_DROP = {"measure": "semirobustness", "measure_options": {"rounds": 2}, "score": "semirobustness.drop"}
_LAYERED: Mapping[str, Mapping[str, Any]] = {
    "even": {"favour": "none"},
    "critical-stay": {"measure": "criticality"},
    "critical-go": {"measure": "criticality", "favour": "low"},
    "robust-stay": {**_DROP, "favour": "low"},
    "robust-go": _DROP,
    "random": {"favour": "random"},
}
_SHRUNK = ("even", "critical-stay", "critical-go", "random")
_NARROW = {
    "cpu": {"model.width": 0.088, "train.epochs": 16},
    "paper": {"model.width": 0.7, "train.epochs": 54},
}


@dataclass(frozen=True)
class _Run:
    """One run at one place, for each seed.

    Attributes:
        items: the paper's tables and figures that need it.
        section: of the recipe, which it reads beside those that all read.
        seeds: how many, where fewer than the scale asks for.
        about: what its records say beside the network, its name and the seed.
    """

    name: str
    items: str
    section: str
    work: Work
    changes: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    seeds: int | None = None
    about: About = field(default_factory=About)


@dataclass(frozen=True)
class LighterStudy(AbstractStudy):
    """Tables I to III and figures 2, 3 and 5 to 12, with the data sets, controls and stronger attacks that it
    lacks.
    """

    paper: ClassVar[str] = "Towards lighter adversarially robust model (Huang, Jin, Xue)"
    scales: ClassVar[dict[str, str]] = {
        "cpu": (
            "the paper's networks and radius; capacity on 6,000 images, 25 epochs, PGD-10; tickets on 20,000"
            " images, 20 levels of 12 epochs; some six hours on one core"
        ),
        "paper": "all images, 50 epochs, PGD-40; 40 levels; a GPU",
    }
    left_out: ClassVar[LeftOut] = LeftOut(
        quantities=frozenset(
            {
                Quantity.LEARNING_RATE,
                Quantity.EPOCH_SECONDS,
                Quantity.BEST_EPOCH,
                Quantity.PARAMETER_DENSITY,
            }
        )
    )

    def units(self, scale: str, seeds: int | None, changes: dict[str, Any]) -> list[Unit]:
        bases = {name: self.recipe(scale, changes, name) for name in ("", "layers")}
        found, keys = list[Unit](), dict[str, str]()
        for place, (own, runs) in _places(scale).items():
            base, most = (bases["layers"], _MORE_SEEDS) if place == "layers" else (bases[""], _SEEDS)
            for seed in range(most if seeds is None else seeds):
                for run in runs:
                    if seed < (run.seeds or seed + 1):
                        recipe = read_recipe(None, {**own, **run.changes, **changes, "seed": seed}, base)
                        found.append(_unit(place, run, seed, recipe, keys))
        return found

    def page(self, source: Source, scale: str) -> str:
        return page(source, scale, self.scales[scale])

    def claims(self) -> Sequence[Claim]:
        return claims()

    def rows(self) -> Sequence[Row]:
        return rows()


def _places(scale: str) -> dict[str, tuple[Mapping[str, Any], list[_Run]]]:
    """Name -> changes to the recipe, and what is run there."""
    dense = _DENSE[scale]
    return {
        **{
            f"capacity-{name}": (changes, list(_capacity(scale)))
            for name, changes in (_DATA | _MORE_IMAGES[scale]).items()
        },
        "lottery-standard": ({**dense, "prune.objective": "standard"}, list(_lottery("figures 9 and 10"))),
        "lottery-fgsm": (dense, list(_lottery("figures 11 and 12"))),
        "lottery-pgd": ({**dense, **_STRONGER[scale]}, [*_lottery("ours"), *_decided(scale)]),
        "features-standard": ({**_TWO_DIGITS, **_TRAININGS["standard"]}, [_features("figures 5 to 8")]),
        "features-pgd": (_TWO_DIGITS, [_features("ours")]),
        "dropped": (_DROPPED[scale], list(_dropped())),
        "layers": (_SPARSE, list(_layers(scale))),
    }


def _capacity(scale: str) -> Iterator[_Run]:
    for size in _SCALES:
        for name, changes in _TRAININGS.items():
            own = {"model.name": f"capacity_cnn_{size}", **changes}
            few = _LARGE[scale] if size == _SCALES[-1] else None
            yield _Run(
                f"{name}-{size}",
                "tables I to III, figures 2 and 3",
                "train",
                run_capacity,
                own,
                seeds=few,
                about=About(training=name, size=size),
            )


def _lottery(items: str) -> Iterator[_Run]:
    for name, changes in _TICKETS.items():
        yield _Run(name, items, "prune", run_tickets, changes)


def _decided(scale: str) -> Iterator[_Run]:
    """Whether what a ticket keeps is robustness, and what the whole network has of more steps in training, or
    more epochs.
    """
    yield _Run("whole-longer-attack", "ours", "prune", run_tickets, {"prune.levels": 0, **_LONGER[scale]})
    yield _Run("whole-more-epochs", "ours", "prune", run_tickets, {"prune.levels": 0, "prune.epochs": 60})
    yield _Run("decided", "ours", "prune", run_decided, needs=("ticket", "whole-more-epochs"))


def _features(items: str) -> _Run:
    return _Run("features", items, "train", run_features)


def _dropped() -> Iterator[_Run]:
    levels = {
        "prune.levels": 10,
        "prune.fraction": 0.3,
        "prune.epochs": 6,
        "prune.scope": "features",
        "prune.rewind": "none",
    }
    for name, changes in _DROPS.items():
        yield _Run(name, "section I", "prune", run_tickets, {**levels, **changes})


def _layers(scale: str) -> Iterator[_Run]:
    yield _Run("base", "ours", "train", run_base)
    yield _Run("whole", "ours", "prune", run_pruned, {"prune.fraction": 0.0}, ("base",))
    yield _Run("global", "ours", "prune", run_pruned, {}, ("base",))
    for name, options in _LAYERED.items():
        changes = {"prune.saliency": "layered", "prune.saliency_options": options}
        yield _Run(name, "ours", "prune", run_pruned, changes, ("base",))
        if name in _SHRUNK:
            yield _Run(f"half-{name}", "ours", "prune", run_shrunk, {**changes, "prune.macs": 0.5}, ("base",))
    yield _Run("narrow", "ours", "train", run_narrow, _NARROW[scale])


def _unit(network: str, run: _Run, seed: int, recipe: Recipe, keys: dict[str, str]) -> Unit:
    place = f"{network}/seed-{seed}"
    needed = tuple(f"{place}/{name}" for name in run.needs)
    judged = () if run.work is run_base else ("evaluate",)
    key = config_hash(recipe.for_hash("data", "model", "threat", *judged, run.section))
    if needed:
        key = config_hash({"own": key, **{name: keys[name] for name in needed}})
    keys[f"{place}/{run.name}"] = key
    return Unit(
        network,
        run.name,
        seed,
        (run.items,),
        key,
        partial(run.work, recipe, place),
        needed,
        about=run.about,
    )

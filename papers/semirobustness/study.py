"""The semirobustness paper: its tables 1 to 3 and figures 1 to 3."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from semirobust.core import InputError
from semirobust.experiments import AbstractStudy, LeftOut, Recipe, Row, Unit, read_recipe
from semirobust.records import About, Quantity, Topic, config_hash
from semirobust.reports import Claim, Source

from .arms import DECIDED, Start, run_arm, run_bits, run_starts
from .claims import claims
from .page import page
from .rows import rows
from .runs import (
    DRAWN,
    PLAIN,
    RIVALS,
    Work,
    run_autoattack,
    run_dependences,
    run_normal,
    run_precise,
    run_prefixes,
    run_recover,
    run_robust,
)

__all__ = ["SemirobustnessStudy"]

_ALL = ("table 1", "table 3", "figure 1", "figure 2", "figure 3")
# Every seed draws its own images, and half of those held out choose no epoch.
_DRAWN: dict[str, Any] = {
    "data.draw": True,
    "data.train": 5000,
    "data.validation": 1000,
    "data.test": 10000,
}
_NETWORKS: dict[str, dict[str, dict[str, Any]]] = {
    "cpu": {"resnet18-cifar10": {}, DRAWN: _DRAWN},
    "paper": {
        "resnet18-cifar10": {},
        "resnet18-cifar100": {"data.source": "cifar100"},
        "wrn34-10-cifar10": {"model.name": "wrn_34_10"},
        "wrn34-10-cifar100": {"model.name": "wrn_34_10", "data.source": "cifar100"},
    },
}
# What no table needs; an excess is a value less its null.
_LEFT_OUT = LeftOut(
    quantities=frozenset({Quantity.LEARNING_RATE, Quantity.TRAINED_LAYER, Quantity.BEST_EPOCH}),
    measures=frozenset(
        {
            ("connectivity", "null"),
            ("connectivity", "excess"),
            ("criticality", None),
            ("weakness", None),
        }
    ),
    validated=frozenset({("connectivity", "excess")}),
    topics=frozenset({Topic.MEASURE}),
)
_SEEDS, _WHOLE = {"cpu": 5, "paper": 3}, 3  # seeds from the fourth on run only what five seeds are to decide
_BOTH = ("normal", "robust")
_ABOUT = About()
_ATTACK: dict[str, Any] = {"evaluate__attacks": ["pgd-20"]}
# Attacks of four steps which begin where the last one ended, for ten fresh ones: 0.44 of the cost.
_CHEAP: dict[str, Any] = {
    "harden__hooks": ["stored-starts"],
    "harden__attack": "pgd-4",
    "harden__validation_attack": "pgd-10",
    **_ATTACK,
}
# What the term asks for: on which layer each one is to depend, and with which weight.
TERMS: dict[str, tuple[str, float]] = {
    "asked-prefix-5": ("prefix", 5.0),
    "asked-before-5": ("before", 5.0),
    "asked-prefix-less": ("prefix", -5.0),
    "asked-prefix-half": ("prefix", 0.5),
    "asked-before-half": ("before", 0.5),
}


@dataclass(frozen=True)
class SemirobustnessStudy(AbstractStudy):
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
    left_out: ClassVar[LeftOut] = _LEFT_OUT

    def units(self, scale: str, seeds: int | None, changes: dict[str, Any]) -> list[Unit]:
        units = list[Unit]()
        base = self.recipe(scale, changes)
        for network, own in _NETWORKS[scale].items():
            for seed in range(seeds or _SEEDS[scale]):
                recipe = read_recipe(None, {**own, **changes, "seed": seed}, base)
                of_seed = _Units(network, seed, recipe, whole=seed < _WHOLE)
                units += of_seed.drawn() if network == DRAWN else of_seed.all()
        return units

    def page(self, source: Source, scale: str) -> str:
        return page(source, scale, self.scales[scale])

    def claims(self) -> Sequence[Claim]:
        return claims()

    def rows(self) -> Sequence[Row]:
        return rows()


@dataclass(frozen=True)
class _Units:
    """The units of one network and seed.

    Attributes:
        network: its name.
        seed: of everything.
        recipe: its settings.
        whole: whether the seed runs everything, or only what five seeds are to decide.
    """

    network: str
    seed: int
    recipe: Recipe
    whole: bool

    def all(self) -> Iterator[Unit]:
        """In the order in which they run."""
        yield self._unit("normal", [*_ALL, "table 2"], run_normal, sections=("train",))
        yield self._unit("robust", [*_ALL, "table 2"], run_robust, "normal", sections=("train", "harden"))
        yield self._recovery("references", _ALL, parts=("references",))
        for size in self._sizes:
            yield self._trials(size, PLAIN, _ALL)
        yield from self._variants()
        if self.whole:
            yield self._recovery("controls", ["table 1"], parts=("controls",), layers=(DECIDED,))
            yield from self._measured()

    def drawn(self) -> Iterator[Unit]:
        """Does asking for dependence help, what are EDGE's bits, does a suffix beat its fair rival?"""
        yield self._unit("normal", _ALL, run_normal, sections=("train",))
        yield self._unit("robust", _ALL, run_robust, "normal", sections=("train", "harden"))
        few = {"harden__learning_rate": 0.02, "harden__epochs": 4, **_CHEAP, "evaluate__examples": 2000}
        items = ["dependency-enforcing training"]
        start = {"measured": True, "evaluate__examples": 2000, **_ATTACK}
        yield self._unit("starts", items, run_starts, *_BOTH, **start)
        yield self._arm("asked-none", items, {}, measured=True, **few)
        for name, (on, weight) in TERMS.items():
            options = {"dependence": "hsic", "on": on, "weight": weight}
            yield self._arm(name, items, options, measured=True, **few)
        if self.whole:
            yield self._unit("bits", ["table 1", "assumptions A1 and A2"], run_bits, *_BOTH)
        long = {**_CHEAP, "harden__learning_rate": 0.02, "evaluate__examples": 10000}
        yield self._unit("precise-starts", ["cost"], run_starts, *_BOTH, evaluate__examples=10000, **_ATTACK)
        yield self._arm("long-suffix", ["cost"], {}, **long)
        yield self._arm("long-everything", ["cost"], {}, method="adversarial", **long)
        rate = {"harden__learning_rate": self.recipe.harden.training.learning_rate}
        scratch: Start = "normal"
        yield self._arm(
            "long-from-normal", ["cost"], {}, method="adversarial", start=scratch, **{**long, **rate}
        )

    def _arm(
        self, name: str, items: Sequence[str], options: dict[str, Any], *, method: str = "suffix", **more: Any
    ) -> Unit:
        own = {"layers": DECIDED, **options} if method == "suffix" else options
        more = {"method": method, "options": own, **more}
        return self._unit(name, items, run_arm, *_BOTH, about=About(variant=name), **more)

    @property
    def _sizes(self) -> tuple[int, ...]:
        layers = self.recipe.recover.layers
        if layers == "auto":
            raise InputError("recover.layers: expected the sizes of the suffixes to compare, got 'auto'")
        return tuple(layers) if self.whole else (DECIDED,)

    def _variants(self) -> Iterator[Unit]:
        """Other ways to train the suffix at which they are compared, and those that cost less, precisely."""
        cheap: dict[str, Any] = {
            "recover__hooks": ["stored-starts"],
            "recover__attack": "pgd-4",
            "recover__validation_attack": "pgd-10",
        }
        epochs = self.recipe.harden.training.epochs  # as many as f* had
        hsic = {"dependence": "hsic", "weight": 0.5}  # a weight that was not tuned
        items = ["dependency-enforcing training"]
        yield self._trials(DECIDED, "hsic", items, recover__method_options=hsic)
        yield self._trials(DECIDED, "stored", ["cost"], **cheap)
        rivals = tuple(_suffix(DECIDED, variant) for variant in RIVALS)
        yield self._unit("precise", ["cost"], run_precise, *_BOTH, *rivals, networks=rivals, examples=5000)
        if self.whole and self.recipe.recover.recovery.training.epochs < epochs:
            yield self._trials(DECIDED, "long", ["cost"], **cheap, recover__epochs=epochs)

    def _measured(self) -> Iterator[Unit]:
        """What is measured on the networks of other units."""
        cuts = self._sizes
        trained = tuple(f"suffix-{size}" for size in cuts)
        yield self._unit("prefixes", ["table 2", "definition 1"], run_prefixes, *_BOTH, cuts=cuts)
        yield self._unit("dependences", ["which dependence"], run_dependences, *_BOTH, *trained, cuts=cuts)
        if "autoattack" not in self.recipe.plain()["evaluate"]["attacks"]:
            tables = tuple(size for size in cuts if size in (4, DECIDED))  # those of the paper's tables
            more: dict[str, Any] = {"cuts": tables, "examples": 200}
            yield self._unit("autoattack", ["table 1"], run_autoattack, *_BOTH, *trained, **more)

    def _trials(self, size: int, variant: str, items: Sequence[str], **more: Any) -> Unit:
        """Algorithm 1 with a suffix of that size, trained in one of the ways that are compared."""
        about, same = About(variant=variant), {"parts": ("trials",), "layers": (size,)}
        return self._recovery(_suffix(size, variant), items, about=about, **same, **more)

    def _recovery(self, name: str, items: Sequence[str], **more: Any) -> Unit:
        return self._unit(name, items, run_recover, *_BOTH, **more)

    def _unit(
        self,
        name: str,
        items: Sequence[str],
        work: Work,
        *needs: str,
        sections: Sequence[str] = ("train", "harden", "recover", "evaluate"),
        about: About = _ABOUT,
        **more: Any,
    ) -> Unit:
        place = f"{self.network}/seed-{self.seed}"
        key = config_hash({**self.recipe.for_hash("data", "model", "threat", *sections), **more})
        needed = tuple(f"{place}/{other}" for other in needs)
        done_by = partial(work, self.recipe, place, **more)
        return Unit(self.network, name, self.seed, tuple(items), key, done_by, needed, about=about)


def _suffix(size: int, variant: str) -> str:
    """The name of the run of a suffix."""
    return f"suffix-{size}" if variant == PLAIN else f"suffix-{size}-{variant}"

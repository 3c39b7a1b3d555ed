"""The semirobustness paper: its tables 1 to 3 and figures 1 to 3."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from semirobust.core import InputError
from semirobust.experiments import AbstractStudy, LeftOut, Recipe, Unit, read_recipe
from semirobust.records import About, Quantity, Topic, config_hash
from semirobust.reports import Claim, Source

<<<<<<< HEAD
=======
from .arms import DECIDED, Start, run_arm, run_bits, run_starts
from .claims import claims
>>>>>>> 6b72e04 (Each claim of the papers is data, and one rule decides it by p over seeds, adjusted within its family)
from .page import page
from .runs import (
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
_DECIDED = 12  # the suffix at which variants are compared: the paper's larger one


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
                units += _Units(network, seed, recipe, whole=seed < _WHOLE).all()
        return units

    def page(self, source: Source, scale: str) -> str:
        return page(source, scale, self.scales[scale])

    def claims(self) -> Sequence[Claim]:
        return claims()


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
            yield self._recovery("controls", ["table 1"], parts=("controls",), layers=(_DECIDED,))
            yield from self._measured()

    @property
    def _sizes(self) -> tuple[int, ...]:
        layers = self.recipe.recover.layers
        if layers == "auto":
            raise InputError("recover.layers: expected the sizes of the suffixes to compare, got 'auto'")
        return tuple(layers) if self.whole else (_DECIDED,)

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
        yield self._trials(_DECIDED, "hsic", items, recover__method_options=hsic)
        yield self._trials(_DECIDED, "stored", ["cost"], **cheap)
        rivals = tuple(_suffix(_DECIDED, variant) for variant in RIVALS)
        yield self._unit("precise", ["cost"], run_precise, *_BOTH, *rivals, networks=rivals, examples=5000)
        if self.whole and self.recipe.recover.recovery.training.epochs < epochs:
            yield self._trials(_DECIDED, "long", ["cost"], **cheap, recover__epochs=epochs)

    def _measured(self) -> Iterator[Unit]:
        """What is measured on the networks of other units."""
        cuts = self._sizes
        trained = tuple(f"suffix-{size}" for size in cuts)
        yield self._unit("prefixes", ["table 2", "definition 1"], run_prefixes, *_BOTH, cuts=cuts)
        yield self._unit("dependences", ["which dependence"], run_dependences, *_BOTH, *trained, cuts=cuts)
        if "autoattack" not in self.recipe.plain()["evaluate"]["attacks"]:
            tables = tuple(size for size in cuts if size in (4, _DECIDED))  # those of the paper's tables
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

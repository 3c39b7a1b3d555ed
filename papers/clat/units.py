"""What is run from each network of the CLAT paper, group by group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from semirobust.experiments import Recipe, Unit
from semirobust.records import About, config_hash

from .network import Network
from .runs import (
    Runs,
    Work,
    file_of,
    run_across,
    run_arms_of,
    run_attacks,
    run_base,
    run_criteria,
    run_each,
    run_forms,
    run_index,
    run_start,
)

__all__ = ["Units"]

_ABOUT = About()
_EVERY = {"cpu": 2, "paper": 10}  # epochs from one choice of layers to the next
# The paper's first choice for a ResNet-18; its third; and what the index as printed ranks first in a narrow
# one.
_PAPERS_LAYER, _EARLY_LAYER, _LATE_LAYER = 11, 4, 17
_SCALE_FREE, _PAPERS_FORM = (0.1, 0.3, 1.0, 3.0), (0.1, 1.0)
_STRONG = {"early": (1.0, 3.0), "late": (10.0, 30.0)}
_COUNTS = (2, 3, 5, 9)  # critical layers, beside the one that 5 % are; figures 3 and 7
_RIVALS: dict[str, dict[str, Any]] = {
    "rift": {}, "lora": {}, "suffix": {"layers": 4}, "twins": {}, "autolora": {}, "wise": {},
}  # fmt: skip
_OWN_FORMS = ("twins", "autolora")  # our earlier forms, of which the decisive runs have none
_ALL_COUNTS = (2, 5, 9, 17)  # as before, up to all of a ResNet-18 but the classifier
_AA, _OTHERS = {"cpu": 300, "paper": 10000}, {"cpu": 500, "paper": 10000}
_DECISIVE = {"cpu": 1000, "paper": 10000}  # images where the arms are to be told apart
_ATTACKS = ["fab", "stadv", "pixle", "pgd-50", "pgd-100"]
_CROSSED = ("densenet121", "resnet50", "vgg19", "resnet18")  # tables 3 and 4
_RADII = tuple(k / 255 for k in (2, 4, 8, 12, 16))


@dataclass(frozen=True)
class Units:
    """The units of one network and seed."""

    name: str
    network: Network
    seed: int
    recipe: Recipe
    scale: str
    keys: dict[str, str]  # of all units so far

    def all(self) -> Iterator[Unit]:
        """Group by group."""
        groups = {
            "base": self._base,
            "main": self._main,
            "compared": self._compared,
            "allocated": self._allocated,
            "handed-over": self._handed_over,
            "ablations": self._ablations,
            "choices": self._choices,
            "counts": self._all_counts,
            "rivals": self._rivals,
            "authors": self._authors,
            "of authors": self._of_authors,
            "after": self._after,
            "lora": self._lora,
            "slower": self._slower,
            "clat-fast": self._fast,
            "index": self._index,
            "forms": self._forms,
            "each": self._each,
            "attacks": self._attacks,
            "table 17": self._table_17,
            "decisive": self._decisive,
            "across": self._across,
            "crossed": self._crossed,
            "sweep": self._sweep,
            "paper's form": self._papers_form,
        }
        for group in self.network.groups:
            yield from groups[group]()

    def _unit(
        self,
        name: str,
        items: str,
        work: Work,
        *needs: str,
        leaves: tuple[str, ...] = (),
        about: About = _ABOUT,
        **more: Any,
    ) -> Unit:
        place = f"{self.name}/seed-{self.seed}"
        if self.network.start != "last.safetensors" and work in (run_start, run_arms_of):
            more["start"] = self.network.start
        sections = ("train", "harden", "evaluate") if needs else ("train",)
        key = config_hash({**self.recipe.for_hash("data", "model", "threat", *sections), **more})
        needed = tuple(other if "/" in other else f"{place}/{other}" for other in needs)
        if before := {
            name: self.keys[name] for name in needed if not name.endswith("/base")
        }:  # their settings count too
            key = config_hash({"own": key, **before})
        self.keys[f"{place}/{name}"] = key
        return Unit(
            self.name,
            name,
            self.seed,
            (items,),
            key,
            partial(work, self.recipe, place, **more),
            needed,
            leaves,
            about,
        )

    def _arms(
        self, name: str, items: str, runs: Runs, *needs: str, control: bool = False, **more: Any
    ) -> Unit:
        return self._unit(
            name, items, run_arms_of, "base", *needs,
            leaves=tuple(file_of(Path(), arm).name for arm, _, _ in runs), runs=runs, control=control, **more,
        )  # fmt: skip

    def _clat(self, **options: Any) -> Mapping[str, Any]:
        return {"weight": self.network.weight, **options}

    def _chosen(self, **options: Any) -> Mapping[str, Any]:
        """CLAT that chooses its layers, again every few epochs."""
        return self._clat(every=_EVERY[self.scale], **options)

    def _base(self) -> Iterator[Unit]:
        yield self._unit(
            "base",
            "tables 1 and 13",
            run_base,
            leaves=("model.safetensors", "last.safetensors", "settings.json"),
        )
        yield self._unit("start", "table 1", run_start, "base")

    def _main(self) -> Iterator[Unit]:
        layer = _PAPERS_LAYER
        yield self._arms("continued", "table 1", [("continued", "adversarial", {})])
        yield self._arms("clat", "tables 1, 5 and 9", [("clat", "clat", self._chosen())], control=True)
        yield self._arms(
            f"clat-{layer}", "table 1", [(f"clat-{layer}", "clat", self._clat(layers=[layer]))], control=True
        )

    def _compared(self) -> Iterator[Unit]:
        options, entries = self.network.goes_on
        items = "tables 1, 2, 11, 18 and 19"
        yield self._arms("continued", items, [("continued", "adversarial", options)], **entries)
        yield self._arms("clat", items, [("clat", "clat", self._chosen())], control=True)
        yield self._arms("rift", items, [("rift", "rift", {})])

    def _allocated(self) -> Iterator[Unit]:
        yield self._arms("clat", "figures 2 and 5", [("clat", "clat", self._chosen())])

    def _handed_over(self) -> Iterator[Unit]:
        """The second part of one schedule, by PGD-AT as the first and by CLAT."""
        yield self._arms("continued", "figure 2", [("continued", "adversarial", {})])
        yield self._arms("clat", "figure 2", [("clat", "clat", self._chosen())], control=True)

    def _choices(self) -> Iterator[Unit]:
        """Which layers: chosen once, at random, or the least critical ones."""
        yield self._arms("clat-fixed", "tables 5, 6 and 14", [("clat-fixed", "clat", self._clat(every=0))])
        yield self._arms(
            "clat-random", "tables 7 and 12", [("clat-random", "clat", self._chosen(selection="random"))]
        )
        yield self._arms(
            "clat-smallest", "table 20", [("clat-smallest", "clat", self._chosen(selection="bottom"))]
        )

    def _ablations(self) -> Iterator[Unit]:
        layer = [_PAPERS_LAYER]
        yield from self._choices()
        yield self._arms("clat-rms", "ours", [("clat-rms", "clat", self._chosen(scale="rms"))], control=True)
        counts: Runs = [(f"clat k={k}", "clat", self._chosen(k=k)) for k in _COUNTS]
        yield self._arms("clat-counts", "figures 3 and 7", counts)
        for loss in ("adversarial", "both"):
            runs: Runs = [(f"clat-{loss}", "clat", self._clat(cross_entropy=loss, layers=layer))]
            yield self._arms(f"clat-{loss}", "ours", runs)
        yield from self._slower()
        yield from self._fast()

    def _slower(self) -> Iterator[Unit]:
        slower: Runs = [
            ("continued, rate / 10", "adversarial", {}),
            ("clat, rate / 10", "clat", self._chosen()),
        ]
        yield self._arms(
            "slower", "figure 6", slower, harden__learning_rate=self.recipe.harden.training.learning_rate / 10
        )

    def _fast(self) -> Iterator[Unit]:
        fast: Runs = [("clat-fast", "clat", self._clat(layers=[_PAPERS_LAYER]))]
        yield self._arms(
            "clat-fast", "table 1", fast, harden__attack="pgd-1",
            harden__attack_options={"step_size": 1.25 * self.recipe.threat.epsilon},
            harden__validation_attack="pgd-10",
        )  # fmt: skip

    def _all_counts(self) -> Iterator[Unit]:
        """CLAT's objective on ever more layers, beside another one than the cross entropy on all of them."""
        yield self._arms("trades", "ours", [("trades continued", "adversarial", {"objective": "trades"})])
        for k in _ALL_COUNTS:
            yield self._arms(
                f"clat-{k}-layers", "figures 3 and 7", [(f"clat k={k}", "clat", self._chosen(k=k))]
            )

    def _rivals(self) -> Iterator[Unit]:
        for name, options in _RIVALS.items():
            yield self._arms(name, "tables 1 and 2", [(name, name, options)])
        yield from self._of_authors()
        yield from self._after()

    def _after(self) -> Iterator[Unit]:
        """CLAT as long again, after what the authors of the rivals have."""
        after: Runs = [("clat", "clat", self._chosen())]
        for name in ("autolora", "twins"):
            arm = f"{name}-authors"
            yield self._arms(f"{name}-clat", "tables 1 and 2", after, arm, after=f"{arm}/{arm}")

    def _lora(self) -> Iterator[Unit]:
        yield self._arms("lora", "table 1", [("lora", "lora", {})])

    def _authors(self) -> Iterator[Unit]:
        """The rivals as their authors have them."""
        for name, options in _RIVALS.items():
            if name not in _OWN_FORMS:
                yield self._arms(name, "tables 1 and 2", [(name, name, options)])
        yield from self._of_authors()

    def _of_authors(self) -> Iterator[Unit]:
        for name in ("autolora-authors", "twins-authors"):  # the two of that name above are our earlier forms
            yield self._arms(name, "tables 1 and 2", [(name, name, {})])

    def _index(self) -> Iterator[Unit]:
        yield self._unit("index", "tables 8, 10 and 13", run_index, "base")
        yield self._unit("criteria", "ours", run_criteria, "base")

    def _forms(self) -> Iterator[Unit]:
        yield self._unit("forms", "table 8", run_forms, "base")

    def _each(self) -> Iterator[Unit]:
        yield self._unit("each", "ours", run_each, "base", method="selected", options={})
        yield self._unit("each-clat", "ours", run_each, "base", method="clat", options=self._clat())

    def _attacks(self) -> Iterator[Unit]:
        own, control = f"clat-{_PAPERS_LAYER}", "PGD-AT as clat"
        arms = {
            "start": "base",
            control: f"clat/{control}",
            **{name: f"{name}/{name}" for name in ("continued", own, "clat")},
        }
        needs = ("base", "continued", "clat", own)
        yield self._unit(
            "autoattack", "tables 2 and 6", run_attacks, *needs,
            arms=arms, attacks=["autoattack"], examples=_AA[self.scale], epsilons=(),
        )  # fmt: skip
        yield self._unit(
            "attacks", "table 17 and figure 4", run_attacks, *needs,
            arms=arms, attacks=_ATTACKS, examples=_OTHERS[self.scale], epsilons=_RADII,
        )  # fmt: skip

    def _decisive(self) -> Iterator[Unit]:
        """AutoAttack on as many images as can tell the arms apart."""
        alone = (
            "continued",
            f"clat-{_PAPERS_LAYER}",
            "clat",
            "clat-fixed",
            "autolora-authors",
            "twins-authors",
        )
        arms = {"start": "base", "PGD-AT as clat": "clat/PGD-AT as clat"}
        arms |= {name: f"{name}/{name}" for name in alone} | {"trades continued": "trades/trades continued"}
        yield self._unit(
            "autoattack", "tables 2 and 6", run_attacks, "base", *alone, "trades",
            arms=arms, attacks=["autoattack"], examples=_DECISIVE[self.scale], epsilons=(),
        )  # fmt: skip

    def _across(self) -> Iterator[Unit]:
        """Two architectures, each with and without CLAT; units of the other one come first."""
        places = {"rn18": f"late/seed-{self.seed}", self.recipe.model.name: f"{self.name}/seed-{self.seed}"}
        networks = {
            f"{net} {arm}": f"{where}:{arm}/{arm}"
            for net, where in places.items()
            for arm in ("continued", "clat")
        }
        needed = [f"{where}/{unit}" for where in places.values() for unit in ("base", "continued", "clat")]
        examples = _OTHERS[self.scale]
        yield self._unit(
            "across", "tables 3 and 4", run_across, *needed, networks=networks, examples=examples
        )

    def _table_17(self) -> Iterator[Unit]:
        """Other attacks on PGD-AT continued and on CLAT alone."""
        alone = ("continued", "clat")
        yield self._unit(
            "attacks", "table 17 and figure 4", run_attacks, "base", *alone,
            arms={name: f"{name}/{name}" for name in alone}, attacks=_ATTACKS,
            examples=_DECISIVE[self.scale], epsilons=_RADII,
        )  # fmt: skip

    def _crossed(self) -> Iterator[Unit]:
        """Four architectures with and without CLAT, each on what was made for each other."""
        place = self.name.removesuffix("crossed")
        at = {name: f"{place}{name}/seed-{self.seed}" for name in _CROSSED}
        networks = {
            f"{name} {arm}": f"{where}:{arm}/{arm}"
            for name, where in at.items()
            for arm in ("continued", "clat")
        }
        needed = [f"{where}/{unit}" for where in at.values() for unit in ("base", "continued", "clat")]
        for table, attack in (("table 4", "pgd-10"), ("table 3", "autoattack")):
            yield self._unit(
                f"across-{attack}", table, run_across, *needed,
                networks=networks, examples=_OTHERS[self.scale], attack=attack,
            )  # fmt: skip

    def _sweep(self) -> Iterator[Unit]:
        yield self._weights("free", _PAPERS_LAYER, _SCALE_FREE)
        strong: Runs = [
            (f"free {w}", "clat", {"layers": [_PAPERS_LAYER], "weight": w}) for w in _STRONG[self.name]
        ]
        yield self._arms(
            f"lambda-free-{_PAPERS_LAYER}-strong", "λ", strong, about=self._swept("free", _PAPERS_LAYER)
        )

    def _papers_form(self) -> Iterator[Unit]:
        yield self._weights("free", _LATE_LAYER, _SCALE_FREE)
        for layer in (_PAPERS_LAYER, _LATE_LAYER):
            yield self._weights("paper", layer, _PAPERS_FORM)
        yield self._weights("free", _EARLY_LAYER, _SCALE_FREE)
        yield self._weights("paper", _EARLY_LAYER, _PAPERS_FORM)

    def _weights(self, form: str, layer: int, weights: tuple[float, ...]) -> Unit:
        free = form == "free"
        runs: Runs = [
            (f"{form} {w}", "clat", {"layers": [layer], "weight": w, "scale_free": free}) for w in weights
        ]
        return self._arms(f"lambda-{form}-{layer}", "λ", runs, about=self._swept(form, layer))

    def _swept(self, form: str, layer: int) -> About:
        """What the runs of one form of the term, on one layer, have in common."""
        return About(variant="sweep", loss_form=form, tuned_layer=layer)

"""What all arms and seeds of a pruning share."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.files import make_folder
from semirobust.core.processes import Processes
from semirobust.core.progress import Progress, begins
from semirobust.core.seed import Seed, as_seed
from semirobust.core.state import load_state
from semirobust.core.text import slug
from semirobust.data.base.images import Images
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import accuracy_records, attacks_of
from semirobust.experiments.comparison import labelled
from semirobust.experiments.folder import prepare_folder, save_run, write_stage
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.kept_level import kept_of, nothing_said, without_records
from semirobust.experiments.loggers import make_loggers
from semirobust.experiments.model_spec import ModelSpec
from semirobust.experiments.provenance import data_notes, origin_of, settings_record
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.started import note_start
from semirobust.experiments.work import arm_names
from semirobust.layers.map import layer_map
from semirobust.procedures.lottery import Level, Lottery
from semirobust.pruning.channels import without_features
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.records.conditions import spoken
from semirobust.records.schema import About, Finding, Number, Origin, Quantity, Topic
from semirobust.records.store import AnyRecord, read_records, write_records
from semirobust.training.training import Training
from semirobust.training.validation import as_scores

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["PruneJob"]


@dataclass(frozen=True)
class PruneJob:
    """One call: what all arms and seeds have in common. ``model`` is None where each seed starts from its own
    fresh one.
    """

    recipe: Recipe
    spec: ModelSpec
    model: nn.Module | None = field(repr=False)
    images: Images = field(repr=False)
    held_out: Images = field(repr=False)
    test: Images = field(repr=False)
    training: Training
    fabric: "Fabric" = field(repr=False)
    out: Path
    at: Origin
    notes: list[Finding]
    progress: Progress = field(repr=False)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        spec: ModelSpec,
        model: nn.Module | None,
        inputs: Inputs,
        out: Path,
        devices: build.Devices,
        progress: Progress,
    ) -> "PruneJob":
        settings = recipe.prune
        loggers = make_loggers(settings.log, out, recipe.plain())
        fabric = build.make_fabric(devices, settings.numerics.precision, loggers)
        build.launch(fabric)
        test = inputs.test.first(recipe.evaluate.examples)
        at = origin_of(recipe, "prune", "evaluate", device=fabric.device)
        return cls(
            recipe,
            spec,
            model,
            inputs.train,
            inputs.held_out,
            test,
            settings.training,
            fabric,
            out,
            at,
            data_notes(inputs.splits, at),
            progress,
        )

    def run(self, seeds: int) -> list[AnyRecord]:
        if seeds < 1:
            raise InputError(f"seeds: expected at least 1, got {seeds}")
        arms, keep = self.arms(), self.recipe.prune.keep
        if isinstance(keep, int) and keep > self.recipe.prune.lottery.levels:
            raise InputError(
                f"keep: expected one of the levels 0 to {self.recipe.prune.lottery.levels}, got {keep}"
            )
        prepare_folder(self.out, "prune")
        note_start(self.out, self.recipe)
        begins("prune")
        records: list[AnyRecord] = [settings_record(self.recipe, "prune", self.at), *self.notes]
        for number in range(seeds):
            for name, lottery in arms.items():
                label = labelled(name, number, seeds)
                first = number == 0 and name == next(iter(arms))
                records += self._arm(name, lottery, number, label, first=first)
        if self.fabric.is_global_zero:
            write_stage(self.out, "1-prune", records)
        self.fabric.barrier()
        return records

    def arms(self) -> dict[str, Lottery]:
        """Name of an arm -> how it is pruned."""
        lottery = self.recipe.prune.lottery
        name, *_ = arm_names(self.recipe)
        if self.spec.smaller and (self.recipe.prune.controls or lottery.rewind == "reinitialise"):
            raise InputError("rewind: expected no fresh weights for a network whose channels were removed")
        if not self.recipe.prune.controls:
            return {name: lottery}
        fresh = replace(lottery, rewind="reinitialise", rewind_epoch=0)
        return {
            name: lottery,
            "fresh weights": fresh,
            "random weights": replace(lottery, saliency=SALIENCIES.make("random")),
        }

    def levels(
        self, name: str, lottery: Lottery, number: int, label: str
    ) -> tuple[nn.Module, list[Level], Path]:
        """The levels of one arm and seed, the network that they are of, and the folder of what is kept."""
        seed = as_seed(self.recipe.seed + number)
        start = (
            copy.deepcopy(self.model)
            if self.model is not None
            else self.spec.build(self.recipe.seed + number)
        )
        folder = self.out / f"seed-{number}" / slug(name)
        make_folder(folder)
        if self.fabric.is_global_zero:
            without_records(folder, lottery.levels)
        self.fabric.barrier()
        about = About(arm=name, seed=number)
        levels = lottery(
            start.to(self.fabric.device),
            self.images,
            self.training,
            seed=seed / "prune",
            validate=self.recipe.prune.validation.on(self.held_out, self.training.attack, self.fabric),
            fresh=lambda s: self.spec.build(s.integer % 2**31),
            zeros=self.model is not None,
            fabric=self.fabric,
            folder=folder,
            key=f"{self._config()}/{number}/{name}",
            name=f"{slug(name)}-seed-{number}",
            on_level=lambda level: self._note(level, start, folder, about, seed),
            progress=lambda task, i, n: self.progress(f"{label}, {task}", i, n),
        )
        return start, levels, folder

    def _arm(self, name: str, lottery: Lottery, number: int, label: str, *, first: bool) -> list[AnyRecord]:
        start, levels, folder = self.levels(name, lottery, number, label)
        about = About(arm=name, seed=number)
        found = [
            record for level in levels for record in read_records(folder / f"level-{level.number}.jsonl")
        ]
        parts = [(f"level {level.number}", each) for level in levels for each in level.conditions]
        if said := spoken(parts):
            found.append(
                Finding(topic=Topic.NOTE, text=f"the levels were {said}", about=about, origin=self.at)
            )
        if first:
            kept, why = kept_of(found, levels, self.recipe.prune, self.held_out)
            text = (
                f"{kept.masks.share(start):.1%} of the parameters can be pruned; the rest are biases, norms"
                " and what no layer has"
            )
            found.append(Finding(topic=Topic.NOTE, text=text, about=about, origin=self.at))
            found += self._save(_with(start, kept.best).eval(), kept, about)
            text = f"level {kept.number}, {kept.masks.density:.1%} of the weights, is {why}: it is kept"
            level: Literal["good", "warning"] = "good" if why else "warning"
            if not why:
                text = (
                    "none was as good as the whole network, or judged on held-out images: level"
                    f" {kept.number} is kept"
                )
            elif caution := nothing_said(found, self.recipe.prune, self.held_out):
                text, level = f"{text}, but {caution}", "warning"
            found.append(Finding(topic=Topic.KEPT, text=text, level=level, about=about, origin=self.at))
        return found

    def _config(self) -> str:
        """What the levels depend on: not which of them is kept."""
        default = Recipe().prune
        alike = {"prune.keep": default.keep, "prune.tolerance": default.tolerance}
        return origin_of(read_recipe(None, alike, self.recipe), "prune", "evaluate").config

    def _save(self, model: nn.Module, kept: Level, about: About) -> list[AnyRecord]:
        """Write the network that is kept, without the features that went where they can be taken out."""
        spec, found = self.spec, list[AnyRecord]()
        gone = (
            ~self._classifier_mask(kept, model).any(0)
            if self.recipe.prune.lottery.scope == "features"
            else None
        )
        if gone is not None and bool(gone.any()):
            before = sum(parameter.numel() for parameter in model.parameters())
            try:
                model = without_features(model, gone.cpu(), self.test.first(8).all(self.fabric.device)[0])
                spec = replace(spec, smaller=True)
                left = sum(parameter.numel() for parameter in model.parameters())
                text = (
                    f"the {int(gone.sum())} features that went are taken out: {left:,} parameters of"
                    f" {before:,}"
                )
            except InputError as error:
                text = f"the features that went are weights of 0 in the classifier; {error}"
            found.append(Finding(topic=Topic.SMALLER, text=text, about=about, origin=self.at))
        if self.fabric.is_global_zero:
            save_run(self.out, model, spec, self.recipe, "prune")
        return found

    def _note(self, level: Level, model: nn.Module, folder: Path, about: About, seed: Seed) -> None:
        """The records of one level, before it is kept: an interrupted run has either both or none."""
        here = replace(about, level=level.number)
        network = _with(copy.deepcopy(model), level.best).eval()
        attacks = attacks_of(self.recipe)
        found, _ = accuracy_records(
            network,
            self.test,
            attacks,
            self.at,
            seed=as_seed(self.recipe.seed) / "evaluate",
            about=here,
            processes=Processes(self.fabric),
            progress=self.progress,
        )
        masks, at = level.masks, self.at
        records: list[AnyRecord] = [
            Number(quantity=Quantity.DENSITY, value=masks.density, n=masks.size, about=here, origin=at),
            Number(quantity=Quantity.WEIGHTS_LEFT, value=masks.remaining, about=here, origin=at),
            *self._features(level, model, here),
            *found,
        ]
        for name, mask in masks.by_name.items():
            share = float(mask.float().mean())
            records.append(
                Number(
                    quantity=Quantity.PARAMETER_DENSITY,
                    value=share,
                    n=mask.numel(),
                    about=replace(here, parameter=name),
                    origin=at,
                )
            )
        if masks.empty:
            text = (
                f"level {level.number}: nothing is left of {', '.join(masks.empty)}, so the network is cut"
                " through"
            )
            records.append(Finding(topic=Topic.EMPTY, text=text, level="warning", about=here, origin=at))
        assert level.trained is not None
        examples = min(len(self.held_out), self.recipe.prune.validation.validation_examples)
        records += build.log_records(level.trained, at, examples, here)
        validate = self.recipe.prune.validation.on(self.held_out, self.training.attack, self.fabric)
        if (
            not level.trained.logs and validate is not None
        ):  # not trained, but what later levels are compared with
            scores = as_scores(validate(network, seed / "validate"))
            records += build.validation_records(scores, examples, here, at)
        if self.fabric.is_global_zero:
            write_records(folder / f"level-{level.number}.jsonl", records)
        self.fabric.barrier()

    def _features(self, level: Level, model: nn.Module, about: About) -> list[AnyRecord]:
        """How many features the classifier still takes, where those are what goes."""
        if self.recipe.prune.lottery.scope != "features":
            return []
        mask = self._classifier_mask(level, model)
        left = int(mask.any(0).sum())
        return [
            Number(quantity=Quantity.FEATURES_LEFT, value=left, n=mask.shape[1], about=about, origin=self.at)
        ]

    def _classifier_mask(self, level: Level, model: nn.Module) -> Tensor:
        layers = layer_map(model, self.test.first(1).all(self.fabric.device)[0])
        return level.masks.by_name[f"{layers.at(len(layers)).name}.weight"]


def _with(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    load_state(model, weights)
    return model

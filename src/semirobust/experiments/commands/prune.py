"""``semirobust prune``: how many of the weights can go?"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lightning_fabric import Fabric
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.files import make_folder
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.state import load_state
from semirobust.core.text import slug
from semirobust.data.base.images import Images
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import accuracy_records, attacks_of
from semirobust.experiments.folder import prepare_folder, save_run, write_stage
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.kept_level import nothing_said, scores_by_level, within, without_records
from semirobust.experiments.loggers import make_loggers
from semirobust.experiments.model_spec import ModelSpec, at_its_size, fresh_spec
from semirobust.experiments.provenance import data_notes, notes_on, origin_of, settings_record
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.subject import Subject, check_fits, check_out, check_split
from semirobust.layers.map import layer_map
from semirobust.procedures.lottery import Level, Lottery
from semirobust.pruning.channels import without_features
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.records.conditions import spoken
from semirobust.records.schema import About, Finding, Number, Origin, Quantity, Topic
from semirobust.records.store import AnyRecord, read_records, write_records
from semirobust.training.training import Training
from semirobust.training.validation import as_scores

__all__ = ["prune_fresh", "prune_subject", "pruned_levels"]


@claims_out
def prune_fresh(
    recipe: Recipe,
    out: Path,
    *,
    seeds: int = 1,
    inputs: Inputs | None = None,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> list[AnyRecord]:
    """As :func:`prune_subject`, from scratch; ``inputs`` are the recipe's images, if loaded already."""
    recipe = at_its_size(recipe)
    inputs = inputs.under(recipe) if inputs is not None else Inputs.of(recipe)
    spec = fresh_spec(recipe.model, inputs.splits)
    check_fits(model := spec.build(recipe.seed), inputs.splits)
    return _Job.of(recipe, spec, None, inputs.fitting(model), out, devices, progress).run(seeds)


@claims_out
def prune_subject(
    subject: Subject,
    out: Path,
    *,
    seeds: int = 1,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> list[AnyRecord]:
    """Prune a trained model level by level and evaluate each; the sparsest that is robust enough becomes the
    run's model.

    Returns:
        the records written: for each level its density, accuracies and epochs.

    Raises:
        InputError: ``out`` is the folder of the model itself, or a setting does not fit.
    """
    check_out(subject, out, "prune")
    check_split(subject)
    job = _Job.of(subject.recipe, subject.spec, subject.model, subject.inputs, out, devices, progress)
    job = replace(job, notes=[*job.notes, *notes_on(subject.notes, job.at)])
    return job.run(seeds)


def pruned_levels(recipe: Recipe) -> Lottery:
    """The lottery that the section ``prune`` of a recipe describes."""
    return recipe.prune.lottery


@dataclass(frozen=True)
class _Job:
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
    fabric: Fabric = field(repr=False)
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
    ) -> "_Job":
        settings = recipe.prune
        fabric = build.make_fabric(
            devices, settings.numerics.precision, make_loggers(settings.log, out, recipe.plain())
        )
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
        arms, keep = self._arms(), self.recipe.prune.keep
        if isinstance(keep, int) and keep > self.recipe.prune.lottery.levels:
            raise InputError(
                f"keep: expected one of the levels 0 to {self.recipe.prune.lottery.levels}, got {keep}"
            )
        prepare_folder(self.out, "prune")
        records: list[AnyRecord] = [settings_record(self.recipe, "prune", self.at), *self.notes]
        for number in range(seeds):
            for name, lottery in arms.items():
                records += self._arm(name, lottery, number, first=number == 0 and name == next(iter(arms)))
        write_stage(self.out, "1-prune", records)
        return records

    def _arms(self) -> dict[str, Lottery]:
        lottery = pruned_levels(self.recipe)
        name = {"initial": "ticket", "reinitialise": "fresh weights", "none": "pruned"}[lottery.rewind]
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

    def _arm(self, name: str, lottery: Lottery, number: int, *, first: bool) -> list[AnyRecord]:
        seed = as_seed(self.recipe.seed + number)
        start = (
            copy.deepcopy(self.model)
            if self.model is not None
            else self.spec.build(self.recipe.seed + number)
        )
        folder = self.out / f"seed-{number}" / slug(name)
        make_folder(folder)
        without_records(folder, lottery.levels)
        about = About(arm=name, seed=number)
        levels = lottery(
            start.to(self.fabric.device),
            self.images,
            self.training,
            seed=seed / "prune",
            validate=self.recipe.prune.validation.on(self.held_out, self.training.attack),
            fresh=lambda s: self.spec.build(s.integer % 2**31),
            zeros=self.model is not None,
            fabric=self.fabric,
            folder=folder,
            key=f"{self._config()}/{number}/{name}",
            name=f"{slug(name)}-seed-{number}",
            on_level=lambda level: self._note(level, start, folder, about, seed),
            progress=lambda task, i, n: self.progress(f"{name}, {task}", i, n),
        )
        found = [
            record for level in levels for record in read_records(folder / f"level-{level.number}.jsonl")
        ]
        parts = [(f"level {level.number}", each) for level in levels for each in level.conditions]
        if said := spoken(parts):
            found.append(
                Finding(topic=Topic.NOTE, text=f"the levels were {said}", about=about, origin=self.at)
            )
        if first:
            kept, why = self._kept(found, levels)
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

    def _kept(self, records: Sequence[AnyRecord], levels: Sequence[Level]) -> tuple[Level, str]:
        """The level that becomes the run's network and why; no reason where none was judged."""
        keep = self.recipe.prune.keep
        if isinstance(keep, int):
            return levels[keep], "the one asked for"
        if len(self.held_out) == 0 or self.recipe.prune.validation.validation_examples == 0:
            return levels[0], ""
        broken = {
            r.about.level
            for r in records
            if isinstance(r, Finding) and r.topic in (Topic.EMPTY, Topic.STOPPED)
        }
        sound = [level for level in levels if level.number not in broken]
        if not sound:
            return levels[0], ""
        robust, clean = (
            scores_by_level(records, quantity)
            for quantity in (Quantity.VALIDATION_ROBUST, Quantity.VALIDATION_CLEAN)
        )
        if keep == "most-robust":
            return (
                max(sound, key=lambda level: (robust.get(level.number, -1.0), level.number)),
                "the most robust",
            )
        enough = [
            n.number
            for n in sound
            if all(within(scores, n.number, self.recipe.prune.tolerance) for scores in (robust, clean))
        ]
        chosen = enough[-1] if enough else sound[0].number
        return levels[chosen], "the sparsest that is accurate and robust enough" if enough else ""

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
        validate = self.recipe.prune.validation.on(self.held_out, self.training.attack)
        if (
            not level.trained.logs and validate is not None
        ):  # not trained, but what later levels are compared with
            scores = as_scores(validate(network, seed / "validate"))
            records += build.validation_records(scores, examples, here, at)
        write_records(folder / f"level-{level.number}.jsonl", records)

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

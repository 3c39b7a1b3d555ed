"""``semirobust recover``: how small may the robust prefix be for the whole to be robust after a little
training of the rest?
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.attacks import AbstractAttack
from semirobust.core.errors import InputError
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.data.base.images import Images
from semirobust.evaluation.runner import correct
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import accuracy_records, attacks_of
from semirobust.experiments.commands.profile import score_records
from semirobust.experiments.comparison import Arm, Budget, run_arms
from semirobust.experiments.comparison import Trial as ArmTrial
from semirobust.experiments.folder import prepare_folder, save_run, write_stage
from semirobust.experiments.loggers import make_loggers
from semirobust.experiments.provenance import layer_entries, origin_of, settings_record
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.recovered import smallest_prefix, summary_records
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.subject import Subject, check_split
from semirobust.experiments.suffix_bounds import SuffixBounds
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import quiet
from semirobust.measures import MeasureContext
from semirobust.measures.connectivity import Connectivity
from semirobust.methods import METHODS
from semirobust.methods.suffix import SuffixAdversarial
from semirobust.procedures.harden import hardening
from semirobust.procedures.recovery import Recovered, Recovery
from semirobust.records.about import When
from semirobust.records.schema import About, Number, Origin, Quantity
from semirobust.records.store import AnyRecord
from semirobust.training.validation import Validate, ValidationScores

__all__ = ["Part", "recover_subject"]

Part = Literal["references", "trials", "controls"]

_BATCH = 256


@claims_out
def recover_subject(
    robust: Subject,
    normal: Subject,
    out: Path,
    *,
    parts: Sequence[Part] | None = None,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> list[AnyRecord]:
    """Run algorithm 1 at each cut of the recipe of ``robust`` and write a run folder.

    Args:
        robust, normal: f* and F.
        out: the folder.
        parts: ``references`` tests both, ``trials`` runs algorithm 1, ``controls`` its controls; None for the
            first two, and the third where the recipe asks for it.
        devices: where to compute.
        progress: told of every step.

    Returns:
        the records written: accuracies of F, f*, each semirobust network before and after, every epoch's
        accuracy, loss and rho_j, thresholds, bounds, seconds, and the smallest prefix that recovers.

    Raises:
        InputError: the two networks are not of one build, or a setting does not fit.
    """
    recipe = robust.recipe
    if normal.spec != robust.spec:
        raise InputError(
            "normal: expected a network of the same build as the robust one, and trained on the same data"
        )
    check_split(robust)
    check_split(
        replace(normal, recipe=recipe)
    )  # held out for both, or the normal suffix would know the images that decide
    settings = recipe.recover
    loggers = make_loggers(settings.log, out, recipe.plain())
    fabric = build.make_fabric(devices, settings.numerics.precision, loggers)
    job = _Job.of(robust, normal, recipe, fabric, out, progress)
    sizes = () if recipe.recover.layers == "auto" else tuple(sorted(set(recipe.recover.layers)))
    for size in sizes or (1,):  # what does not fit is said before any work
        recovery = job.recovery(size)
        recovery.suffix(job.layers)
        hardening(job.robust, job.images, recovery.method.of(size), recovery.training)
    prepare_folder(out, "recover")
    parts = parts or ("references", "trials", *(("controls",) if recipe.recover.controls else ()))
    records: list[AnyRecord] = [
        settings_record(recipe, "recover", job.at),
        *layer_entries(job.robust, job.layers, job.at),
    ]
    if "references" in parts:
        records += job.tested(job.normal, About(arm="normal")) + job.tested(
            job.robust, About(arm="robust"), rho=True
        )
    if "trials" in parts:
        found, more = job.all_cuts(sizes)
        examples, classes = len(job.deciding), len(job.deciding.classes)
        records += [
            *more,
            *smallest_prefix(found, len(job.layers), recipe, job.at, examples=examples, classes=classes),
        ]
        sizes = sizes or tuple(found)
    if "controls" in parts:
        records += job.controls(sizes)
    save_run(out, job.best or job.robust, robust.spec, recipe, "recover")
    write_stage(out, "1-recover", records)
    return records


@dataclass
class _Job:
    """All that the parts of one run share."""

    robust: nn.Module
    normal: nn.Module
    recipe: Recipe
    layers: LayerMap
    images: Images
    deciding: Images
    test: Images
    attack: AbstractAttack
    attacks: Sequence[AbstractAttack]
    fabric: Fabric
    at: Origin
    out: Path
    progress: Progress
    best: nn.Module | None = None
    highest: float = -1.0
    bounds: SuffixBounds | None = None

    @classmethod
    def of(
        cls, robust: Subject, normal: Subject, recipe: Recipe, fabric: Fabric, out: Path, progress: Progress
    ) -> "_Job":
        inputs, settings = robust.inputs, recipe.recover
        images, held_out = inputs.train, inputs.held_out
        deciding = inputs.test if settings.protocol == "paper" else held_out
        if len(deciding) == 0 or settings.validation.validation_examples == 0:
            raise InputError(
                "data.validation: expected images held out, since they decide when a trial is over; got none"
            )
        model = robust.model.to(fabric.device)
        x, _ = images.batch(torch.tensor([0]), fabric.device)
        if settings.dependence:
            Connectivity(settings.dependence, settings.dependence_options)
        deciding = deciding.first(min(settings.validation.validation_examples, len(deciding)))
        attack, layers = settings.validation.attack(settings.recovery.training.attack), layer_map(model, x)
        at, count = origin_of(recipe, "recover", device=fabric.device), settings.sharpness_examples
        seed = as_seed(recipe.seed) / "recover" / "bounds"
        compared = deciding.first(min(count, len(deciding))) if count else None
        return cls(
            robust=model,
            normal=normal.model.to(fabric.device),
            recipe=recipe,
            layers=layers,
            images=images,
            deciding=deciding,
            test=inputs.test.first(recipe.evaluate.examples),
            attack=attack,
            attacks=attacks_of(recipe),
            fabric=fabric,
            at=at,
            out=out,
            progress=progress,
            bounds=None if compared is None else SuffixBounds(model, layers, compared, attack, seed, at),
        )

    @property
    def seed(self) -> Seed:
        return as_seed(self.recipe.seed) / "recover"

    def score(self, model: nn.Module, seed: Seed) -> ValidationScores:
        """Accuracies, loss and rho on the images that decide."""
        x, y = self.deciding.all(self.fabric.device)
        x_adv = self.attack.in_batches(model, x, y, seed=seed / "attack")
        with quiet(model):
            clean = torch.cat(
                [correct(model, *rows) for rows in zip(x.split(_BATCH), y.split(_BATCH), strict=True)]
            )
            with torch.no_grad():
                logits = torch.cat([model(part) for part in x_adv.split(_BATCH)])
        metrics = {
            "clean": float(clean.float().mean()),
            "robust": float((logits.argmax(1) == y).float().mean()),
            "loss": float(F.cross_entropy(logits, y)),
        }
        by_layer = {
            score.key: score.by_index() for score in self._dependence(model, x, y, x_adv, seed / "rho")
        }
        return ValidationScores(metrics, by_layer)

    def tested(self, model: nn.Module, about: About, *, rho: bool = False) -> list[AnyRecord]:
        """Accuracies on the test images, and there also the dependence between layers."""
        seed = as_seed(self.recipe.seed) / "evaluate"
        records, _ = accuracy_records(
            model, self.test, self.attacks, self.at, seed=seed, about=about, progress=self.progress
        )
        if rho and self.recipe.recover.dependence:
            x, y = self.test.all(self.fabric.device)
            x_adv = self.attack.in_batches(model, x, y, seed=seed / "rho" / "attack")
            found = score_records(self._dependence(model, x, y, x_adv, seed), self.at, about)
            # What the reader must know of the measure is alike for every network, and is said once.
            records += found if about.arm == "robust" else [r for r in found if isinstance(r, Number)]
        return records

    def _dependence(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor, seed: Seed) -> Any:
        settings = self.recipe.recover
        if not settings.dependence:
            return []
        measure = Connectivity(settings.dependence, settings.dependence_options)
        return measure.scores(MeasureContext(model, self.layers, x, y, x_adv, self.attack, seed))

    def all_cuts(self, sizes: Sequence[int]) -> tuple[dict[int, Recovered], list[AnyRecord]]:
        """Algorithm 1 at each size of the suffix; without sizes a bisection for the largest that recovers."""
        reference, found, records = (
            self.score(self.robust, self.seed / "reference"),
            dict[int, Recovered](),
            list[AnyRecord](),
        )

        def recovers(size: int) -> bool:
            found[size], more = self.recover(size, reference)
            records.extend(more)
            return any(trial.converged is not None for trial in found[size].trials)

        for size in sizes:
            recovers(size)
        # Nothing trained has recovered; without a prefix there is no cut.
        low, high = 0, len(self.layers) if not sizes else 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if recovers(middle) else (low, middle)
        return dict(sorted(found.items())), records

    def recovery(self, size: int) -> Recovery:
        """Algorithm 1 at one cut, as the recipe wants it."""
        settings = self.recipe.recover
        stop = settings.recovery.stop and not settings.controls  # or the controls would train for longer
        return replace(settings.recovery, layers=size, stop=stop)

    def recover(self, size: int, reference: ValidationScores) -> tuple[Recovered, list[AnyRecord]]:
        """All trials at one cut, with their records."""
        settings, recovery = self.recipe.recover, self.recovery(size)
        found = recovery(
            self.robust, self.normal, self.images, self.scored_at(recovery.suffix(self.layers)),
            seed=self.seed, reference=reference,
            fabric=self.fabric, folder=self.out, key=self.at.config, progress=self.progress,
        )  # fmt: skip
        here, n = About(arm="suffix", suffix=size, protocol=settings.protocol), len(self.deciding)
        records = build.validation_records(found.reference, n, replace(here, arm="robust"), self.at)
        semirobust = recovery.start(self.robust, self.normal, self.layers)
        records += self.tested(semirobust, replace(here, arm="start"))
        for number, trial in enumerate(found.trials):
            about = replace(here, trial=number)
            records += build.validation_records(trial.start, n, replace(about, epoch=0), self.at)
            records += build.log_records(trial.trained, self.at, n, about)
            model = build.load_best(trial.trained)
            records += self.tested(model, about, rho=True)
            if self.bounds is not None:
                networks: dict[When, nn.Module] = {"start": semirobust, "end": model}
                records += self.bounds.records(networks, found.layers, about)
            values = {
                Quantity.RECOVERY_BEST: trial.best,
                Quantity.RECOVERY_START: trial.start.metrics["robust"],
            }
            if trial.converged is not None:
                values[Quantity.RECOVERY_EPOCH] = float(trial.converged)
            records += [
                Number(quantity=q, value=v, n=n, about=about, origin=self.at) for q, v in values.items()
            ]
            if trial.best > self.highest:
                self.best, self.highest = model, trial.best
        return found, [*records, *summary_records(found, here, n, self.at)]

    def scored_at(self, suffix: tuple[int, ...]) -> Validate:
        """Scores after each epoch, with the loss less that of f* and bound (a) on it, of the suffix that
        trains.
        """

        def score(model: nn.Module, seed: Seed) -> ValidationScores:
            scores = self.score(model, seed)
            if self.bounds is None:
                return scores
            found = self.bounds.compare(model, suffix)
            bounds = {
                "loss_difference": found.loss,
                "quadratic_bound": found.quadratic,
                "parameter_distance": found.distance,
            }
            return replace(scores, metrics={**scores.metrics, **bounds})

        return score

    def controls(self, sizes: Sequence[int]) -> list[AnyRecord]:
        """At the same budget: PGD-AT of everything from f*, and the suffix behind the prefix of the normal
        network.
        """
        budget = Budget(
            images=self.images,
            training=self.recipe.recover.recovery.training,
            validate=self.score,
            validation_images=len(self.deciding),
            test=self.test,
            attacks=self.attacks,
            fabric=self.fabric,
        )
        trial = ArmTrial(self.seed / "controls", 0, as_seed(self.recipe.seed) / "evaluate", self.at, self.out)
        everything, _ = run_arms(
            self.robust,
            [Arm("everything", METHODS.make("adversarial"))],
            budget,
            trial,
            progress=self.progress,
        )
        arms = [
            Arm(
                f"normal prefix, suffix {size}",
                SuffixAdversarial(size),
                about=About(prefix="normal", suffix=size),
            )
            for size in sizes
        ]
        behind, _ = run_arms(self.normal, arms, budget, trial, progress=self.progress)
        return [*everything, *behind]

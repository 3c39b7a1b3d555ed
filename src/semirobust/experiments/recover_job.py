"""What all parts of a recovery share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.attacks import AbstractAttack
from semirobust.core.errors import InputError
from semirobust.core.own_code import code_of
from semirobust.core.processes import Processes
from semirobust.core.progress import Progress
from semirobust.core.seed import Seed, as_seed
from semirobust.data.base.images import Images
from semirobust.evaluation.runner import correct
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import accuracy_records, attacks_of
from semirobust.experiments.commands.profile import score_records
from semirobust.experiments.comparison import Arm, Budget, run_arms
from semirobust.experiments.comparison import Trial as ArmTrial
from semirobust.experiments.kept_accuracy import KeptAccuracy
from semirobust.experiments.provenance import origin_of
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.recovered import summary_records
from semirobust.experiments.subject import Subject
from semirobust.experiments.suffix_bounds import SuffixBounds
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import quiet
from semirobust.measures import MeasureContext
from semirobust.measures.connectivity import Connectivity
from semirobust.methods import METHODS
from semirobust.methods.suffix import SuffixAdversarial
from semirobust.procedures.recovery import Recovered, Recovery
from semirobust.records.about import When
from semirobust.records.schema import About, Number, Origin, Quantity
from semirobust.records.store import AnyRecord
from semirobust.training.validation import Validate, ValidationScores

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["RecoverJob"]

_BATCH = 256


@dataclass
class RecoverJob:
    """All that the parts of one run share."""

    robust: nn.Module
    normal: nn.Module
    recipe: Recipe
    layers: LayerMap
    images: Images
    deciding: Images
    judging: Images | None
    test: Images
    attack: AbstractAttack
    attacks: Sequence[AbstractAttack]
    fabric: "Fabric"
    at: Origin
    out: Path
    progress: Progress
    best: nn.Module | None = None
    highest: float = -1.0
    bounds: SuffixBounds | None = None

    @classmethod
    def of(
        cls, robust: Subject, normal: Subject, recipe: Recipe, fabric: "Fabric", out: Path, progress: Progress
    ) -> "RecoverJob":
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
            judging=_judging(robust, recipe, held_out, len(deciding)),
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

    @property
    def sizes(self) -> dict[int, int]:
        """How many layers each suffix of the recipe has -> the size that names it there."""
        recovery, chosen = self.recipe.recover.recovery, self.recipe.recover.layers
        found: dict[int, int] = {}
        for size in () if chosen == "auto" else sorted(set(chosen)):
            own = len(replace(recovery, layers=size).suffix(self.layers))
            if own in found:
                raise InputError(
                    f"layers: expected different suffixes, but {found[own]} and {size} with projections"
                    f" counted are the same one, {own} without them"
                )
            found[own] = size
        return found

    def judge(self, model: nn.Module, seed: Seed) -> ValidationScores:
        """The same on the images that judge."""
        return self.score(model, seed / "judge", self.judging)

    def score(self, model: nn.Module, seed: Seed, images: Images | None = None) -> ValidationScores:
        """Accuracies, loss and rho on the images that decide, or on other ones."""
        x, y = (images or self.deciding).all(self.fabric.device)
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

    def accuracies(self, model: nn.Module, about: About) -> list[AnyRecord]:
        """Accuracies on the test images; those of a trial are kept, and not measured again."""
        seed, kept = as_seed(self.recipe.seed) / "evaluate", None
        if about.trial is not None and about.suffix is not None:
            file = self.out / f"suffix-{about.suffix}-trial-{about.trial}-accuracy.jsonl"
            more = (seed, list(self.attacks), len(self.test), code_of(*self.attacks, model))
            kept = KeptAccuracy(file, model, self.at, *more)
            if (found := kept.read()) is not None:
                return found
        found, _ = accuracy_records(
            model, self.test, self.attacks, self.at,
            seed=seed, about=about, processes=Processes(self.fabric), progress=self.progress,
        )  # fmt: skip
        if kept is not None and self.fabric.is_global_zero:
            kept.write(found)
        return found

    def tested(self, model: nn.Module, about: About, *, rho: bool = False) -> list[AnyRecord]:
        """Accuracies on the test images, and there also the dependence between layers."""
        seed = as_seed(self.recipe.seed) / "evaluate"
        records = self.accuracies(model, about)
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
        return measure(MeasureContext(model, self.layers, x, y, x_adv, self.attack, seed))

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
        return replace(settings.recovery, layers=size, count_projections=False, stop=stop)

    def trial(self, size: int, number: int) -> None:
        """One trial at one cut and its accuracies, which :meth:`recover` then finds done."""
        recovery = self.recovery(size)
        found = recovery(
            self.robust, self.normal, self.images, self.scored_at(recovery.suffix(self.layers)),
            seed=self.seed, reference=self.score(self.robust, self.seed / "reference"), fabric=self.fabric,
            folder=self.out, key=self.at.config, numbers=(number,), progress=self.progress,
        )  # fmt: skip
        about = About(arm="suffix", suffix=size, protocol=self.recipe.recover.protocol, trial=number)
        self.accuracies(build.load_best(found.trials[0].trained), about)

    def recover(self, size: int, reference: ValidationScores) -> tuple[Recovered, list[AnyRecord]]:
        """All trials at one cut, with their records."""
        settings, recovery = self.recipe.recover, self.recovery(size)
        found = recovery(
            self.robust, self.normal, self.images, self.scored_at(recovery.suffix(self.layers)),
            seed=self.seed, reference=reference, judge=self.judge if self.judging else None,
            fabric=self.fabric, folder=self.out, key=self.at.config, progress=self.progress,
        )  # fmt: skip
        here, n = About(arm="suffix", suffix=size, protocol=settings.protocol), len(self.deciding)
        judges = len(self.judging or self.deciding)
        records = build.validation_records(reference, n, replace(here, arm="robust"), self.at)
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
                Quantity.RECOVERY_START: trial.before,
            }
            if trial.converged is not None:
                values[Quantity.RECOVERY_EPOCH] = float(trial.converged)
            records += [
                Number(quantity=q, value=v, n=judges, about=about, origin=self.at) for q, v in values.items()
            ]
            if trial.best > self.highest:
                self.best, self.highest = model, trial.best
        return found, [*records, *summary_records(found, here, judges, self.at)]

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


def _judging(robust: Subject, recipe: Recipe, held_out: Images, deciding: int) -> Images | None:
    """The held-out images that judge: those behind the ones by which epochs are chosen, of f* too."""
    wanted = recipe.recover.judge_examples
    if not wanted:
        return None
    trained = robust.trained or recipe
    before = max(section.validation.validation_examples for section in (trained.train, trained.harden))
    first = max(deciding, min(before, len(held_out)))
    if first + wanted > len(held_out):
        raise InputError(
            f"judge_examples: expected at most {max(len(held_out) - first, 0)}, since the first {first} of"
            f" {len(held_out)} held-out images choose epochs; got {wanted}; hold out more by"
            " data.validation"
        )
    return held_out.subset(torch.arange(first, first + wanted))

"""Algorithm 1 of the semirobustness paper: does training the suffix alone recover a robust network?"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.shown import AbstractResult
from semirobust.core.state import load_state
from semirobust.core.table import Cell, Table
from semirobust.core.text import listed
from semirobust.core.typed import Typed
from semirobust.data.base.given import given_images
from semirobust.data.base.images import Images
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import device_of
from semirobust.layers.scores import ScoreName
from semirobust.layers.transplant import transplant
from semirobust.methods.suffix import SuffixAdversarial
from semirobust.procedures.harden import hardening
from semirobust.training.callbacks import Listener
from semirobust.training.training import Trained, Training, Validate
from semirobust.training.validation import ValidationScores, as_scores

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from matplotlib.figure import Figure

__all__ = ["RHO", "Recovered", "Recovery", "Trial"]

RHO = ScoreName("connectivity")
"""The measure by layer that is the dependence rho_j."""

_PLAIN = SuffixAdversarial()
_TRAINING = Training(epochs=10, learning_rate=0.001, schedule="constant")


@dataclass(frozen=True)
class Trial:
    """One training of the suffix.

    Attributes:
        start: scores of the semirobust network, before any training.
        trained: the run; its logs hold the scores after each epoch.
        converged: the first epoch whose robust accuracy reached the aim; None where none did. Where other
            images judge, the best epoch if it reached the aim on those.
        judged: scores on the images that judge, where there are any: before training, and of the best epoch.
    """

    start: ValidationScores
    trained: Trained = field(repr=False)
    converged: int | None
    judged: tuple[ValidationScores, ValidationScores] | None = None

    def scores(self) -> ValidationScores:
        """Those of the epoch that reached the aim, or else of the best one."""
        logs = self.trained.logs
        number = self.converged or self.trained.best_epoch
        return logs[number - 1].scores if number else self.start

    @property
    def before(self) -> float:
        """Robust accuracy before training, on the images that say whether it came back."""
        return (self.judged[0] if self.judged is not None else self.start).metrics["robust"]

    @property
    def best(self) -> float:
        """Highest robust accuracy after any epoch; that of the best one on the images that judge."""
        if self.judged is not None:
            return self.judged[1].metrics["robust"]
        return max((log.metrics["robust"] for log in self.trained.logs), default=self.start.metrics["robust"])


@dataclass(frozen=True, eq=False, repr=False)
class Recovered(AbstractResult):
    """What all trials at one cut found.

    Attributes:
        layers: the layers that were trained.
        aim: A*, the robust network's accuracy under attack on the images that decide, less the tolerance.
        reference: all scores of the robust network.
        trials: one entry each.
    """

    layers: tuple[int, ...]
    aim: float
    reference: ValidationScores
    trials: tuple[Trial, ...]

    def table(self) -> Table:
        rows = []
        for number, trial in enumerate(self.trials, 1):
            epochs = len(trial.trained.logs)
            rows.append(
                (number, trial.before, trial.best, trial.converged is not None, trial.converged, epochs)
            )
        back = sum(trial.converged is not None for trial in self.trials)
        facts: dict[str, Cell] = {"aim": self.aim, "reference": self.reference.metrics["robust"]}
        return Table(
            f"{back} of {len(self.trials)} trial{'s' * (len(self.trials) != 1)} came back to {self.aim:.1%}"
            f" under attack by training {listed(self.layers, 'layer')}; best minus reference"
            f" {100 * self.difference:+.1f} points",
            {
                "trial": "count",
                "start": "share",
                "best": "share",
                "recovered": "flag",
                "epoch": "count",
                "epochs": "count",
            },
            rows,
            {**facts, "difference": self.difference, "layers": listed(self.layers, "layer")},
            [
                f"trial {number}: {trial.trained.stopped}"
                for number, trial in enumerate(self.trials, 1)
                if trial.trained.stopped
            ],
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Points, points

        rows = [f"trial {number}" for number in table.column("trial")]
        series = [Points(f"{name} of the trial", table.percent(name)) for name in ("start", "best")]
        aim = table.facts["aim"]
        references = [("aim", 100 * aim)] if isinstance(aim, float) else []
        return points(rows, series, x_label="accuracy under attack, %", references=references)

    @property
    def difference(self) -> float:
        """A - A*, of the best trial."""
        return max(trial.best for trial in self.trials) - self.reference.metrics["robust"]

    @property
    def epochs(self) -> float | None:
        """Mean epochs to reach the aim, over the trials that did; None where none did."""
        epochs = [trial.converged for trial in self.trials if trial.converged is not None]
        return sum(epochs) / len(epochs) if epochs else None

    def thresholds(self) -> dict[int, float]:
        """rho_j of each trained layer: the smallest over the trials that converged, the largest over all
        where none did.
        """
        converged = [trial.scores() for trial in self.trials if trial.converged is not None]
        scores, choose = (converged, min) if converged else ([trial.scores() for trial in self.trials], max)
        by_layer = [s.by_layer.get(RHO, {}) for s in scores]
        rho_by_layer = {j: [rho[j] for rho in by_layer if j in rho] for j in self.layers}
        return {j: choose(values) for j, values in rho_by_layer.items() if values}


@dataclass(frozen=True, kw_only=True)
class Recovery(Typed):
    """Put a normally trained suffix behind the robust prefix, and train it adversarially until the whole is
    as robust as before.

    Source: the semirobustness paper, algorithm 1, with its learning rate of 0.001. Batch norm of the suffix
    is taken over with its weights, the prefix is frozen with its own. Which images decide when it is over,
    and how, is the caller's: held-out ones, or the test set as in the paper's code.

    Args:
        layers: how many layers from the output are the suffix.
        count_projections: the number counts the projections of shortcuts as layers, as the authors' code
            does. A projection stays with its layer: where the count ends between the two, both are in the
            prefix (ours), and the authors would train the projection behind a frozen layer. So their 4 and 12
            layers of a ResNet-18 are 3 and 10 of ours.
        trials: repetitions, which differ in their order of images and their attacks.
        tolerance: how far below A*, as a fraction, a trial's robust accuracy may be to count as converged;
            the paper's k.
        stop: end a trial as soon as it has converged; otherwise it trains for all epochs.
        method: how the suffix is trained, where not by plain PGD-AT; its ``layers`` are overridden.
        training: with the attack of training; its objective and its layers are those of the method.
    """

    layers: int = 4
    count_projections: bool = False
    trials: int = 1
    tolerance: float = 0.0
    stop: bool = True
    method: SuffixAdversarial = _PLAIN
    training: Training = _TRAINING

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise InputError(f"trials: expected at least 1, got {self.trials}")
        if not 0 <= self.tolerance <= 1:
            raise InputError(f"tolerance: expected a fraction from 0 to 1, got {self.tolerance}")

    def suffix(self, layers: LayerMap) -> tuple[int, ...]:
        """The layers that train."""
        size = layers.without_projections(self.layers) if self.count_projections else self.layers
        return SuffixAdversarial(size).suffix(layers)

    def start(self, robust: nn.Module, normal: nn.Module, layers: LayerMap) -> nn.Module:
        """The semirobust network: the prefix of ``robust``, the suffix of ``normal``."""
        model = copy.deepcopy(robust)
        transplant(model, normal, layers, self.suffix(layers))
        return model

    @anywhere
    @on_classifiers("robust", "normal", layers=True)
    def __call__(
        self,
        robust: nn.Module,
        normal: nn.Module,
        images: Images | Any,
        score: Validate,
        *,
        seed: int | Seed = 0,
        reference: ValidationScores | None = None,
        judge: Validate | None = None,
        fabric: "Fabric | None" = None,
        folder: Path | None = None,
        key: str = "",
        callbacks: Sequence[Listener] = (),
        numbers: Sequence[int] | None = None,
        progress: Progress = silent,
    ) -> Recovered:
        """Run all trials; both networks are left as they were.

        Args:
            robust: f*, trained adversarially.
            normal: F, trained on clean images; of the same build.
            images: the training images.
            score: the metric ``robust``, accuracy under attack, and by layer ``connectivity``, the dependence
                rho_j, on the images that decide.
            seed: of trials and attacks.
            reference: what ``score`` gave for ``robust``, where it is known.
            judge: as ``score``, on images that chose no epoch of any network. On these A* is measured, and
                the best epoch is said to have come back or not; ``score`` then stops a trial and chooses its
                epoch. Without it ``score`` does all of this, and the best of several epochs flatters.
            fabric: devices and precision.
            folder: where an interrupted trial is kept, for a run with the same ``key``.
            callbacks: as in :class:`Training`, of each trial.
            numbers: which trials, from 0 on; all where None.
            progress: told of every step.
        """
        seed, images = as_seed(seed), given_images(images).fitting(robust)
        x, _ = images.batch(torch.tensor([0]), device_of(robust, torch.device("cpu")))
        layers = layer_map(robust, x)
        scores = as_scores(score(robust, seed / "reference")) if reference is None else reference
        aim = scores.metrics["robust"] - self.tolerance
        judged = scores if judge is None else as_scores(judge(robust, seed / "reference"))
        judged_aim = judged.metrics["robust"] - self.tolerance
        size, trials = len(self.suffix(layers)), []
        for number in range(self.trials) if numbers is None else numbers:
            model = self.start(robust, normal, layers)
            start = as_scores(score(model, seed / "start"))
            before = None if judge is None else as_scores(judge(model, seed / "start"))
            base = replace(self.training, until=aim) if self.stop else self.training
            method = self.method.of(size)
            training = hardening(model, images, method, base)
            trained = training(
                model,
                images,
                seed=seed / "trial" / number,
                validate=score,
                fabric=fabric,
                state_file=None
                if folder is None
                else folder / f"suffix-{size}-trial-{number}.state.safetensors",
                key=key,
                callbacks=callbacks,
                name=f"suffix-{size}-trial-{number}",
                on_step=lambda task, i, n, number=number: progress(
                    f"suffix {size}, trial {number + 1}", i, n
                ),  # type: ignore[misc]
            )
            if judge is not None and before is not None:
                after = as_scores(judge(_best(trained), seed / "judged"))
                back = trained.best_epoch > 0 and after.metrics["robust"] >= judged_aim
                epoch = trained.best_epoch if back else None
                trials.append(Trial(start, trained, epoch, (before, after)))
                continue
            reached = (log.epoch for log in trained.logs if log.metrics["robust"] >= aim)
            trials.append(Trial(start, trained, next(reached, None)))
        return Recovered(self.suffix(layers), judged_aim, judged, tuple(trials))


def _best(trained: Trained) -> nn.Module:
    """A copy of the network with the weights of its best epoch."""
    best = copy.deepcopy(trained.model)
    load_state(best, trained.best)
    return best.eval()

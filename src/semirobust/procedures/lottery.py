"""Iterative pruning with rewinding: lottery tickets, under any training of the library."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from semirobust.core.checks import check_counts, probe
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.state import load_state
from semirobust.core.tensor_files import read_checked, read_metadata, read_tensors, set_aside, write_tensors
from semirobust.core.typed import Typed
from semirobust.data.base.given import given_images
from semirobust.data.base.images import Images
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import device_of, quiet
from semirobust.procedures.levels import Level, Levels, level_file, read_level, write_level
from semirobust.pruning.masks import Masks, Scope, prunable_of
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency
from semirobust.pruning.saliencies.magnitude import Magnitude
from semirobust.training.callbacks import Listener
from semirobust.training.state import EpochLog, TrainState, digest, snapshot
from semirobust.training.state_file import delete_state
from semirobust.training.training import Training, Validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Level", "Lottery", "Rewind", "read_level"]

Rewind = Literal["initial", "reinitialise", "none"]
_MAGNITUDE = Magnitude()
_REWIND = "rewind.safetensors"


@dataclass(frozen=True)
class Lottery(Typed):
    """Train, prune the lowest fraction of what is left, rewind to the initial weights, and repeat.

    Source: Frankle & Carbin (2019), as "Lighter robust model", section V, runs it under adversarial training:
    30 % at a time, 12 epochs a level, all layers together. Level 0 is the whole network, and every level has
    the same order of images and the same random starts, so that a level from which nothing is pruned equals
    it.

    Args:
        levels: how often to prune.
        fraction: of the weights that are left, which goes at each level.
        scope: ``global`` compares all layers' weights with each other, ``layer`` prunes each layer by that
            fraction, ``features`` takes away that fraction of the features in front of the classifier and
            nothing else.
        saliency: the score of each weight; the lowest are pruned.
        rewind: back to the ``initial`` weights (a ticket), to fresh ones at each level (``reinitialise``: the
            paper's baseline; from level 2 on its masks come from its own weights), or not at all (``none``:
            iterative pruning with fine-tuning).
        rewind_epoch: with ``initial``, back to the weights after so many epochs of level 0 instead (late
            rewinding, Frankle et al. 2020).
        classifier: prune the last layer too, as the paper does.
        whole: train level 0; False prunes the model as it comes (ours).

    Raises:
        InputError: a value out of its range.
    """

    levels: int = 20
    fraction: float = 0.3
    scope: Scope = "global"
    saliency: AbstractSaliency = _MAGNITUDE
    rewind: Rewind = "initial"
    rewind_epoch: int = 0
    classifier: bool = True
    whole: bool = True

    def __post_init__(self) -> None:
        check_counts(0, levels=self.levels, rewind_epoch=self.rewind_epoch)
        if not 0 <= self.fraction < 1:
            raise InputError(f"fraction: expected from 0 to below 1, got {self.fraction}")
        if self.scope == "features" and not self.classifier:
            raise InputError(
                "classifier: expected True with scope features, which are the classifier's inputs; got False"
            )
        if self.rewind_epoch and self.rewind != "initial":
            raise InputError(f"rewind_epoch: expected only with rewind initial, got {self.rewind_epoch}")

    @anywhere
    @on_classifiers("model", layers=True)
    def __call__(
        self,
        model: nn.Module,
        images: Images | Any,
        training: Training,
        *,
        seed: int | Seed = 0,
        validate: Validate | None = None,
        fresh: Callable[[Seed], nn.Module] | None = None,
        fabric: "Fabric | None" = None,
        folder: Path | None = None,
        key: str = "",
        on_level: Callable[[Level], None] | None = None,
        zeros: bool = False,
        callbacks: Sequence[Listener] = (),
        name: str = "",
        progress: Progress = silent,
    ) -> Levels:
        """Run all levels on ``model``, whose weights now are those of the beginning; it ends as the last
        level.

        Args:
            model: gives logits (N, C) for pixels in [0, 1].
            images, training, seed, validate, fabric, key, callbacks, name: as in :class:`Training`; of each
                level, whose number is behind the name.
            fresh: builds the model with other initial weights; needed for ``reinitialise``.
            folder: where levels are kept as they end; those already there are read and not run again, and one
                that was interrupted continues from its last epoch.
            on_level: told of every level that ran, before it is kept.
            zeros: weights of the model that are 0 were pruned before, and stay out.
            progress: told of every step.
        """
        if self.rewind == "reinitialise" and fresh is None:
            raise InputError(
                "fresh: expected a way to build the model anew, since rewind is reinitialise; got none"
            )
        if self.rewind_epoch and not self.whole:
            raise InputError("rewind_epoch: expected none where the whole network is not trained")
        if self.rewind_epoch > training.epochs:
            raise InputError(
                f"rewind_epoch: expected at most the {training.epochs} epochs of a level, got"
                f" {self.rewind_epoch}"
            )
        images = given_images(images)
        level_key = _key(key, self, training, digest(snapshot(model), images), seed)
        run = _Run(self, model, images.fitting(model), training, as_seed(seed), folder, level_key, zeros)
        run.callbacks, run.name = callbacks, name
        run.first = fabric is None or fabric.is_global_zero
        levels = Levels()
        for number in range(self.levels + 1):
            level = run.read(number)
            if level is None:
                if number == 0:
                    run.check_prunable()
                masks, start = run.begin(number, levels[-1] if levels else None, fresh)
                level = run.train(number, masks, start, validate, fabric, progress)
                if on_level is not None:
                    on_level(level)
                if run.first:
                    run.write(level)
                if fabric is not None:
                    fabric.barrier()  # the others read it where they begin again
            levels.append(level)
        load_state(model, levels[-1].last)
        model.eval()
        return levels


def _key(*parts: object) -> str:
    """What must be equal for kept levels to be read."""
    return hashlib.sha256("/".join(map(repr, parts)).encode()).hexdigest()[:16]


@dataclass
class _Run:
    """A lottery on one model and its images."""

    lottery: Lottery
    model: nn.Module
    images: Images
    training: Training
    seed: Seed
    folder: Path | None
    key: str
    zeros: bool = False
    first: bool = True  # of several processes the one that writes
    late: Mapping[str, Tensor] = field(default_factory=dict)
    callbacks: Sequence[Listener] = ()
    name: str = ""

    def __post_init__(self) -> None:
        self.initial: Mapping[str, Tensor] = snapshot(self.model)
        x, y = self.images.batch(torch.tensor([0]), device_of(self.model, torch.device("cpu")))
        with quiet(self.model):
            probe(self.model, x, y)
        self.layers = layer_map(self.model, x)

    def begin(
        self, number: int, before: Level | None, fresh: Callable[[Seed], nn.Module] | None
    ) -> tuple[Masks, Mapping[str, Tensor]]:
        """What is left at a level, and the weights that it starts from."""
        lottery = self.lottery
        if before is None:
            return self._whole(), self.initial
        load_state(self.model, before.last)
        masks = self._less(before.masks, number)
        if lottery.rewind == "none":
            return masks, before.last
        if lottery.rewind == "reinitialise":
            assert fresh is not None
            return masks, snapshot(fresh(self.seed / "initialise" / number))
        return masks, self.initial if not lottery.rewind_epoch else self._late()

    def check_prunable(self) -> None:
        """Ask for the first pruning before anything trains, so that what cannot be pruned is said at once."""
        masks = self._whole()
        if self.lottery.levels:
            self._less(masks, 1)

    def _whole(self) -> Masks:
        masks = Masks.full(self.model, self.layers, classifier=self.lottery.classifier)
        last = f"{self.layers.at(len(self.layers)).name}.weight"
        if self.lottery.scope == "features" and last not in masks.by_name:
            raise InputError(
                f"scope: expected a classifier with weights of its own for features; {last} is shared"
            )
        return masks.without_zeros(self.model) if self.zeros else masks

    def _less(self, masks: Masks, number: int) -> Masks:
        """What the model's weights now leave of ``masks`` at a level."""
        weights = {name: self.model.get_parameter(name) for name in masks.by_name}
        seed = self.seed / "saliency" / number
        scores = self.lottery.saliency.scored(self.model, weights, self.images, self.training.attack, seed)
        return masks.pruned(scores, self.lottery.fraction, self.lottery.scope)

    def train(
        self,
        number: int,
        masks: Masks,
        start: Mapping[str, Tensor],
        validate: Validate | None,
        fabric: "Fabric | None",
        progress: Progress,
    ) -> Level:
        load_state(self.model, start)
        if number == 0 and self.folder is not None and self.lottery.rewind_epoch:
            self._forget_if_late_is_lost(self.folder / "level-0.state.safetensors")
        training = self.training if number or self.lottery.whole else replace(self.training, epochs=0)
        with masks.enforced(self.model):
            trained = training(
                self.model,
                self.images,
                seed=self.seed,
                validate=validate,
                fabric=fabric,
                state_file=None if self.folder is None else self.folder / f"level-{number}.state.safetensors",
                key=f"{self.key}/{number}",
                callbacks=self.callbacks,
                name=f"{self.name}-level-{number}" if self.name else f"level-{number}",
                on_step=lambda task, i, n: progress(f"level {number}", i, n),
                on_epoch=self._note if number == 0 and self.lottery.rewind_epoch else None,
            )
        return Level(number, masks, trained.best, snapshot(self.model), trained, trained.conditions)

    def write(self, level: Level) -> None:
        """Write the level; its training state is needed no more."""
        if self.folder is None:
            return
        write_level(self.folder, level, self.key)
        delete_state(self.folder / f"level-{level.number}.state.safetensors")

    def read(self, number: int) -> Level | None:
        """The level that :meth:`write` wrote, if it is there and whole; a damaged one is set aside.

        Raises:
            InputError: it belongs to other settings.
        """
        file = None if self.folder is None else level_file(self.folder, number)
        if file is None or not file.is_file():
            return None
        assert self.folder is not None
        try:
            entries = read_checked(file)[0]
        except InputError:
            set_aside(file, f"level {number} is trained anew")
            return None
        if (entries.get("key"), entries.get("level")) != (self.key, number):
            raise InputError(
                f"{file.parent}: holds levels with other settings; choose another folder or delete it"
            )
        if number == 0 and self.lottery.rewind_epoch and not self._has_late():
            return None
        if self.first:  # a run that was killed just then left it
            delete_state(self.folder / f"level-{number}.state.safetensors")
        level = read_level(self.folder, number)
        names = (name for layer in self.layers for name in prunable_of(self.model, layer))
        kept = level.masks.by_name
        # In the order of the layers, as they were before.
        return replace(level, masks=Masks({name: kept[name] for name in names if name in kept}))

    def _note(self, log: EpochLog, state: TrainState) -> None:
        """Keep the weights that later levels go back to."""
        if log.epoch == self.lottery.rewind_epoch:
            self.late = snapshot(self.model)
            if self.folder is not None and self.first:
                write_tensors(self.folder / _REWIND, self.late, {"key": self.key})

    def _has_late(self) -> bool:
        """Whether the weights that later levels go back to are kept and whole; else level 0 gives them
        anew.
        """
        assert self.folder is not None
        file = self.folder / _REWIND
        if not file.is_file():
            return False
        try:
            return bool(read_checked(file)[0].get("key") == self.key)
        except InputError:
            set_aside(file, "level 0 is trained anew for it")
            return False

    def _forget_if_late_is_lost(self, state: Path) -> None:
        """Begin level 0 anew where it is past the epoch whose weights are needed and these are lost."""
        try:
            epoch = int(read_metadata(state)["state"]["epoch"]) if state.is_file() else 0
        except (InputError, LookupError, TypeError, ValueError):
            return  # it is damaged, and said to be so where it is read
        if epoch >= self.lottery.rewind_epoch and not self._has_late():
            delete_state(state)

    def _late(self) -> Mapping[str, Tensor]:
        if self.folder is not None and self._has_late():
            return read_tensors(self.folder / _REWIND)
        if not self.late:
            raise InputError(f"rewind_epoch: level 0 ended before its epoch {self.lottery.rewind_epoch}")
        return self.late

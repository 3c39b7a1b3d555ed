"""The parts of ``harden``, ``prune`` and ``recover``."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from semirobust.core.errors import InputError
from semirobust.core.links import given_folder
from semirobust.core.progress import Progress
from semirobust.core.text import slug
from semirobust.experiments.build import Devices
from semirobust.experiments.commands.harden import harden_seed
from semirobust.experiments.commands.prune import prune_part
from semirobust.experiments.commands.recover import recover_trial
from semirobust.experiments.folder import prepare_folder
from semirobust.experiments.identity import weights_of
from semirobust.experiments.provenance import origin_of
from semirobust.experiments.queue.parts import Part
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.subject import Subject, build_subject, check_out, check_split
from semirobust.experiments.work import arm_names

__all__ = ["Typed", "harden_parts", "prune_parts", "recover_parts"]


@dataclass(frozen=True)
class Typed:
    """How a network was named, so that another process finds it again.

    Attributes:
        target, model, checkpoint, recipe, changes: as in ``build_subject``.
    """

    target: str | None
    model: str | None = None
    checkpoint: Path | None = None
    recipe: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def anywhere(self) -> "Typed":
        """With whole paths, as other machines and folders need them."""
        target, recipe = self.target, self.recipe
        return replace(
            self,
            target=str(Path(target).absolute()) if target is not None and Path(target).is_dir() else target,
            checkpoint=None if self.checkpoint is None else self.checkpoint.absolute(),
            recipe=recipe.absolute() if recipe is not None and recipe.is_file() else recipe,
        )

    def subject(self, recipe: Recipe | None = None) -> Subject:
        """The network, under its settings or those of a recipe."""
        found = build_subject(self.target, self.model, self.checkpoint, self.recipe, self.changes)
        return found if recipe is None else found.under(recipe)


def harden_parts(typed: Typed, subject: Subject, out: Path, seeds: int, devices: Devices) -> list[Part]:
    """One for each seed: the method and its controls."""
    _check(subject, out, "harden", seeds)
    key, out = _key(subject, "harden"), given_folder(out).absolute()
    return [
        Part(
            f"{out.name}, seed {number + 1}",
            out / f"seed-{number}",
            partial(_harden, typed.anywhere(), subject.recipe, out, number, seeds, devices),
            f"{key}/{number}",
        )
        for number in range(seeds)
    ]


def _harden(
    typed: Typed, recipe: Recipe, out: Path, number: int, seeds: int, devices: Devices, progress: Progress
) -> None:
    harden_seed(typed.subject(recipe), out, number, seeds=seeds, devices=devices, progress=progress)


def prune_parts(
    typed: Typed, subject: Subject | None, recipe: Recipe, out: Path, seeds: int, devices: Devices
) -> list[Part]:
    """One for each arm of each seed: all its levels; from fresh weights without ``subject``."""
    out = given_folder(out).absolute()
    if subject is not None:
        _check(subject, out, "prune", seeds)
    prepare_folder(out, "prune")
    key = (
        origin_of(recipe, "prune", "evaluate").config
        if subject is None
        else _key(subject, "prune", "evaluate")
    )
    fresh = subject is None
    return [
        Part(
            f"{arm}, seed {number + 1}",
            out / f"seed-{number}" / slug(arm),
            partial(_prune, None if fresh else typed.anywhere(), recipe, out, number, arm, seeds, devices),
            f"{key}/{number}/{arm}",
        )
        for number in range(seeds)
        for arm in arm_names(recipe)
    ]


def _prune(
    typed: Typed | None,
    recipe: Recipe,
    out: Path,
    number: int,
    arm: str,
    seeds: int,
    devices: Devices,
    progress: Progress,
) -> None:
    subject = None if typed is None else typed.subject(recipe)
    prune_part(recipe, out, number, arm, subject=subject, seeds=seeds, devices=devices, progress=progress)


def recover_parts(robust: Typed, normal: Typed, subject: Subject, out: Path, devices: Devices) -> list[Part]:
    """One for each trial at each cut."""
    _check(subject, out, "recover", 1)
    settings = subject.recipe.recover
    if settings.layers == "auto":
        raise InputError(
            "launcher: expected sizes of the suffix with it; layers=auto tries one after the other"
        )
    key, out = _key(subject, "recover"), given_folder(out).absolute()
    return [
        Part(
            f"suffix {size}, trial {number + 1}",
            out / "parts" / f"suffix-{size}-trial-{number}",
            partial(_recover, robust.anywhere(), normal.anywhere(), out, size, number, devices),
            f"{key}/{size}/{number}",
        )
        for size in sorted(set(settings.layers))
        for number in range(settings.recovery.trials)
    ]


def _recover(
    robust: Typed, normal: Typed, out: Path, size: int, number: int, devices: Devices, progress: Progress
) -> None:
    recover_trial(robust.subject(), normal.subject(), out, size, number, devices=devices, progress=progress)


def _check(subject: Subject, out: Path, command: str, seeds: int) -> None:
    """What cannot be is said before any worker starts."""
    if seeds < 1:
        raise InputError(f"seeds: expected at least 1, got {seeds}")
    check_out(subject, out, command)
    check_split(subject)
    prepare_folder(given_folder(out), command)


def _key(subject: Subject, *sections: str) -> str:
    return f"{origin_of(subject.recipe, *sections, 'evaluate').config}/{weights_of(subject.model)}"

"""Which weights a run folder keeps: of which arm, seed, level and epoch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.tensor_files import read_metadata
from semirobust.core.text import slug
from semirobust.experiments.run_files import LAST_FILE, MODEL_FILE
from semirobust.models.checkpoint import save_model
from semirobust.records.schema import Finding, Number, Quantity, Topic
from semirobust.records.store import AnyRecord

__all__ = ["Epoch", "Kept", "chosen", "keep_arm", "kept_in"]

Epoch = Literal["best", "last"]

_SEED = re.compile(r"seed-(\d{1,9})")
_LEVEL = re.compile(r"level-(\d{1,9})\.safetensors")
_NUMBER = re.compile(r"\blevel (\d{1,9})\b")


@dataclass(frozen=True)
class Kept:
    """Weights that a run folder keeps.

    Attributes:
        file: where they lie.
        epoch: the one that validated best, or the last.
        arm: which of the ways that were compared; None for a run of one.
        seed: the number of the seed; None likewise.
        level: of pruning; None for other runs.
        trained: the number of the epoch; None where nothing says it.
    """

    file: Path
    epoch: Epoch = "best"
    arm: str | None = None
    seed: int | None = None
    level: int | None = None
    trained: int | None = None

    def __str__(self) -> str:
        parts = [] if self.arm is None else [self.arm]
        parts += [] if self.seed is None else [f"seed {self.seed}"]
        parts += [] if self.level is None else [f"level {self.level}"]
        which = "last epoch" if self.epoch == "last" else "best epoch"
        return ", ".join([*parts, which if self.trained is None else f"{which} ({self.trained})"])


def keep_arm(folder: Path, model: nn.Module, arm: str, seed: int, config: str) -> None:
    """Keep the network of one arm and seed, where it is not the network of the run itself.

    Args:
        folder: of the run.
        model: at the epoch that is kept.
        arm, seed: of the comparison.
        config: of the records beside it.
    """
    entries = {"stage": "harden", "arm": arm, "seed": seed, "config": config}
    save_model(model, folder / f"seed-{seed}" / f"{slug(arm)}.safetensors", entries)


def kept_in(folder: Path, stage: str, records: Sequence[AnyRecord], method: str = "") -> list[Kept]:
    """All weights of a run, its own network first.

    Args:
        folder: of the run.
        stage: the command that made it.
        records: of the run.
        method: by which the run's own network was made; records may be of an earlier command, too.
    """
    found = []
    arms = list(
        dict.fromkeys(
            n.about.arm for n in _epochs(records) if n.about.arm is not None and n.about.when is None
        )
    )
    if (folder / MODEL_FILE).is_file():
        several = stage in ("harden", "prune") and arms
        own = method if method in arms else arms[0] if arms else None
        arm, seed = (own, 0) if several else (None, None)
        first = Kept(folder / MODEL_FILE, arm=arm, seed=seed, level=_kept_level(records))
        found.append(_dated(first, records))
    if stage == "train" and (folder / LAST_FILE).is_file():
        found.append(Kept(folder / LAST_FILE, "last"))
    for number, place in sorted(_seeds(folder).items()):
        if stage == "harden":
            found += [_dated(kept, records) for kept in _of_seed(place, number, records)]
        if stage == "prune":
            for arm in arms:
                found += [_dated(kept, records) for kept in _levels(place / slug(arm), arm, number)]
    return found


def chosen(kept: Sequence[Kept], **asked: object) -> Kept:
    """The first of the weights that are as asked; None asks for nothing.

    Raises:
        InputError: there are none.
    """
    for each in kept:
        if all(value is None or getattr(each, name) == value for name, value in asked.items()):
            return each
    said = ", ".join(f"{name} {value!r}" for name, value in asked.items() if value is not None)
    there = "; ".join(map(str, kept[:8])) + ("; ..." if len(kept) > 8 else "")
    raise InputError(f"{next(n for n, v in asked.items() if v is not None)}: expected one of the weights that"
                     f" the run keeps ({there}); got {said}")  # fmt: skip


def _seeds(folder: Path) -> dict[int, Path]:
    return {
        int(found[1]): place
        for place in folder.glob("seed-*")
        if (found := _SEED.fullmatch(place.name)) and place.is_dir() and not place.is_symlink()
    }


def _of_seed(place: Path, seed: int, records: Sequence[AnyRecord]) -> list[Kept]:
    """The arms of one seed that belong to the records of now."""
    configs = {record.origin.config for record in records}
    found = []
    for file in sorted(place.glob("*.safetensors")):
        if ".state" in file.name:
            continue
        entries = read_metadata(file)
        arm = entries.get("arm")
        if isinstance(arm, str) and entries.get("config") in configs and entries.get("seed") == seed:
            found.append(Kept(file, arm=arm, seed=seed))
    return found


def _levels(place: Path, arm: str, seed: int) -> list[Kept]:
    numbers = {
        int(found[1]): file for file in place.glob("level-*") if (found := _LEVEL.fullmatch(file.name))
    }
    return [Kept(file, arm=arm, seed=seed, level=number) for number, file in sorted(numbers.items())]


def _kept_level(records: Sequence[AnyRecord]) -> int | None:
    """The level of pruning that became the network of the run, as the run says it."""
    said = (r.text for r in records if isinstance(r, Finding) and r.topic is Topic.KEPT)
    found = next((_NUMBER.search(text) for text in said), None)
    return None if found is None else int(found[1])


def _epochs(records: Sequence[AnyRecord]) -> list[Number]:
    return [r for r in records if isinstance(r, Number) and r.quantity is Quantity.BEST_EPOCH]


def _dated(kept: Kept, records: Sequence[AnyRecord]) -> Kept:
    """With the number of its epoch, where one record says it."""
    asked: Mapping[str, object] = {"arm": kept.arm, "seed": kept.seed, "level": kept.level}
    numbers = {
        int(n.value)
        for n in _epochs(records)
        if all(value is None or getattr(n.about, name) == value for name, value in asked.items())
    }
    return Kept(**{**asdict(kept), "trained": numbers.pop()}) if len(numbers) == 1 else kept

"""A run folder as an object: its network, its settings and its numbers."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from semirobust.core.classifiers import in_eval
from semirobust.core.errors import InputError
from semirobust.core.interval import share_interval
from semirobust.core.links import given_folder
from semirobust.core.outputs import notes, noting
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Cell, Kind, Table
from semirobust.core.tensor_files import read_tensors
from semirobust.data.base.images import Splits
from semirobust.experiments.consent import check_typed
from semirobust.experiments.folder import check_weights, is_run, read_run, stage_of
from semirobust.experiments.identity import WEIGHTS, check_same_network, networks_in
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.kept_weights import Epoch, Kept, chosen, kept_in
from semirobust.experiments.model_spec import ModelSpec
from semirobust.experiments.recipe import SECTIONS, Recipe
from semirobust.experiments.run_files import MODEL_FILE, SETTINGS_FILE
from semirobust.experiments.subject import Subject, build_subject, built_from, labelled
from semirobust.methods import METHODS
from semirobust.models.checkpoint import load_checkpoint
from semirobust.procedures.levels import read_level
from semirobust.pruning.resize import resized
from semirobust.records.export import number_rows
from semirobust.records.schema import Number, Quantity, Settings
from semirobust.records.store import AnyRecord, read_records, stage_files
from semirobust.training.log import OF_TRAINING, TrainingLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LoadedRun", "Numbers", "load_run"]

_COUNTS = {"n", "seed", "trial", "epoch", "layer", "feature", "level", "suffix", "batch", "k", "on", "size"}


@dataclass(frozen=True, eq=False, repr=False)
class Numbers(AbstractResult):
    """All numbers of a run, one a row, as its records have them.

    Attributes:
        records: of the run.
    """

    records: Sequence[AnyRecord]

    def table(self) -> Table:
        rows = number_rows(self.records)
        names = [name for name in (rows[0] if rows else {}) if any(row[name] is not None for row in rows)]
        kinds: dict[str, Kind] = {}
        for name in names:
            values = [row[name] for row in rows if row[name] is not None]
            number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
            flag = all(isinstance(value, bool) for value in values)
            kinds[name] = "flag" if flag else "count" if name in _COUNTS else "number" if number else "text"
        said = f"{len(rows):,} numbers of {len({row['quantity'] for row in rows})} quantities"
        return Table(said, kinds or {"quantity": "text"}, [[row[name] for name in names] for row in rows])


@dataclass(frozen=True, eq=False, repr=False)
class LoadedRun(AbstractResult):
    """What a run folder holds; it shows its accuracies.

    Attributes:
        folder: where it lies.
        stage: the command that made it, such as ``harden``.
        settings: the recipe, whose sections hold real objects: ``settings.threat.ball``.
        records: its numbers, findings, layers and pictures; :attr:`numbers` has the numbers as a table.
        spec: how its network is built; None where the folder has numbers alone.
        kept: all weights that the folder keeps, the network of the run first.
        weights: those that :attr:`model` has.
        notes: what a reader must know, such as that the settings were changed after they were written.
    """

    folder: Path
    stage: str
    settings: Recipe
    records: tuple[AnyRecord, ...]
    spec: ModelSpec | None
    kept: tuple[Kept, ...]
    weights: Kept | None
    notes: tuple[str, ...]
    network: nn.Module | None = field(repr=False)

    @property
    def model(self) -> nn.Module:
        """The network with its weights, in eval mode.

        Raises:
            InputError: the folder has numbers of a network and not its weights.
        """
        if self.network is not None:
            return self.network
        name = next(iter(networks_in(self.folder).values()), self.settings.model.name)
        raise InputError(
            f"model: {self.folder} holds numbers of {name} and no weights; give the network too, as in"
            f" sr.load_run({str(self.folder)!r}, model={name!r}), and checkpoint= where it came from a file"
        )

    @cached_property
    def data(self) -> Splits:
        """The images of the run, labelled by the outputs of its network where it has one.

        Raises:
            InputError: they are not on this machine.
        """
        inputs = Inputs.of(self.settings)
        if self.network is None or self.spec is None:
            return inputs.splits
        subject = Subject(self.network, self.spec, self.settings, self.folder, self.settings, inputs)
        return labelled(subject).inputs.splits

    @property
    def numbers(self) -> Numbers:
        """All numbers of its records."""
        return Numbers(self.records)

    @property
    def log(self) -> TrainingLog:
        """The epochs of the training that gave :attr:`weights`.

        Raises:
            InputError: nothing was trained, or nothing says which of several trainings gave them.
        """
        w = self.weights
        asked = {} if w is None else {"arm": w.arm, "seed": w.seed, "level": w.level}
        found = [
            n
            for n in self.records
            if isinstance(n, Number)
            and n.about.epoch is not None
            and n.quantity in OF_TRAINING
            and all(value is None or getattr(n.about, name) == value for name, value in asked.items())
        ]
        whose = {(n.about.arm, n.about.seed, n.about.level) for n in found}
        if len(whose) != 1:
            what = "several" if whose else "none"
            raise InputError(
                f"log: expected a run of one training of these weights, got {what} ({self.stage})"
            )
        return TrainingLog.of_numbers(found, 0 if w is None or w.trained is None else w.trained)

    def table(self) -> Table:
        found = [n for n in self.records if isinstance(n, Number) and n.quantity is Quantity.ACCURACY]
        seeds, arms = ({getattr(n.about, name) for n in found} - {None} for name in ("seed", "arm"))
        columns: dict[str, Kind] = {
            **({"arm": "text"} if arms else {}),
            **({"seed": "count"} if len(seeds) > 1 else {}),
            **({"level": "count"} if any(n.about.level is not None for n in found) else {}),
        }
        rows: list[list[Cell]] = []
        for n in found:
            cells = [getattr(n.about, name) for name in columns]
            rows.append([*cells, n.about.attack, n.about.threat, n.value, n.low, n.high, n.n])
        columns |= {"attack": "text", "threat": "text", "accuracy": "share", "low": "share", "high": "share"}
        columns |= {"examples": "count"}
        return Table(
            self._said(), columns, rows, {"stage": self.stage, "folder": str(self.folder)}, self.notes
        )

    def _said(self) -> str:
        model = self.settings.model.name if self.spec is None else self.spec.name
        given = "no weights" if self.network is None else "the network that was given"
        loaded = given if self.weights is None else str(self.weights)
        others = [each for each in self.kept if each != self.weights]
        parts = []
        for name in ("arm", "seed", "level", "epoch"):
            values = list(dict.fromkeys(getattr(each, name) for each in others))
            values = [value for value in values if value not in (None, getattr(self.weights, name, None))]
            if values:
                shown = ", ".join(repr(value) for value in values[:6]) + ", ..." * (len(values) > 6)
                parts.append(f"{name} {shown}")
        more = f"; also kept: {'; '.join(parts)}" if parts else ""
        return f"{self.stage} of {model} on {self.settings.data.source}; loaded: {loaded}{more}"

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Points, points

        groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in table.dicts():
            whose = [] if row.get("arm") is None else [row["arm"]]
            whose += [] if row.get("level") is None else [f"level {row['level']}"]
            name = ", ".join(whose) or "network"
            groups.setdefault(name, {}).setdefault(row["attack"], []).append(row)
        attacks = list(dict.fromkeys(table.column("attack")))
        series = []
        for attack in attacks:
            found = [_over_seeds(group.get(attack, [])) for group in groups.values()]
            series.append(Points(attack, *zip(*found, strict=True)))
        return points(list(groups), series)


def _over_seeds(rows: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None, float | None]:
    """The mean accuracy of one arm over its seeds and its interval, in per cent; of one seed its own."""
    if not rows:
        return None, None, None
    values = [row["accuracy"] for row in rows]
    low, high = rows[0]["low"], rows[0]["high"]
    if len(rows) > 1:
        low, high = share_interval(values, min((row["examples"] for row in rows), default=None))
    mean = 100 * sum(values) / len(values)
    return mean, None if low is None else 100 * low, None if high is None else 100 * high


def load_run(
    folder: str | Path,
    *,
    arm: str | None = None,
    seed: int | None = None,
    level: int | None = None,
    epoch: Epoch | None = None,
    model: str | nn.Module | None = None,
    options: Mapping[str, Any] | None = None,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> LoadedRun:
    """The network, the settings and the numbers of a run folder, as ``train``, ``harden``, ``prune`` (also
    with ``--macs``), ``recover``, ``evaluate``, ``profile`` or ``audit`` left it.

    Nothing in the folder is executed, and nothing is fetched. A network that came from a factory, which is
    code of your own, is built only where you name that, now or for this folder on this machine before.

    Args:
        folder: the run.
        arm: of a comparison, such as ``PGD-AT continued``; the method itself where None.
        seed: its number; the first where None.
        level: of pruning; the one that the run kept where None.
        epoch: ``best``, the one that validated best, or ``last``, which ``train`` keeps too.
        model: the factory that the run was made with, ``package.module:function``; or a network of the same
            build, of which a copy is filled. For a folder that has numbers alone, the network they are of.
        options: the keyword arguments of that factory, as the run was given them.
        checkpoint: for a folder that has numbers alone, the file of the weights.
        device: where the network goes.

    Returns:
        the run; ``run.model`` is in eval mode, and ``run.data.test`` are its test images.

    Raises:
        InputError: no run, weights that are not those that it left, weights that it does not keep, or a
            factory that was not named again.
    """
    folder = given_folder(folder)
    if epoch not in (None, "best", "last"):
        raise InputError(f"epoch: expected best or last, got {epoch!r}")
    if not is_run(folder):
        return _numbers_alone(folder, model, options, checkpoint, device)
    if checkpoint is not None:
        raise InputError(f"checkpoint: expected none, since {folder} has its own weights; got {checkpoint}")
    with noting():
        recipe, spec = read_run(folder)
        said = notes()
    stage = stage_of(folder)
    records = tuple(read_records(folder)) if stage_files(folder) else ()
    method = METHODS.name_of(recipe.harden.method) if stage == "harden" else ""
    kept = kept_in(folder, stage, records, method)
    if not kept:
        raise InputError(f"{folder}: expected the weights of a run, found none")
    weights = chosen(kept, arm=arm, seed=seed, level=level, epoch=epoch)
    network = _filled(folder, spec, weights, model, options or {}).to(device)
    return LoadedRun(folder, stage, recipe, records, spec, tuple(kept), weights, said, network)


def _filled(
    folder: Path, spec: ModelSpec, weights: Kept, model: str | nn.Module | None, options: Mapping[str, Any]
) -> nn.Module:
    """The network of a run with the weights that were chosen."""
    if isinstance(model, nn.Module):
        built = copy.deepcopy(model)
    else:
        check_typed(folder, spec, model, {f"model.options.{key}": value for key, value in options.items()})
        if model is not None and model != spec.name:
            raise InputError(f"model: {folder} holds a {spec.name}, got {model}")
        built = built_from(folder, spec, weights.file, offline=model is None)
    if weights.file.name == MODEL_FILE:
        check_weights(folder)
    elif weights.level is not None:
        return in_eval(resized(built, read_level(weights.file.parent, weights.level).best))
    if spec.smaller:
        return in_eval(resized(built, read_tensors(weights.file)))
    with noting():
        return load_checkpoint(built, weights.file)


def _numbers_alone(
    folder: Path,
    model: str | nn.Module | None,
    options: Mapping[str, Any] | None,
    checkpoint: str | Path | None,
    device: str | torch.device,
) -> LoadedRun:
    """A folder that ``evaluate``, ``profile`` or ``audit`` wrote about a network that lies elsewhere."""
    if not stage_files(folder):
        raise InputError(
            f"folder: expected a run folder with {SETTINGS_FILE} or records at {folder}, found none"
        )
    records = tuple(read_records(folder))
    found = next((record for record in records if isinstance(record, Settings)), None)
    if found is None:
        raise InputError(f"{folder}: expected the settings of a command among its records, found none")
    recipe = Recipe({key: value for key, value in found.settings.items() if key in ("seed", *SECTIONS)})
    network: nn.Module | None = None
    spec: ModelSpec | None = None
    said: tuple[str, ...] = ()
    if isinstance(model, nn.Module):
        network = in_eval(copy.deepcopy(model))
    elif model is not None or checkpoint is not None:
        changes = {
            f"{section}.{key}": value
            for section in ("data", "model")
            for key, value in recipe.changed().get(section, {}).items()
            if (section, key) not in (("model", "name"), ("model", "options"))
        }
        given = dict(recipe.model.options) if options is None else dict(options)
        changes |= {f"model.options.{key}": value for key, value in given.items()}
        file = None if checkpoint is None else Path(checkpoint)
        subject = build_subject(None, model or recipe.model.name, file, None, changes)
        network, spec, said = subject.model, replace(subject.spec), subject.notes
    if network is not None:
        if WEIGHTS in found.settings:
            check_same_network(folder, network, recipe.model.name)
        network = network.to(device)
    return LoadedRun(folder, found.stage, recipe, records, spec, (), None, said, network)

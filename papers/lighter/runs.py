"""What the runs of the paper on lighter robust models do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import nn

from semirobust import AutoAttack, FeatureAttack, Usefulness, usefulness
from semirobust.core import Progress, as_seed
from semirobust.experiments import (
    Inputs,
    Recipe,
    Subject,
    accuracy_records,
    attacks_of,
    build_subject,
    load_best,
    origin_of,
    prune_fresh,
    prune_subject,
    settings_record,
    shrink_subject,
    train,
)
from semirobust.layers import macs_by_module
from semirobust.procedures import read_level
from semirobust.records import About, AnyRecord, Number, Origin, Quantity, read_records

__all__ = [
    "Work",
    "run_base",
    "run_capacity",
    "run_decided",
    "run_features",
    "run_narrow",
    "run_pruned",
    "run_shrunk",
    "run_tickets",
]

Work = Callable[[Recipe, str, Path, Path, Progress], Sequence[AnyRecord]]
"""Recipe, place of the network and seed, folder of all units, own folder, progress."""

_REFERENCE = 2000  # training images that features are normalised on
_DECIDED, _DECIDED_LEVELS = 500, (0, 4, 8, 12)  # test images; 100, 24, 6 and 1.4 % of the weights
# Of the paper, behind the ReLU; then one that goes to the end, in front of it.
_FEATURE_ATTACKS: Mapping[str, Mapping[str, Any]] = {
    "3 steps of 0.01": {"lift": False},
    "40 steps": {"steps": 40, "step_size": None},
}


def run_base(recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress) -> Sequence[AnyRecord]:
    """The network that is pruned."""
    train(recipe, folder, progress=progress)
    return read_records(folder)


def run_capacity(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """Train one network and attack its last epoch, as the paper does: nothing is chosen."""
    found = _judged(train(recipe, folder, progress=progress).model, recipe, progress)
    numbers = [record for record in read_records(folder) if isinstance(record, Number)]
    losses = [number for number in numbers if number.quantity is Quantity.TRAINING_LOSS]
    return [*found, *losses[-1:]]


def run_features(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """Usefulness of each feature of a network for two digits, by the paper's attack and by one that goes to
    the end.
    """
    model, inputs = train(recipe, folder, progress=progress).model, Inputs.of(recipe)
    x, y = inputs.test.first(recipe.evaluate.examples).all()
    reference, _ = inputs.splits.train.first(_REFERENCE).all()
    at, seed, records = (
        origin_of(recipe, "train", "evaluate"),
        as_seed(recipe.seed),
        _judged(model, recipe, progress),
    )
    for name, options in _FEATURE_ATTACKS.items():
        attack = FeatureAttack(recipe.threat.ball, **options)
        worth = usefulness(
            model, x, y, attack=attack, reference=reference, seed=seed / "features", progress=progress
        )
        records += _worths(worth, at, About(attack=name), single=recipe.seed == 0)
    return records


def run_decided(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """AutoAttack on some levels of a ticket, and on the whole network after more epochs: is what PGD finds
    all that there is?
    """
    model = build_subject(
        str(home / place / "ticket"), None, None, None, {"data.root": recipe.data.root}
    ).model
    at, images = origin_of(recipe, "prune", "evaluate"), Inputs.of(recipe).test.first(_DECIDED)
    attacks, seed = [AutoAttack(recipe.threat.ball)], as_seed(recipe.seed) / "autoattack"
    records: list[AnyRecord] = [settings_record(recipe, "autoattack", at)]
    networks = [("ticket", n, About(level=n)) for n in _DECIDED_LEVELS]
    networks.append(("whole-more-epochs", 0, About(arm="whole-more-epochs")))
    for unit, number, about in networks:
        level = read_level(home / place / unit / "seed-0" / "ticket", number)
        model.load_state_dict(level.best)
        records.append(Number(quantity=Quantity.DENSITY, value=level.masks.density, about=about, origin=at))
        found, _ = accuracy_records(model, images, attacks, at, seed=seed, about=about, progress=progress)
        records += found
    return records


def run_narrow(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """A narrower network from scratch, as many epochs as a base and what goes on from it have together."""
    return _judged(load_best(train(recipe, folder, progress=progress)), recipe, progress)


def run_pruned(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """The base with weights pruned, trained on."""
    return prune_subject(_base(recipe, home / place), folder, progress=progress)


def run_shrunk(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """The base with channels removed, trained on."""
    return shrink_subject(_base(recipe, home / place), folder, progress=progress)


def run_tickets(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """Levels of pruning, each trained from its start and attacked."""
    return prune_fresh(recipe, folder, progress=progress)


def _base(recipe: Recipe, place: Path) -> Subject:
    """The best epoch of the base, under the settings of the run."""
    subject = build_subject(str(place / "base"), None, None, None, {"data.root": recipe.data.root})
    return subject.under(recipe)


def _judged(model: nn.Module, recipe: Recipe, progress: Progress) -> list[AnyRecord]:
    """Settings, sizes, and accuracies on the test images of the recipe."""
    at, test = (
        origin_of(recipe, "train", "evaluate"),
        Inputs.of(recipe).test.first(recipe.evaluate.examples),
    )
    seed = as_seed(recipe.seed) / "evaluate"
    found, _ = accuracy_records(model, test, attacks_of(recipe), at, seed=seed, progress=progress)
    return [settings_record(recipe, "train", at), *_sizes(model, test.first(1).all()[0], at), *found]


def _worths(found: Usefulness, at: Origin, about: About, *, single: bool) -> list[AnyRecord]:
    """Over all features; with ``single`` also of each."""
    parts = {
        None: found.useful,
        "robust": found.robust,
        "actual": found.actual,
        "original": found.original,
        "original-robust": found.original_robust,
    }
    live = found.original > 0
    weights = (
        abs(found.actual[live]) / found.original[live]
    )  # what is actual is the product, and would agree by itself
    ranks = {
        None: spearmanr(found.original, abs(found.actual)).statistic,
        "weights": spearmanr(found.original[live], weights).statistic,
    }
    records: list[AnyRecord] = [
        Number(
            quantity=Quantity.RANK_AGREEMENT,
            value=float(value),
            n=len(found),
            about=replace(about, measure="usefulness", part=part),
            origin=at,
        )
        for part, value in ranks.items()
    ]
    for part, v in parts.items():
        own = replace(about, measure="usefulness", part=part)
        values = {Quantity.FEATURE_MEAN: v.mean(), Quantity.FEATURE_POSITIVE: (v > 0).mean()}
        records += [
            Number(quantity=q, value=float(value), unit="1", n=len(found), about=own, origin=at)
            for q, value in values.items()
        ]
        if single:
            records += [
                Number(
                    quantity=Quantity.FEATURE, value=float(value), about=replace(own, feature=i), origin=at
                )
                for i, value in enumerate(v)
            ]
    return records


def _sizes(model: nn.Module, x: torch.Tensor, at: Origin) -> list[AnyRecord]:
    values = {
        Quantity.PARAMETERS: sum(p.numel() for p in model.parameters()),
        Quantity.MACS: sum(macs_by_module(model, x).values()),
    }
    return [Number(quantity=quantity, value=value, origin=at) for quantity, value in values.items()]

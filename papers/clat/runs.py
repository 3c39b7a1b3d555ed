"""What the runs of the CLAT paper do."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from semirobust import L2, PGD, evaluate, layer_map, load_checkpoint, save_model, stability, sweep, transfer
from semirobust.attacks import ATTACKS, AbstractAttack
from semirobust.core import Progress, as_seed, slug
from semirobust.experiments import (
    Arm,
    Recipe,
    Trial,
    accuracy_records,
    budget_of,
    build_subject,
    evaluation_records,
    layer_scores,
    origin_of,
    run_arms,
    score_records,
    settings_record,
    train,
    with_changes,
)
from semirobust.measures import MEASURES
from semirobust.methods import METHODS
from semirobust.records import About, AnyRecord, Number, Quantity, read_records

__all__ = [
    "Runs",
    "Work",
    "file_of",
    "run_across",
    "run_arms_of",
    "run_attacks",
    "run_base",
    "run_criteria",
    "run_each",
    "run_forms",
    "run_index",
    "run_start",
]

Work = Callable[..., Sequence[AnyRecord]]
"""Recipe, place of the network and seed, folder of all units, own folder, progress; and what the unit adds.
"""
Runs = Sequence[tuple[str, str, Mapping[str, Any]]]
"""Arms: name, method, its options."""

_FORMS: tuple[Literal["distance", "curvature"], ...] = ("distance", "curvature")
_SCALES: tuple[Literal["paper", "rms", "relative"], ...] = ("paper", "rms", "relative")
_PLACES: tuple[Literal["input", "conv", "block"], ...] = ("input", "conv", "block")
_FIRSTS: tuple[Literal["weakness", "input"], ...] = ("weakness", "input")
_CRITERIA: Mapping[str, Mapping[str, Any]] = {
    "weight-criticality": {},
    "gradient-norm": {},
    "connectivity": {},
    "semirobustness": {"rounds": 2},
}
# Names of methods in the settings of units, where the library has another. Our forms of the first two were
# run before they had names of their own.
_METHODS = {
    "twins": "twins-ours",
    "autolora": "autolora-ours",
    "twins-authors": "twins",
    "autolora-authors": "autolora",
}
_MEASURED = 500  # images that layers are measured on
_LAST = "last.safetensors"


def run_base(recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress) -> Sequence[AnyRecord]:
    """The network itself."""
    train(recipe, folder, progress=progress)
    return read_records(folder)


def run_start(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress, *, start: str = _LAST
) -> Sequence[AnyRecord]:
    """The network that all arms start from, and the best epoch on the way to it, on the test images."""
    budget = budget_of(recipe)
    at, seed, records = origin_of(recipe, "clat"), as_seed(recipe.seed) / "evaluate", list[AnyRecord]()
    for arm, file in (("start", start), ("best", "model.safetensors")):
        model = _network(recipe, home / place / "base", file)
        found, _ = accuracy_records(
            model, budget.test, budget.attacks, at, seed=seed, about=About(arm=arm), progress=progress
        )
        records += found
    return [settings_record(recipe, "clat", at), *records]


def run_index(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """The index in all its forms on the base's last epoch, and whether small batches choose alike."""
    budget, at = budget_of(recipe), origin_of(recipe, "clat")
    images, model = budget.test.first(_MEASURED), _network(recipe, home / place / "base", _LAST)
    records: list[AnyRecord] = [settings_record(recipe, "clat", at)]
    seed = as_seed(recipe.seed) / "index"
    kinds = list(itertools.product(_FORMS, _SCALES, _PLACES))
    options = ({"scale": scale, "at": where, "form": form} for form, scale, where in kinds)
    measures = [MEASURES.make("criticality", each) for each in options]
    _, scores = layer_scores(model, images, measures, budget.attack, seed=seed, progress=progress)
    indices = [found for found in scores if found.measure == "criticality"]
    for (form, scale, where), index in zip(kinds, indices, strict=True):
        records += score_records([index], at, About(form=form, scale=scale, place=where))
    x, y = images.all()
    for scale, k in itertools.product(_SCALES[:2], (1, 5)):
        found = stability(model, x, y, attack=budget.attack, scale=scale, k=k, seed=seed / "stability")
        about = About(scale=scale, k=k)
        for size, agreement in found.agreement.items():
            values = {Quantity.STABILITY: agreement, Quantity.STABILITY_SAME: found.same[size]}
            here = replace(about, batch=size)
            records += [
                Number(quantity=q, value=v, n=found.draws, about=here, origin=at) for q, v in values.items()
            ]
        ends = {Quantity.STABILITY_CHANCE: found.chance, Quantity.STABILITY_SEEDS: found.between_seeds}
        records += [Number(quantity=q, value=v, about=about, origin=at) for q, v in ends.items()]
    return records


def run_forms(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """The index in all its forms, C_1 as printed and over the weakness of the image, on the base's last
    epoch.
    """
    at, model = origin_of(recipe, "clat"), _network(recipe, home / place / "base", _LAST)
    budget, seed = budget_of(recipe), as_seed(recipe.seed) / "index"
    x, y = budget.test.first(_MEASURED).all()
    x_adv, layers = budget.attack.in_batches(model, x, y, seed=seed / "attack"), layer_map(model, x[:1])
    records: list[AnyRecord] = [settings_record(recipe, "clat", at)]
    for form, where in itertools.product(_FORMS, _PLACES):
        # The passes are those of every scale, and of both choices of C_1.
        plain: Any = MEASURES.make("criticality", {"form": form, "at": where})
        changes, sizes = plain.per_example(model, layers, x, x_adv, progress)
        for scale, first in itertools.product(_SCALES, _FIRSTS):
            options = {"scale": scale, "at": where, "form": form, "first": first}
            measure: Any = MEASURES.make("criticality", options)
            columns = changes, sizes
            if first == "input":
                image = measure.of_image(x, x_adv)
                columns = np.column_stack([changes, image[0]]), np.column_stack([sizes, image[1]])
            index = measure.index(layers, *columns, dtype=x.dtype)
            about = About(form=form, scale=scale, place=where, first=first)
            records += score_records([index], at, about)
    return records


def run_criteria(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """What else may choose layers, on the same network and images as the index."""
    budget, at = budget_of(recipe), origin_of(recipe, "clat")
    model, seed = _network(recipe, home / place / "base", _LAST), as_seed(recipe.seed) / "criteria"
    measures = [MEASURES.make(name, options) for name, options in _CRITERIA.items()]
    _, scores = layer_scores(
        model, budget.test.first(_MEASURED), measures, budget.attack, seed=seed, progress=progress
    )
    return [settings_record(recipe, "clat", at), *score_records(scores, at)]


def run_arms_of(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    runs: Runs,
    control: bool,
    **changes: Any,
) -> Sequence[AnyRecord]:
    """The given methods from the base's last epoch; with ``control`` also plain PGD-AT of the first one's
    layers.

    Among the changes to the recipe ``start`` is another file of the base to start from, and ``after`` an arm
    of another unit, named ``unit/arm``."""
    after, base = changes.pop("after", None), changes.pop("start", _LAST)
    recipe = with_changes(recipe, **changes)
    start = _network(recipe, home / place / "base", base)
    if after is not None:
        unit, _, arm = after.partition("/")
        load_checkpoint(start, file_of(home / place / unit, arm))
    arms = [
        Arm(
            name,
            METHODS.make(_METHODS.get(method, method), options),
            about=About(loss_weight=options.get("weight")),
        )
        for name, method, options in runs
    ]
    if control:
        arms.append(Arm(f"PGD-AT as {runs[0][0]}", None, same_as=runs[0][0]))
    return _carried_out(recipe, start, arms, folder, progress)


def run_each(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    method: str,
    options: Mapping[str, Any],
) -> Sequence[AnyRecord]:
    """The same method with each layer alone."""
    start = _network(recipe, home / place / "base", _LAST)
    x, _ = budget_of(recipe).test.first(1).all()
    arms = [
        Arm(f"layer {i}", METHODS.make(method, {**options, "layers": [i]}), about=About(tuned_layer=i))
        for i in layer_map(start, x).indices
    ]
    return _carried_out(recipe, start, arms, folder, progress)


def run_attacks(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress, *,
    arms: Mapping[str, str], attacks: Sequence[str], examples: int, epsilons: Sequence[float],
) -> Sequence[AnyRecord]:  # fmt: skip
    """Other attacks, each on all images, and a security curve; ``arms`` name the networks as ``unit/arm``."""
    at, seed = origin_of(recipe, "clat"), as_seed(recipe.seed) / "attacks"
    images, threat = budget_of(recipe).test.first(examples), recipe.threat.ball
    x, y = images.all()
    kinds: dict[str, AbstractAttack] = {name: ATTACKS.make(name, threat=threat) for name in attacks}
    if "pgd-100" in kinds:  # table 17 gives l2 the radius of Linf; a usual one is beside it
        kinds |= {f"pgd-10 l2 {e:g}": PGD(L2(e), steps=10) for e in (threat.epsilon, 0.5)}
    records: list[AnyRecord] = [settings_record(recipe, "clat", at)]
    for arm, where in arms.items():
        model = _arm(recipe, home / place, where)
        here = About(arm=arm)
        found = evaluate(model, x, y, kinds, seed=seed, worst_case=False, progress=progress)
        records += evaluation_records(found, at, here)
        if epsilons:
            curve = sweep(
                model, x, y, PGD(threat, steps=10), epsilons, seed=seed / "sweep", progress=progress
            )
            for epsilon, share in zip(curve.epsilons, curve.accuracies, strict=True):
                records.append(
                    Number(
                        quantity=Quantity.ACCURACY_BY_EPSILON,
                        value=float(share),
                        n=share.n,
                        about=replace(here, epsilon=epsilon),
                        origin=at,
                    )
                )
    return records


def run_across(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    networks: Mapping[str, str],
    examples: int,
    attack: str | None = None,
) -> Sequence[AnyRecord]:
    """Accuracy of each network on what an attack (PGD-20) makes for each other; ``networks`` are places with
    ``unit/arm``.
    """
    at, seed = origin_of(recipe, "clat"), as_seed(recipe.seed) / "across"
    models = {}
    for name, where in networks.items():
        other, _, arm = where.partition(":")
        models[name] = _arm(recipe, home / other, arm)
    x, y = budget_of(recipe).test.first(examples).all()
    ball = recipe.threat.ball
    made = PGD(ball, steps=20) if attack is None else ATTACKS.make(attack, threat=ball)
    found = transfer(models, x, y, made, seed=seed, progress=progress)
    records: list[AnyRecord] = [settings_record(recipe, "clat", at)]
    for made_for, seen_by in found.correct:
        share = found.accuracy(made_for, seen_by)
        records.append(
            Number(
                quantity=Quantity.TRANSFER_ACCURACY,
                value=float(share),
                n=share.n,
                about=About(source=made_for, target=seen_by, attack=attack),
                origin=at,
            )
        )
    return records


def file_of(folder: Path, arm: str) -> Path:
    """Where an arm's network lies in its unit's folder."""
    return folder / f"{slug(arm)}.safetensors"


def _carried_out(
    recipe: Recipe, start: nn.Module, arms: Sequence[Arm], folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    budget, at, seed = budget_of(recipe), origin_of(recipe, "clat"), as_seed(recipe.seed)
    trial = Trial(seed / "harden", recipe.seed, seed / "evaluate", at, folder)
    found, models = run_arms(start, arms, budget, trial, progress=progress)
    for arm, model in models.items():
        save_model(model, file_of(folder, arm))
    return [settings_record(recipe, "clat", at), *found]


def _network(recipe: Recipe, base: Path, file: str) -> nn.Module:
    """The base network at its last epoch or at its best one."""
    subject = build_subject(str(base), None, None, None, {"data.root": recipe.data.root})
    return load_checkpoint(subject.model, base / file).eval()


def _arm(recipe: Recipe, place: Path, where: str) -> nn.Module:
    """The network of ``unit/arm``; of ``base`` the last epoch."""
    model = _network(recipe, place / "base", _LAST)
    unit, _, arm = where.partition("/")
    return load_checkpoint(model, file_of(place / unit, arm)).eval() if arm else model

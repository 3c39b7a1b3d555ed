"""What the runs of the comparison do."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from semirobust import evaluate, harden, layer_map, load_checkpoint
from semirobust.attacks import ATTACKS
from semirobust.core import Progress, Seed, as_seed
from semirobust.cost import Operations
from semirobust.data import Images
from semirobust.experiments import (
    Arm,
    Budget,
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
)
from semirobust.measures import MEASURES
from semirobust.methods import METHODS, AbstractMethod
from semirobust.records import About, AnyRecord, Number, Quantity, read_records

__all__ = ["BASE", "Work", "run_base", "run_costs", "run_criterion", "run_each", "run_method", "run_start"]

Work = Callable[..., Sequence[AnyRecord]]
BASE = "base"
_LAST = "last.safetensors"
_MEASURED, _FEWER = 500, 200  # images that layers are measured on; fewer where each layer is attacked
_AUTOATTACK = 250  # images
# By default of all layers, and those that are, or train, what PGD-AT of the same layers does.
_TRAIN_ALL, _ARE_PGD_AT = ("bitfit", "convlora", "lora", "peft"), ("at-lr", "lat", "selected")
_ATTACKED = ("rewinding", "semirobustness")


def run_base(recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress) -> Sequence[AnyRecord]:
    """The network itself."""
    train(recipe, folder, progress=progress)
    return read_records(folder)


def run_start(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """The network that all methods start from, and the best epoch on the way to it."""
    files = {"start": _LAST, "best": "model.safetensors"}
    models = {arm: _network(recipe, home / place / BASE, file) for arm, file in files.items()}
    settings = settings_record(recipe, "harden", origin_of(recipe, "harden"))
    return [settings, *_evaluated(recipe, models, progress)]


def run_method(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    method: str,
    options: Mapping[str, Any],
) -> Sequence[AnyRecord]:
    """A method; where it chooses layers, also plain PGD-AT of the same ones, and the method on random
    ones. The method alone is judged by AutoAttack too, which takes as long as training it.
    """
    start, made = _network(recipe, home / place / BASE, _LAST), METHODS.make(method, options)
    arms = [Arm(method, made)]
    if method not in _TRAIN_ALL and (random := made.with_random_layers()) is not None:
        if method not in _ARE_PGD_AT:
            arms.append(Arm(f"PGD-AT as {method}", None, same_as=method))
        arms.append(Arm(f"{method}, random layers", random))
    return _carried_out(recipe, start, arms, folder, progress, autoattacked=(method,))


def run_each(recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress) -> Sequence[AnyRecord]:
    """PGD-AT of each layer alone: what a criterion should have foreseen."""
    start = _network(recipe, home / place / BASE, _LAST)
    x, _ = budget_of(recipe).test.first(1).all()
    arms = [
        Arm(f"layer {i}", METHODS.make("selected", {"layers": [i]}), about=About(tuned_layer=i))
        for i in layer_map(start, x).indices
    ]
    return _carried_out(recipe, start, arms, folder, progress)


def run_criterion(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress, *, measure: str
) -> Sequence[AnyRecord]:
    """A measure of layers, on the network that all methods start from, and on test images."""
    budget, at = budget_of(recipe), origin_of(recipe, "harden")
    model, seed = _network(recipe, home / place / BASE, _LAST), as_seed(recipe.seed) / "criteria"
    images = budget.test.first(_FEWER if measure in _ATTACKED else _MEASURED)
    _, scores = layer_scores(
        model, images, [MEASURES.make(measure)], budget.attack, seed=seed, progress=progress
    )
    return [settings_record(recipe, "harden", at), *score_records(scores, at)]


def run_costs(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    methods: Mapping[str, Mapping[str, Any]],
) -> Sequence[AnyRecord]:
    """The arithmetic of the second epoch of each method on a part of the images. The first one also looks at
    its images for what the method chooses.
    """
    start, at = _network(recipe, home / place / BASE, _LAST), origin_of(recipe, "harden")
    budget, records = budget_of(recipe), list[AnyRecord]()
    images = budget.images.first(_MEASURED)
    for i, (name, options) in enumerate(methods.items()):
        progress("costs", i, len(methods))
        spent = _of_second_epoch(copy.deepcopy(start), images, METHODS.make(name, options), budget)
        if spent is not None:
            value, about = spent * len(budget.images) / len(images), About(arm=name, seed=recipe.seed)
            records.append(Number(quantity=Quantity.EPOCH_OPERATIONS, value=value, about=about, origin=at))
    return [settings_record(recipe, "harden", at), *records]


def _of_second_epoch(
    model: nn.Module, images: Images, method: AbstractMethod, budget: Budget
) -> float | None:
    """How many operations it takes; None where training stopped before, as the run of the method says."""
    with Operations() as counted:
        harden(
            model,
            images,
            method,
            attack=budget.attack,
            epochs=2,
            batch_size=budget.training.batch_size,
            learning_rate=budget.training.learning_rate,
            validate=_unjudged,
            callbacks=[counted],
        )
    return counted.epochs[1] if len(counted.epochs) == 2 else None


def _unjudged(model: nn.Module, seed: Seed) -> dict[str, float]:
    """Scores for what must have some, where nothing is judged."""
    return {"clean": 0.5, "robust": 0.5}


def _carried_out(
    recipe: Recipe,
    start: nn.Module,
    arms: Sequence[Arm],
    folder: Path,
    progress: Progress,
    *,
    autoattacked: Sequence[str] = (),
) -> Sequence[AnyRecord]:
    at, seed = origin_of(recipe, "harden"), as_seed(recipe.seed)
    trial = Trial(seed / "harden", recipe.seed, seed / "evaluate", at, folder)
    found, models = run_arms(start, arms, budget_of(recipe), trial, progress=progress)
    records = [settings_record(recipe, "harden", at), *found]
    judged = {arm: models[arm] for arm in autoattacked}
    return [*records, *_autoattacked(recipe, judged, progress)]


def _evaluated(recipe: Recipe, models: Mapping[str, nn.Module], progress: Progress) -> list[AnyRecord]:
    """Accuracy as the arms have it, and under AutoAttack."""
    budget, at = budget_of(recipe), origin_of(recipe, "harden")
    seed, records = as_seed(recipe.seed) / "evaluate", list[AnyRecord]()
    for arm, model in models.items():
        found, _ = accuracy_records(
            model, budget.test, budget.attacks, at, seed=seed, about=About(arm=arm), progress=progress
        )
        records += found
    return [*records, *_autoattacked(recipe, models, progress)]


def _autoattacked(recipe: Recipe, models: Mapping[str, nn.Module], progress: Progress) -> list[AnyRecord]:
    at, seed = origin_of(recipe, "harden"), as_seed(recipe.seed) / "autoattack"
    x, y = budget_of(recipe).test.first(_AUTOATTACK).all()
    attacks, records = (
        {"autoattack": ATTACKS.make("autoattack", threat=recipe.threat.ball)},
        list[AnyRecord](),
    )
    for arm, model in models.items():
        found = evaluate(model, x, y, attacks, seed=seed, worst_case=False, progress=progress)
        # Clean accuracy on all images is there already.
        kept = evaluation_records(found, at, About(arm=arm))
        records += [record for record in kept if getattr(record.about, "attack", "") == "autoattack"]
    return records


def _network(recipe: Recipe, base: Path, file: str) -> nn.Module:
    """The base network at its last epoch or at its best one."""
    subject = build_subject(str(base), None, None, None, {"data.root": recipe.data.root})
    return load_checkpoint(subject.model, base / file).eval()

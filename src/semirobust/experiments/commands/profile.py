"""``semirobust profile``: what each layer contributes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from semirobust.attacks import AbstractAttack
from semirobust.core.own_code import code_of
from semirobust.core.processes import ALONE, Processes
from semirobust.core.progress import Progress, begins, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.data.base.images import Images
from semirobust.evaluation.resume import evaluation_key
from semirobust.experiments import build
from semirobust.experiments.folder import keep_network, write_stage
from semirobust.experiments.identity import WEIGHTS, check_same_network
from semirobust.experiments.provenance import data_notes, layer_entries, notes_on, origin_of, settings_record
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.subject import Subject
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import device_of
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES, AbstractLayerMeasure, MeasureContext
from semirobust.measures.base.profile_cache import ProfileCache
from semirobust.records.conditions import Conditions
from semirobust.records.schema import About, Finding, Number, Origin, Quantity, Topic
from semirobust.records.store import AnyRecord

__all__ = ["layer_scores", "profile", "score_records"]


@claims_out
def profile(
    subject: Subject,
    out: Path | None,
    *,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> tuple[LayerMap, list[LayerScores]]:
    """Measure the layers of a model on the first test images; writes records where ``out`` is given.

    There a profile that was interrupted goes on with the measures that are not done.
    """
    recipe = subject.recipe
    settings = recipe.profile
    test = subject.inputs.test.first(settings.examples)
    fabric = build.make_fabric(devices, "32-true")
    build.launch(fabric)
    model = subject.model.to(fabric.device)
    seed, at = as_seed(recipe.seed) / "profile", origin_of(recipe, "profile", device=fabric.device)
    ledger, weights = None, {}
    if out is not None:
        weights = {WEIGHTS: check_same_network(out, model, recipe.model.name)}
        code = code_of(*settings.measures, settings.attack, model)
        key = evaluation_key(model, *test.all(), (at.config, at.seed, Conditions.now(fabric.device, code)))
        ledger = ProfileCache(out / f"profile-{at.config}", key)
    begins("profile")
    layers, scores = layer_scores(
        model,
        test,
        settings.measures,
        settings.attack,
        seed=seed,
        processes=Processes(fabric),
        ledger=ledger,
        progress=progress,
    )
    if out is not None and fabric.is_global_zero:
        head: list[AnyRecord] = [
            settings_record(recipe, "profile", at, **weights),
            *notes_on(subject.notes, at),
        ]
        head += [*data_notes(subject.inputs.splits, at), *layer_entries(model, layers, at)]
        head += notes_on(ledger.damaged if ledger is not None else [], at)
        said = write_stage(out, "2-profile", [*head, *score_records(scores, at)])
        keep_network(out, model, subject.spec, recipe, "profile", subject.trained)
        if said and scores:
            scores = [*scores[:-1], replace(scores[-1], notes=(*scores[-1].notes, f"{said}."))]
    if ledger is not None:
        fabric.barrier()
        ledger.forget()
    return layers, scores


def layer_scores(
    model: nn.Module,
    images: Images,
    measures: Sequence[AbstractLayerMeasure],
    attack: AbstractAttack,
    *,
    seed: Seed,
    processes: Processes = ALONE,
    ledger: ProfileCache | None = None,
    progress: Progress = silent,
) -> tuple[LayerMap, list[LayerScores]]:
    """All measures on the same images under the same perturbation.

    Several ``processes`` attack some of the images each, and then take some of the measures each.
    What a ``ledger`` has is not done again."""
    kept = ledger or ProfileCache(None, "")
    device = device_of(model, torch.device("cpu"))
    x, y = images.all(device)
    layers = layer_map(model, x)
    x_adv = kept.images(
        lambda: attack.in_batches(model, x, y, seed=seed / "attack", processes=processes, progress=progress),
        processes,
    ).to(device)

    def measured(measure: AbstractLayerMeasure) -> list[LayerScores]:
        name = MEASURES.name_of(measure)
        context = MeasureContext(model, layers, x, y, x_adv, attack, seed / name, progress)
        return kept.scores(name, lambda: measure(context))

    found = [measured(measure) for number, measure in enumerate(measures) if processes.takes(number)]
    return layers, [score for scores in processes.gather(found, len(measures)) for score in scores]


def score_records(scores: Sequence[LayerScores], at: Origin, about: About = About()) -> list[AnyRecord]:
    """One record for each layer and measure, and what the reader must know of them."""
    records: list[AnyRecord] = []
    notes: list[AnyRecord] = []
    for score in scores:
        own = replace(about, measure=score.measure, part=score.part or None, estimator=score.by or None)
        # A layer without a number has a sentence among the notes.
        records += [_number(score, i, own, at) for i in range(len(score)) if not math.isnan(score.values[i])]
        notes += [
            Finding(topic=Topic.MEASURE, text=note, level="warning", about=own, origin=at)
            for note in score.notes
        ]
    return [*records, *_feature_records(scores, at, about), *notes]


def _number(score: LayerScores, i: int, about: About, at: Origin) -> Number:
    """One layer's number; details that are NaN or infinite are left out."""
    details = {name: values[i] for name, values in score.details.items()}
    on = details.pop("on", None)
    finite = {name: v for name, v in details.items() if not isinstance(v, float) or math.isfinite(v)}
    return Number(
        quantity=Quantity.MEASURE,
        value=float(score.values[i]),
        unit=score.unit,
        n=score.examples,
        low=_finite(score.low[i]),
        high=_finite(score.high[i]),
        about=replace(about, layer=score.indices[i], on=None if on is None else int(on)),
        details=finite or None,
        origin=at,
    )


def _feature_records(scores: Sequence[LayerScores], at: Origin, about: About) -> list[AnyRecord]:
    """One record for each feature of a layer that was measured feature by feature."""
    return [
        Number(
            quantity=Quantity.FEATURE,
            value=float(value),
            unit=score.unit,
            n=score.examples,
            about=replace(about, measure=score.measure, part=score.part or None, layer=layer, feature=i),
            origin=at,
        )
        for score in scores
        for layer, values in score.features.items()
        for i, value in enumerate(values)
    ]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

"""Ways to go on from the semirobust network, and what layers depend on in the networks that come of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semirobust import EDGE, PGD, Recovery, build_model, connectivity, features, layer_map
from semirobust.core import Progress, as_seed
from semirobust.experiments import (
    Arm,
    Inputs,
    Recipe,
    Trial,
    accuracy_records,
    attacks_of,
    budget_of,
    layer_scores,
    run_arms,
    score_records,
    settings_record,
    with_changes,
)
from semirobust.measures import MEASURES
from semirobust.methods import METHODS
from semirobust.records import About, AnyRecord, Number, Origin, Quantity

from .runs import device, origin, trained

__all__ = ["DECIDED", "Start", "run_arm", "run_bits", "run_starts"]

DECIDED = 12  # the suffix at which ways to train it are compared: the paper's larger one
Start = Literal["semirobust", "normal"]
_CLASSES = (0, 1, 2)  # whose images the bits are measured on
_WIDE = (1000, 100)  # images a class of the network of width 1: as in CIFAR-10 and in CIFAR-100
_BATCH = 250


def run_arm(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    method: str,
    options: Mapping[str, Any],
    start: Start = "semirobust",
    measured: bool = False,
    **changes: Any,
) -> Sequence[AnyRecord]:
    """One way to go on, from the semirobust network or from F, evaluated at its best epoch.

    Args:
        method, options: how, and with which options.
        start: from which network.
        measured: also how strongly the layers of the suffix depend on others afterwards.
        changes: to the recipe; ``harden__epochs`` stands for ``harden.epochs``.
    """
    recipe = with_changes(recipe, **changes)
    robust, normal = (trained(recipe, place, home, name).model for name in ("robust", "normal"))
    inputs, at, seed = Inputs.of(recipe), origin(recipe), as_seed(recipe.seed)
    model = _semirobust(robust, normal, inputs) if start == "semirobust" else normal
    trial = Trial(seed / "arm", recipe.seed, seed / "evaluate", at, folder)
    arm = Arm("arm", METHODS.make(method, options), about=About(suffix=DECIDED))
    found, models = run_arms(model, [arm], budget_of(recipe, inputs), trial, progress=progress)
    if measured:
        found += _dependence(models["arm"], recipe, inputs, replace(arm.about, arm="arm"), at)
    return [settings_record(recipe, "arm", at), *found]


def run_starts(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    measured: bool = False,
    **changes: Any,
) -> Sequence[AnyRecord]:
    """What the arms begin with, and what they are compared with: accuracy before training.

    ``measured`` also gives the dependence, of an untrained network too.
    """
    recipe = with_changes(recipe, **changes)
    robust, normal = (trained(recipe, place, home, name).model for name in ("robust", "normal"))
    inputs, at, seed = Inputs.of(recipe), origin(recipe), as_seed(recipe.seed)
    test, records = inputs.test.first(recipe.evaluate.examples), list[AnyRecord]()
    networks = {"robust": robust, "start": _semirobust(robust, normal, inputs), "normal": normal}
    for name, model in networks.items():
        about = About(arm=name, suffix=DECIDED)
        found, _ = accuracy_records(
            model, test, attacks_of(recipe), at, seed=seed / "evaluate", about=about, progress=progress
        )
        records += found
    for name, model in {**networks, "untrained": untrained(recipe)}.items() if measured else ():
        records += _dependence(model, recipe, inputs, About(arm=name, suffix=DECIDED), at)
    return [settings_record(recipe, "starts", at), *records]


def run_bits(recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress) -> Sequence[AnyRecord]:
    """EDGE as the paper runs it on 1,000 test images a class, of three classes: f*, F and an untrained
    network.

    Beside it what the same images say exactly, and an untrained network of the paper's width.
    """
    robust, normal = (trained(recipe, place, home, name).model for name in ("robust", "normal"))
    at, seed, records = origin(recipe), as_seed(recipe.seed) / "bits", list[AnyRecord]()
    x, y = Inputs.of(recipe).test.all(device())
    chosen = torch.isin(y, torch.tensor(_CLASSES, device=y.device))
    x, y = x[chosen], y[chosen]
    for name, model in {"robust": robust, "normal": normal, "untrained": untrained(recipe)}.items():
        attack = PGD(recipe.threat.ball, steps=10)
        points = x if name == "untrained" else attack.in_batches(model, x, y, seed=seed / "attack")
        records += _bits(model, points, y, About(arm=name, variant="1000"), at, seed)
        progress("bits", len(records), 300)
    wide = untrained(recipe, width=1.0)
    for n in _WIDE:
        rows = torch.cat([torch.nonzero(y == label).squeeze(1)[:n] for label in _CLASSES])
        records += _bits(wide, x[rows], y[rows], About(arm="wide", variant=str(n)), at, seed)
    return [settings_record(recipe, "bits", at), *records]


def untrained(recipe: Recipe, width: float | None = None) -> nn.Module:
    """The network of the recipe at its first weights, or another width of it."""
    width = recipe.model.width if width is None else width
    return build_model(recipe.model.name, 10, width, seed=as_seed(recipe.seed) / "untrained").to(device())


def _semirobust(robust: nn.Module, normal: nn.Module, inputs: Inputs) -> nn.Module:
    layers = layer_map(robust, inputs.test.batch(torch.tensor([0]), device())[0])
    return Recovery(layers=DECIDED).start(robust, normal, layers)


def _dependence(
    model: nn.Module, recipe: Recipe, inputs: Inputs, about: About, at: Origin
) -> list[AnyRecord]:
    """Of the layers of the suffix on the one before each, and on the last one of the prefix.

    By a measure of the library's own, which no term contains, on held-out images that choose no epoch.
    """
    count = recipe.harden.validation.validation_examples
    images = inputs.held_out
    images = images.subset(torch.arange(count, len(images)))
    prefix = len(layer_map(model, images.batch(torch.tensor([0]), device())[0])) - DECIDED
    records = list[AnyRecord]()
    for on, against in {"before": None, "prefix": prefix}.items():
        options = {"dependence": "hsic", "settings": {"normalized": True}, "at": "input", "against": against}
        measures = [MEASURES.make("connectivity", options)]
        attack, seed = PGD(recipe.threat.ball, steps=10), as_seed(recipe.seed) / "dependence"
        _, scores = layer_scores(model, images, measures, attack, seed=seed)
        found = _numbers(score_records(scores, at, about), on)
        records += [r for r in found if (r.about.layer or 0) > prefix]
    return records


def _numbers(records: Sequence[AnyRecord], name: str) -> list[Number]:
    """The value and its null of each layer, as parts of these names."""
    parts = {None: name, "null": f"{name} permuted"}
    numbers = [r for r in records if isinstance(r, Number) and r.about.part in parts]
    return [r.model_copy(update={"about": replace(r.about, part=parts[r.about.part])}) for r in numbers]


def _bits(model: nn.Module, x: Tensor, y: Tensor, about: About, at: Origin, seed: Any) -> list[AnyRecord]:
    """EDGE and its null by layer; and how many images of a class a layer tells apart, in bits.

    A layer is a function of the one before it. So on the law of these images their information given the
    class is the entropy of the later layer, log2 n where it tells all n images apart; and that is also the
    largest logarithm of the ratio of densities which A2 bounds.
    """
    found = connectivity(
        model, x, y, dependence=EDGE(version="paper", permutations=5, groups=0), seed=seed, batch_size=_BATCH
    )
    records: list[AnyRecord] = [*_numbers(score_records(found.scores(), at, about), "bits")]
    layers = layer_map(model, x[:1])
    keys: dict[int, list[int]] = {layer.index: [] for layer in layers}
    with torch.no_grad():
        for part in x.split(_BATCH):
            with features(model, layers, keys, at="conv") as tape:
                model(part)
            for i, feature in tape.items():
                rows = layers.at(i).per_example(feature, len(part), raw=True)
                keys[i] += [hash(row.cpu().numpy().tobytes()) for row in rows]
    for i, values in keys.items():
        bits = _entropy(torch.tensor(values), y.cpu())
        own = replace(about, measure="connectivity", part="exact", layer=i)
        number = Number(quantity=Quantity.MEASURE, value=bits, unit="bits", n=len(x), about=own, origin=at)
        records.append(number)
    return records


def _entropy(keys: Tensor, y: Tensor) -> float:
    """H(key | class) in bits, of the law of these examples."""
    total = 0.0
    for label in y.unique():
        counts = torch.unique(keys[y == label], return_counts=True)[1].double()
        total -= float((counts * (counts / counts.sum()).log2()).sum())
    return total / len(y)

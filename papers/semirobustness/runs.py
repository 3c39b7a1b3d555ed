"""What the runs of the semirobustness paper do."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from semirobust import PGD, AutoAttack, Recovery, layer_map
from semirobust.core import Progress, as_seed
from semirobust.dependence import DEPENDENCES
from semirobust.experiments import (
    Devices,
    Inputs,
    Part,
    Recipe,
    Subject,
    accuracy_records,
    build_subject,
    harden_subject,
    layer_scores,
    make_fabric,
    origin_of,
    read_recipe,
    recover_subject,
    score_records,
    settings_record,
    train,
    with_changes,
)
from semirobust.measures import MEASURES
from semirobust.records import About, AnyRecord, Number, Origin, read_records

__all__ = [
    "DRAWN",
    "PLAIN",
    "RIVALS",
    "Work",
    "device",
    "origin",
    "run_autoattack",
    "run_dependences",
    "run_normal",
    "run_precise",
    "run_prefixes",
    "run_recover",
    "run_robust",
    "trained",
]

DRAWN = "resnet18-cifar10-drawn"  # the network of which every seed draws its own images
PLAIN = "plain"  # the variant of a suffix that is trained as in the paper
RIVALS = (PLAIN, "stored")  # the variants that are compared on more images

Work = Callable[..., Sequence[AnyRecord]]
"""Recipe, place of the network and seed, folder of all units, own folder, progress; and what the unit adds.
"""


def run_normal(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """F: the network trained on clean images."""
    train(recipe, folder, progress=progress)
    return read_records(folder)


def run_robust(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress
) -> Sequence[AnyRecord]:
    """f*: F trained on by PGD-AT."""
    return harden_subject(trained(recipe, place, home, "normal").under(recipe), folder, progress=progress)


def run_recover(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    parts: tuple[Part, ...],
    layers: tuple[int, ...] = (),
    **changes: Any,
) -> Sequence[AnyRecord]:
    """Algorithm 1 at the given cuts, or its references, or its controls.

    Among the changes to the recipe, ``recover__epochs`` stands for ``recover.epochs``.
    """
    robust, normal = (trained(recipe, place, home, name) for name in ("robust", "normal"))
    changed = with_changes(recipe, **changes, **({"recover__layers": layers} if layers else {}))
    return recover_subject(robust.under(changed), normal, folder, parts=parts, progress=progress)


def run_prefixes(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress, *, cuts: tuple[int, ...]
) -> Sequence[AnyRecord]:
    """Heads and read-outs of the prefixes that the cuts leave, and of all layers but the last; of f* and of
    F.
    """
    images, attack = (
        Inputs.of(recipe).test.first(recipe.evaluate.examples),
        PGD(recipe.threat.ball, steps=10),
    )
    at, seed, records = origin(recipe), as_seed(recipe.seed) / "prefixes", list[AnyRecord]()
    for name in ("robust", "normal"):
        model = trained(recipe, place, home, name).model
        x, _ = images.batch(torch.tensor([0]), device())
        n = len(layer_map(model, x))
        lasts = sorted({n, *(n - size for size in (1, *cuts))})
        # The records are from before the scale of a head was chosen, and a run again gives the same.
        options = {"layers": lasts, "rescale": False}
        measures = [MEASURES.make("semirobustness", options), MEASURES.make("readout")]
        _, scores = layer_scores(model, images, measures, attack, seed=seed, progress=progress)
        records += score_records(scores, at, About(arm=name))
    return [settings_record(recipe, "prefixes", at), *records]


def run_dependences(
    recipe: Recipe, place: str, home: Path, folder: Path, progress: Progress, *, cuts: tuple[int, ...]
) -> Sequence[AnyRecord]:
    """Every measure of dependence on the semirobust networks before and after training, on the images that
    decided.
    """
    images = Inputs.of(recipe).held_out
    images = images.first(min(recipe.recover.validation.validation_examples, len(images)))
    robust, normal = (trained(recipe, place, home, name).model for name in ("robust", "normal"))
    attack, at, records = PGD(recipe.threat.ball, steps=10), origin(recipe), list[AnyRecord]()
    layers = layer_map(robust, images.batch(torch.tensor([0]), device())[0])
    for size in cuts:
        networks = {"start": Recovery(layers=size).start(robust, normal, layers)}
        networks["end"] = trained(recipe, place, home, f"suffix-{size}").model
        for when, model in networks.items():
            for name in DEPENDENCES.names():
                if (
                    name != "infonce"
                ):  # it trains a critic for each pair and class: hours for what the others do in minutes
                    options = {"dependence": name, "settings": {"permutations": 0}}
                    measure = MEASURES.make("connectivity", options)
                    _, scores = layer_scores(
                        model, images, [measure], attack, seed=as_seed(recipe.seed) / "dependences"
                    )
                    records += score_records(scores, at, About(arm=when, suffix=size))
            progress("dependences", 2 * cuts.index(size) + 1 + (when == "end"), 2 * len(cuts))
    return [settings_record(recipe, "dependences", at), *(r for r in records if isinstance(r, Number))]


def run_autoattack(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    cuts: tuple[int, ...],
    examples: int,
) -> Sequence[AnyRecord]:
    """AutoAttack on the first test images: f*, and each network before and after its suffix was trained."""
    images, attacks = Inputs.of(recipe).test.first(examples), [AutoAttack(recipe.threat.ball)]
    robust, normal = (trained(recipe, place, home, name).model for name in ("robust", "normal"))
    at, seed = origin(recipe), as_seed(recipe.seed) / "autoattack"
    layers = layer_map(robust, images.batch(torch.tensor([0]), device())[0])
    networks = [(robust, About(arm="robust"))]
    for size in cuts:
        networks.append(
            (Recovery(layers=size).start(robust, normal, layers), About(arm="start", suffix=size))
        )
        networks.append(
            (trained(recipe, place, home, f"suffix-{size}").model, About(arm="suffix", suffix=size))
        )
    records: list[AnyRecord] = [settings_record(recipe, "autoattack", at)]
    for model, about in networks:
        found, _ = accuracy_records(model, images, attacks, at, seed=seed, about=about, progress=progress)
        records += found
    return records


def run_precise(
    recipe: Recipe,
    place: str,
    home: Path,
    folder: Path,
    progress: Progress,
    *,
    networks: tuple[str, ...],
    examples: int,
) -> Sequence[AnyRecord]:
    """PGD-20 on more test images, where half a point is to be decided."""
    images = Inputs.of(read_recipe(None, {"data.test": examples}, recipe)).test
    at, seed, records = origin(recipe), as_seed(recipe.seed) / "precise", list[AnyRecord]()
    for name, variant in zip(networks, RIVALS, strict=True):
        model = trained(recipe, place, home, name).model
        attacks, about = [PGD(recipe.threat.ball, steps=20)], About(arm=name, variant=variant)
        found, _ = accuracy_records(model, images, attacks, at, seed=seed, about=about, progress=progress)
        records += found
    return [settings_record(recipe, "precise", at), *records]


def trained(recipe: Recipe, place: str, home: Path, name: str) -> Subject:
    """The network of another unit, where there is most to compute with."""
    subject = build_subject(str(home / place / name), None, None, None, {"data.root": recipe.data.root})
    return replace(subject, model=subject.model.to(device()))


def device() -> torch.device:
    """Where there is most to compute with."""
    return make_fabric(Devices(), "32-true").device


def origin(recipe: Recipe) -> Origin:
    """Where the records of a run come from."""
    return origin_of(recipe, "recover", device=device())

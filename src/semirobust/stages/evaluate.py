"""``semirobust evaluate``: accuracy of a model, clean and under attack."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.inference import Precision
from semirobust.data.images import Images
from semirobust.measures.robustness import Summary, evaluate
from semirobust.measures.sanity import Check, sanity_checks
from semirobust.progress import Progress, silent
from semirobust.records.record import Finding, Label, Number, Origin, Picture
from semirobust.records.store import AnyRecord
from semirobust.seed import Seed, as_seed
from semirobust.stages import fitting
from semirobust.stages.recipe import Recipe
from semirobust.stages.run import Subject, load_splits, origin_of, settings_record, threat_of, write_stage

__all__ = ["accuracy_records", "attacks_of", "evaluate_subject", "example_pictures"]


def evaluate_subject(
    subject: Subject, out: Path | None, *, devices: fitting.Devices = fitting.Devices(), progress: Progress = silent
) -> tuple[Summary, list[Check]]:
    """Evaluate on the first test images of the recipe's data, and check the evaluation; writes records where ``out`` is given."""
    recipe = subject.recipe
    splits = load_splits(recipe)
    test = splits.test.first(recipe.evaluate.examples)
    fabric = fitting.make_fabric(devices, "32-true")
    model = subject.model.to(fabric.device)
    at = origin_of(recipe, "evaluate", device=fabric.device)
    seed = as_seed(recipe.seed) / "evaluate"
    records, summary = accuracy_records(
        model, test, attacks_of(recipe), at, seed=seed, precision=recipe.evaluate.precision, progress=progress
    )
    checks = _checked(model, test, recipe, seed, progress)
    records += [_finding(check, at) for check in checks]
    if out is not None:
        pictures = example_pictures(model, test, attacks_of(recipe)[-1], recipe.evaluate.pictures, at, seed=seed)
        notes = [Finding(name="data", text=f"{splits.name}: {splits.note}", origin=at)] if splits.note else []
        write_stage(out, "3-evaluate", [settings_record(recipe, "evaluate", at), *records, *pictures, *notes])
    return summary, checks


def _checked(model: nn.Module, test: Images, recipe: Recipe, seed: Seed, progress: Progress) -> list[Check]:
    if recipe.evaluate.checks == 0:
        return []
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), "cpu")
    x, y = test.first(min(recipe.evaluate.checks, len(test))).all(device)
    return sanity_checks(model, x, y, threat_of(recipe), seed=seed / "sanity", progress=progress)


def _finding(check: Check, at: Origin) -> Finding:
    return Finding(name=f"check.{check.name}", text=check.text, level="good" if check.passed else "error", origin=at)


def attacks_of(recipe: Recipe) -> list[AbstractAttack]:
    """The attacks that a recipe evaluates with."""
    return [fitting.attack_of(name, {}, threat_of(recipe)) for name in recipe.evaluate.attacks]


def accuracy_records(
    model: nn.Module,
    images: Images,
    attacks: Sequence[AbstractAttack],
    at: Origin,
    *,
    seed: Seed,
    labels: Mapping[str, Label] | None = None,
    precision: Precision = "auto",
    progress: Progress = silent,
) -> tuple[list[AnyRecord], Summary]:
    """Evaluate and put each accuracy with its interval into a record."""
    x, y = images.all()
    result = evaluate(model, x, y, attacks, seed=seed, precision=precision, progress=progress)
    summary = result.summary()
    threat = str(attacks[0].threat) if attacks else ""
    records: list[AnyRecord] = []
    for name, share in summary.items():
        here = {**(labels or {}), "attack": name} | ({"threat": threat} if name != "clean" else {})
        records.append(
            Number(name="accuracy", value=float(share), n=share.n, low=share.low, high=share.high, labels=here, origin=at)
        )
    for name, count in result.rejected.items():
        if count:
            text = f"{count} perturbations by {name} failed the final check and were not counted"
            records.append(Finding(name="rejected", text=text, level="warning", labels=dict(labels or {}), origin=at))
    return records, summary


def example_pictures(
    model: nn.Module, images: Images, attack: AbstractAttack, count: int, at: Origin, *, seed: Seed
) -> list[Picture]:
    """Adversarial examples beside their originals, and what was added, stretched for the eye."""
    device = next(model.parameters()).device
    x, y = images.first(64).all(device)
    with torch.no_grad():
        right = model(x).argmax(1) == y
    x, y = x[right][:count], y[right][:count]
    if len(x) == 0:
        return []
    x_adv = attack(model, x, y, seed=seed / "pictures")
    with torch.no_grad():
        said = model(x_adv).argmax(1)
    pictures = []
    for i in range(len(x)):
        delta = (x_adv[i] - x[i]) / (2 * (x_adv[i] - x[i]).abs().max().clamp_min(1e-12)) + 0.5
        fooled = bool(said[i] != y[i])
        caption = (
            f"{images.classes[int(y[i])]} \u2192 {images.classes[int(said[i])]}"
            if fooled
            else f"{images.classes[int(y[i])]}, withstood"
        )
        pictures.append(
            Picture(
                name="example",
                png=_png([x[i], x_adv[i], delta]),
                caption=caption,
                labels={"attack": attack.name, "fooled": int(fooled)},
                origin=at,
            )
        )
    return pictures


def _png(images: Sequence[Tensor]) -> str:
    """Images (K, H, W) in [0, 1] side by side, in base64."""
    from PIL import Image

    gap = torch.ones_like(images[0][:, :, : max(1, images[0].shape[2] // 16)])
    parts = [part for image in images for part in (image, gap)][:-1]
    row = torch.cat(parts, 2).cpu().mul(255).round().clamp(0, 255).to(torch.uint8)
    pixels = row.permute(1, 2, 0).numpy() if row.shape[0] == 3 else row[0].numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()

"""Adversarial examples as pictures."""

import base64
import io
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.layers.quiet import device_of
from semirobust.records.schema import About, Origin, Picture

__all__ = ["example_pictures"]


def example_pictures(
    model: nn.Module, images: Images, attack: AbstractAttack, count: int, at: Origin, *, seed: Seed
) -> list[Picture]:
    """Adversarial examples beside their originals, and what was added, stretched for the eye."""
    device = device_of(model, torch.device("cpu"))
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
        own, other = (_class_name(images, int(label)) for label in (y[i], said[i]))
        caption = f"{own} \u2192 {other}" if fooled else f"{own}, withstood"
        pictures.append(
            Picture(
                png=_png([x[i], x_adv[i], delta]),
                caption=caption,
                about=About(attack=attack.name, fooled=fooled),
                origin=at,
            )
        )
    return pictures


def _class_name(images: Images, output: int) -> str:
    """The name of a class; the number of an output that stands for none of the images' classes."""
    return images.classes[output] if output < len(images.classes) else f"output {output}"


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

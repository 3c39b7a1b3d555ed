"""What every augmentation must do."""

import torch

from semirobust.augment import AbstractAugmentation
from semirobust.core.seed import Seed, as_seed
from semirobust.testing.base.check import Subject, demanded, require

__all__: list[str] = []

_SEED = Seed(("check",))


@demanded("augmentations")
def images_stay_images(subject: Subject) -> None:
    """Keep shape, type and range, of grey and of colour images; leave what was given alone."""
    augment: AbstractAugmentation = subject.make()
    for channels in (1, 3):
        x = torch.rand(32, channels, 12, 12, generator=as_seed(0).generator())
        before = x.clone()
        out = augment(x, _SEED)
        require(torch.equal(x, before), "the images that were given have changed")
        require(out.shape == x.shape and out.dtype == x.dtype, "the images have another form")
        require(float(out.min()) >= 0 and float(out.max()) <= 1, "a pixel is outside of [0, 1]")


@demanded("augmentations")
def equal_seeds_draw_equally(subject: Subject) -> None:
    """Draw the same for equal seeds, and something else for others."""
    augment, x = subject.make(), torch.rand(32, 3, 12, 12, generator=as_seed(0).generator())
    require(torch.equal(augment(x, _SEED), augment(x, _SEED)), "equal seeds draw different changes")
    require(not torch.equal(augment(x, _SEED), augment(x, _SEED / "other")), "all seeds draw the same")


@demanded("augmentations")
def what_only_moves_only_moves(subject: Subject) -> None:
    """Where ``only_moves`` is True, give pixels of the image or zero, and be linear in the image."""
    augment = subject.make()
    if not augment.only_moves:
        return
    x = torch.rand(8, 3, 12, 12, generator=as_seed(0).generator())
    out = augment(x, _SEED)
    for image, moved in zip(x, out, strict=True):
        new = set(moved.flatten().tolist()) - {0.0, *image.flatten().tolist()}
        require(not new, "only_moves is True, and a pixel is none of the image")
    require(torch.allclose(augment(0.5 * x, _SEED), 0.5 * out), "only_moves is True, and it is not linear")

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
    out = augment(x, _SEED)
    require(torch.equal(augment(x, _SEED), out), "equal seeds draw different changes")
    # Several, since one that draws for the whole batch may twice draw next to nothing.
    others = (augment(x, _SEED / name) for name in ("other", 1, 2))
    require(not all(torch.equal(other, out) for other in others), "all seeds draw the same")


@demanded("augmentations")
def labels_are_mixed_as_images_are(subject: Subject) -> None:
    """Give with ``mixed`` the images of a call, and shares that add up to 1. Unless ``mixes`` is True, leave
    the shares as they are, and let no image depend on another.
    """
    augment, x = subject.make(), torch.rand(12, 3, 12, 12, generator=as_seed(0).generator())
    whole = torch.nn.functional.one_hot(torch.arange(12) % 4, 4).float()
    out, shares = augment.mixed(x, whole, _SEED)
    require(torch.equal(out, augment(x, _SEED)), "mixed gives other images than a call")
    require(shares.shape == whole.shape and float(shares.min()) >= 0, "shares are no shares of the classes")
    require(torch.allclose(shares.sum(1), torch.ones(12)), "the shares of an image do not add up to 1")
    if augment.mixes:
        return
    require(torch.equal(shares, whole), "mixes is False, and labels have changed")
    alone = torch.cat([x[:1], x[1:].flip(0)])
    require(torch.equal(augment(alone, _SEED)[0], out[0]), "mixes is False, and an image depends on others")


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

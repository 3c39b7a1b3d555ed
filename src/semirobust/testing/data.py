"""What every source of data must do."""

import torch

from semirobust.data import Splits
from semirobust.testing.base.check import Subject, demanded, require

__all__: list[str] = []

_FEW = 64


def _splits(subject: Subject) -> Splits:
    splits: Splits = subject.make(root=None)
    return splits


@demanded("data")
def images_with_labels(subject: Subject) -> None:
    """Give ``Splits`` whose images (N, K, H, W) have pixels in [0, 1] and labels among the classes."""
    splits = _splits(subject)
    require(isinstance(splits, Splits), f"it gives {type(splits).__name__}, not Splits")
    for images in (splits.train, splits.test):
        x, y = images.first(_FEW).all()
        require(x.dim() == 4 and x.is_floating_point(), f"images of the form {tuple(x.shape)} {x.dtype}")
        require(float(x.min()) >= 0 and float(x.max()) <= 1, "a pixel is outside of [0, 1]")
        require(y.dtype == torch.int64 and len(y) == len(x), "labels are not whole numbers, one an image")
        require(int(y.min()) >= 0 and int(y.max()) < len(images.classes), "a label is none of the classes")
    require(splits.train.classes == splits.test.classes, "training and test images have other classes")


@demanded("data")
def the_same_again(subject: Subject) -> None:
    """Give the same images in the same order each time."""
    one, other = (_splits(subject).test.first(_FEW).all() for _ in range(2))
    require(torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]), "the images differ")

"""Labelled images in whatever a user has them."""

from typing import Any

import numpy as np
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.given import called
from semirobust.data.base.dataset import images_from_dataset
from semirobust.data.base.images import Images, Splits, images_from_tensors

__all__ = ["given_images"]


def given_images(images: Any, name: str = "images") -> Images:
    """Labelled images from what :func:`semirobust.load_data` returned, a pair (x, y) of tensors or arrays, a
    data set of PyTorch, torchvision or Hugging Face, or a ``DataLoader`` of one.

    Args:
        images: what was given; of a ``DataLoader`` the data set counts, not its batches or their order.
        name: of the argument, for messages.

    Raises:
        InputError: something else, training and test images together, or images without labels.
    """
    if isinstance(images, Images):
        return images
    if isinstance(images, Splits):
        raise InputError(
            f"{name}: expected images of one kind, got those to train and to test; give data.train"
        )
    if isinstance(images, tuple | list) and len(images) == 2:
        x, y = images
        if isinstance(x, Tensor | np.ndarray):
            return images_from_tensors(x, y)
    if isinstance(images, Tensor | np.ndarray):
        raise InputError(f"{name}: expected images and their labels, got {called(images)} alone; give (x, y)")
    if isinstance(images, str):
        raise InputError(f"{name}: expected images, got a name; give sr.load_data({images!r}).train")
    return images_from_dataset(images)

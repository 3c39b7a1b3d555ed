"""Images from arrays in a NumPy archive."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from semirobust.core.errors import InputError
from semirobust.core.files import check_archive
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images, Splits, images_from_tensors

__all__ = ["load_npz"]


def load_npz(path: Path, *, held_out: bool = True) -> Splits:
    """Images from the arrays ``x_train, y_train, x_test, y_test``, or ``x, y``, or ``image, label``.

    Without test arrays a fifth of the images is held out for testing. Images are (N, K, H, W), (N, H, W, K)
    or (N, H, W); bytes, or floats in [0, 1]. Pickled entries are refused.

    Raises:
        InputError: no such file, missing entries, or values that are not as described.
    """
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if others := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
            raise ValueError(f"{others[0]} is no array")
    except InputError:
        raise
    except Exception as error:  # a damaged archive can fail in any way
        raise InputError(
            f"{path.name}: expected an .npz of plain arrays, got one that cannot be read ({error})"
        ) from None
    if {"image", "label"} <= arrays.keys():  # the names under which generated images are published
        arrays = {"x": arrays["image"], "y": arrays["label"]}
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        train = _images(path, arrays["x_train"], arrays["y_train"])
        test = _images(path, arrays["x_test"], arrays["y_test"])
        return Splits(path.stem, train, Images(test.pixels, test.y, train.classes))
    if {"x", "y"} <= arrays.keys() and not held_out:
        train = _images(path, arrays["x"], arrays["y"])
        return Splits(path.stem, train, train.first(1))
    if {"x", "y"} <= arrays.keys():
        train, test = _images(path, arrays["x"], arrays["y"]).hold_out(0.2, Seed(("npz", "test")))
        return Splits(path.stem, train, test, "no test arrays: a random fifth was held out for testing")
    raise InputError(
        f"{path.name}: expected x and y, or x_train, y_train, x_test and y_test; got"
        f" {', '.join(sorted(arrays)) or 'nothing'}"
    )


def _images(path: Path, x: Any, y: Any) -> Images:
    """Images of two arrays, brought to (N, K, H, W)."""
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise InputError(f"{path.name}: expected images of bytes or floats, got {x.dtype}")
    if y.dtype.kind not in "iu":
        raise InputError(f"{path.name}: expected integer labels, got {y.dtype}")
    pixels = torch.from_numpy(np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32)))
    try:
        return images_from_tensors(pixels, torch.from_numpy(y.astype(np.int64)))
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None

"""Arrays as files and data sets give them: which axis is which, what the values mean, what the labels are."""

from typing import Any

import numpy as np

from semirobust.core.errors import InputError

__all__ = ["LAYOUTS", "channels_first", "check_brightness", "check_values", "label_note", "plain_labels"]

LAYOUTS = ("NCHW", "NHWC")
_CHANNELS = (1, 3)  # of a picture that says nothing about them
_FLAG = "say which by --layout NHWC or --layout NCHW (data.layout)"


def channels_first(x: Any, layout: str | None, name: str, remedy: str = _FLAG) -> Any:
    """Images (N, H, W), (N, H, W, K) or (N, K, H, W) as (N, K, H, W); arrays of other dimensions unchanged.

    Without a layout the axis of 1 or 3 values holds the channels, where only one of the two can and it is
    shorter than the sides.

    Raises:
        InputError: an unknown layout, or none where both are possible.
    """
    if layout not in (None, *LAYOUTS):
        raise InputError(f"layout: expected NCHW or NHWC, got {layout!r}")
    if x.ndim == 3:
        return x[:, None]
    if x.ndim != 4:
        return x
    if layout is None:
        _, first, middle, last = x.shape
        at_front = first in _CHANNELS and first < min(middle, last)
        at_back = last in _CHANNELS and last < min(first, middle)
        if at_front == at_back:
            raise InputError(
                f"{name}: expected images of 1 or 3 channels, got shape {tuple(x.shape)}, which does not say"
                f" where the channels are; {remedy}"
            )
        layout = "NCHW" if at_front else "NHWC"
    return x.transpose(0, 3, 1, 2) if layout == "NHWC" else x


def check_values(x: Any, name: str) -> None:
    """The values of images are bytes from 0 to 255 or floats from 0 to 1.

    Raises:
        InputError: another type or range; the sentence says what to do about it.
    """
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise InputError(
            f"{name}: expected images of bytes or floats, got {x.dtype}; save values from 0 to 255 by"
            " x.astype('uint8'), others as floats divided by the largest value that they can have"
        )
    if x.size == 0 or x.dtype == np.uint8:
        return
    low, high = float(x.min()), float(x.max())
    if not np.isfinite(high - low):
        return  # said by the check of pixels
    if low >= 0 and 1 + 1e-6 < high <= 255:
        raise InputError(
            f"{name}: expected pixels in [0, 1], got floats from {low:.4g} to {high:.4g}; divide by 255 or"
            " save as bytes"
        )
    if low < -1e-6:
        undo = "(x + 1) / 2" if low >= -1 and high <= 1 else "x * std + mean"
        raise InputError(
            f"{name}: expected pixels in [0, 1], got values from {low:.4g} to {high:.4g}; undo the"
            f" normalisation, as by {undo}, and put it into the model (model.mean and model.std)"
        )


def check_brightness(high: float, name: str, *, in_bytes: bool) -> None:
    """The brightest of all pixels is more than the smallest step of a byte, or all are black.

    Args:
        high: its value, as it is stored.
        name: of the images.
        in_bytes: they are bytes, and floats otherwise.

    Raises:
        InputError: it is not, as where images are scaled twice; the sentence says what to do about it.
    """
    if in_bytes and high == 1:
        raise InputError(
            f"{name}: expected bytes from 0 to 255, got none above 1, which would be read as black; give them"
            " as floats, or multiply them by 255"
        )
    if not in_bytes and 0 < high <= 1.01 / 255:
        raise InputError(
            f"{name}: expected pixels in [0, 1], got none above {high:.4g}, as if divided by 255 twice"
            "; multiply them by 255"
        )


def plain_labels(y: Any, name: str) -> Any:
    """Labels (N,) of (N,) or (N, 1), as 64-bit integers.

    Raises:
        InputError: no integers, negative ones, one-hot rows, or several labels for an image.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "iufb":
        one_hot = bool((((y == 0) | (y == 1)).all(1) & (y.sum(1) == 1)).all())
        raise InputError(
            f"{name}: expected one label for each image, got {'one-hot ' if one_hot else ''}rows of"
            f" {y.shape[1]}"
            + ("; give y.argmax(1)" if one_hot else ", and images with several labels are not supported")
        )
    if y.dtype.kind not in "iu":
        remedy = "; save y.astype('int64')" if y.dtype.kind in "fb" else ""
        remedy = "; number the classes from 0 on" if y.dtype.kind in "USO" else remedy
        raise InputError(f"{name}: expected integer labels, got {y.dtype}{remedy}")
    if y.size and int(y.min()) < 0:
        raise InputError(
            f"{name}: expected labels from 0 on, got {int(y.min())}; leave out images without a label, and"
            " number the classes from 0"
        )
    if y.size and int(y.max()) > np.iinfo(np.int64).max:
        raise InputError(f"{name}: expected labels of classes, got {int(y.max())}")
    return y.astype(np.int64)


def label_note(y: Any) -> str:
    """A sentence where no label is 0; else nothing."""
    if not y.size or int(y.min()) == 0:
        return ""
    ends = f"{int(y.min())} to {int(y.max())}"
    return f"no label is 0 (they go from {ends}); if they are meant from 1 on, subtract 1"

"""Images from arrays in a NumPy archive."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from semirobust.core.archives import check_archive
from semirobust.core.budget import BUDGET, check_count
from semirobust.core.errors import InputError
from semirobust.core.files import opened
from semirobust.core.seed import Seed
from semirobust.data.base.arrays import channels_first, check_values, label_note, plain_labels
from semirobust.data.base.images import Images, Splits, images_from_tensors, joined_notes

__all__ = ["load_npz"]

# The names of (images, labels) that are in use, without those of the part.
_PAIRS = (("x", "y"), ("image", "label"), ("images", "labels"))
_TRAIN, _TEST, _VALIDATION = ("train", "training"), ("test", "testing"), ("val", "valid", "validation")


def load_npz(path: Path, *, held_out: bool = True, layout: str | None = None) -> Splits:
    """Images from the arrays ``x_train, y_train, x_test, y_test``, or ``x, y``.

    ``image, label`` and ``images, labels`` will do as well, before or behind the part (as in MedMNIST's
    ``train_images``). Without test arrays those for validation are taken, or else a fifth of the images is
    held out. Images are (N, K, H, W), (N, H, W, K) or (N, H, W); bytes, or floats in [0, 1]. Pickled entries
    are refused.

    Args:
        held_out: whether a fifth is held out where there are no test arrays.
        layout: ``NCHW`` or ``NHWC``; needed where the shape does not tell.

    Raises:
        InputError: no such file, missing entries, or values that are not as described.
    """
    arrays = _arrays(path)
    own = _pair(path, arrays, ("",))
    train, validation, test = (_pair(path, arrays, part) for part in (_TRAIN, _VALIDATION, _TEST))
    if train is not None and (test or validation) is not None:
        return _official(path, train, test, validation, layout)
    if own is None:
        raise InputError(
            f"{path.name}: expected x and y, or x_train, y_train, x_test and y_test; got"
            f" {', '.join(sorted(arrays)) or 'nothing'}"
        )
    images = _images(path, *own, layout)
    note = label_note(images.y.numpy())
    if not held_out:
        return Splits(path.stem, images, images.first(1), note)
    train_part, test_part = images.hold_out(0.2, Seed(("npz", "test")))
    said = "no test arrays: a random fifth was held out for testing"
    return Splits(path.stem, train_part, test_part, joined_notes(said, note))


def _arrays(path: Path) -> dict[str, Any]:
    try:
        check_archive(path, entries=BUDGET.npz_entries)
        _check_headers(path)
        with opened(path) as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if others := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
            raise ValueError(f"{others[0]} is no array")
    except InputError:
        raise
    except Exception as error:  # a damaged archive can fail in any way
        raise InputError(
            f"{path.name}: expected an .npz of plain arrays, got one that cannot be read ({error})"
        ) from None
    return arrays


def _check_headers(path: Path) -> None:
    """Refuse an array that claims other values than its entry has, or more images than the file can need."""
    most = max(BUDGET.images, path.stat().st_size // BUDGET.bytes_per_image)
    with opened(path) as whole, zipfile.ZipFile(whole) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                shape, dtype = _header(file)
                claimed, found = math.prod(shape) * dtype.itemsize, entry.file_size - file.tell()
            if not dtype.hasobject and claimed != found:
                raise InputError(
                    f"{path.name}: {entry.filename} claims {claimed:,} bytes of values and has {found:,};"
                    " it was not read"
                )
            check_count(path.name, "images", shape[0] if shape else 0, most)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], Any]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _pair(path: Path, arrays: Mapping[str, Any], parts: tuple[str, ...]) -> tuple[Any, Any] | None:
    """The images and labels of a part; None where there are none."""
    found = {}
    for part in parts:
        for pair in _PAIRS:
            for wanted in (
                (f"{part}_{pair[0]}", f"{part}_{pair[1]}"),
                (f"{pair[0]}_{part}", f"{pair[1]}_{part}"),
            ):
                names = [[n for n in arrays if n.lower() == name.strip("_")] for name in wanted]
                if all(names):
                    found[names[0][0], names[1][0]] = len(names[0]) == len(names[1]) == 1
    if len(found) > 1 or not all(found.values()):
        raise InputError(
            f"{path.name}: expected one array of images and one of labels, got"
            f" {', '.join(sorted({name for names in found for name in names}))} and no word which are meant"
        )
    return next(((arrays[x], arrays[y]) for x, y in found), None)


def _official(
    path: Path,
    train_arrays: tuple[Any, Any],
    test_arrays: tuple[Any, Any] | None,
    validation_arrays: tuple[Any, Any] | None,
    layout: str | None,
) -> Splits:
    """The split that the archive has."""
    note = ""
    if test_arrays is None:
        note, test_arrays = "no test arrays: those for validation are taken for testing", validation_arrays
    elif validation_arrays is not None:
        note = f"its {len(validation_arrays[0]):,} images for validation are left out"
    assert test_arrays is not None
    train, test = _images(path, *train_arrays, layout), _images(path, *test_arrays, layout)
    if len(test.classes) > len(train.classes):
        raise InputError(
            f"{path.name}: expected test labels from 0 to {len(train.classes) - 1} as in training, got"
            f" {len(test.classes) - 1}"
        )
    note = joined_notes(note, label_note(train.y.numpy()))
    return Splits(path.stem, train, Images(test.pixels, test.y, train.classes), note)


def _images(path: Path, x: Any, y: Any, layout: str | None) -> Images:
    """Images of two arrays, brought to (N, K, H, W)."""
    y = plain_labels(y, path.name)
    check_values(x, path.name)
    x = channels_first(x, layout, path.name)
    pixels = torch.from_numpy(np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32)))
    try:
        return images_from_tensors(pixels, torch.from_numpy(y))
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None

"""A folder of pictures, one sub-folder for each class."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.data import SOURCES, Images, Splits
from semirobust.data.base.locate import data_roots

__all__ = ["image_folder", "load_folder"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
_MAX_IN_MEMORY = 1 << 30  # bytes
_MAX_ASPECT = 100  # of height and width
_TEST_NAMES = ("test", "val", "valid", "validation")


class _Files:
    """Pixels that are decoded when asked for: the short side resized to ``size``, the middle cropped."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths, self.size = list(paths), size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Tensor) -> Tensor:
        with ThreadPoolExecutor(8) as pool:
            return torch.stack(list(pool.map(lambda row: _decode(self.paths[int(row)], self.size), rows)))


def _decode(path: Path, size: int) -> Tensor:
    """(3, size, size) bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.draft("RGB", (size, size))  # decodes large JPEGs at a lower resolution
                if picture.mode.startswith("I"):  # of 16 bits a plain conversion would cut off all above 255
                    top_byte = (np.asarray(picture, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8)
                    rgb = Image.fromarray(top_byte).convert("RGB")
                else:
                    rgb = picture.convert("RGB")
    except Exception as error:  # a damaged picture can fail in any way
        raise InputError(
            f"{path.name}: expected a picture, got one that cannot be read ({type(error).__name__})"
        ) from None
    # Resized before it is cropped, a long strip would need absurdly much memory.
    if max(rgb.size) > _MAX_ASPECT * min(rgb.size):
        raise InputError(
            f"{path.name}: expected a picture, got a strip of {rgb.size[0]} by {rgb.size[1]} pixels"
        )
    scale = size / min(rgb.size)
    width, height = (max(size, round(side * scale)) for side in rgb.size)
    rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(rgb.crop((left, top, left + size, top + size)), np.uint8)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def image_folder(folder: Path, image_size: int) -> Images:
    """Pictures of any size below ``folder``, whose sub-folders are the classes in alphabetical order.

    Up to a gigabyte of pixels is decoded at once and kept in memory; more is decoded batch by batch.

    Raises:
        InputError: no folder, fewer than two classes, a class without pictures, or a picture that cannot be
            read.
    """
    if not folder.is_dir():
        raise InputError(f"data: expected a folder of pictures at {folder}, found none")
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    if len(classes) < 2:
        raise InputError(
            f"{folder}: expected a sub-folder for each of at least two classes, found {len(classes)}"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = (path for path in (folder / name).rglob("*") if path.suffix.lower() in _SUFFIXES)
        pictures = sorted(path for path in files if path.is_file())
        if not pictures:
            raise InputError(
                f"{folder / name}: expected pictures ({', '.join(sorted(_SUFFIXES))}), found none"
            )
        paths += pictures
        labels += [label] * len(pictures)
    pixels: Tensor | _Files = _Files(paths, image_size)
    if len(paths) * 3 * image_size**2 <= _MAX_IN_MEMORY:
        pixels = pixels[torch.arange(len(paths))]
    return Images(pixels, torch.tensor(labels), classes)


def load_folder(folder: Path, image_size: int) -> Splits:
    """Images of ``folder/train`` and ``folder/test`` (or ``val``).

    Without these folders, ``folder`` itself has the classes, and a fifth of it is held out for testing.
    """
    test = next((folder / name for name in _TEST_NAMES if (folder / name).is_dir()), None)
    if (folder / "train").is_dir() and test is not None:
        train, held_out = image_folder(folder / "train", image_size), image_folder(test, image_size)
        if train.classes != held_out.classes:
            raise InputError(
                f"{folder}: expected the same classes in train and {test.name}, got {train.classes} and"
                f" {held_out.classes}"
            )
        return Splits(folder.name, train, held_out)
    train, held_out = image_folder(folder, image_size).hold_out(0.2, Seed(("folder", "test")))
    return Splits(folder.name, train, held_out, "no test folder: a random fifth was held out for testing")


@SOURCES.register("imagenet")
def imagenet(*, root: str | Path | None = None, image_size: int = 224) -> Splits:
    """ImageNet in train/ and val/ with a sub-folder for each class, resized and cropped to the middle
    (Russakovsky et al. 2015).
    """
    tried = [folder for base in data_roots(root) for folder in (base / "imagenet", base)]
    for folder in tried:
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return load_folder(folder, image_size)
    raise InputError(
        f"data 'imagenet': expected train/ and val/ in one of {', '.join(map(str, tried))}; it must be"
        " fetched by hand"
    )

"""One picture of a file as bytes, whatever its format holds."""

import contextlib
import math
import os
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from semirobust.core.budget import BUDGET
from semirobust.core.errors import InputError
from semirobust.core.files import opened
from semirobust.core.links import Linked

__all__ = ["FOREIGN", "SUFFIXES", "Decoded", "decode", "rgb_of"]

SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pnm",
        ".pbm",
    ]
)
# The decoders of Pillow that a file may reach, whatever it is called: never those that start other programs
# or read a language, such as EPS, nor what other packages have added. JPEG's has those of several views.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
# Pictures that need a decoder of their own; left out without a word they would make a data set smaller.
FOREIGN = {
    ".heic": "HEIC",
    ".heif": "HEIF",
    ".avif": "AVIF",
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"), "raw of a camera"),
}
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"avif": "AVIF"}
_MAX_ASPECT = 100  # of height and width
_ONE_LARGE = threading.Lock()  # so that the threads of a folder do not hold several at a time
_SIXTEEN_BITS = ("PNG", "PPM", "JPEG2000")  # whose mode I means 16 bits


@dataclass(frozen=True)
class Decoded:
    """A picture.

    Attributes:
        pixels: (3, size, size) bytes.
        traits: what a reader of numbers on it should know, as words: ``grey``, ``transparent``, ``animated``,
            ``deep`` (of more than 8 bits) and ``dim`` (deep, and nowhere above a sixteenth).
        area, held: how many pixels and bytes its file has.
    """

    pixels: Tensor
    traits: frozenset[str] = field(default_factory=frozenset)
    area: int = 0
    held: int = 0


def decode(path: Path, size: int, name: str, *, links: bool = False) -> Decoded:
    """A picture turned upright, its short side resized to ``size`` and the middle cropped.

    What it is its content says, and not its name.

    Args:
        links: whether it may be a link, or below one.

    Raises:
        InputError: it cannot be read; the sentence calls it ``name``.
    """
    try:
        with opened(path, links=links) as file, warnings.catch_warnings():
            if (kind := _foreign_format(path.suffix.lower(), file)) is not None:
                raise InputError(
                    f"expected a picture, got {kind}, which is not read; convert it to JPEG or PNG"
                )
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            held = os.fstat(file.fileno()).st_size
            with Image.open(file, formats=_FORMATS) as picture:
                picture.draft("RGB", (size, size))  # decodes large JPEGs at a lower resolution
                area = _check_area(held, picture)
                with _ONE_LARGE if area > BUDGET.large_picture else contextlib.nullcontext():
                    rgb, traits = rgb_of(picture)
                    pixels = _cropped(rgb, size)
                    del rgb
                several = picture.format != "MPO" and _has_more(picture)
    except Linked:
        raise
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except Exception as error:  # a damaged picture can fail in any way
        raise InputError(
            f"{name}: expected a picture, got {_damage(path, error)}; mend it or take it away, or leave out"
            " all such files by --skip-bad"
        ) from None
    return Decoded(
        torch.from_numpy(pixels.copy()).permute(2, 0, 1),
        frozenset({*traits, *(["animated"] * several)}),
        area,
        held,
    )


def _cropped(rgb: Any, size: int) -> Any:
    """The middle, with the short side resized to ``size``, as an array."""
    # Resized before it is cropped, a long strip would need absurdly much memory.
    if max(rgb.size) > _MAX_ASPECT * min(rgb.size):
        raise InputError(f"expected a picture, got a strip of {rgb.size[0]} by {rgb.size[1]} pixels")
    scale = size / min(rgb.size)
    width, height = (max(size, round(side * scale)) for side in rgb.size)
    rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(rgb.crop((left, top, left + size, top + size)), np.uint8)


def _check_area(held: int, picture: Any) -> int:
    """The pixels of a picture, where they are not far more than its bytes can hold."""
    area = math.prod(picture.size)
    if area > max(BUDGET.pixels, BUDGET.pixels_per_byte * held) or held > BUDGET.picture:
        raise InputError(
            f"expected a picture of usual size, got one of {picture.size[0]:,} by {picture.size[1]:,} pixels"
            f" in {held:,} bytes"
        )
    if len(picture.tile) > BUDGET.tiles:
        raise InputError(f"expected a picture, got one in {len(picture.tile):,} pieces")
    return area


def _damage(path: Path, error: Exception) -> str:
    try:
        if path.stat().st_size == 0:
            return "an empty file"
    except OSError:
        pass
    return f"one that cannot be read ({type(error).__name__})"


def _has_more(picture: Any) -> bool:
    """Whether a picture has a second frame; the others are not counted, of which there may be millions."""
    try:
        picture.seek(1)
    except EOFError:
        return False
    return True


def _foreign_format(suffix: str, file: IO[bytes]) -> str | None:
    """The name of a format that needs a decoder of its own, by the suffix or, whatever that says, by the
    first bytes; None for others. The file is at its beginning afterwards.
    """
    if suffix in FOREIGN:
        return FOREIGN[suffix]
    head = file.read(12)
    file.seek(0)
    return _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


def rgb_of(picture: Any) -> tuple[Any, frozenset[str]]:
    """A PIL image turned upright as its EXIF says, in three channels of bytes, and its traits.

    Deep pictures are scaled by what their format says. What is transparent is laid on white.

    Raises:
        InputError: values whose range the format does not say.
    """
    file_format = picture.format  # which a picture that was turned has no more
    picture = ImageOps.exif_transpose(picture)
    deep: tuple[str, ...] = ()
    if picture.mode.startswith("I"):
        values = _eight_bits(picture, file_format)
        deep = ("deep", "dim") if 0 < values.max() < 16 else ("deep",)
        picture = Image.fromarray(values)
    elif picture.mode == "F":
        picture = Image.fromarray(_from_floats(picture))
    grey = picture.mode in ("1", "L", "LA", "La")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        if clear.getextrema()[3][0] < 255:
            ground = Image.new("RGBA", clear.size, (255, 255, 255, 255))
            rgb = Image.alpha_composite(ground, clear).convert("RGB")
            return rgb, frozenset({"transparent", *(["grey"] * grey), *deep})
    return picture.convert("RGB"), frozenset([*(["grey"] * grey), *deep])


def _eight_bits(picture: Any, file_format: str | None) -> Any:
    """The upper eight of 16 bits; a plain conversion would cut off all above 255."""
    values = np.asarray(picture, dtype=np.int64)
    if picture.mode == "I" and file_format not in _SIXTEEN_BITS:
        raise InputError(
            f"expected 8 or 16 bits, got integers of 32 bits from {values.min()} to {values.max()}, whose"
            " range the format does not say; save it with 8 bits"
        )
    if 0 < int(values.max()) < 256:
        raise InputError(
            f"expected values up to 65535 as of 16 bits, got none above {int(values.max())}, which would be"
            " read as black; save it with 8 bits"
        )
    return (values >> 8).clip(0, 255).astype(np.uint8)


def _from_floats(picture: Any) -> Any:
    """Bytes of floats in [0, 1]."""
    values = np.asarray(picture, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also where one is not a number
        raise InputError(
            f"expected floats in [0, 1], got a picture of values from {low:.4g} to {high:.4g}; save it with 8"
            " bits"
        )
    return np.round(values * 255).astype(np.uint8)

"""The idx format of MNIST and Fashion-MNIST, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.data import SOURCES, Images, Splits
from semirobust.data.base.locate import find_file, find_folder

__all__ = ["read_idx"]

_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_MAX_BYTES = 1 << 31


def read_idx(path: Path) -> Tensor:
    """The array of bytes in an idx file, gzipped or not.

    Its header is two zero bytes, the type 8, the number of dimensions, and their sizes as big-endian integers
    of 4 bytes.

    Raises:
        InputError: no such file, another type, or fewer or more values than the header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08":
                raise InputError(
                    f"{path.name}: expected an idx file of bytes, got a header of {head.hex() or 'nothing'}"
                )
            content = file.read(4 * head[3])
            sizes = np.frombuffer(content[: len(content) // 4 * 4], dtype=">u4").astype(int)
            # Python's integers, because a damaged header may give sizes whose product overflows.
            count = int(np.prod(sizes, dtype=object)) if len(sizes) == head[3] else -1
            if not 0 < count <= _MAX_BYTES:
                raise InputError(
                    f"{path.name}: expected a plausible number of values, got sizes {sizes.tolist()}"
                )
            values = file.read(count + 1)  # one more, to see whether there are too many
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name}: cannot be read ({error})") from None
    if len(values) != count:
        raise InputError(
            f"{path.name}: expected {count} values, got {'more' if len(values) > count else len(values)}; is"
            " it complete?"
        )
    return torch.from_numpy(np.frombuffer(values, np.uint8).reshape(sizes.tolist()).copy())


def _images(folder: Path, part: str, classes: tuple[str, ...]) -> Images:
    arrays = []
    for kind in ("images-idx3", "labels-idx1"):
        stem = f"{part}-{kind}-ubyte"
        path = find_file(folder, f"{stem}.gz") or find_file(folder, stem)
        if path is None:
            raise InputError(f"{folder}: expected {stem}.gz, found none")
        arrays.append(read_idx(path))
    x, y = arrays
    if x.dim() != 3 or y.dim() != 1 or len(x) != len(y):
        raise InputError(
            f"{folder}: expected as many images as labels, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return Images(x[:, None], y.long(), classes)


def _splits(name: str, root: str | Path | None, classes: tuple[str, ...]) -> Splits:
    folder = find_folder(name, root, ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"))
    return Splits(name, _images(folder, "train", classes), _images(folder, "t10k", classes))


@SOURCES.register("mnist")
def mnist(*, root: str | Path | None = None) -> Splits:
    """Handwritten digits, 28x28 (LeCun, Cortes & Burges 1998)."""
    return _splits("mnist", root, tuple("0123456789"))


@SOURCES.register("fashion-mnist")
def fashion_mnist(*, root: str | Path | None = None) -> Splits:
    """Articles of clothing, 28x28 (Xiao, Rasul & Vollgraf 2017)."""
    return _splits("fashion-mnist", root, _FASHION)

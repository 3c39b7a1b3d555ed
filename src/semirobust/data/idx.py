"""The idx format of MNIST and Fashion-MNIST, plain or gzipped."""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semirobust.core.budget import BUDGET, check_count, check_size
from semirobust.core.errors import InputError
from semirobust.core.files import opened, read_bytes
from semirobust.data import SOURCES, Images, Splits
from semirobust.data.base.idx_files import find_idx

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
_MAX_SIZES = 8
# Of the values of each file, SHA-256 (its first 16 digits); of KMNIST, whose values are not at hand, the
# published MD5 of the packed file.
_SUMS = {
    "741c988805d008ac": "mnist",  # train-images-idx3
    "1feba77c54802fa5": "mnist",  # train-labels-idx1
    "6d87418db22cc802": "mnist",  # t10k-images-idx3
    "ddeff807876a9661": "mnist",  # t10k-labels-idx1
    "2e487a6c89124f78": "fashion-mnist",  # train-images-idx3
    "657fbd221bfc9f41": "fashion-mnist",  # train-labels-idx1
    "c867c93ff9536059": "fashion-mnist",  # t10k-images-idx3
    "3d0e6c6ea990b53b": "fashion-mnist",  # t10k-labels-idx1
    "bdb82020997e1d708af4cf47b453dcf7": "kmnist",
    "e144d726b3acfaa3e44228e80efcd344": "kmnist",
    "5c965bf0a639b31b8f53240b1b52f4d7": "kmnist",
    "7320c461ea6c1c855c0b718fb2a4b134": "kmnist",
}


def read_idx(path: Path) -> Tensor:
    """The array of bytes in an idx file, gzipped or not.

    Its header is two zero bytes, the type 8, the number of dimensions, and their sizes as big-endian integers
    of 4 bytes.

    Raises:
        InputError: no such file, another type, or fewer or more values than the header says.
    """
    try:
        with opened(path) as whole:
            packed = whole.read(2) == b"\x1f\x8b"  # browsers unpack files and keep their names
            whole.seek(0)
            file = gzip.GzipFile(fileobj=whole) if packed else whole
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08":
                raise InputError(
                    f"{path.name}: expected an idx file of bytes, got a header of {head.hex() or 'nothing'}"
                )
            if not 0 < head[3] <= _MAX_SIZES:
                raise InputError(f"{path.name}: expected 1 to {_MAX_SIZES} sizes, got {head[3]}")
            content = file.read(4 * head[3])
            sizes = np.frombuffer(content[: len(content) // 4 * 4], dtype=">u4").astype(int)
            # Python's integers, because a damaged header may give sizes whose product overflows.
            count = int(np.prod(sizes, dtype=object)) if len(sizes) == head[3] else -1
            if not 0 < count <= BUDGET.data_bytes:
                raise InputError(
                    f"{path.name}: expected a plausible number of values, got sizes {sizes.tolist()}"
                )
            check_size(path, count)
            most = max(BUDGET.images, path.stat().st_size // BUDGET.bytes_per_image)
            check_count(path.name, "images", int(sizes[0]), most)
            values = file.read(count + 1)  # one more, to see whether there are too many
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name}: cannot be read ({error})") from None
    if len(values) != count:
        raise InputError(
            f"{path.name}: expected {count} values, got {'more' if len(values) > count else len(values)}; is"
            " it complete?"
        )
    return torch.from_numpy(np.frombuffer(values, np.uint8).reshape(sizes.tolist()).copy())


def _read(files: Mapping[str, Path], name: str, part: str, classes: tuple[str, ...]) -> Images:
    x, y = (read_idx(files[kind]) for kind in (f"{part}-images", f"{part}-labels"))
    y = y.flatten() if y.dim() == 2 and y.shape[1] == 1 else y
    if x.dim() != 3 or y.dim() != 1 or len(x) != len(y):
        raise InputError(
            f"{files[f'{part}-images'].parent}: expected as many images as labels, got {tuple(x.shape)} and"
            f" {tuple(y.shape)}"
        )
    for file, array in ((files[f"{part}-images"], x), (files[f"{part}-labels"], y)):
        if (own := published(file, array)) not in (None, name):
            raise InputError(f"{file}: expected {name}, got a file of {own}")
    try:
        return Images(x[:, None], y.long(), classes)
    except InputError as error:
        raise InputError(f"{files[f'{part}-labels']}: {error}") from None


def _splits(name: str, root: str | Path | None, classes: tuple[str, ...]) -> Splits:
    files = find_idx(name, root, lambda file: published(file, read_idx(file)))
    train, test = (_read(files, name, part, classes) for part in ("train", "t10k"))
    known = published(files["train-labels"], train.y.to(torch.uint8)) == name
    folder = files["train-images"].parent
    note = f"{folder.name} has other files than those published as {name}, and is taken for it by its place"
    return Splits(name, train, test, "" if known else note)


def published(file: Path, array: Tensor) -> str | None:
    """The data set that a file is of, by its published sum or that of its values; None where it is of none
    that is known.
    """
    own = hashlib.sha256(array.contiguous().numpy().tobytes()).hexdigest()[:16]
    return _SUMS.get(own) or _SUMS.get(hashlib.md5(read_bytes(file), usedforsecurity=False).hexdigest())


@SOURCES.register("mnist")
def mnist(*, root: str | Path | None = None) -> Splits:
    """Handwritten digits, 28x28 (LeCun, Cortes & Burges 1998)."""
    return _splits("mnist", root, tuple("0123456789"))


@SOURCES.register("fashion-mnist")
def fashion_mnist(*, root: str | Path | None = None) -> Splits:
    """Articles of clothing, 28x28 (Xiao, Rasul & Vollgraf 2017)."""
    return _splits("fashion-mnist", root, _FASHION)

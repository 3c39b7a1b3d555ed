"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), in their binary and their Python format."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semirobust.core.errors import InputError
from semirobust.data import SOURCES, Images, Splits
from semirobust.data.base.locate import find_file, find_folder

__all__ = ["CIFAR10", "read_binary", "read_python"]

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PIXELS = 3 * 32 * 32

# Given to the pickle instead of the class, with which a pickle could allocate arrays of any size.
_NDARRAY = "ndarray"


def _empty(kind: object, shape: object, code: object) -> Any:
    """An empty array, as NumPy's pickles begin; its shape and values follow in the file."""
    if kind is not _NDARRAY or shape != (0,):
        raise InputError("expected a CIFAR batch, got a pickle made to fill the memory")
    return np.ndarray((0,), np.uint8)


def _bytes(text: str, encoding: str) -> bytes:
    """The bytes of a string, as Python 3 writes bytes in old pickle protocols."""
    if encoding != "latin1":
        raise InputError(f"expected a CIFAR batch, got a pickle with text in {str(encoding)[:20]}")
    return text.encode("latin1")


# Everything that a CIFAR batch needs, under NumPy's old and new names.
_ALLOWED: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty for core in ("core", "_core")},
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _bytes,
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that builds dictionaries, lists, bytes and NumPy arrays, and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise InputError(
                f"expected a CIFAR batch of plain arrays, got a pickle that asks for {module}.{name}; nothing"
                " was run"
            )
        return _ALLOWED[module, name]


def _check_memo(content: bytes) -> None:
    """Refuse a pickle whose memo has larger indices than a file of this size can need.

    Python would allocate a memo up to the largest index.
    """
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(str(argument)) > len(content):
            raise InputError("expected a CIFAR batch, got a pickle made to fill the memory")


def read_binary(path: Path, classes: tuple[str, ...], label_bytes: int = 1) -> Images:
    """Images from a file of records: ``label_bytes`` bytes, the last of them the label, and 3x32x32 pixels.

    Raises:
        InputError: the size is no multiple of a record's, or a label is out of range.
    """
    content = _read(path)
    record = label_bytes + _PIXELS
    if not content or len(content) % record:
        raise InputError(
            f"{path.name}: expected records of {record} bytes, got {len(content)} bytes; is it complete?"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    return _images(path, rows[:, label_bytes:], rows[:, label_bytes - 1], classes)


def read_python(path: Path, classes: tuple[str, ...], key: bytes = b"labels") -> Images:
    """Images from a pickled dictionary with ``data`` (N, 3072) of bytes and labels under ``key``.

    Nothing in the pickle is executed.

    Raises:
        InputError: the pickle asks for more than arrays, is damaged, or lacks one of the two entries.
    """
    try:
        content = _read(path)
        _check_memo(content)
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        data, labels = batch[b"data"], batch[key]
        if not isinstance(data, np.ndarray) or not (
            isinstance(labels, list) and all(type(label) is int for label in labels)
        ):
            raise InputError(
                f"expected data in an array and labels in a list, got {type(data).__name__},"
                f" {type(labels).__name__}"
            )
        labels = np.asarray(labels)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(
            f"{path.name}: expected a CIFAR batch, got one that cannot be read ({type(error).__name__})"
        ) from None
    if (
        data.dtype != np.uint8
        or data.ndim != 2
        or data.shape[1] != _PIXELS
        or labels.shape != (len(data),)
        or labels.dtype.kind not in "iu"
    ):
        raise InputError(
            f"{path.name}: expected data (N, {_PIXELS}) of bytes and N labels, got {data.shape} and"
            f" {labels.shape}"
        )
    return _images(path, data, labels, classes)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror})") from None


def _images(path: Path, data: Any, labels: Any, classes: tuple[str, ...]) -> Images:
    try:
        return Images(
            torch.from_numpy(data.copy()).view(-1, 3, 32, 32),
            torch.from_numpy(labels.astype(np.int64)),
            classes,
        )
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None


def _join(parts: list[Images]) -> Images:
    return Images(torch.cat([p.pixels for p in parts]), torch.cat([p.y for p in parts]), parts[0].classes)  # type: ignore[misc]


def _names(folder: Path, file: str, fallback: tuple[str, ...]) -> tuple[str, ...]:
    path = find_file(folder, file)
    lines = tuple(_read(path).decode("utf-8", "replace").split()) if path else ()
    return lines if len(lines) == len(fallback) else fallback


@SOURCES.register("cifar10")
def cifar10(*, root: str | Path | None = None) -> Splits:
    """Ten classes of 32x32 colour images (Krizhevsky 2009).

    A folder with fewer than the five training batches works too; the note says so.
    """
    folder = find_folder("cifar10", root, ("data_batch_1.bin", "data_batch_1"))
    binary = find_file(folder, "data_batch_1.bin") is not None
    read = read_binary if binary else read_python
    suffix = ".bin" if binary else ""
    batches = [path for i in range(1, 6) if (path := find_file(folder, f"data_batch_{i}{suffix}"))]
    test = find_file(folder, f"test_batch{suffix}")
    if test is None:
        raise InputError(f"{folder}: expected test_batch{suffix} beside the training batches, found none")
    train = _join([read(path, CIFAR10) for path in batches])
    return Splits("cifar10", train, read(test, CIFAR10), _note(len(train)))


@SOURCES.register("cifar100")
def cifar100(*, root: str | Path | None = None) -> Splits:
    """A hundred classes of 32x32 colour images, by their fine labels (Krizhevsky 2009)."""
    folder = find_folder("cifar100", root, ("train.bin", "train"))
    names = _names(folder, "fine_label_names.txt", tuple(str(c) for c in range(100)))
    parts = []
    for part in ("train", "test"):
        path = find_file(folder, f"{part}.bin") or find_file(folder, part)
        if path is None:
            raise InputError(f"{folder}: expected {part}.bin, found none")
        binary = path.suffix == ".bin"
        parts.append(read_binary(path, names, 2) if binary else read_python(path, names, b"fine_labels"))
    return Splits("cifar100", parts[0], parts[1], _note(len(parts[0])))


def _note(images: int) -> str:
    return "" if images == 50_000 else f"only {images} of 50,000 training images were found"

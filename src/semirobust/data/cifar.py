"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), in their binary and their Python format."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semirobust.core.described import Called, Name, Spent, describe
from semirobust.core.errors import InputError
from semirobust.core.files import read_bytes
from semirobust.core.pickles import check_pickles
from semirobust.data import SOURCES, Images, Splits
from semirobust.data.base.locate import find_file, find_folder

__all__ = ["CIFAR10", "read_binary", "read_python"]

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PIXELS = 3 * 32 * 32

_ARRAYS = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}


def _array(value: Any) -> Any:
    """The array of bytes that a description stands for."""
    if not isinstance(value, Called) or value.name not in _ARRAYS:
        asked = value.name if isinstance(value, Called | Name) else type(value).__name__
        raise InputError(
            f"expected a CIFAR batch of plain arrays, got a pickle that asks for {asked[:100]}; nothing was"
            " run"
        )
    match value.state:
        case (int(), (int() as rows, int() as columns), Called("numpy.dtype", (kind, *_)), order, values):
            content = values.encode("latin1") if isinstance(values, str) else values
            if kind not in ("u1", "|u1", b"u1") or rows < 0 or rows * columns != len(content):
                raise InputError(f"expected data (N, {_PIXELS}) of bytes, got other values")
            return np.frombuffer(content, np.uint8).reshape((rows, columns), order="F" if order else "C")
        case _:
            raise InputError(f"expected data (N, {_PIXELS}) of bytes, got other values")


def _described(content: bytes) -> dict[str, Any]:
    """The dictionary in a pickle, of which nothing was called."""
    check_pickles(content, len(content))
    found = describe(io.BytesIO(content), Spent(len(content)))
    if not isinstance(found, dict):
        raise InputError(f"expected data and labels by name, got {type(found).__name__}")
    return {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in found.items()}


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
        batch = _described(content)
        data, labels = _array(batch["data"]), batch[key.decode()]
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise InputError(f"expected labels in a list of numbers, got {type(labels).__name__}")
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
        return read_bytes(path)
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

"""Images from the data sets of PyTorch and of Hugging Face."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    default_collate,
    default_convert,
)

from semirobust.core.checks import check_pixels
from semirobust.core.errors import InputError
from semirobust.core.given import native
from semirobust.core.text import first_line
from semirobust.data.base.arrays import channels_first, check_brightness, check_values, plain_labels
from semirobust.data.base.images import Images, class_names

__all__ = ["images_from_dataset"]

_LOG = logging.getLogger("semirobust.data")

_IMAGE_KEYS = ("image", "img", "pixel_values")
_LABEL_KEYS = ("label", "labels", "fine_label", "target")
_MAX_IN_MEMORY = 1 << 30  # bytes
_NESTED = 8  # data sets within each other
_COLLATED = 16  # items that are put together to compare
_READ_TWICE = 16  # items, by which chance in a data set is found


class _FromDataset:
    """Pixels of a map-style dataset, one item at a time."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: Tensor) -> Tensor:
        x = _stacked([_item(self.dataset, int(row))[0] for row in rows])
        if x.dtype != torch.uint8:
            check_pixels(x, "dataset")
        return x


def images_from_dataset(dataset: Any, classes: Sequence[str] | None = None) -> Images:
    """Images from any map-style ``torch.utils.data.Dataset`` of (image, label), or of dictionaries with an
    image and a label as Hugging Face's have them.

    An image is a tensor (K, H, W) in [0, 1] or of bytes, an array or a PIL image. Every item is read once for
    its label, since what a data set says besides (such as ``targets``) need not be what its items say. Images
    are read again whenever a batch needs them. Where that gives others each time (random transforms), one
    reading of all is kept, so that an attack and its verdict are about the same image. Of a ``DataLoader``
    its data set is taken.

    Args:
        dataset: has a length, and gives an item for each number from 0 on.
        classes: the class names; by default those of the data set, as torchvision's and Hugging Face's have
            them, or else numbers.

    Raises:
        InputError: what is no such data set, an item that cannot be read, pixels outside [0, 1], images of
            several shapes, or labels that are no class numbers.
    """
    if isinstance(dataset, DataLoader):
        dataset = _dataset_of(dataset)
    n = _length(dataset)
    first: list[Tensor] = []
    labels: list[Any] = []
    brightest = 0.0
    again = set(range(0, n, max(1, n // _READ_TWICE)))
    for index in range(n):
        image, label = _item(dataset, index)
        first.append(image) if index in again or index == 0 else _check_alike(image, first[0], index)
        labels.append(label)
        brightest = max(brightest, float(image.max()) if image.numel() else 0.0)
    check_brightness(brightest, "dataset", in_bytes=first[0].dtype == torch.uint8)
    pixels: Tensor | _FromDataset = _FromDataset(dataset)
    _stacked(first)
    if any(not torch.equal(_item(dataset, i)[0], x) for i, x in zip(sorted(again), first, strict=True)):
        pixels, labels = _as_drawn(dataset, n, first[0])
    y = torch.from_numpy(plain_labels(np.asarray(labels), "dataset"))
    return Images(pixels, y, class_names(y, classes or _feature_names(dataset, y) or _own_names(dataset, y)))


def _as_drawn(dataset: Any, n: int, like: Tensor) -> tuple[Tensor, list[int]]:
    """The images and labels of a data set whose items are others each time, as they are drawn now."""
    if n * like.numel() * like.element_size() > _MAX_IN_MEMORY:
        raise InputError(
            "dataset: expected the same item whenever it is read, got others, and too many to keep; take"
            " random transforms out of it (training has its own, such as augment='crop-flip')"
        )
    _LOG.warning("the items of the data set are others each time they are read; one reading of all was kept")
    items = [_item(dataset, index) for index in range(n)]
    return _stacked([image for image, _ in items]), [label for _, label in items]


def _dataset_of(loader: DataLoader[Any]) -> Any:
    """The data set of a loader that reads all of it.

    Raises:
        InputError: it reads a part of it, or puts batches together in its own way.
    """
    batches = loader.batch_sampler
    sampler: Any = loader.sampler if batches is None else getattr(batches, "sampler", batches)
    odd = next((s for s in (batches, sampler) if s is not None and type(s) not in _WHOLE), None)
    if odd is not None or len(sampler) != len(loader.dataset):  # type: ignore[arg-type]
        raise InputError(
            f"dataset: expected a DataLoader of a whole data set, got one that takes what its"
            f" {type(sampler if odd is None else odd).__name__} says; hand over its .dataset, or a Subset of"
            " that"
        )
    if not _collates_as_usual(loader):
        raise InputError(
            "dataset: expected a DataLoader that puts items together as they are, got one whose collate_fn"
            " gives others; put what it does into the items of its .dataset, and hand that over"
        )
    return loader.dataset


_WHOLE = (BatchSampler, SequentialSampler, RandomSampler)


def _collates_as_usual(loader: DataLoader[Any]) -> bool:
    """Whether the batch of the first items has their images and labels."""
    n = min(len(loader.dataset), _COLLATED)  # type: ignore[arg-type]
    if loader.collate_fn in (default_collate, default_convert) or n == 0:
        return True
    items = [loader.dataset[i] for i in range(n)]
    try:
        x, y = _pair(loader.collate_fn(items), "dataset: a batch")
        images, labels = zip(*(_item(items, i) for i in range(n)), strict=True)
        return torch.equal(torch.as_tensor(x).cpu(), _stacked(images)) and [int(k) for k in y] == list(labels)
    except Exception:  # code of others, which may give anything
        return False


def _length(dataset: Any) -> int:
    """The number of items of what is a map-style data set."""
    if isinstance(dataset, Mapping):
        names = ", ".join(map(str, list(dataset)[:4]))
        raise InputError(f"dataset: expected one Dataset, got several by name; hand over one of {names}")
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        remedy = (
            "; hand over list(dataset), or a Dataset with __len__ and __getitem__"
            if isinstance(dataset, Iterable)
            else ""
        )
        raise InputError(f"dataset: expected a map-style Dataset, got {type(dataset).__name__}{remedy}")
    n = len(dataset)
    if n == 0:
        raise InputError("dataset: expected at least one example, got none")
    return n


def _item(dataset: Any, index: int) -> tuple[Tensor, int]:
    """The image and the label of an item."""
    where = f"dataset: item {index}"
    try:
        item = dataset[index]
    except InputError:
        raise
    except Exception as error:  # code of others
        raise InputError(f"{where} cannot be read ({type(error).__name__}: {first_line(error)})") from error
    image, label = _pair(item, where)
    return _pixels(image, where), _label(label, where)


def _pair(item: Any, where: str) -> tuple[Any, Any]:
    """What stands for the image and for the label."""
    if isinstance(item, Mapping):
        item = tuple(_entry(item, keys, where) for keys in (_IMAGE_KEYS, _LABEL_KEYS))
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise InputError(f"{where}: expected (image, label), got {type(item).__name__}")
    return item[0], item[1]


def _entry(item: Mapping[str, Any], keys: tuple[str, ...], where: str) -> Any:
    found = [key for key in keys if key in item]
    if len(found) != 1:
        raise InputError(
            f"{where}: expected one of {', '.join(keys)} in a dictionary, got {', '.join(map(str, item))};"
            " hand over a Dataset of (image, label)"
        )
    return item[found[0]]


def _pixels(image: Any, where: str) -> Tensor:
    """(K, H, W) of an image."""
    if type(image).__module__.partition(".")[0] == "PIL":
        return _of_picture(image, where)
    if isinstance(image, np.ndarray):
        check_values(image, where)
        remedy = "give a tensor (K, H, W)"
        image = channels_first(image[None], None, where, remedy)[0] if image.ndim in (2, 3) else image
        return torch.from_numpy(native(image))
    if not isinstance(image, Tensor):
        raise InputError(f"{where}: expected an image as a tensor or a PIL image, got {type(image).__name__}")
    if (
        image.dim() == 3
        and image.shape[2] in (1, 3)
        and image.shape[0] not in (1, 3)
        and min(image.shape[:2]) > 4
    ):
        raise InputError(
            f"{where}: expected an image (K, H, W), got shape {tuple(image.shape)} with the channels last;"
            " give image.permute(2, 0, 1)"
        )
    if image.dtype != torch.uint8:
        check_pixels(image[None], where)
    return image


def _of_picture(image: Any, where: str) -> Tensor:
    """One channel of a grey PIL image, three of others."""
    from semirobust.data.base.picture import rgb_of

    try:
        rgb, traits = rgb_of(image)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    pixels = np.asarray(rgb.convert("L") if "grey" in traits else rgb, np.uint8)
    return torch.from_numpy(pixels.copy().reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


def _label(label: Any, where: str) -> int:
    if isinstance(label, Tensor) and label.is_floating_point():
        label = label.detach().double()
    array = np.asarray(label)
    if array.dtype == object:
        raise InputError(f"{where}: expected an integer label, got {type(label).__name__}")
    return int(plain_labels(array.reshape(1, -1) if array.size != 1 else array.reshape(1), where)[0])


def _check_alike(image: Tensor, other: Tensor, index: int) -> None:
    if image.shape != other.shape or image.dtype != other.dtype:
        raise InputError(
            f"dataset: expected images of one shape and type, got {tuple(other.shape)} of {other.dtype} and,"
            f" as item {index}, {tuple(image.shape)} of {image.dtype}; make them alike in its transform"
        )


def _stacked(images: Sequence[Tensor]) -> Tensor:
    for index, image in enumerate(images):
        _check_alike(image, images[0], index)
    return torch.stack(list(images))


def _feature_names(dataset: Any, y: Tensor) -> Sequence[str] | None:
    """The names that a data set of Hugging Face has for its labels, where it has one for each."""
    features = getattr(dataset, "features", None)
    if not isinstance(features, Mapping):
        return None
    names = next((getattr(features[key], "names", None) for key in _LABEL_KEYS if key in features), None)
    return names if isinstance(names, list | tuple) and len(names) > int(y.max()) else None


def _own_names(dataset: Any, y: Tensor) -> Sequence[str] | None:
    """The ``classes`` of a data set of torchvision, or of that of a Subset, where it has one for each."""
    for _ in range(_NESTED):
        if hasattr(dataset, "classes") or not hasattr(dataset, "dataset"):
            break
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    if not isinstance(names, list | tuple) or len(names) <= int(y.max()):
        return None
    return names if all(isinstance(name, str) for name in names) else None

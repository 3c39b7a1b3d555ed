"""Labelled images that are read by index."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semirobust.core.checks import check_labels, check_pixels, dtype_of
from semirobust.core.devices import uploaded
from semirobust.core.errors import InputError
from semirobust.core.given import native
from semirobust.core.plain import anywhere
from semirobust.core.seed import Seed
from semirobust.core.text import printable
from semirobust.core.typed import typed
from semirobust.data.base.arrays import channels_first, check_brightness, check_values, plain_labels
from semirobust.data.base.sampling import AbstractSampling, Shuffled

__all__ = ["Images", "Pixels", "Splits", "class_names", "images_from_tensors", "joined_notes"]


_MAX_CLASSES = 100_000  # a label beyond is a mistake, such as an identifier


class Pixels(Protocol):
    """What gives pixels by index: a tensor in memory, or files that are read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(n,) indices -> (n, K, H, W), bytes or floats in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """N labelled images.

    Bytes stay bytes until a batch is asked for, so all of CIFAR-10 takes 150 MB.

    Attributes:
        pixels: (N, K, H, W), or something indexed like it.
        y: (N,) labels.
        classes: the class names.
        sampling: which images an epoch of training takes.
        dtype: of the pixels in a batch, which is that of the network they are for.
    """

    pixels: Tensor | Pixels
    y: Tensor
    classes: tuple[str, ...]
    sampling: AbstractSampling = field(default_factory=Shuffled)
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        check_labels(self.y, len(self.pixels), len(self.classes))

    def __repr__(self) -> str:
        # What lies in files is not read for it.
        size = " x ".join(map(str, self.shape)) if isinstance(self.pixels, Tensor) else "files"
        return f"<Images: {len(self):,} of {size}, {len(self.classes):,} classes>"

    def __len__(self) -> int:
        return len(self.y)

    @property
    def epoch_size(self) -> int:
        """How many images an epoch of training takes."""
        return self.sampling.epoch_size(len(self))

    @property
    def shape(self) -> tuple[int, ...]:
        """(K, H, W) of images."""
        return tuple(self.pixels[torch.tensor([0])].shape[1:])

    def batch(self, rows: Tensor, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """The images ``rows`` as floats (n, K, H, W) in [0, 1] and their labels (n,), on ``device``."""
        return self._batch(self.pixels, rows, device)

    def whole(self, rows: Tensor, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """As :meth:`batch`, with what was kept around the images, which is nothing unless they are the middle
        of larger pictures (:class:`semirobust.data.base.framed.Framed`).
        """
        return self._batch(_Whole(self.pixels), rows, device)

    def _batch(
        self, pixels: Tensor | Pixels, rows: Tensor, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        there = uploaded(rows, self.y.device)  # copied once, as pixels and labels nearly always lie together
        at = there if isinstance(pixels, Tensor) else rows
        x, y = uploaded(_part(pixels, at), device), uploaded(self.y[there], device)
        full = torch.promote_types(self.dtype, torch.float32)  # half precision rounds once, at the end
        x = x.to(full).div_(255) if x.dtype == torch.uint8 else x.to(full)
        return x.to(self.dtype), y

    def fitting(self, model: nn.Module) -> "Images":
        """The same images, whose batches have the dtype of the network's parameters."""
        dtype = dtype_of(model)
        return self if dtype == self.dtype else replace(self, dtype=dtype)

    def on(self, device: torch.device) -> "Images":
        """The images on a GPU, so that no batch has to be copied there; unchanged on a CPU, or where they are
        read from files.
        """
        if device.type == "cpu" or not isinstance(self.pixels, Tensor):
            return self
        moved = copy.copy(self)  # checked as it is, and checking again would wait for the device
        object.__setattr__(moved, "pixels", self.pixels.to(device))
        object.__setattr__(moved, "y", self.y.to(device))
        return moved

    def all(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """All images and labels as one batch."""
        return self.batch(torch.arange(len(self)), device)

    def batches(self, size: int, *, seed: Seed | None = None) -> Iterator[Tensor]:
        """Indices in batches of ``size``: an epoch of training where a seed is given, else all in order.

        The last batch may be smaller; in training it may be larger by one instead.
        """
        if seed is None:
            return iter(torch.arange(len(self)).split(size))
        return self.sampling.batches(len(self), size, seed)

    def subset(self, rows: Tensor) -> "Images":
        """The images ``rows``, in that order."""
        pixels = (
            _part(self.pixels, rows) if isinstance(self.pixels, Tensor) else _Subset(self.pixels, rows.cpu())
        )
        return Images(pixels, _part(self.y, rows), self.classes, dtype=self.dtype)

    def first(self, count: int | None) -> "Images":
        """The first ``count`` images; all where None."""
        if count is None or count >= len(self):
            return self
        if count < 1:
            raise InputError(f"number of images: expected at least 1, got {count}")
        return self.subset(torch.arange(count))

    def drawn(self, count: int | None, seed: Seed) -> "Images":
        """``count`` of the images at random; all where None. In random order, so that the first of them are
        drawn at random as well.
        """
        order = torch.randperm(len(self), generator=seed.generator())
        return self.subset(order[:count])

    def of_classes(self, chosen: Sequence[int]) -> "Images":
        """Only the images of these classes, which get the labels 0, 1, ... in this order."""
        if len(set(chosen)) < max(2, len(chosen)) or not all(0 <= c < len(self.classes) for c in chosen):
            raise InputError(
                f"classes: expected two or more different ones from 0 to {len(self.classes) - 1}, got"
                f" {', '.join(map(str, chosen))}"
            )
        new_label = torch.full((len(self.classes),), -1)  # -1 for classes that are left out
        new_label[list(chosen)] = torch.arange(len(chosen))
        new_label = new_label.to(self.y.device)
        part = self.subset((new_label[self.y] >= 0).nonzero().flatten())
        classes = tuple(self.classes[c] for c in chosen)
        return Images(part.pixels, new_label[part.y], classes, dtype=self.dtype)

    def hold_out(self, part: float, seed: Seed) -> tuple["Images", "Images"]:
        """(rest, held out): a random fraction ``part`` of the images, or ``part`` images where it is 1 or
        more.
        """
        count = round(part * len(self)) if part < 1 else int(part)
        if not 0 <= count < len(self):
            raise InputError(f"validation: expected less than the {len(self)} images there are, got {part}")
        order = torch.randperm(len(self), generator=seed.generator())
        # Sorted, so that both parts keep the order of the source.
        return self.subset(order[count:].sort().values), self.subset(order[:count].sort().values)


def _part(values: Tensor | Pixels, rows: Tensor) -> Tensor:
    """The ``rows`` of values, which lie where they lie."""
    return values[uploaded(rows, values.device) if isinstance(values, Tensor) else rows]


def _whole(pixels: Tensor | Pixels, rows: Tensor) -> Tensor:
    """The ``rows`` of pixels, with what was kept around them."""
    read = getattr(pixels, "whole", None)
    return _part(pixels, rows) if read is None else read(rows)


@dataclass(frozen=True)
class _Whole:
    source: Tensor | Pixels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return _whole(self.source, rows)


@dataclass(frozen=True)
class _Subset:
    source: Pixels
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.source[self.rows[rows]]

    def whole(self, rows: Tensor) -> Tensor:
        return _whole(self.source, self.rows[rows])


@dataclass(frozen=True, eq=False, repr=False)
class Splits:
    """Training and test images of one source.

    Attributes:
        name: the source.
        train, test: the images; of a source without a test set a part is held out, as ``note`` says.
        note: a sentence for the reader of the numbers; empty for none.
    """

    name: str
    train: Images
    test: Images
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.train) == 0 or len(self.test) == 0:
            raise InputError(
                f"data {self.name!r}: expected training and test images, got {len(self.train)} and"
                f" {len(self.test)}"
            )
        if self.train.shape != self.test.shape:
            raise InputError(
                f"data {self.name!r}: expected images of one shape, got {self.train.shape} to train and"
                f" {self.test.shape} to test"
            )

    def __repr__(self) -> str:
        train, test = (repr(images).removeprefix("<Images: ")[:-1] for images in (self.train, self.test))
        return f"<Splits of {printable(self.name)}: train {train}; test {test}>"

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    def fitting(self, model: nn.Module) -> "Splits":
        """The same images, whose batches have the dtype of the network's parameters."""
        return replace(self, train=self.train.fitting(model), test=self.test.fitting(model))


@anywhere
@typed
def images_from_tensors(
    x: Tensor | NDArray[Any], y: Tensor | NDArray[Any], classes: Sequence[str] | None = None
) -> Images:
    """Images from tensors or arrays: x (N, K, H, W) floats in [0, 1] or bytes, y (N,) integer labels. Arrays
    may have their channels last.

    Signals (N, K, L), volumes (N, K, D, H, W) and rows of values (N, F) will do too, for training without
    augmentation and all that needs no picture.

    Args:
        x: the images.
        y: their classes, from 0 on.
        classes: the class names; numbers by default.

    Raises:
        InputError: pixels outside [0, 1], labels that are no class numbers, or unequal numbers of both.
    """
    return _labelled(*_tensors(x, y), classes)


def _labelled(x: Tensor, y: Tensor, classes: Sequence[str] | None) -> Images:
    if isinstance(x, Tensor) and x.dtype == torch.uint8:
        if x.dim() < 2 or len(x) == 0:
            raise InputError(f"x: expected images (N, K, H, W), got shape {tuple(x.shape)}")
    else:
        check_pixels(x)
    if x.numel():
        check_brightness(float(x.max()), "x", in_bytes=x.dtype == torch.uint8)
    check_labels(y, len(x))
    if x.dim() == 4 and x.shape[3] == 3 and x.shape[1] not in (1, 3) and min(x.shape[1:3]) > 4:
        raise InputError(
            f"x: expected images (N, K, H, W), got shape {tuple(x.shape)} with the channels last; give"
            " x.permute(0, 3, 1, 2)"
        )
    # Pixels that were read channel by channel and turned round need not lie so.
    y = y.long()
    return Images(x.contiguous(), y, class_names(y, classes))


def _tensors(x: Any, y: Any) -> tuple[Any, Any]:
    """Arrays as tensors; anything else as it is."""
    if isinstance(x, np.ndarray):
        check_values(x, "x")
        remedy = "give x.transpose(0, 3, 1, 2), or torch.from_numpy(x) where they are first"
        x = channels_first(x, None, "x", remedy)
        x = torch.from_numpy(native(x))
        x = x.float() if x.dtype == torch.float64 else x
    if isinstance(y, np.ndarray) or (isinstance(y, list) and not isinstance(x, list)):
        y = torch.from_numpy(plain_labels(np.asarray(y), "y"))
    return x, y


def class_names(y: Tensor, classes: Sequence[str] | None) -> tuple[str, ...]:
    """The given names of the classes, or their numbers.

    Raises:
        InputError: no names, and labels that cannot be those of classes.
    """
    if classes:
        return tuple(classes)
    count = int(y.max()) + 1
    if count > _MAX_CLASSES:
        raise InputError(
            f"y: expected labels 0, 1, 2, ... of at most {_MAX_CLASSES:,} classes, got {count - 1}"
        )
    return tuple(str(c) for c in range(count))


def joined_notes(*notes: str) -> str:
    """Several notes as one; empty where all are."""
    return "; ".join(note for note in notes if note)

"""A folder of pictures, one sub-folder for each class."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from semirobust.core.budget import BUDGET, check_count
from semirobust.core.errors import InputError
from semirobust.core.links import follows_links
from semirobust.core.seed import Seed
from semirobust.data import SOURCES, Images, Splits
from semirobust.data.base.framed import framed
from semirobust.data.base.images import joined_notes
from semirobust.data.base.locate import data_roots
from semirobust.data.base.picture import SUFFIXES, Decoded, decode
from semirobust.data.base.tree import class_folders, pictures_below, splits_of

__all__ = ["image_folder", "load_folder"]

_MAX_IN_MEMORY = 1 << 30  # bytes
_AT_ONCE = 1024  # pictures that are decoded before the next are begun


class _Files:
    """Pixels that are decoded when asked for: the short side resized to ``size``, the middle cropped."""

    def __init__(self, paths: Sequence[Path], size: int, root: Path) -> None:
        self.paths, self.size, self.root = list(paths), size, root
        self.links = follows_links()  # also later, when a batch is asked for
        self.left = BUDGET.folder_pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Tensor) -> Tensor:
        with ThreadPoolExecutor(8) as pool:
            return torch.stack([found.pixels for found in pool.map(self.decode, rows.tolist())])

    def decode(self, row: int) -> Decoded:
        path = self.paths[row]
        return decode(path, self.size, str(path.relative_to(self.root)), links=self.links)

    def or_none(self, row: int) -> Decoded | None:
        """None for a picture that cannot be read."""
        try:
            return self.decode(row)
        except InputError:
            return None

    def decoded(self, *, skip_bad: bool) -> Iterator[Decoded | None]:
        """All of them in order."""
        with ThreadPoolExecutor(8) as pool:
            for start in range(0, len(self), _AT_ONCE):
                rows = range(start, min(start + _AT_ONCE, len(self)))
                for found in pool.map(self.or_none if skip_bad else self.decode, rows):
                    yield found and self.counted(found)

    def counted(self, found: Decoded) -> Decoded:
        """The picture, where those before it were not far larger than their bytes can hold."""
        self.left -= max(0, found.area - BUDGET.pixels_per_byte * found.held)
        if self.left < 0:
            raise InputError(
                f"{self.root}: expected pictures of usual size, got ones that unpack to far more pixels than"
                " their bytes can hold; the rest was not read"
            )
        return found


@dataclass(frozen=True)
class _Part:
    """The pictures of one split, and what is to be said of them."""

    images: Images
    skipped: tuple[str, ...]
    traits: Counter[str]
    others: Counter[str]


def image_folder(folder: Path, image_size: int) -> Images:
    """Pictures of any size below ``folder``, whose sub-folders are the classes in alphabetical order.

    Up to a gigabyte of pixels is decoded at once and kept in memory; more is decoded batch by batch. Hidden
    files and folders, and what macOS and Windows leave beside pictures, are no pictures and no classes.

    Raises:
        InputError: no folder, fewer than two classes, a class without pictures, or a picture that cannot be
            read.
    """
    return _part(folder, class_folders(folder), image_size, folder, skip_bad=False).images


def _part(
    folder: Path,
    classes: dict[str, Path],
    size: int,
    root: Path,
    *,
    skip_bad: bool,
    names: Sequence[str] | None = None,
) -> _Part:
    """The pictures of some classes, which are numbered as in ``names``."""
    check_count("image_size", "pixels a side", size, BUDGET.image_size)
    strict, names = names is None, tuple(names or classes)
    numbers = {name: number for number, name in enumerate(names)}
    paths: list[Path] = []
    labels: list[int] = []
    others = Counter[str]()
    for name, below in classes.items():
        pictures, rest = pictures_below(below)
        if not pictures and strict:
            raise InputError(f"{below}: expected pictures ({', '.join(sorted(SUFFIXES))}), found none")
        paths += pictures
        labels += [numbers[name]] * len(pictures)
        others.update(rest)
    if not paths:
        raise InputError(
            f"{next(iter(classes.values())).parent}: expected pictures ({', '.join(sorted(SUFFIXES))}) in its"
            " classes, found none"
        )
    files, had = _Files(paths, size, root), {names[label] for label in labels}
    traits, skipped = Counter[str](), list[int]()
    pixels: Tensor | _Files = files
    in_memory = len(paths) * 3 * size**2 <= _MAX_IN_MEMORY
    if in_memory or skip_bad:
        kept = []
        for row, found in enumerate(files.decoded(skip_bad=skip_bad)):
            if found is None:
                skipped.append(row)
                continue
            traits.update(found.traits)
            if in_memory:
                kept.append(found.pixels)
        bad_rows = set(skipped)
        good = [row for row in range(len(paths)) if row not in bad_rows]
        labels = [labels[row] for row in good]
        if empty := sorted(had - {names[label] for label in labels}):
            raise InputError(f"{folder / empty[0]}: expected pictures, got none that can be read")
        pixels = torch.stack(kept) if in_memory else _Files([paths[row] for row in good], size, root)
    if 0 < traits["deep"] == traits["dim"]:
        raise InputError(
            f"{folder}: expected values up to 65535 in pictures of 16 bits, got none above 4095, as if of"
            " 12 bits, which would be read as nearly black; scale them to 16 bits or save them with 8"
        )
    bad = tuple(str(paths[row].relative_to(root)) for row in skipped)
    return _Part(Images(pixels, torch.tensor(labels), names), bad, traits, others)


def load_folder(
    folder: Path, image_size: int, *, skip_bad: bool = False, resize: int | None = None
) -> Splits:
    """Images of ``folder/train`` and ``folder/test`` (or ``val``), whatever their names' case.

    Without these folders, ``folder`` itself has the classes, and a fifth of it is held out for testing.

    Args:
        skip_bad: leave out pictures that cannot be read, and say how many in the note.
        resize: bring the short side to this, of which the middle ``image_size`` is the image; None for just
            that. What lies around it in the middle square is kept for augmentations that crop.

    Raises:
        InputError: as :func:`image_folder`, or a class of the test images that has no training images.
    """
    if resize is not None and resize != image_size:
        if resize < image_size:
            raise InputError(f"resize: expected at least the image_size of {image_size}, got {resize}")
        splits = load_folder(folder, resize, skip_bad=skip_bad)
        train, test = (framed(images, image_size) for images in (splits.train, splits.test))
        return Splits(splits.name, train, test, splits.note)
    return _load_folder(folder, image_size, skip_bad)


def _load_folder(folder: Path, image_size: int, skip_bad: bool) -> Splits:
    splits = splits_of(folder) if folder.is_dir() else None
    train_folder, test_folder, said = splits or (folder, None, "")
    classes = class_folders(train_folder)
    train = _part(train_folder, classes, image_size, folder, skip_bad=skip_bad)
    notes = [said]
    if test_folder is None:
        parts = [train]
        train_images, test_images = train.images.hold_out(0.2, Seed(("folder", "test")))
        notes.insert(0, "no test folder: a random fifth was held out for testing")
    else:
        test = _held_out(folder, test_folder, classes, image_size, skip_bad=skip_bad)
        parts = [train, test]
        train_images, test_images = train.images, test.images
        if lacking := [name for i, name in enumerate(classes) if not bool((test_images.y == i).any())]:
            notes.append(f"{test_folder.name} has no pictures of {_some(lacking)}")
    return Splits(folder.name, train_images, test_images, joined_notes(*notes, *_said(parts)))


def _held_out(folder: Path, test: Path, classes: dict[str, Path], size: int, *, skip_bad: bool) -> _Part:
    """The test images, whose classes are numbered as those of training are."""
    own = class_folders(test)
    if strange := [name for name in own if name not in classes]:
        raise InputError(
            f"{folder}: expected the same classes in {next(iter(classes.values())).parent.name} and"
            f" {test.name}, got {_some(strange)} in {test.name} alone; name them alike, case included, or"
            " take them away"
        )
    return _part(test, own, size, folder, skip_bad=skip_bad, names=tuple(classes))


def _said(parts: Sequence[_Part]) -> Iterator[str]:
    """What the reader of numbers on these pictures should know."""
    total = sum(len(part.images) for part in parts)
    traits = sum((part.traits for part in parts), Counter[str]())
    if skipped := [name for part in parts for name in part.skipped]:
        count = f"{len(skipped):,} of {total + len(skipped):,}"
        yield f"{count} pictures cannot be read and are left out ({_some(skipped)})"
    if 0 < traits["grey"] < total:
        yield f"{traits['grey']:,} of {total:,} pictures are grey and get three equal channels"
    if traits["transparent"]:
        yield f"{traits['transparent']:,} of {total:,} pictures are transparent in part and are laid on white"
    if traits["dim"]:
        yield f"{traits['dim']:,} of {traits['deep']:,} pictures of 16 bits are nowhere above a sixteenth"
    if traits["animated"]:
        yield f"of {traits['animated']:,} pictures with several frames the first is taken"
    if others := sum((part.others for part in parts), Counter[str]()):
        yield f"files that are no pictures are left out: {others.total():,} ({_some(sorted(others))})"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@SOURCES.register("imagenet")
def imagenet(
    *,
    root: str | Path | None = None,
    image_size: int = 224,
    skip_bad: bool = False,
    resize: int | None = None,
) -> Splits:
    """ImageNet in train/ and val/ with a sub-folder for each class, resized and cropped to the middle
    (Russakovsky et al. 2015).
    """
    tried = [folder for base in data_roots(root) for folder in (base / "imagenet", base)]
    for folder in tried:
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return load_folder(folder, image_size, skip_bad=skip_bad, resize=resize)
    raise InputError(
        f"data 'imagenet': expected train/ and val/ in one of {', '.join(map(str, tried))}; it must be"
        " fetched by hand"
    )

"""Loading data by name or by path."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from semirobust.core.checks import check_counts_given
from semirobust.core.errors import InputError
from semirobust.core.links import Linked, following_links, given_file, given_folder
from semirobust.core.nearest import meant
from semirobust.core.plain import anywhere
from semirobust.core.seed import Seed
from semirobust.data import SOURCES, Splits
from semirobust.data.base.images import Images
from semirobust.data.base.npz import load_npz
from semirobust.data.folder import load_folder

__all__ = ["OF_PICTURES", "load_data"]

OF_PICTURES = ("imagenet", "imagenette")
"""The known data sets that are folders of pictures."""


@anywhere
def load_data(
    source: str,
    *,
    root: str | Path | None = None,
    image_size: int | None = None,
    held_out: bool = True,
    layout: str | None = None,
    skip_bad: bool = False,
    links: bool = False,
    resize: int | None = None,
) -> Splits:
    """Training and test images from a known data set, an ``.npz`` or a folder of pictures.

    Args:
        source: a name that ``semirobust data`` lists, the path of an ``.npz``, or the path of a folder.
        root: the folder to look for a known data set in; None for those of ``data_roots``.
        held_out: whether a fifth is held out for testing where an ``.npz`` has no test images.
        image_size: the side to which pictures of a folder are resized; 32 where None (ImageNet and
            Imagenette: 224).
        layout: where the channels of an ``.npz`` are, ``NCHW`` or ``NHWC``; where None the shape must tell.
        skip_bad: leave out pictures of a folder that cannot be read; the note says how many.
        links: follow the links within the folder of the data, as subsets of ImageNet are made of them. A link
            that a stranger has put there may lead to any file of the machine.
        resize: the length to which the short side of pictures is brought before the middle ``image_size`` is
            cut out, such as 256 for 224; ``image_size`` where None.

    Raises:
        InputError: there is nothing of that name, or files are missing or damaged.
    """
    check_counts_given(1, image_size=image_size, resize=resize)
    if not isinstance(source, str | Path) or not str(source).strip():
        raise InputError(
            f"data: expected {', '.join(SOURCES.names())}, an .npz or a folder of pictures; got {source!r}"
        )
    source = str(source)
    if source in SOURCES.names() and image_size is not None and source not in OF_PICTURES:
        raise InputError(
            f"image_size: expected none for {source!r}, whose images have one size; got {image_size}"
        )
    path = Path(source)
    known = source in SOURCES.names()
    is_folder = _is_folder(path)
    packed = not known and path.suffix.lower() == ".npz" and not is_folder
    if layout is not None and not packed:
        raise InputError(f"layout: expected with an .npz alone, got {layout} for {source!r}")
    if skip_bad and (packed or (known and source not in OF_PICTURES)):
        raise InputError(f"skip_bad: expected with a folder of pictures alone, got it for {source!r}")
    if resize is not None and (packed or (known and source not in OF_PICTURES)):
        raise InputError(f"resize: expected with a folder of pictures alone, got it for {source!r}")
    try:
        with following_links() if links else nullcontext():
            if known:
                given = {"image_size": image_size, "skip_bad": skip_bad, "resize": resize}
                options = {name: value for name, value in given.items() if value and source in OF_PICTURES}
                return _shuffled_splits(SOURCES.make(source, options, root=root))
            if packed:
                return _shuffled_splits(load_npz(given_file(path), held_out=held_out, layout=layout))
            if is_folder:
                splits = load_folder(given_folder(path), image_size or 32, skip_bad=skip_bad, resize=resize)
                return _shuffled_splits(replace(splits, name=path.name))  # that of a link, where it is one
    except Linked as error:
        raise InputError(f"{error}; --data-links follows the links of a folder that is your own") from None
    raise InputError(
        f"data: expected {', '.join(SOURCES.names())}, an .npz or a folder of pictures; got {source!r}"
        f"{meant(source, SOURCES.names())}"
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name longer than any system has
        return False


def _shuffled_splits(splits: Splits) -> Splits:
    """Images that are sorted by class in a random but fixed order.

    Otherwise the first few of them, which quick runs take, would all be of one class.
    """
    train, test = _shuffled(splits.train, "train"), _shuffled(splits.test, "test")
    return Splits(splits.name, train, test, splits.note)


def _shuffled(images: Images, part: str) -> Images:
    """``images`` shuffled if they are sorted by class."""
    if bool((images.y[1:] < images.y[:-1]).any()):
        return images
    return images.subset(torch.randperm(len(images), generator=Seed(("order", part)).generator()))

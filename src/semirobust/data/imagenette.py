"""Imagenette: ten classes of ImageNet that are easy to tell apart (Howard 2019)."""

from dataclasses import replace
from pathlib import Path

from semirobust.core.errors import InputError
from semirobust.data import SOURCES, Splits
from semirobust.data.base.catalogue import CATALOGUE
from semirobust.data.base.imagenet import imagenet_classes
from semirobust.data.base.images import joined_notes
from semirobust.data.base.locate import data_roots
from semirobust.data.base.tree import subfolders
from semirobust.data.folder import load_folder

__all__ = ["imagenette"]

_CLASSES = (
    *("n01440764", "n02102040", "n02979186", "n03000684", "n03028079"),
    *("n03394916", "n03417042", "n03425413", "n03445777", "n03888257"),
)


@SOURCES.register("imagenette")
def imagenette(
    *,
    root: str | Path | None = None,
    image_size: int = 224,
    skip_bad: bool = False,
    resize: int | None = None,
) -> Splits:
    """Imagenette in train/ and val/: 9,469 and 3,925 pictures of tench, springer, cassette player, chain saw,
    church, horn, garbage truck, gas pump, golf ball and parachute (Howard 2019).

    The folder is imagenette2, imagenette2-320 or imagenette2-160, the first that there is, or the one given.
    Classes have the words of ImageNet in place of their WordNet numbers (ours).

    Raises:
        InputError: there is no such folder, it has other classes, or a picture cannot be read.
    """
    # As the archives unpack: pictures of full size, or with a short side of so many pixels.
    names = CATALOGUE["imagenette"].folders
    tried = [folder for base in data_roots(root) for folder in (*(base / name for name in names), base)]
    for folder in tried:
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            splits = load_folder(_checked(folder), image_size, skip_bad=skip_bad, resize=resize)
            return _named(splits, folder)
    raise InputError(
        f"data 'imagenette': expected train/ and val/ in one of {', '.join(map(str, tried))}; it must be"
        " fetched by hand"
    )


def _checked(folder: Path) -> Path:
    found = sorted(path.name for path in subfolders(folder / "train"))
    if found != sorted(_CLASSES):
        strange = [name for name in found if name not in _CLASSES]
        lacking = [name for name in _CLASSES if name not in found]
        what = f"{strange[0]} too" if strange else f"no {lacking[0]}"
        raise InputError(
            f"data 'imagenette': expected its ten classes in {folder / 'train'}, found {what}; name a folder"
            f" of other classes itself, as by --data {folder}"
        )
    return folder


def _named(splits: Splits, folder: Path) -> Splits:
    """The splits, whose classes are called by words."""
    words = {names[0]: names[1] for names in imagenet_classes()}
    classes = tuple(words[number] for number in splits.classes)
    train, test = (replace(images, classes=classes) for images in (splits.train, splits.test))
    return Splits("imagenette", train, test, joined_notes(f"pictures of {folder.name}", splits.note))

"""What lies in a folder of pictures: classes, splits, and what systems leave there."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from semirobust.core.budget import BUDGET, check_count
from semirobust.core.errors import InputError
from semirobust.core.links import entries_of, follows_links, real
from semirobust.data.base.picture import FOREIGN, SUFFIXES

__all__ = ["class_folders", "is_litter", "pictures_below", "splits_of", "subfolders"]

# Left by macOS, Windows, network storage and Python beside what the user put there.
_LITTER = {
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__pycache__",
}
_TRAIN = ("train", "training", "trainset", "train_set", "training_set")
_TEST = ("test", "testing", "testset", "test_set")
_VALIDATION = ("val", "valid", "validation", "validating", "val_set", "validation_set", "dev", "eval")
_PARTS = {name: part for part in (_TRAIN, _TEST, _VALIDATION) for name in part}
_MAX_DEPTH, _MAX_FOLDERS = 64, 1_000_000  # of folders within each other, and below a class
_OF_OTHER_TASKS = {"images", "labels", "masks", "annotations"}


def is_litter(name: str) -> bool:
    """Whether a file or folder of that name is hidden or left by a system."""
    return name.startswith(".") or name.lower() in _LITTER


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, without hidden ones and those that systems leave.

    Raises:
        InputError: links in it, unless they are to be followed.
    """
    return [path for path, is_folder in entries_of(folder, is_litter) if is_folder]


def pictures_below(folder: Path) -> tuple[list[Path], dict[str, int]]:
    """The pictures anywhere below a folder, in order, and how many other files there are, by ending.

    Pictures of formats that are not read are among the pictures, so that none is left out unawares.

    Raises:
        InputError: links in it, unless they are to be followed; or folders nested without an end.
    """
    pictures, others, looked = [], dict[str, int](), 0
    left: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]
    while left:
        place, above = left.pop()
        looked += 1
        here = real(place) if follows_links() else ""
        if len(above) > _MAX_DEPTH or looked > _MAX_FOLDERS or (here and here in above):
            raise InputError(
                f"{place}: expected at most {_MAX_DEPTH} folders within each other and {_MAX_FOLDERS:,} in"
                " all, got more, or a link that leads back to where it lies; take it away"
            )
        for path, is_folder in entries_of(place, is_litter):
            suffix = path.suffix.lower()
            if is_folder:
                left.append((path, (*above, here)))
            elif suffix in SUFFIXES or suffix in FOREIGN:
                pictures.append(path)
            else:
                others[suffix or "without an ending"] = others.get(suffix or "without an ending", 0) + 1
    check_count(str(folder), "pictures", len(pictures), BUDGET.files)
    return sorted(pictures), others


def class_folders(folder: Path) -> dict[str, Path]:
    """Class name -> folder, in alphabetical order.

    Raises:
        InputError: fewer than two, names that differ in case only, or folders that are no classes.
    """
    if not folder.is_dir():
        raise InputError(f"data: expected a folder of pictures at {folder}, found none")
    found: dict[str, Path] = {}
    folded: dict[str, str] = {}
    below_here = subfolders(folder)
    check_count(str(folder), "folders of classes", len(below_here), BUDGET.classes)
    for path in below_here:
        name = unicodedata.normalize("NFC", path.name)  # macOS takes letters and their accents apart
        if twin := folded.get(name.casefold()):
            raise InputError(f"{folder}: expected one folder for each class, got {twin!r} and {name!r}")
        found[name], folded[name.casefold()] = path, name
    if len(found) < 2:
        inside = f"; is it {next(iter(found.values()))} that is meant?" if found else ""
        raise InputError(
            f"{folder}: expected a sub-folder for each of at least two classes, found {len(found)}{inside}"
        )
    if {name.lower() for name in found} <= _OF_OTHER_TASKS:
        raise InputError(
            f"{folder}: expected a sub-folder for each class, got {', '.join(found)}, which belong to another"
            " task"
        )
    below = [[child.name.lower() for child in subfolders(path)] for path in found.values()]
    if all(names and all(name in _PARTS for name in names) for names in below):
        raise InputError(
            f"{folder}: expected classes below the splits (train/cat), got splits below the classes"
            f" ({next(iter(found))}/{below[0][0]}); move them"
        )
    return dict(sorted(found.items()))


def splits_of(folder: Path) -> tuple[Path, Path | None, str] | None:
    """The folders of training and of test images, and a note; None where the sub-folders are classes.

    Raises:
        InputError: folders that are named like splits and cannot be used as such.
    """
    children = subfolders(folder)
    named = {
        part: [c for c in children if _PARTS.get(c.name.lower()) is part]
        for part in (_TRAIN, _TEST, _VALIDATION)
    }
    if not any(named.values()) or _is_a_class(children, named[_TRAIN]):
        return None
    for paths in named.values():
        if len(paths) > 1:
            raise InputError(f"{folder}: expected one folder for each split, got {_listed(paths)}")
    parts = [path for paths in named.values() for path in paths]
    if flat := [path for path in parts if not subfolders(path)]:
        raise InputError(
            f"{folder}: expected a sub-folder for each class in {flat[0].name}, found none; if {flat[0].name}"
            " is itself a class, give it another name"
        )
    if not named[_TRAIN]:
        raise InputError(
            f"{folder}: expected train beside {_listed(parts)}, found none; name the folder of the classes"
            f" itself, such as {parts[0]}"
        )
    used = [*named[_TRAIN], *(named[_TEST] or named[_VALIDATION])]
    unused = [path for path in children if path not in used]
    note = f"{_listed(unused)} {'is' if len(unused) == 1 else 'are'} left out" if unused else ""
    return used[0], used[1] if len(used) > 1 else None, note


def _is_a_class(children: Sequence[Path], train: Sequence[Path]) -> bool:
    """Whether the folder called train has pictures of trains, beside those of other classes."""
    if len(train) != 1 or sum(child.name.lower() in _PARTS for child in children) != 1 or len(children) < 3:
        return False
    return not subfolders(train[0])


def _listed(paths: Sequence[Path]) -> str:
    names = [path.name for path in paths]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

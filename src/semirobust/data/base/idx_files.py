"""Where the idx files of MNIST and of those that share its file names lie, and whose they are."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from semirobust.core.errors import InputError
from semirobust.data.base.catalogue import CATALOGUE
from semirobust.data.base.locate import data_roots, not_found
from semirobust.data.base.tree import is_litter

__all__ = ["find_idx"]

_FILE = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx[13][-.]?ubyte(\.gz)?", re.IGNORECASE)
_NEEDED = ("train-images", "train-labels", "t10k-images", "t10k-labels")
_MAX_FOLDERS = 64  # below which none are looked into: pictures by class, not data sets by name
_DEPTH = 2
# Names of folders, of which only letters and digits count.
_OF_MNIST = re.compile(r"(the)?mnist(data|dataset|raw|idx|ubyte|digits|original|database)?")
_OTHERS = (
    "kmnist",
    "kuzushiji",
    "emnist",
    "qmnist",
    "notmnist",
    "kannada",
    "mnistm",
    "mnistc",
    "medmnist",
    "affnist",
)


def find_idx(name: str, root: str | Path | None, content: Callable[[Path], str | None]) -> dict[str, Path]:
    """The four files of a data set, called ``train-images``, ``train-labels``, ``t10k-images`` and
    ``t10k-labels``, in the first data root that has it.

    Folders are told apart by what their labels are known to be, or else by their names. One that neither
    tells is taken where there is no other.

    Args:
        content: the data set that a file of labels is of; None where it is not known.

    Raises:
        InputError: there is none, a file is missing, or several folders could be meant.
    """
    tried, strangers = [], []
    for base in data_roots(root):
        tried.append(str(base))
        found = list(_candidates(base))
        whose = [_whose(base, folder, files, content) for folder, files in found]
        exact = [files for (_, files), (own, sure) in zip(found, whose, strict=True) if own == name and sure]
        named = [files for (_, files), (own, _) in zip(found, whose, strict=True) if own == name]
        unknown = [files for (_, files), (own, _) in zip(found, whose, strict=True) if own is None]
        if exact:
            return _complete(exact[0])
        chosen = named or (unknown if len(found) == 1 else [])
        if len(chosen) > 1 or (unknown and not chosen):
            places = " and ".join(str(folder) for folder, _ in found)
            raise InputError(
                f"data {name!r}: expected one folder that is {name}, got {places}, which have the same files"
                " and do not tell; name the right one with --data-root"
            )
        if chosen:
            return _complete(chosen[0])
        strangers += [f"{folder} ({own})" for (folder, _), (own, _) in zip(found, whose, strict=True)]
    besides = f", found only {', '.join(strangers)}" if strangers else ""
    raise not_found(name, "train-images-idx3-ubyte.gz", tried, besides)


def _complete(files: dict[str, Path]) -> dict[str, Path]:
    for kind in _NEEDED:
        if kind not in files:
            folder = next(iter(files.values())).parent
            number = 3 if kind.endswith("images") else 1
            raise InputError(f"{folder}: expected {kind}-idx{number}-ubyte.gz, found none")
    return files


def _whose(
    base: Path, folder: Path, files: dict[str, Path], content: Callable[[Path], str | None]
) -> tuple[str | None, bool]:
    """The data set that a folder has, and whether that is certain; None where nothing tells."""
    if "train-labels" in files:
        try:
            if own := content(files["train-labels"]):
                return own, True
        except InputError:
            pass  # damage is said where the file is read
    relative = folder.relative_to(base).parts
    at = base.resolve()  # itself of no telling name where it is torchvision's MNIST/raw
    for part in (*reversed(relative), at.parent.name if at.name.lower() == "raw" else at.name):
        if own := _named(part):
            return own, False
    return None, False


def _named(folder: str) -> str | None:
    """The data set that a folder is called after, if any."""
    plain = re.sub("[^a-z0-9]", "", folder.lower())
    if "fashion" in plain:
        return "fashion-mnist"
    if _OF_MNIST.fullmatch(plain):
        return "mnist"
    return next((other for other in _OTHERS if plain.startswith(other)), None)


def _candidates(base: Path) -> Iterator[tuple[Path, dict[str, Path]]]:
    """The folders with a file of training images in or near a data root, the root's own first."""
    folders = [base]
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for folder in folders:
            files, children = _look(folder)
            if "train-images" in files:
                yield folder, files
            known = [child for child in children if child.name in {e.folder for e in CATALOGUE.values()}]
            below += children if len(children) <= _MAX_FOLDERS else known
        folders = below


def _look(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """The idx files of a folder, gzipped ones first, each maybe in a folder of its own name; and its other
    sub-folders.
    """
    files: dict[str, Path] = {}
    children = []
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: (not entry.name.lower().endswith(".gz"), entry.name))
    except OSError:
        return {}, []
    for entry in entries:
        match = _FILE.fullmatch(entry.name)
        if entry.is_file() and match:
            files.setdefault(_kind(match), Path(entry.path))
        elif entry.is_dir() and match:  # as Kaggle unpacks it
            inside = sorted(p for p in Path(entry.path).iterdir() if _FILE.fullmatch(p.name) and p.is_file())
            if inside:
                files.setdefault(_kind(match), inside[0])
        elif not is_litter(entry.name) and entry.is_dir():
            children.append(Path(entry.path))
    return files, children


def _kind(match: "re.Match[str]") -> str:
    part = "train" if match[1].lower() == "train" else "t10k"
    return f"{part}-{match[2].lower()}"

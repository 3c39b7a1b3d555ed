"""Studies by name or by path.

A name is that of an entry point of the group ``semirobust.studies``, or of a folder in ``papers`` below the
working directory. A path is that of any folder with a file ``study.py``.
"""

import hashlib
import importlib
import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from semirobust.core.errors import InputError
from semirobust.experiments.queue.study import AbstractStudy

__all__ = ["NamedStudy", "find_study", "study_names"]

_GROUP, _FILE, _PAPERS = "semirobust.studies", "study.py", "papers"


@dataclass(frozen=True)
class NamedStudy:
    """A study, and how another process finds it again.

    Attributes:
        name: of its folder of runs: that of the entry point, or of the folder of the study.
        reference: the name of the entry point, or the absolute path of the folder.
        study: the study.
    """

    name: str
    reference: str
    study: AbstractStudy


def find_study(name_or_path: str | Path) -> NamedStudy:
    """The study of that name, or in the folder of that path. Its code is run, as code that the user named.

    An installed study comes before ``papers/NAME`` in the working directory, and that before a folder NAME.

    Raises:
        InputError: no such study, or a folder whose code cannot be imported or defines no study.
    """
    text = str(name_or_path)
    if text in (installed := _installed()):
        return NamedStudy(text, text, _loaded(installed[text]))
    for folder in (Path(_PAPERS) / text, Path(text)):
        if (folder / _FILE).is_file():
            folder = folder.resolve()
            return NamedStudy(folder.name, str(folder), _only_study(_imported(folder), folder))
    names = ", ".join(study_names())
    raise InputError(
        f"study: expected {f'one of {names}, or ' if names else ''}the path of a folder with {_FILE};"
        f" got {text!r}"
    )


def study_names() -> list[str]:
    """The names of all studies that are installed or lie in ``papers`` below the working directory."""
    return sorted({*_installed(), *(file.parent.name for file in Path(_PAPERS).glob(f"*/{_FILE}"))})


def _installed() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=_GROUP)}


def _loaded(point: importlib.metadata.EntryPoint) -> AbstractStudy:
    try:
        study = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"study {point.name}: cannot import {point.value} ({error})") from None
    study = study() if isinstance(study, type) else study
    if not isinstance(study, AbstractStudy):
        raise InputError(f"study {point.name}: expected a subclass of AbstractStudy at {point.value}")
    return study


def _imported(folder: Path) -> ModuleType:
    """The module ``study`` of a folder, which imports its neighbours as ``from .runs import ...``.

    The folder becomes a package whose name holds a hash of its path, so that two folders of one name differ.
    """
    package = f"semirobust_study_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        module = ModuleType(package, f"The study in {folder}.")
        module.__path__ = [str(folder)]
        sys.modules[package] = module
    importlib.invalidate_caches()  # files that are younger than the last look at their folder
    try:
        return importlib.import_module(f"{package}.{Path(_FILE).stem}")
    except ImportError as error:
        raise InputError(f"study: cannot import {folder / _FILE} ({error})") from None


def _only_study(module: ModuleType, folder: Path) -> AbstractStudy:
    studies = [
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, AbstractStudy)
        and member.__module__ == module.__name__
    ]
    if len(studies) != 1:
        raise InputError(
            f"study: expected one subclass of AbstractStudy in {folder / _FILE}, got {len(studies)}"
        )
    study: type[AbstractStudy] = studies[0]
    return study()

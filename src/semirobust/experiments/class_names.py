"""Names of the outputs of a network: from the user, or from the files that weights lie in."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from semirobust.core.budget import BUDGET, check_count, parse_json, read_json
from semirobust.core.errors import InputError
from semirobust.core.files import read_text
from semirobust.core.links import Linked, given_file
from semirobust.core.tensor_files import read_metadata
from semirobust.core.torch_files import read_torch_file
from semirobust.data.base.imagenet import imagenet_classes

__all__ = [
    "IN_ORDER",
    "Names",
    "given_names",
    "names_beside",
    "names_of",
    "plain_name",
    "with_imagenet",
]

Names = tuple[tuple[str, ...], ...]
"""For each output the names of its class."""

IN_ORDER = "in-order"
"""What says that the outputs are the classes of the data in their order, whatever these are called."""

_SYNSET = re.compile(r"n\d{8}")
# Where others keep the names of classes.
_KEYS = (
    *("id2label", "label2id", "class_to_idx", "idx_to_class", "label_names", "class_names", "classes"),
    *("categories", "names", "vocab"),
)
_INSIDE = ("config", "model", "pretrained_cfg", "hyper_parameters", "meta", "args")
_ENOUGH = 0.9  # of the thousand, to know ImageNet by its words


def names_of(classes: Sequence[str], outputs: int) -> Names:
    """The names of a network that was trained on these classes, of which it may have more."""
    more = (f"output {i}" for i in range(len(classes), outputs))
    return tuple((name,) for name in (*classes, *more))


def given_names(entries: Sequence[str]) -> Names:
    """The names that a user gives: one for each output, or a file.

    A file has one class a line, its names separated by a comma and a space (a WordNet number may stand in
    front); or it is JSON, a list of names or a mapping between names and numbers, such as the ``config.json``
    of transformers.

    Raises:
        InputError: no such file, or one that says no names.
    """
    if len(entries) != 1:
        return tuple((entry,) for entry in entries)
    path = Path(entries[0])
    if not path.is_file():
        raise InputError(
            f"classes: expected names with commas in the order of the outputs, a file of one name a line, or"
            f" {IN_ORDER}; got {entries[0]!r}, which is no file"
        )
    text = _read(given_file(path))
    if path.suffix == ".json":
        try:
            found = _in_config(parse_json(text), bare=True)
        except ValueError:
            found = ()
    else:
        lines = [line for line in text.split("\n") if line.strip()]
        check_count(f"classes: {path.name}", "names", len(lines), BUDGET.classes)
        found = tuple(map(_of_line, lines))
    if not found:
        raise InputError(f"classes: expected the names of classes in {path.name}, found none")
    return found


def names_beside(checkpoint: Path) -> Names:
    """The names that a file of weights brings: in its own metadata where a command wrote it, beside the
    weights of a PyTorch checkpoint (``class_to_idx``, ``classes`` ...), or in a ``config.json`` beside it;
    empty for none.
    """
    found: Names = ()
    if checkpoint.suffix == ".safetensors" and checkpoint.is_file():
        found = _in_config(read_metadata(checkpoint))
    elif checkpoint.suffix != ".json" and checkpoint.is_file():  # else the index of several files
        with suppress(InputError):
            found = _in_config(read_torch_file(checkpoint))
    config = checkpoint.with_name("config.json")
    if not found and config.is_file():
        try:
            found = _in_config(read_json(config))
        except (OSError, ValueError):
            return ()
    return found


def with_imagenet(names: Names, outputs: int, classes: Sequence[str]) -> tuple[Names, bool]:
    """The names, with ImageNet's own where the network is one of its thousand classes, and whether that was
    only guessed: from the number of outputs, and from classes that are all ImageNet's.
    """
    known = imagenet_classes()
    if outputs != len(known):
        return names, False
    if not names:
        theirs = {plain_name(name) for each in known for name in each}
        return (known, True) if all(plain_name(name) in theirs for name in classes) else ((), False)
    alike = sum(
        not {*map(plain_name, own)}.isdisjoint(map(plain_name, all_)) for own, all_ in zip(names, known)
    )
    if alike < _ENOUGH * outputs:
        return names, False
    return tuple((*own, *(n for n in more if n not in own)) for own, more in zip(names, known)), False


def _read(path: Path) -> str:
    try:
        return read_text(path, most=BUDGET.json)
    except Linked:
        raise
    except (InputError, OSError) as error:
        reason = str(error) if isinstance(error, InputError) else type(error).__name__
        raise InputError(
            f"classes: expected a file of names at {path.name}, cannot read it ({reason})"
        ) from None


def _of_line(line: str) -> tuple[str, ...]:
    first, _, rest = line.strip().partition(" ")
    numbers = (first,) if _SYNSET.fullmatch(first) and rest else ()
    text = rest if numbers else line.strip()
    return tuple(dict.fromkeys((*numbers, text, *text.split(", "))))


def _in_config(content: Any, *, bare: bool = False) -> Names:
    """The names in a configuration; with ``bare`` also where it is nothing else."""
    if not isinstance(content, Mapping):
        return _as_names(content) if bare else ()
    for key in _KEYS:
        if found := _as_names(content.get(key)):
            return found
    for key in _INSIDE:
        if isinstance(content.get(key), Mapping) and (found := _in_config(content[key])):
            return found
    return _as_names(content) if bare else ()


def _as_names(value: Any) -> Names:
    """A list of names, or a mapping between names and the numbers 0, 1, 2, ...; empty for anything else."""
    if isinstance(value, Mapping):
        by_number = {_number(v): k for k, v in value.items() if isinstance(v, int)}
        by_number = by_number or {_number(k): v for k, v in value.items()}
        if len(by_number) != len(value) or {*by_number} != {*range(len(value))}:
            return ()
        value = [by_number[number] for number in range(len(value))]
    if not isinstance(value, list | tuple) or len(value) < 2:
        return ()
    names = [(each, *each.split(", ")) if isinstance(each, str) else each for each in value]
    if not all(isinstance(n, list | tuple) and n and all(isinstance(x, str) and x for x in n) for n in names):
        return ()
    generic = all(re.fullmatch(r"LABEL_\d+", each[0]) for each in names)
    return () if generic else tuple(tuple(dict.fromkeys(each)) for each in names)


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | str) and re.fullmatch(r"\d{1,6}", str(value)) else None


def plain_name(name: str) -> str:
    """A name without case, underscores and hyphens."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())

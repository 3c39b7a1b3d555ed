"""Where the weights are in what a checkpoint holds."""

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from semirobust.core.budget import BUDGET, check_count, check_name
from semirobust.core.built import NUMPY_ARRAY, Ignored
from semirobust.core.errors import InputError

__all__ = [
    "Content",
    "Stored",
    "check_names",
    "check_written_out",
    "checked_versions",
    "is_averaged",
    "joined",
    "stored_in",
]

# Under which keys trainers put weights, the least ambiguous first; after these any other, then averages.
_KEYS = (
    "",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "student",
    "module",
)
_AVERAGED = re.compile(r"(^|[._-])(ema|swa|wa|avg|averaged?|teacher|shadow|momentum|slow)($|[._-]|\d)", re.I)
_MAX_DEPTH = 6
_SHOWN = 5


@dataclass(frozen=True)
class Stored:
    """One dictionary of tensors in a checkpoint.

    Attributes:
        key: the keys that lead to it, between dots; empty for the file itself.
        tensors: by name.
        versions: of the modules that the tensors are of, where the file says them.
        other: the names of its entries that are no tensors, with the class of those that were not built.
    """

    key: str
    tensors: Mapping[str, Tensor]
    versions: Mapping[str, Any] | None = None
    other: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Content:
    """What a checkpoint holds.

    Attributes:
        stored: its dictionaries of tensors, at least one, those that are most likely meant first.
        ignored: what was not built beside them: its key, and the class.
    """

    stored: tuple[Stored, ...]
    ignored: Mapping[str, str]


def joined(*parts: str) -> str:
    """Keys, one inside the other, as one."""
    return ".".join(part.strip(".") for part in parts if part)


def is_averaged(key: str) -> bool:
    """Whether a key speaks of weights that were averaged over training, and not of those trained last."""
    return _AVERAGED.search(key) is not None


def stored_in(name: str, content: Any) -> Content:
    """The dictionaries of tensors in the content of the file ``name``.

    Raises:
        InputError: there are none, or more or longer names than any network has.
    """
    stored: list[Stored] = []
    ignored: dict[str, str] = {}
    count = 0
    whole: str | None = None
    for key, value in _walk(content):
        if isinstance(value, Ignored):
            ignored[key] = value.name
            whole = whole or (key or "." if value.is_module else None)
        elif isinstance(value, Mapping):
            tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
            other = {str(k): getattr(v, "name", "") for k, v in value.items() if isinstance(v, Ignored)}
            if tensors:
                count = check_names(name, tensors, count)
                stored.append(
                    Stored(key, tensors, checked_versions(getattr(value, "_metadata", None)), other)
                )
    if not stored:
        raise InputError(f"{name}: {_nothing(name, content, ignored, whole)}")
    return Content(tuple(sorted(stored, key=_rank)), ignored)


def check_names(file: str, tensors: Collection[str], before: int = 0) -> int:
    """How many names of tensors a file has with these and those before.

    Raises:
        InputError: more, or longer ones, than any network has.
    """
    check_count(file, "tensors", before + len(tensors), BUDGET.tensors)
    for name in tensors:
        check_name(file, name)
    return before + len(tensors)


def check_written_out(file: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise ``InputError`` where tensors would be far larger, written out, than what is held of them.

    One value can stand for any number of them (``torch.zeros(1).expand(10**12)``).
    """
    stored = [tensor.untyped_storage() for tensor in tensors.values()]
    held = sum({each.data_ptr(): each.nbytes() for each in stored}.values())
    most = max(BUDGET.tensor_bytes, BUDGET.tensor_ratio * held)
    found = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if found > most:
        raise InputError(
            f"{file}: expected tensors of at most {most:,} bytes, since the file holds {held:,}, got"
            f" {found:,}, in which one value stands for many; it was not read"
        )


def checked_versions(noted: Any) -> dict[str, Any] | None:
    """Versions of modules as a file says them; None where it says none."""
    if not isinstance(noted, Mapping):
        return None
    return {
        str(name): {"version": entry["version"]}
        for name, entry in noted.items()
        if isinstance(entry, Mapping) and isinstance(entry.get("version"), int)
    }


def _rank(stored: Stored) -> tuple[bool, int, int]:
    last = stored.key.rpartition(".")[2]
    return (
        is_averaged(stored.key),
        _KEYS.index(last) if last in _KEYS else len(_KEYS),
        stored.key.count("."),
    )


def _walk(content: Any) -> Iterator[tuple[str, Any]]:
    """All dictionaries, and what was not built, with the keys that lead there; not those of an optimizer."""
    left, seen = deque([("", content, 0)]), set[int]()
    while left and len(seen) < BUDGET.dictionaries:
        key, value, depth = left.popleft()
        if isinstance(value, Ignored):
            yield key, value
        if not isinstance(value, Mapping | list | tuple) or id(value) in seen or depth > _MAX_DEPTH:
            continue
        if len(key) > BUDGET.name:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            yield key, value
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        left += [
            (joined(key, shown), v, depth + 1)
            for k, v in pairs
            if isinstance(v, Mapping | list | tuple | Ignored)
            and not (shown := str(k)[: BUDGET.name]).startswith("optim")
        ]


def _nothing(name: str, content: Any, ignored: Mapping[str, str], whole: str | None) -> str:
    """Why there are no weights."""
    if whole is not None:
        path = "" if whole == "." else "".join(f"[{part!r}]" for part in whole.split("."))
        kind = ignored["" if whole == "." else whole]
        return (
            f"expected a state dict of tensors, got a whole pickled model ({kind}), which runs its"
            " code when it is read, so it was not; if you trust it, two lines of Python make a state dict:"
            f" model = torch.load({name!r}, weights_only=False){path} and"
            " torch.save(model.state_dict(), 'weights.pt')"
        )
    if isinstance(content, Mapping) and not content:
        return "expected a state dict of tensors, got an empty dictionary"
    if not isinstance(content, Mapping | Ignored):
        return f"expected a state dict of tensors, got {type(content).__name__}"
    asked = sorted(set(ignored.values()))[:_SHOWN]
    parts = []
    if isinstance(content, Mapping):
        parts.append(f"the entries {', '.join(map(str, list(content)[:_SHOWN]))}")
    if asked:
        parts.append(f"a pickle that asks for {', '.join(asked)}, which was left out; nothing was run")
    arrays = [kind for kind in ignored.values() if kind == NUMPY_ARRAY]
    hint = "; torch.from_numpy makes tensors of arrays" if len(arrays) > 1 else ""
    return f"expected a state dict of tensors, got {' of '.join(parts) or 'nothing'}{hint}"

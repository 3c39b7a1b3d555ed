"""Tensors in files: read without running anything, written whole or not at all."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semirobust.core.budget import BUDGET, check_count, parse_json
from semirobust.core.errors import InputError
from semirobust.core.files import move, opened, read_bytes, write_atomically
from semirobust.core.foreign_files import check_is_file, recognised
from semirobust.core.state import State, versions_of
from semirobust.core.stored import (
    Content,
    Stored,
    check_names,
    check_written_out,
    checked_versions,
    stored_in,
)
from semirobust.core.torch_files import read_torch_file

__all__ = [
    "bytes_of",
    "is_safetensors",
    "read_checked",
    "read_metadata",
    "read_stored",
    "read_tensors",
    "set_aside",
    "write_tensors",
]

_METADATA = "semirobust"  # the one entry of a safetensors header that this project writes
_CHECKSUM = "sum"
_REMEDY = "; take another copy"
_LOG = logging.getLogger("semirobust.core")

_VERSIONS = "versions"  # of modules, in that entry
_INDEX = ".index.json"  # of a checkpoint in several files
_MAX_HEADER = 100_000_000  # bytes; a longer one is none


def read_stored(path: Path) -> Content:
    """The dictionaries of tensors in a safetensors file or a PyTorch checkpoint, and what lies beside them.

    Nothing in the file is executed. A safetensors file with a checksum of this project must be as it was
    written.

    Raises:
        InputError: no such file, a damaged one or one of another kind, or no tensors.
    """
    check_is_file(path)
    if path.name.endswith(_INDEX):
        return _from_parts(path)
    if not is_safetensors(path):
        return stored_in(path.name, read_torch_file(path))
    return Content((_read_safetensors(path)[0],), {})


def _read_safetensors(path: Path) -> tuple[Stored, dict[str, Any]]:
    """The tensors of a safetensors file, and what this project wrote into its header; where there is a
    checksum among that, it is that of both.
    """
    from safetensors import SafetensorError, safe_open

    _check_header(path)
    try:
        with safe_open(path, "pt") as file:
            check_names(path.name, file.keys())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None
    # What safetensors' own save_model left out, because it is the same tensor under another name.
    twins = {name: tensors[kept] for name, kept in header.items() if kept in tensors and name not in tensors}
    check_names(path.name, twins, len(tensors))
    try:
        own = _own(header)
        versions = checked_versions(own.get(_VERSIONS))
    except ValueError as error:
        raise _unreadable(path, error) from None
    if own.get(_CHECKSUM, "") not in ("", _checksum(tensors, own)):
        raise InputError(f"{path.name}: damaged, its content is not what was written{_REMEDY}")
    return Stored("", {**tensors, **twins}, versions), own


def _from_parts(index: Path) -> Content:
    """The tensors of the files that an index names, as transformers writes large checkpoints."""
    names: set[str] = set()
    try:
        content = parse_json(read_bytes(index, most=BUDGET.json), most=2 * BUDGET.tensors)["weight_map"]
        check_count(index.name, "tensors", len(content), BUDGET.tensors)
        names = {str(name) for name in content.values()}
        check_count(index.name, "files", len(names), BUDGET.parts)
        parts = [index.parent / name for name in sorted(names) if Path(name).name == name]
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        parts = []
    if not parts or len(parts) < len(names):
        raise InputError(f"{index.name}: expected an index of files beside it, got one that names others")
    found: dict[str, Tensor] = {}
    for part in parts:
        if part.name.endswith(_INDEX):  # which could name itself
            raise InputError(f"{index.name}: expected an index of files of tensors, got {part.name}")
        found |= read_stored(part).stored[0].tensors
        check_count(index.name, "tensors", len(found), BUDGET.tensors)
    return Content((Stored("", found),), {})


def read_tensors(path: Path) -> State:
    """The tensors of the first dictionary of :func:`read_stored`, by name, with the versions that it notes.

    Raises:
        InputError: as there.
    """
    first = read_stored(path).stored[0]
    check_written_out(path.name, first.tensors)
    return State(first.tensors, first.versions or {})


def is_safetensors(path: Path) -> bool:
    """Whether a file is one, by its beginning, or by its name where the beginning says nothing else."""
    with opened(path) as file:
        head = file.read(9)
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") < _MAX_HEADER:
        return True
    return path.suffix == ".safetensors" and head[:2] not in (b"PK", b"\x80\x02") and recognised(path) is None


def _check_header(path: Path) -> None:
    """Refuse a header that would take long to read."""
    with opened(path) as file:
        length = int.from_bytes(file.read(8), "little")
    if length > BUDGET.header:
        raise InputError(
            f"{path.name}: expected a header of at most {BUDGET.header:,} bytes, got one of {length:,}; it"
            " was not read"
        )


def _own(header: Mapping[str, str]) -> dict[str, Any]:
    """What this project wrote into the header of a safetensors file."""
    text = header.get(_METADATA, "{}")
    content = parse_json(text, most=len(text), longest=BUDGET.header)
    return content if isinstance(content, dict) else {}


def read_metadata(path: Path) -> dict[str, Any]:
    """What :func:`write_tensors` was given as ``metadata``; empty for a file written by others."""
    check_is_file(path)
    from safetensors import SafetensorError, safe_open

    _check_header(path)
    try:
        with safe_open(path, "pt") as file:
            content = _own(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return _given(content)


def _given(own: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`write_tensors` was given, of all that it wrote into a header."""
    return {key: value for key, value in own.items() if key not in (_VERSIONS, _CHECKSUM)}


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write tensors as safetensors, whole or not at all; equal content gives equal bytes.

    ``metadata`` is kept as one entry of JSON, because safetensors writes several entries in random order. The
    versions of modules that ``state_dict`` notes are kept beside it, where they are not the usual first, and
    a checksum over all of it.

    Raises:
        InputError: an entry is no tensor.
    """
    from safetensors.torch import save

    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"model: expected tensors in its state dict, but {name} is of {type(tensor).__name__}; write"
                " it by torch.save(model.state_dict(), 'weights.pt')"
            )
    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    flat = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    versions = versions_of(tensors)
    own = json.loads(json.dumps({**(metadata or {}), **({_VERSIONS: versions} if versions else {})}))
    own[_CHECKSUM] = _checksum(flat, own)
    write_atomically(path, save(flat, {_METADATA: json.dumps(own)}))


def read_checked(path: Path) -> tuple[dict[str, Any], State]:
    """Metadata and tensors that :func:`write_tensors` wrote, for what a run goes on from.

    Raises:
        InputError: the file cannot be read, has no checksum, or its content is not what was written.
    """
    check_is_file(path)
    try:
        stored, own = _read_safetensors(path)
        check_written_out(path.name, stored.tensors)
    except InputError as error:  # without the remedy for weights, which is another copy
        raise InputError(str(error).removesuffix(_REMEDY)) from None
    if _CHECKSUM not in own:
        raise InputError(f"{path.name}: damaged, it has no checksum")
    return _given(own), State(stored.tensors, stored.versions or {})


def set_aside(path: Path, then: str, *, why: str = "is damaged") -> str:
    """Rename a file that is kept to go on from and cannot be used, so that it blocks nothing; gives a
    sentence that says so and what happens ``then``, and logs it.
    """
    number = 1
    while (place := path.with_name(f"{path.name}.damaged{'' if number == 1 else f'-{number}'}")).exists():
        number += 1
    move(path, place)
    sentence = f"{path.name} {why}; it was set aside as {place.name}, and {then}"
    _LOG.warning("%s", sentence)
    return sentence


def bytes_of(tensor: Tensor) -> bytes:
    """The values in row-major order, of any dtype; empty for an empty tensor."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""


def _checksum(tensors: Mapping[str, Tensor], own: Mapping[str, Any]) -> str:
    """Over all tensors and all entries but the checksum itself."""
    entries = {key: value for key, value in own.items() if key != _CHECKSUM}
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path.name}: expected a complete safetensors file, got one that cannot be read ({error})"
    )

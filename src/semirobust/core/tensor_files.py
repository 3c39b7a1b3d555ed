"""Tensors in files: read without running anything, written whole or not at all."""

import hashlib
import io
import json
import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.files import check_archive, write_atomically

__all__ = ["bytes_of", "read_checked", "read_metadata", "read_tensors", "write_checked", "write_tensors"]

_METADATA = "semirobust"  # the one entry of a safetensors header that this project writes
_CHECKSUM = "sum"

# Files from before PyTorch 1.6 hold five pickles one after the other.
_PICKLES_PER_FILE = 5
_MAX_NAME = 300  # characters; the names of PyTorch's own classes have under 60

# Under which key trainers put the weights inside a checkpoint, the least ambiguous first.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file or a PyTorch checkpoint, by name.

    Wrappers such as ``{"state_dict": ...}`` are opened. Nothing in the file is executed.

    Raises:
        InputError: no such file, a damaged one, a pickle that asks for more than tensors, or no tensors.
    """
    if not path.is_file():
        raise InputError(f"checkpoint: expected a file at {path}, found none")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickle protocols; unsafe ones are refused below
            _check_names(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError:
        raise InputError(
            f"{path.name}: expected a state dict of plain tensors, got a pickle that asks for more or is"
            " damaged; nothing was run"
        ) from None
    except Exception as error:  # a damaged archive can fail in any way
        raise InputError(
            f"{path.name}: expected a PyTorch state dict, got a file that cannot be read"
            f" ({type(error).__name__})"
        ) from None
    return _tensors_in(path, content)


def read_metadata(path: Path) -> dict[str, Any]:
    """What :func:`write_tensors` was given as ``metadata``; empty for a file written by others."""
    try:
        with safe_open(path, "pt") as file:
            content = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return content if isinstance(content, dict) else {}


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write tensors as safetensors, whole or not at all; equal content gives equal bytes.

    ``metadata`` is kept as one entry of JSON, because safetensors writes several entries in random order.
    """
    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    flat = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    write_atomically(path, save(flat, {_METADATA: json.dumps(dict(metadata or {}))}))


def write_checked(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """:func:`write_tensors` with a checksum over tensors and metadata, for states that a run resumes from."""
    write_tensors(path, tensors, {**metadata, _CHECKSUM: _checksum(tensors, metadata)})


def read_checked(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors that :func:`write_checked` wrote.

    Raises:
        InputError: the file cannot be read, or its content is not what was written.
    """
    metadata, tensors = read_metadata(path), read_tensors(path)
    if metadata.pop(_CHECKSUM, "") != _checksum(tensors, metadata):
        raise InputError(f"{path.name}: damaged")
    return metadata, tensors


def bytes_of(tensor: Tensor) -> bytes:
    """The values in row-major order, of any dtype; empty for an empty tensor."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path.name}: expected a complete safetensors file, got one that cannot be read ({error})"
    )


def _check_names(path: Path) -> None:
    """Refuse archives that unpack to absurd sizes, and pickles with absurdly long names.

    PyTorch would take minutes to complain about such a name.
    """
    if zipfile.is_zipfile(path):
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            pickles = [
                io.BytesIO(archive.read(name)) for name in archive.namelist() if name.endswith("data.pkl")
            ]
    else:
        # One stream several times: each pass reads on where the last pickle ended.
        pickles = [io.BytesIO(path.read_bytes())] * _PICKLES_PER_FILE
    for stream in pickles:
        try:
            too_long = any(
                opcode.name in ("GLOBAL", "INST") and len(str(name)) > _MAX_NAME
                for opcode, name, _ in pickletools.genops(stream)
            )
        except ValueError:  # the end, or damage, which torch.load will report
            return
        if too_long:
            raise pickle.UnpicklingError("a name of absurd length")


def _tensors_in(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors of a loaded checkpoint, which may lie in a wrapper."""
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
        for key in _WRAPPERS:
            if isinstance(content.get(key), Mapping):
                return _tensors_in(path, content[key])
        if tensors:
            return tensors
        got = f"the entries {', '.join(map(str, list(content)[:5]))}"
    else:
        got = type(content).__name__
    raise InputError(f"{path.name}: expected a state dict of tensors, got {got}")

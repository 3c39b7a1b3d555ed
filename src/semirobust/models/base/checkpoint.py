"""Weights on disk: read without running anything, written whole or not at all."""

import hashlib
import io
import json
import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.files import check_archive, write_atomically

__all__ = [
    "bytes_of",
    "load_checkpoint",
    "read_metadata",
    "read_summed",
    "read_tensors",
    "save_model",
    "write_summed",
    "write_tensors",
]

Model = TypeVar("Model", bound=nn.Module)

_METADATA = "semirobust"

_PICKLES, _LONGEST_NAME = 5, 300  # one after the other in files of before PyTorch 1.6; characters

# Where trainers put the weights inside a checkpoint, most telling first.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")


def load_checkpoint(model: Model, path: str | Path) -> Model:
    """Fill ``model`` from a safetensors file or a PyTorch state dict and put it into eval mode.

    Prefixes such as ``module.`` are dropped and wrappers such as ``{"state_dict": ...}`` opened. Where the
    weights fit not the model but a module inside it that holds all its parameters (the network behind a
    normalisation), they are loaded there.

    Args:
        model: the module to fill; left as it was when anything is wrong.
        path: ``.safetensors``, or any file that ``torch.load(weights_only=True)`` accepts; nothing in it is
            run.

    Returns:
        ``model``.

    Raises:
        InputError: no such file, a damaged or unsafe one, or weights that do not fit.
    """
    path = Path(path)
    weights = read_tensors(path)
    for candidate in _without_prefixes(weights):
        for module in _whole(model):
            if _fits(module, candidate):
                module.load_state_dict(candidate, strict=False)
                model.eval()
                return model
    raise InputError(f"{path.name}: {_misfit(model, weights)}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file or a PyTorch checkpoint, by name."""
    if not path.is_file():
        raise InputError(f"checkpoint: expected a file at {path}, found none")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path.name}: expected a complete safetensors file, got one that cannot be read ({error})"
            ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickle protocols; what is refused is refused below
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
    return _find_weights(path, content)


def _check_names(path: Path) -> None:
    """Refuse pickles that name things of absurd length, which PyTorch would take minutes to complain about,
    and bombs.
    """
    if zipfile.is_zipfile(path):
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            streams = [
                io.BytesIO(archive.read(name)) for name in archive.namelist() if name.endswith("data.pkl")
            ]
    else:
        streams = [io.BytesIO(path.read_bytes())] * _PICKLES
    for stream in streams:
        try:
            absurd = any(
                what.name in ("GLOBAL", "INST") and len(str(name)) > _LONGEST_NAME
                for what, name, _ in pickletools.genops(stream)
            )
        except ValueError:  # no more of them, or damaged: reading it says so
            return
        if absurd:
            raise pickle.UnpicklingError("a name of absurd length")


def read_metadata(path: Path) -> dict[str, Any]:
    """What :func:`write_tensors` was given as ``metadata``; empty for a file written by others."""
    try:
        with safe_open(path, "pt") as file:
            content = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path.name}: expected a complete safetensors file, got one that cannot be read ({error})"
        ) from None
    return content if isinstance(content, dict) else {}


def save_model(model: nn.Module, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write parameters and buffers of ``model`` as safetensors."""
    write_tensors(path, model.state_dict(), metadata)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write tensors as safetensors, whole or not at all; equal content gives equal bytes.

    ``metadata`` is kept as one entry of JSON, because safetensors writes several in an order of its own.
    """
    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    flat = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    write_atomically(path, save(flat, {_METADATA: json.dumps(dict(metadata or {}))}))


def write_summed(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """:func:`write_tensors` with a checksum over tensors and entries, for what a run goes on from."""
    write_tensors(path, tensors, {**metadata, "sum": _checksum(tensors, metadata)})


def read_summed(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Entries and tensors that :func:`write_summed` wrote.

    Raises:
        InputError: they are not what was written.
    """
    metadata, tensors = read_metadata(path), read_tensors(path)
    if metadata.pop("sum", "") != _checksum(tensors, metadata):
        raise InputError(f"{path.name}: damaged")
    return metadata, tensors


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    found = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(bytes_of(tensor))
    return found.hexdigest()


def bytes_of(tensor: Tensor) -> bytes:
    """The values as they lie in memory, in any precision; of none, none."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""


def _whole(model: nn.Module) -> Iterator[nn.Module]:
    """``model``, and modules inside it that hold all of its parameters: a head alone is no model."""
    everything = {id(parameter) for parameter in model.parameters()}
    for module in model.modules():
        if {id(parameter) for parameter in module.parameters()} == everything:
            yield module


def _find_weights(path: Path, content: Any) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
        for key in _WRAPPERS:
            if isinstance(content.get(key), Mapping):
                return _find_weights(path, content[key])
        if tensors:
            return tensors
    came = (
        f"the entries {', '.join(map(str, list(content)[:5]))}"
        if isinstance(content, Mapping)
        else type(content).__name__
    )
    raise InputError(f"{path.name}: expected a state dict of tensors, got {came}")


def _without_prefixes(weights: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    yield weights
    while (
        weights
        and all("." in name for name in weights)
        and len({name.partition(".")[0] for name in weights}) == 1
    ):
        weights = {name.partition(".")[2]: tensor for name, tensor in weights.items()}
        yield weights


def _wanted(module: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked")}


def _fits(module: nn.Module, weights: dict[str, Tensor]) -> bool:
    wanted = _wanted(module)
    offered = {name for name in weights if not name.endswith("num_batches_tracked")}
    return (
        bool(wanted)
        and wanted.keys() == offered
        and all(wanted[name].shape == weights[name].shape for name in wanted)
    )


def _misfit(model: nn.Module, weights: dict[str, Tensor]) -> str:
    """Why the weights fit no part of the model, said of the prefix with the most names in common."""
    wanted = _wanted(model)
    best = max(_without_prefixes(weights), key=lambda w: len(wanted.keys() & w.keys()))
    missing, extra = sorted(wanted.keys() - best.keys()), sorted(best.keys() - wanted.keys())
    shapes = [name for name in wanted.keys() & best.keys() if wanted[name].shape != best[name].shape]
    if shapes:
        name = sorted(shapes)[0]
        return (
            f"expected weights that fit {type(model).__name__}, but {name} has shape"
            f" {tuple(best[name].shape)} where the model has {tuple(wanted[name].shape)} ({len(shapes)} such)"
        )
    parts = [
        f"{len(names)} {what} (first: {names[0]})"
        for names, what in ((missing, "missing"), (extra, "unknown"))
        if names
    ]
    return (
        f"expected weights that fit {type(model).__name__}, got a state dict with entries"
        f" {' and '.join(parts)}"
    )

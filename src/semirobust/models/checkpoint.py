"""Weights of a model on disk."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from semirobust.core.classifiers import in_eval, unwrapped
from semirobust.core.errors import InputError
from semirobust.core.tensor_files import read_metadata, read_tensors, write_tensors
from semirobust.models.base.as_classifier import normalisation_of

__all__ = ["load_checkpoint", "read_metadata", "save_model"]

Model = TypeVar("Model", bound=nn.Module)


def load_checkpoint(model: Model, path: str | Path) -> Model:
    """Fill ``model`` from a safetensors file or a PyTorch state dict and put it into eval mode.

    Prefixes such as ``module.`` are dropped and wrappers such as ``{"state_dict": ...}`` opened. Weights may
    also fit a module inside ``model`` that holds all its parameters, such as the network behind a
    normalisation; then they are loaded there.

    Args:
        model: the module to fill; left as it was when anything is wrong.
        path: ``.safetensors``, or any file that ``torch.load(weights_only=True)`` accepts; nothing in it is
            executed.

    Returns:
        ``model``.

    Raises:
        InputError: no such file, a damaged or unsafe one, or weights that do not fit.
    """
    path = Path(path)
    weights = read_tensors(path)
    for candidate in (*_without_prefixes(weights), *_of_normalised(model, weights)):
        for module in _complete_modules(model):
            if _fits(module, candidate):
                # Not strict, because counters of batches may be missing; `_fits` has compared all else.
                module.load_state_dict(candidate, strict=False)
                return in_eval(model)
    raise InputError(f"{path.name}: {_misfit(model, weights)}")


def save_model(model: nn.Module, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write parameters and buffers of ``model`` as safetensors; of a compiled one under its own names."""
    write_tensors(path, unwrapped(model).state_dict(), metadata)


def _complete_modules(model: nn.Module) -> Iterator[nn.Module]:
    """``model``, and modules inside it that hold all of its parameters: a head alone is no model."""
    everything = {id(parameter) for parameter in model.parameters()}
    for module in model.modules():
        if {id(parameter) for parameter in module.parameters()} == everything:
            yield module


def _without_prefixes(weights: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """``weights``, then without the first part of their names as long as all names share it."""
    yield weights
    while (
        weights
        and all("." in name for name in weights)
        and len({name.partition(".")[0] for name in weights}) == 1
    ):
        weights = {name.partition(".")[2]: tensor for name, tensor in weights.items()}
        yield weights


def _of_normalised(model: nn.Module, weights: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The network's weights in a file of :class:`Normalised`, where ``model`` normalises in the same way."""
    inner = {name.removeprefix("1."): tensor for name, tensor in weights.items() if name.startswith("1.")}
    if weights.keys() - {f"1.{name}" for name in inner} == {"0.mean", "0.std"}:
        given = normalisation_of(model)
        stored = [weights[f"0.{name}"].flatten().tolist() for name in ("mean", "std")]
        if given is not None and all(map(_approximately, given, stored)):
            yield inner


def _approximately(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two lists of numbers are equal up to rounding in single precision."""
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-5) for x, y in zip(a, b, strict=True))


def _without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the counters of batches that batch norm keeps, which old files lack and nothing needs."""
    return {name: t for name, t in tensors.items() if not name.endswith("num_batches_tracked")}


def _fits(module: nn.Module, weights: dict[str, Tensor]) -> bool:
    expected, given = _without_counters(module.state_dict()), _without_counters(weights)
    return (
        bool(expected)
        and expected.keys() == given.keys()
        and all(expected[name].shape == given[name].shape for name in expected)
    )


def _misfit(model: nn.Module, weights: dict[str, Tensor]) -> str:
    """Why the weights fit no part of the model, for the part and the prefix with the most names in common."""
    pairs = (
        (_without_counters(module.state_dict()), candidate)
        for module in _complete_modules(model)
        for candidate in _without_prefixes(weights)
    )
    expected, best = max(pairs, key=lambda pair: len(pair[0].keys() & pair[1].keys()))
    missing, extra = sorted(expected.keys() - best.keys()), sorted(best.keys() - expected.keys())
    shapes = [name for name in expected.keys() & best.keys() if expected[name].shape != best[name].shape]
    if shapes:
        name = sorted(shapes)[0]
        return (
            f"expected weights that fit {type(model).__name__}, but {name} has shape"
            f" {tuple(best[name].shape)} where the model has {tuple(expected[name].shape)}"
            f" ({len(shapes)} such)"
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

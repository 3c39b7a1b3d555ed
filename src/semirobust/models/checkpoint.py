"""Weights of a model on disk."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from semirobust.core.classifiers import in_eval, unwrapped
from semirobust.core.errors import InputError
from semirobust.core.foreign_files import WEIGHTS
from semirobust.core.links import given_file, given_out
from semirobust.core.outputs import is_inside, note
from semirobust.core.state import State, load_state
from semirobust.core.stored import Content, is_averaged, joined
from semirobust.core.tensor_files import is_safetensors, read_metadata, read_stored, write_tensors
from semirobust.core.text import first_line
from semirobust.core.typed import typed
from semirobust.models.base.as_classifier import normalisation_of
from semirobust.models.base.fitting import (
    Target,
    Trial,
    fits_of,
    is_count,
    is_noted,
    normalisations_in,
    targets_in,
)
from semirobust.models.base.misfit import misfit

__all__ = ["load_checkpoint", "read_metadata", "save_model"]

Model = TypeVar("Model", bound=nn.Module)
_SHOWN = 5
_PART = re.compile(r"-\d+-of-\d+\.")


@typed
def load_checkpoint(model: Model, path: str | Path, *, key: str | None = None) -> Model:
    """Fill ``model`` from a safetensors file or a PyTorch checkpoint and put it into eval mode.

    Every dictionary of tensors in the file is tried, and in it every prefix, such as ``module.`` or that of
    Lightning, under which all weights of the network stand. Weights may also fit a module inside ``model``
    that holds all its parameters, such as the network behind a normalisation; then they are loaded there.
    Where several fit and differ, those trained last come before averages of them, and ``state_dict``,
    ``model`` and the other usual keys before unusual ones. Which was taken, what was left out, and what was
    done to the weights is said: in the notes of a command, and as a warning in Python.

    Pruned weights (``torch.nn.utils.prune``) are multiplied by their masks; those of weight norm and spectral
    norm are put together. A normalisation in the file must be that of the model where the model has one.

    Args:
        model: the module to fill; left as it was when anything is wrong.
        path: ``.safetensors``, or any file of ``torch.save``. Nothing in it is executed: what is neither a
            tensor nor a plain value is not built.
        key: the dictionary in the file, or the prefix in it, that holds the weights, such as
            ``state_dict_ema``; names inside each other stand between dots.

    Returns:
        ``model``.

    Raises:
        InputError: no such file, a damaged one or one of another kind, no such key, weights that do not fit,
            or a model that cannot hold any.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    path, targets = given_file(path), targets_in(model)
    if not torch.is_inference_mode_enabled() and any(t.is_inference() for t in targets[0].expected.values()):
        raise InputError(
            "model: expected one built outside of torch.inference_mode, whose weights can be replaced; build"
            " it outside"
        )
    content = read_stored(path)
    fits = [fit for stored in content.stored for fit in fits_of(targets, stored)]
    if key is not None:
        fits = _under(targets, content, fits, key, path.name)
    if not fits:
        part = _PART.search(path.name)
        hint = "; it is one part of several, give their index (.index.json)" if part else ""
        raise InputError(f"{path.name}: {misfit(targets, content)}{hint}")
    chosen, *others = sorted(fits, key=lambda fit: is_averaged(fit.place))
    said = [
        _choice(path.name, chosen, others),
        chosen.said,
        *_normalisation(path.name, model, chosen),
        *_left_out(chosen, others),
        *_values(chosen),
        _not_built(content, chosen),
    ]
    weights = {name: chosen.filled[name] for name in chosen.target.expected}
    try:
        # Not strict, because counters of batches may be missing; all else has been compared.
        state = State({**_counters(chosen), **weights}, _versions(chosen))
        load_state(chosen.target.module, state, strict=False)
    except RuntimeError as error:  # a module may read its state in any way
        raise InputError(f"{path.name}: cannot be loaded ({first_line(error)})") from None
    for sentence in filter(None, said):
        _say(f"{path.name}: {sentence}")
    return in_eval(model)


@typed
def save_model(model: nn.Module, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write parameters and buffers of ``model`` as safetensors; of a compiled one under its own names.

    Args:
        model: any network.
        path: the file; it is written whole or not at all.
        metadata: what is written beside the weights, such as names of classes.

    Raises:
        InputError: it is no network, its state dict holds something that is no tensor, or the file is there
            and of another kind.
    """
    inner = unwrapped(model)
    if not isinstance(inner, nn.Module):
        raise InputError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    Target(inner)  # which refuses parameters without values
    out = given_out(path)
    if out.is_file() and out.suffix.lower() not in WEIGHTS and not is_safetensors(out):
        raise InputError(f"{out}: exists and holds no weights; choose another name or delete it")
    write_tensors(out, inner.state_dict(), metadata)


def _say(sentence: str) -> None:
    note(sentence)
    if not is_inside():
        warnings.warn(sentence, stacklevel=3)


def _under(targets: list[Target], content: Content, fits: list[Trial], key: str, file: str) -> list[Trial]:
    """The fits whose place is ``key`` or inside it."""

    def inside(place: str) -> bool:
        return place == key or place.startswith(f"{key}.")

    # A prefix may be said without the key of its dictionary.
    found = [fit for fit in fits if inside(fit.place)] or [
        fit for fit in fits if inside(fit.prefix.rstrip("."))
    ]
    if found:
        return sorted(found, key=lambda fit: fit.place != key)
    under = tuple(
        stored
        for stored in content.stored
        if inside(stored.key) or any(inside(joined(stored.key, name)) for name in stored.tensors)
    )
    if under:
        raise InputError(f"{file}: {misfit(targets, Content(under, content.ignored))}")
    known = [fit.place for fit in fits] or [stored.key for stored in content.stored]
    shown = (
        ", ".join(repr(place) for place in dict.fromkeys(known) if place) or "none, its weights have no key"
    )
    raise InputError(f"checkpoint key: {file} has no {key!r}; expected one of {shown}")


def _choice(file: str, chosen: Trial, others: Sequence[Trial]) -> str:
    """Which weights were taken, where that is not plain."""
    different = [fit.place for fit in others if not _equal(chosen.filled, fit.filled)]
    place = repr(chosen.place) if chosen.place else "no key"
    if different:
        names = ", ".join(repr(other) if other else "no key" for other in different[:_SHOWN])
        return (
            f"the weights under {place} were taken; those under {names} fit too and differ; --checkpoint-key"
            " (in Python key=) takes others"
        )
    averaged = [name for name in chosen.stored.tensors if name.rpartition(".")[2] == "n_averaged"]
    if is_averaged(chosen.place) or averaged:
        kind = "those of a teacher" if "teacher" in chosen.place else "averages over training"
        return f"the weights under {place} are {kind}"
    return ""


def _equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    names = a.keys() & b.keys()
    return all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in names)


def _normalisation(file: str, model: nn.Module, chosen: Trial) -> list[str]:
    """What is to be said of a normalisation in the file that the weights are loaded without.

    Raises:
        InputError: that of the model is another one, or the file is of a network behind one.
    """
    beside = {**chosen.outside, **{name: chosen.filled[name] for name in chosen.harmless}}
    own = _own_normalisation(model)
    found: dict[tuple[tuple[float, ...], ...], str] = {}
    for names in normalisations_in(beside):
        stored = tuple(beside[name].flatten().tolist() for name in names)
        mean, std = ([round(value, 6) for value in values] for values in stored)
        behind = names == ("0.mean", "0.std") and chosen.prefix == "1."
        if own is None and not behind:
            found.setdefault(
                tuple(map(tuple, stored)),
                f"the images of its training were normalised by mean {mean} and std {std} ({names[0]},"
                f" {names[1]}), which the model may not do: --set model.mean and --set model.std, in Python"
                " sr.as_classifier(model, mean=…, std=…), put it in front",
            )
        elif own is None or not all(map(_approximately, own, stored)):
            has = "none" if own is None else f"mean {list(own[0])} and std {list(own[1])}"
            raise InputError(
                f"{file}: expected weights that fit {type(model).__name__}, but {names[0]} and {names[1]} are"
                f" a normalisation by mean {mean} and std {std}, and the model has {has}"
            )
    return list(found.values())


def _own_normalisation(model: nn.Module) -> tuple[Sequence[float], Sequence[float]] | None:
    """The mean and deviation by which a model normalises, as far as its hooks or its buffers say."""
    given = normalisation_of(model)
    if given is not None:
        return given
    state = {name: t for name, t in model.state_dict().items() if isinstance(t, Tensor)}
    pairs = normalisations_in(state)
    return (state[pairs[0][0]].flatten().tolist(), state[pairs[0][1]].flatten().tolist()) if pairs else None


def _approximately(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two lists of numbers are equal up to rounding, the second in pixels to 1 or to 255."""
    return len(a) == len(b) and any(
        all(math.isclose(x, y / scale, rel_tol=1e-5, abs_tol=1e-7) for x, y in zip(a, b, strict=True))
        for scale in (1, 255)
    )


def _left_out(chosen: Trial, others: Sequence[Trial]) -> list[str]:
    """Which tensors of the file were not used."""
    pairs = {name for pair in normalisations_in(chosen.outside) for name in pair}
    same = [fit.prefix for fit in others if fit.stored is chosen.stored and fit.prefix]
    rest = [
        name
        for name in chosen.outside
        if name not in pairs and not is_count(name) and not any(name.startswith(p) for p in same)
    ]
    said = []
    if rest:
        more = f" and {len(rest) - _SHOWN} more" if len(rest) > _SHOWN else ""
        said.append(
            f"entries outside of {chosen.prefix!r} are no part of the model and were left out:"
            f" {', '.join(rest[:_SHOWN])}{more}"
        )
    names = [*chosen.harmless, *chosen.outside]
    counts = sorted({last for name in names if is_count(name) and (last := name.rpartition(".")[2])})
    if counts:
        said.append(f"entries that count and are no weights were left out: {', '.join(counts)}")
    noted = [name for name in chosen.harmless if is_noted(name, chosen.filled[name])]
    if noted:
        said.append(f"numbers that a trainer noted are no weights and were left out: {', '.join(noted)}")
    return said


def _values(chosen: Trial) -> list[str]:
    """What is to be said of the numbers themselves."""
    said = []
    casts = sorted(
        {
            f"{_short(chosen.filled[name])} to {_short(tensor)}"
            for name, tensor in chosen.target.expected.items()
            if tensor.is_floating_point() and tensor.dtype != chosen.filled[name].dtype
        }
    )
    if casts:
        said.append(f"weights were brought from {', '.join(casts)}, the type that the model has")
    floats = {
        name: chosen.filled[name].to(tensor.dtype)
        for name, tensor in chosen.target.expected.items()
        if tensor.is_floating_point()
    }
    if broken := [name for name, tensor in floats.items() if not torch.isfinite(tensor).all()]:
        said.append(
            f"{len(broken)} weights or buffers hold NaN or infinity (first: {broken[0]}), as when training"
            " diverged"
        )
    negative = [n for n, tensor in floats.items() if n.endswith("running_var") and bool((tensor < 0).any())]
    if negative:
        said.append(
            f"{len(negative)} variances of batch norm are negative (first: {negative[0]}), which no data"
            " give: the file is damaged, or its names are mixed up"
        )
    twins = [name for name in chosen.target.expected if name not in chosen.weights]
    if twins:
        said.append(f"{', '.join(twins[:_SHOWN])} stands in the file under the name of its twin")
    return said


def _short(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _not_built(content: Content, chosen: Trial) -> str:
    """What lay beside the weights that only running code could have built."""
    names = [f"{key} ({kind})" for key, kind in content.ignored.items() if key]
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(names[:_SHOWN])
    return f"what lies beside the weights was ignored, and nothing of it was run: {shown}{more}"


def _counters(chosen: Trial) -> dict[str, Tensor]:
    """The counters of batches that the file has, by the names of the module."""
    given = chosen.target.module.state_dict(keep_vars=True)
    return {
        name: tensor
        for name, tensor in chosen.weights.items()
        if name not in chosen.filled and name in given and tensor.shape == given[name].shape
    }


def _versions(chosen: Trial) -> Mapping[str, Any]:
    """The versions that the file notes, by the names of the module."""
    noted, prefix = chosen.stored.versions or {}, chosen.prefix
    return {name[len(prefix) :]: entry for name, entry in noted.items() if f"{name}.".startswith(prefix)}

"""What a network returns, and which part of it are the logits."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from semirobust.core.errors import InputError

__all__ = [
    "counting",
    "described",
    "field_of",
    "heads_seen",
    "is_inside",
    "is_outermost",
    "logits_of",
    "note",
    "noted_apart",
    "notes",
    "noting",
    "remedy",
]

_LOG = logging.getLogger("semirobust.core")
_SEEN: ContextVar[list[tuple[object, dict[int, Tensor]]] | None] = ContextVar("seen", default=None)
_MAIN: ContextVar[int | None] = ContextVar("main", default=None)


def logits_of(output: object, *, training: bool = False) -> Tensor:
    """The logits among what a network returned.

    A tensor is returned as it is. Of a mapping, a dataclass or a named tuple it is the field ``logits``, as
    transformers and the auxiliary heads of torchvision have it. Of any other tuple or list it is the first
    tensor of two dimensions. Where several of one width follow, they are the auxiliary heads of a network in
    train mode, and inside :func:`counting` another one may count; in eval mode nobody can know which one
    does. What is not unique is noted (:func:`note`).

    Args:
        output: what ``model(x)`` returned.
        training: whether the network was in train mode.

    Raises:
        InputError: no part of it can be told to be the logits.
    """
    if isinstance(output, Tensor):
        return output
    named = field_of(output, "logits")
    if isinstance(named, Tensor):
        others = [name for name, value in _fields(output) if name != "logits" and _alike(value, named)]
        if others:
            note(
                f"the field logits of {type(output).__name__} counts alone; {', '.join(others)} are left out"
            )
        return named
    if isinstance(output, tuple | list):
        parts = [
            (index, tensor)
            for index, value in enumerate(output)
            if isinstance(tensor := value if isinstance(value, Tensor) else field_of(value, "logits"), Tensor)
            and tensor.dim() == 2
            and tensor.is_floating_point()
        ]
        if parts:
            return _first(output, parts, training)
    raise InputError(
        f"model: expected logits of shape (N, classes), got {described(output)}; say which part they are by"
        f" {remedy(_suggestion(output))}"
    )


def _first(output: object, parts: list[tuple[int, Tensor]], training: bool) -> Tensor:
    """The first of the tensors ``parts``, by index, that may be logits; in train mode the one that counts."""
    if training and (seen := _SEEN.get()) is not None:
        seen.append((output, dict(parts)))
        return parts[0][1]
    main = _MAIN.get() if training else None
    if main is not None and main != parts[0][0] and main in dict(parts):
        note(
            f"in train mode the model returns {len(parts)} tensors of two dimensions; that of index {main},"
            " which eval mode returns, counts alone"
        )
        return dict(parts)[main]
    first = parts[0][1]
    rivals = [index for index, tensor in parts[1:] if _alike(tensor, first) and not _softmax(tensor, first)]
    if rivals and not training:
        raise InputError(
            f"model: expected one tensor of logits, got {described(output)}; say which one counts,"
            f" {parts[0][0]} or {rivals[-1]}, by {remedy(rivals[-1])}"
        )
    if rivals:
        note(
            f"in train mode the model returns {len(rivals) + 1} tensors of shape (N, {first.shape[1]}); the"
            " first, its main head, counts alone"
        )
    elif len(parts) > 1:
        note(
            f"the model returns {len(parts)} tensors of two dimensions; the first, {first.shape[1]}"
            f" wide, counts as the logits; sr.as_classifier(model, output={parts[1][0]}) takes another"
        )
    return first


@contextmanager
def heads_seen() -> Iterator[list[tuple[object, dict[int, Tensor]]]]:
    """Inside, what a network in train mode returned where it holds several tensors that may be logits, and
    these by index.
    """
    seen: list[tuple[object, dict[int, Tensor]]] = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


@contextmanager
def counting(main: int | None) -> Iterator[None]:
    """Inside, the tensor of this index counts where train mode returns several; the first where None."""
    token = _MAIN.set(main)
    try:
        yield
    finally:
        _MAIN.reset(token)


def _alike(value: object, tensor: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == tensor.shape


def _softmax(tensor: Tensor, logits: Tensor) -> bool:
    """Whether ``tensor`` are the probabilities of ``logits``, or their logarithms."""
    if tensor.device.type == "meta" or type(tensor) is not Tensor:
        return False
    with torch.no_grad():
        expected = logits.softmax(1)
        return torch.allclose(tensor, expected, atol=1e-3) or torch.allclose(
            tensor, logits.log_softmax(1), atol=1e-3
        )


def remedy(output: str | int) -> str:
    """How a user says what a network returns."""
    return f"sr.as_classifier(model, output={json.dumps(output)}), on the command line --output {output}"


def field_of(output: object, name: str) -> object:
    """The entry of a mapping, or the attribute of another object; None where there is none."""
    if isinstance(output, Mapping):
        return output.get(name)
    return getattr(output, name, None)


def _fields(output: object) -> list[tuple[str, object]]:
    if isinstance(output, Mapping):
        return [(str(name), value) for name, value in output.items()]
    if isinstance(output, tuple):
        return list(zip(getattr(output, "_fields", map(str, range(len(output)))), output, strict=True))
    return list(getattr(output, "__dict__", {}).items())


def described(output: object) -> str:
    """What came, in words: its type, and the shapes of the tensors in it."""
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    fields = list(enumerate(output)) if isinstance(output, list) else _fields(output)
    shapes = [f"{name} {tuple(value.shape)}" for name, value in fields if isinstance(value, Tensor)]
    return f"{type(output).__name__}" + (f" with {', '.join(shapes)}" if shapes else "")


def _suggestion(output: object) -> str | int:
    """The field or index that is most likely meant."""
    fields = _fields(output) if not isinstance(output, tuple | list) or hasattr(output, "_fields") else []
    likely = (name for name, value in fields if isinstance(value, Tensor) and value.dim() == 2)
    return next(likely, "name") if fields or not isinstance(output, tuple | list) else 0


_NOTES: ContextVar[dict[str, None] | None] = ContextVar("notes", default=None)
_DEPTH: ContextVar[int] = ContextVar("depth", default=0)


@contextmanager
def noting() -> Iterator[None]:
    """Inside, :func:`note` keeps what it is told; nested, all notes go to the outermost."""
    depth = _DEPTH.set(_DEPTH.get() + 1)
    token = _NOTES.set({}) if _NOTES.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            _NOTES.reset(token)
        _DEPTH.reset(depth)


@contextmanager
def noted_apart() -> Iterator[dict[str, None]]:
    """Inside, what is noted is kept apart, in what this gives: it may not be true of what is returned."""
    apart = dict[str, None]()
    token = _NOTES.set(apart)
    try:
        yield apart
    finally:
        _NOTES.reset(token)


def is_inside() -> bool:
    """Whether notes are kept now, which is inside a function of this library that was given a network."""
    return _NOTES.get() is not None


def is_outermost(networks: int = 1) -> bool:
    """Whether the function that runs was called from outside, with so many, and not by another one."""
    return _DEPTH.get() == networks


def note(sentence: str) -> None:
    """Keep what a reader of the result should know, and log it once; an empty sentence is none."""
    kept = _NOTES.get()
    if sentence and kept is not None and sentence not in kept:
        kept[sentence] = None
        _LOG.info("%s", sentence)


def notes() -> tuple[str, ...]:
    """What was noted so far."""
    return tuple(_NOTES.get() or ())

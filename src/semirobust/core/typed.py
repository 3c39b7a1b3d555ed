"""Dataclasses and functions that refuse a value of another kind than their annotations name.

What reads recipes (:mod:`semirobust.core.values`) converts, and takes no numbers of NumPy; here a value stays
what it is, and is taken or refused as those who call by hand expect.
"""

import collections.abc
import functools
import inspect
import math
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, ForwardRef, Literal, ParamSpec, Self, TypeVar, Union, get_args, get_origin

import numpy as np
from torch import Tensor, nn

from semirobust.core.checks import how_to_tensor
from semirobust.core.docstrings import annotations_of
from semirobust.core.errors import InputError
from semirobust.core.numerals import as_real, as_whole
from semirobust.core.values import parse_fraction, shortly, words

__all__ = ["Typed", "arguments_of", "check", "returned", "typed"]

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")
_OURS = __name__.partition(".")[0]
_TORCH: dict[Any, str] = {nn.Module: "a torch.nn.Module", Tensor: "a torch.Tensor"}
_SHORT = 60
_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_MAPPINGS = (dict, Mapping)
_SEVERAL = (tuple, list, Sequence, Iterable, Collection)
_PLAIN: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    types.NoneType: "None",
}


class Typed:
    """Base of a dataclass that is built in Python, by hand.

    Numbers, flags, texts, choices, and sequences are held against their annotations before anything of the
    dataclass looks at them. A field of any other annotation is the dataclass's own to check. Nothing is
    converted: ``"8/255"`` is a number in a recipe alone.

    Attributes:
        like: what such an object looks like, for the message to one who gave something else in its place.

    Raises:
        InputError: a value of another kind.
    """

    like: ClassVar[str] = ""

    # Not in __post_init__: the classes derived from this one have their own, which compare what was given.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        own: type = cls
        try:
            check(_hints(own), dict(zip(_by_place(own), args, strict=False)) | kwargs)
        except InputError:
            if text := cls._meant(args, kwargs):
                raise TypeError(text) from None
            raise
        return super().__new__(cls)

    @classmethod
    def _meant(cls, arguments: tuple[Any, ...], given: Mapping[str, Any]) -> str:
        """What to say where it is made as in another library; empty where it is not."""
        return ""


def typed(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """``function``, whose arguments are held against their annotations, as the fields of :class:`Typed`."""
    signature = inspect.signature(function)
    hints = arguments_of(signature)

    @functools.wraps(function)
    def checked(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # the function itself says it with its name
            return function(*args, **kwargs)
        check(hints, bound.arguments)
        return function(*args, **kwargs)

    return checked


def arguments_of(signature: inspect.Signature, but: Collection[str] = ()) -> Mapping[str, Any]:
    """The annotation of each argument of a function that is judged, for :func:`check`.

    Args:
        signature: of the function.
        but: arguments that are not judged, as ``*args``, ``**kwargs`` and annotations in quotes never are.
    """
    return {
        name: each.annotation
        for name, each in signature.parameters.items()
        if each.kind not in _REST and not isinstance(each.annotation, str) and name not in but
    }


def returned(value: _Result, hint: Any, by: object) -> _Result:
    """What a member of a family gave back, which may be of another package.

    Raises:
        InputError: it is of another kind than ``hint``.
    """
    if not _fits(hint, value):
        name = getattr(by, "__name__", type(by).__name__)
        raise InputError(f"{name}: expected it to return {_words(hint)}, got {_shown(value)}")
    return value


def check(hints: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise ``InputError`` for a value of another kind than its annotation, both by name."""
    for name, value in values.items():
        if not _fits(hint := hints.get(name, Any), value):
            raise InputError(f"{name}: expected {_words(hint)}, got {_shown(value)}{_remedy(hint, value)}")


@functools.cache
def _by_place(cls: type) -> tuple[str, ...]:
    """The fields that can be given without their names."""
    parameters = inspect.signature(cls).parameters.values()
    return tuple(each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD)


@functools.cache
def _hints(cls: type) -> Mapping[str, Any]:
    try:
        return annotations_of(cls)
    except InputError:  # one names what only type checkers import, which matters to recipes alone
        return {}


def _fits(hint: Any, value: object) -> bool:
    """Whether the value is of this kind; true for a kind that is not judged here."""
    if hint is float:
        number = as_real(value)
        return number is not None and not math.isnan(number)
    if hint is int:
        return as_whole(value) is not None
    if hint is bool:
        return isinstance(value, bool | np.bool_) or as_whole(value) in (0, 1)
    if hint in (str, types.NoneType):
        return isinstance(value, hint)
    if get_origin(hint) is Literal:
        return isinstance(value, str | int) and value in get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(part, value) for part in get_args(hint))
    if _is(hint, *_MAPPINGS):
        return isinstance(value, Mapping) and all(_fits(_of(hint), item) for item in value.values())
    if _is(hint, *_SEVERAL):
        items = value if isinstance(value, Sequence) else ()  # what is used up by a look is not looked at
        return _iterable(value) and all(_fits(_of(hint), item) for item in items)
    if get_origin(hint) is collections.abc.Callable:
        return callable(value)
    return not _is_judged(hint) or isinstance(value, hint)


def _is_judged(hint: Any) -> bool:
    """Whether it is a class of this library, of networks or of tensors; others have many forms."""
    if not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
        return False
    return hint in _TORCH or hint.__module__.partition(".")[0] == _OURS


def _is(hint: Any, *kinds: type) -> bool:
    """Whether the annotation is of such a collection."""
    return get_origin(hint) in kinds


def _of(hint: Any) -> Any:
    """What each item of a sequence and each value of a mapping is; Any where they differ."""
    if _is(hint, *_MAPPINGS):
        return get_args(hint)[1]
    if not _is(hint, *_SEVERAL):
        return Any
    first, *rest = get_args(hint)
    return first if rest in ([], [Ellipsis]) else Any


def _iterable(value: object) -> bool:
    """Whether it is several values in an order, which a text and a table are not meant to be."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _words(hint: Any) -> str:
    """The kind in words."""
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return words(hint)
    if get_origin(hint) in (Union, types.UnionType):
        found = [_such(part) if _of(part) in parts else _words(part) for part in parts]
        return " or ".join(dict.fromkeys(found))
    each = _of(hint)
    if _is(hint, *_MAPPINGS):
        return f"a dictionary with each value {_words(each)}" if _is_told(each) else "a dictionary"
    if _is(hint, *_SEVERAL):
        return f"a tuple with each item {_words(each)}" if _is_told(each) else "a tuple or a list"
    if get_origin(hint) is collections.abc.Callable:
        return "a function"
    known = _PLAIN | _TORCH
    if hint in known:
        return known[hint]
    return f"one such as {hint.like}" if getattr(hint, "like", "") else f"an instance of {hint.__name__}"


def _is_told(hint: Any) -> bool:
    """Whether there are words for it, which there are not for any kind, nor for one in quotes."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()
    return hint is not Any and not isinstance(hint, str | ForwardRef) and all(map(_is_told, parts))


def _such(hint: Any) -> str:
    """A collection of what has been named already."""
    return "a dictionary of such" if _is(hint, *_MAPPINGS) else "a tuple of such"


def _shown(value: object) -> str:
    """What was given: itself where it is short, else what it is."""
    if isinstance(value, type):
        return value.__name__
    text = shortly(value)
    return text if len(text) <= _SHORT and text.isprintable() else type(value).__name__


def _remedy(hint: Any, value: object) -> str:
    """What to do about a number in quotes, a class in place of an object, and pixels that are no tensor."""
    kinds = get_args(hint) or (hint,)
    if isinstance(value, type) and any(isinstance(kind, type) and issubclass(value, kind) for kind in kinds):
        return f"; give {value.__name__}(...)"
    if Tensor in kinds:
        return how_to_tensor(value)
    if _numbers(hint):
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str) and not isinstance(parse_fraction(text), str):
                return f"; give {text} without quotes"
    return ""


def _numbers(hint: Any) -> bool:
    """Whether the annotation is of numbers, or of several."""
    return hint in (int, float) or any(map(_numbers, get_args(hint)))

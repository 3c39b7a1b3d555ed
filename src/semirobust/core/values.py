"""Values in plain form, such as a file or a flag holds them, checked against annotations."""

import functools
import operator
import re
import types
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from semirobust.core.budget import BUDGET, check_nested, is_short_number

if TYPE_CHECKING:  # takes a tenth of a second, and is needed where something was given
    from pydantic import TypeAdapter

__all__ = ["Misfit", "as_json", "checked", "parse_fraction", "shortly", "words"]


class Misfit(Exception):
    """A value that does not fit its setting; whoever knows where it came from makes a sentence of it.

    Attributes:
        key: the setting.
        text: what is wrong with it; empty for a setting that does not exist.
        known: the settings there are, where this one does not exist.
    """

    def __init__(self, key: str, text: str = "", known: Sequence[str] = ()) -> None:
        super().__init__(key, text)
        self.key, self.text, self.known = key, text, tuple(known)


_NUMBER = re.compile(r"[\d\s_+\-./eE]+")


def parse_fraction(value: object) -> object:
    """``"8/255"`` as a number; anything else as it is.

    Raises:
        ValueError: a number of more digits, or a larger exponent, than a float can hold.
    """
    if not isinstance(value, str):
        return value
    if not is_short_number(value):
        if _NUMBER.fullmatch(value):
            raise ValueError("a number of absurdly many digits")
        return value
    try:
        exact = Fraction(value.replace(" ", ""))
        found = float(exact)
    except (ValueError, ZeroDivisionError, OverflowError):
        return value
    if exact and not found:
        raise ValueError("a number too small to be told from 0")
    return found


def checked(key: str, hint: Any, value: Any) -> Any:
    """``value`` as the annotation wants it.

    Raises:
        Misfit: it does not fit, or is nested or large as no setting is.
    """
    from pydantic import ValidationError

    try:
        check_nested(value)
    except ValueError as error:
        raise Misfit(key, f"expected a value of usual size, got {error}") from None
    try:
        found = _adapter(hint).validate_python(value)
    except ValidationError as error:
        raise Misfit(key, f"{error.errors()[0]['msg'].lower()}; got {shortly(value)}") from None
    if type(found) is int and abs(found) > BUDGET.integer:  # from text, as flags have it
        raise Misfit(key, f"expected at most {BUDGET.integer:,}, got far more")
    return found


def shortly(value: object) -> str:
    """A value in a sentence, whatever it is."""
    try:
        check_nested(value, most=1_000)
        return repr(value)
    except ValueError as error:  # too many digits to write, too deep or too long
        return f"one of {error}"


def _adapter(hint: Any) -> "TypeAdapter[Any]":
    try:
        return _cached_adapter(hint)
    except TypeError:  # an annotation that cannot be hashed
        return _new_adapter(hint)


@functools.cache
def _cached_adapter(hint: Any) -> "TypeAdapter[Any]":
    return _new_adapter(hint)


def _new_adapter(hint: Any) -> "TypeAdapter[Any]":
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(_read(hint), config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))


def _read(hint: Any) -> Any:
    """The annotation, with fractions read wherever it asks for a number."""
    from pydantic import BeforeValidator

    if hint is float:
        return Annotated[float, BeforeValidator(parse_fraction)]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (None, Literal, Annotated) or not args:
        return hint
    parts = tuple([_read(each) for each in part] if isinstance(part, list) else _read(part) for part in args)
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, parts)
    return origin[parts]


def as_json(value: Any) -> Any:
    """The value with lists for tuples, as JSON and TOML have them."""
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    return [as_json(each) for each in value] if isinstance(value, list | tuple) else value


def words(hint: Any) -> str:
    """An annotation in words."""
    simple: dict[Any, str] = {int: "int", float: "number", str: "text", bool: "true or false"}
    origin, args = get_origin(hint), get_args(hint)
    if hint in simple:
        return simple[hint]
    if origin is Annotated:
        return words(args[0])
    if origin is Literal:
        return ", ".join(map(str, args[:-1])) + (" or " if len(args) > 1 else "") + str(args[-1])
    if origin in (Union, types.UnionType):
        parts = [words(part) for part in args if part is not type(None)]
        return " or ".join(parts) + (" or none" if type(None) in args else "")
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "table"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"list of {words(args[0])}"
    return getattr(hint, "__name__", str(hint))

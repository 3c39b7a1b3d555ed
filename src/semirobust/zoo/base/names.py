"""Names and options that a source does not take."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from semirobust.core.errors import InputError

__all__ = ["no_such", "without"]


def no_such(shown: str, name: str, known: Sequence[str]) -> InputError:
    """The error for a name that a source does not have, with those that are spelled alike."""
    alike = difflib.get_close_matches(name, known, 3)
    hint = f"; did you mean {' or '.join(alike)}?" if alike else f"; expected {shown}"
    return InputError(f"model: there is no {name!r} in {shown.partition(':')[0]}{hint}")


def without(options: Mapping[str, Any], refused: Sequence[str]) -> dict[str, Any]:
    """The options, none of which may read files, load weights or change what the outputs are.

    Raises:
        InputError: one does.
    """
    for key in options:
        if key in refused:
            raise InputError(
                f"model.options: {key!r} is not taken; weights of a file are given with --checkpoint, which"
                " executes nothing in it"
            )
    return dict(options)

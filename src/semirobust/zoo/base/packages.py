"""Importing the package of a source, which may be missing or broken."""

import contextlib
import difflib
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from semirobust.core.errors import InputError
from semirobust.core.text import first_line

__all__ = ["hushed", "imported", "no_such", "without"]


def imported(name: str, extra: str) -> Any:
    """The module ``name``, whose package comes with the optional dependencies ``extra``.

    Raises:
        InputError: it is not installed, or fails when it is imported. The wheel of torchvision on PyPI is
            built for CUDA, and raises RuntimeError beside a PyTorch without.
    """
    root = name.partition(".")[0]
    try:
        with warnings.catch_warnings():  # about the package's own code
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == root:
            raise InputError(
                f"model: expected the package {root}, found none; pip install 'semirobust[{extra}]'"
            ) from None
        reason = first_line(error, with_type=True)
    except Exception as error:  # another package can fail in any way
        reason = first_line(error, with_type=True)
    raise InputError(
        f"model: {root} is installed but cannot be imported ({reason}); pip install 'semirobust[{extra}]' and"
        f" what it misses, with a build of torchvision that fits PyTorch {torch.__version__}"
    )


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


@contextlib.contextmanager
def hushed(*loggers: str) -> Iterator[None]:
    """Inside, what is printed goes to standard error, which has no results, and these loggers are silent
    below errors.
    """
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

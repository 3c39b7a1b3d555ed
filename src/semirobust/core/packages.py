"""Importing packages that a user may lack, or has in a broken state."""

import contextlib
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from semirobust.core.errors import InputError
from semirobust.core.text import first_line

__all__ = ["hushed", "imported"]


def imported(name: str, extra: str, what: str = "model") -> Any:
    """The module ``name``, whose package comes with the optional dependencies ``extra``; ``what`` begins the
    message.

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
                f"{what}: expected the package {root}, found none; pip install 'semirobust[{extra}]'"
            ) from None
        reason = first_line(error, with_type=True)
    except Exception as error:  # another package can fail in any way
        reason = first_line(error, with_type=True)
    raise InputError(
        f"{what}: {root} is installed but cannot be imported ({reason}); pip install 'semirobust[{extra}]'"
        f" and what it misses, with a build of torchvision that fits PyTorch {torch.__version__}"
    )


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

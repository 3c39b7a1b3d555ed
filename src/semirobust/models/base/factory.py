"""A user's own model, named as ``package.module:factory``."""

import importlib
import sys
from pathlib import Path

from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed, as_seed
from semirobust.core.text import first_line

__all__ = ["from_factory"]


def from_factory(spec: str, *, seed: int | Seed = 0) -> nn.Module:
    """Import ``package.module`` and return ``factory()`` of it in eval mode.

    The working directory is searched first, as by ``python -m``. This runs the user's code, so the name must
    come from the command line or from Python, never from a file.

    Args:
        spec: ``package.module:factory``; the factory returns a module that takes pixels in [0, 1].
        seed: of the initial weights.

    Raises:
        InputError: ``spec`` is not of this form or names nothing, or the factory fails or returns no module.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise InputError(f"model: expected package.module:factory, got {spec!r}")
    working_directory = str(Path.cwd())
    sys.path.insert(0, working_directory)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module can fail in any way
        raise InputError(
            f"model: cannot import {module_name} ({first_line(error, with_type=True)}); is it on PYTHONPATH?"
        ) from None
    finally:
        sys.path.remove(working_directory)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise InputError(f"model: expected a function {attribute} in {module_name}, found none")
    try:
        with (as_seed(seed) / "initialise").globally():
            model = factory()
    except Exception as error:
        raise InputError(f"model: {spec}() failed ({first_line(error, with_type=True)})") from None
    if not isinstance(model, nn.Module):
        raise InputError(f"model: expected {spec} to return a torch.nn.Module, got {type(model).__name__}")
    return model.eval()

"""A user's own model, named as ``package.module:factory`` (ours)."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from semirobust.core.classifiers import unwrapped
from semirobust.core.errors import InputError
from semirobust.core.plugins import import_named
from semirobust.core.text import first_line
from semirobust.zoo import ZOO, AbstractSource
from semirobust.zoo.base.source import Card, Wanted

__all__ = ["Factory"]


@ZOO.register("package.module", pattern=r".*")
class Factory(AbstractSource):
    """A function of your own, for ``package.module:factory``; ``model.options`` are its keyword arguments.

    ``num_classes``, ``in_channels`` and ``image_size`` (an int, or (H, W) of images that are not square) are
    given to it where it asks for them without a default; what has a default is left alone. It takes pixels in
    [0, 1] and may load weights of its own. The working directory is searched first, as by ``python -m``.

    This runs the user's code, so name and options must come from the command line or from Python, never from
    a file.
    """

    shown = "package.module:factory"
    named_by_files = False
    has_weights = False
    any_channels = True

    def card(self, name: str, options: Mapping[str, Any], *, offline: bool = False) -> Card:
        return Card()

    def build(self, name: str, wanted: Wanted) -> nn.Module:
        factory = _found(name)
        height, width = wanted.image_size
        known = {
            "num_classes": wanted.outputs,
            "in_channels": wanted.channels,
            "image_size": height if height == width else wanted.image_size,
        }
        given = {key: known[key] for key in _required(factory) if key in known} | dict(wanted.options)
        try:
            model = unwrapped(factory(**given))
        except Exception as error:
            raise InputError(f"model: {name}() failed ({first_line(error, with_type=True)})") from None
        if not isinstance(model, nn.Module):
            raise InputError(
                f"model: expected {name} to return a torch.nn.Module, got {type(model).__name__}"
            )
        return model


def _found(spec: str) -> Any:
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise InputError(f"model: expected package.module:factory, got {spec!r}")
    module = import_named(module_name, "model")
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise InputError(f"model: expected a function {attribute} in {module_name}, found none")
    return factory


def _required(factory: Any) -> list[str]:
    """The arguments that a function has no default for; none where it does not say."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some functions in C
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind in named]

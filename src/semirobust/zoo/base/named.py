"""A network by the name that people say."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from semirobust.core.classifiers import in_eval
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed, as_seed
from semirobust.core.text import first_line
from semirobust.zoo import ZOO, AbstractSource
from semirobust.zoo.base.source import Card, Wanted

__all__ = ["build_named", "card_of", "from_zoo", "source_of"]


def from_zoo(name: str) -> bool:
    """Whether a model of that name comes from a source, and is no architecture of ours."""
    return ":" in name


def source_of(name: str) -> tuple[AbstractSource, str]:
    """The source that ``name`` speaks of, and what the network is called there."""
    prefix, _, rest = name.partition(":")
    return ZOO.make(prefix), (rest if prefix in ZOO.names() else name)


def card_of(name: str, options: Mapping[str, Any], *, offline: bool = False) -> Card:
    """What the configuration of a network says of it.

    Raises:
        InputError: there is none of that name, or what says so is missing.
    """
    source, rest = source_of(name)
    try:
        return source.card(rest, options, offline=offline)
    except InputError:
        raise
    except Exception as error:  # another package can fail in any way
        raise InputError(
            f"model: {name} cannot be looked up ({first_line(error, with_type=True)}); is the name right, and"
            " is it in the cache or a network at hand?"
        ) from None


def build_named(name: str, wanted: Wanted, *, seed: int | Seed = 0) -> nn.Module:
    """The network of that name in eval mode; the global generators are restored afterwards.

    Args:
        name: ``SOURCE:NAME``.
        wanted: how it is to be built.
        seed: of whatever weights are random.

    Raises:
        InputError: there is none of that name, its weights cannot be had, or it cannot be built so.
    """
    source, rest = source_of(name)
    try:
        with (as_seed(seed) / "initialise").globally():
            model = source.build(rest, wanted)
    except InputError:
        raise
    except Exception as error:  # another package can fail in any way
        reason = first_line(error, with_type=True)
        if wanted.own_weights and (isinstance(error, OSError) or _builds(source, rest, wanted)):
            raise InputError(
                f"model: the weights of {name} are not at hand and cannot be fetched ({reason}); give a file"
                " with --checkpoint, or take random ones with --set model.options.pretrained=false"
            ) from None
        raise InputError(f"model: {name} cannot be built like this ({reason})") from None
    if not isinstance(model, nn.Module):
        raise InputError(f"model: expected {name} to give a torch.nn.Module, got {type(model).__name__}")
    return in_eval(model)


def _builds(source: AbstractSource, name: str, wanted: Wanted) -> bool:
    """Whether it is only the weights that fail."""
    try:
        with as_seed(0).globally():
            source.build(name, dataclasses.replace(wanted, own_weights=False))
    except Exception:
        return False
    return True

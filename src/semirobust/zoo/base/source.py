"""The interface of every source of networks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

__all__ = ["AbstractSource", "Card", "Wanted"]


@dataclass(frozen=True)
class Card:
    """What the configuration of a network says of it before it is built; None and empty for what it does not
    say.

    Attributes:
        outputs: how many its own weights have.
        classes: for each of those outputs the names of its class, all that are usual.
        mean, std: what its own weights were normalised by, in pixel units.
        image_size: (H, W) that its own weights were trained with.
        channels: how many its own weights take.
    """

    outputs: int | None = None
    classes: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: tuple[int, int] | None = None
    channels: int = 3


@dataclass(frozen=True)
class Wanted:
    """How a network is to be built.

    Attributes:
        outputs: C.
        channels: K.
        image_size: (H, W).
        options: what the user gives besides, for the constructor of the network.
        own_weights: load the weights that the source has for it; random ones else.
        offline: open no connection, since nobody has typed the name.
    """

    outputs: int
    channels: int
    image_size: tuple[int, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    own_weights: bool = False
    offline: bool = False


class AbstractSource(ABC):
    """Where networks come from that are named ``SOURCE:NAME``.

    A source imports its package inside its methods only. Whatever goes wrong in it may be raised as it comes;
    ``OSError`` is read as "the weights cannot be fetched".

    Attributes:
        shown: how a name of it is written, in help and messages.
        named_by_files: whether a run folder may name its networks. Only where the name and the options can
            do nothing but choose among the code of an installed package.
        has_weights: whether it is known to have weights of its own.
        any_channels: whether its networks can be built for images of any number of channels.
        holder: where those weights are, after "the weights that".
    """

    shown: ClassVar[str]
    named_by_files: ClassVar[bool] = True
    has_weights: ClassVar[bool] = True
    any_channels: ClassVar[bool] = False
    holder: ClassVar[str] = "its library has for it"

    @abstractmethod
    def card(self, name: str, options: Mapping[str, Any], *, offline: bool = False) -> Card:
        """What its configuration says of the network ``name``, which is not built for that.

        Raises:
            InputError: there is none of that name, or the package is missing.
        """

    @abstractmethod
    def build(self, name: str, wanted: Wanted) -> nn.Module:
        """The network, which takes pixels as the card says they are normalised.

        Raises:
            InputError: as in :meth:`card`.
        """

"""Features of the layers of a model, recorded by hooks that are removed afterwards."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args

from torch import Tensor, nn

from semirobust.core.classifiers import eager, on_classifiers, unwrapped
from semirobust.core.errors import InputError
from semirobust.core.outputs import logits_of
from semirobust.layers.layer import LayerMap
from semirobust.layers.sites import After, Before, argument, first_tensor, watched
from semirobust.layers.stopping import stopping_at

__all__ = [
    "Place",
    "channel_range",
    "check_place",
    "features",
    "forward_to",
    "indices_at",
    "taken",
    "took_no_part",
]

Place = Literal["input", "conv", "block"]
"""Where the feature of layer i is taken.

``input``: the input of the first layer behind layer i that depends on it, which is layer i+1 where one layer
follows another; where none comes behind, the logits. ``conv``: the raw output of the convolution or linear
module of layer i. ``block``: like ``input``, but only at the ends of blocks."""


def check_place(at: str) -> None:
    """Raise ``InputError`` where features cannot be taken at a place of that name."""
    if at not in get_args(Place):
        raise InputError(f"at: expected input, conv or block; got {at!r}")


def indices_at(layers: LayerMap, at: Place) -> tuple[int, ...]:
    """The layers that have a feature at this place: all, or the ends of blocks."""
    return layers.block_ends if at == "block" else layers.indices


def took_no_part(layers: LayerMap, indices: Iterable[int]) -> InputError:
    """The error for layers without which a step of training cannot be taken: they did not run."""
    names = [f"{index} ({layers.at(index).label or layers.at(index).name})" for index in indices]
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return InputError(
        f"layer {shown}: took no part in this step, as where a network skips layers at random in train mode"
        " (LayerDrop); turn that off in the network, or choose other layers"
    )


def channel_range(feature: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and highest value of each channel of a feature (N, C, ...) over all examples and places.

    Dimension 1 counts the channels of a convolution, and the positions of tokens (N, P, C). Of a feature
    (N, C) each value has a range.
    """
    others = [d for d in range(feature.dim()) if d != 1]
    return feature.amin(others, keepdim=True), feature.amax(others, keepdim=True)


def taken(tape: Mapping[int, Tensor], indices: Iterable[int]) -> dict[int, Tensor]:
    """A copy of a tape of :func:`features`, which the next pass overwrites.

    Raises:
        InputError: one of these layers did not run in the pass.
    """
    for index in indices:
        tape[index]
    return dict(tape)


class _DeepestReached(Exception):
    """Raised inside a forward pass once the last wanted feature is recorded."""


class _Tape(dict[int, Tensor]):
    """Features of the latest forward pass, by layer index.

    Attributes:
        model: whose pass it was; None before the first.
    """

    def __init__(self, layers: LayerMap, places: Mapping[int, int]) -> None:
        super().__init__()
        self._layers, self._places = layers, places
        self.model: nn.Module | None = None

    def __missing__(self, index: int) -> Tensor:
        training = self.model is not None and any(module.training for module in self.model.modules())
        if training and index in self._places:
            raise took_no_part(self._layers, [self._places[index]])
        raise InputError(
            f"layer {index}: no feature was recorded; run the model inside the block, on a wanted layer"
        )


@contextmanager
def features(
    model: nn.Module,
    layers: LayerMap,
    indices: Iterable[int] | None = None,
    *,
    at: Place = "input",
    transform: Callable[[int, Tensor], Tensor] | None = None,
) -> Iterator[dict[int, Tensor]]:
    """Record features while the model runs: ``with features(model, layers) as tape: model(x); tape[3]``.

    Each forward pass of this thread starts a new record. Gradients flow through what was recorded. All hooks
    are removed afterwards.

    Args:
        model: the module that ``layers`` describes.
        layers: its layer map.
        indices: the wanted layers; where None all, with ``block`` all ends of blocks.
        at: where a feature is taken.
        transform: (index, feature (N, ...)) -> what is recorded of the feature, to save memory.
    """
    wanted = _check_wanted(layers, indices, at)
    with eager(), _recording(unwrapped(model), layers, wanted, at, transform, stop=False) as tape:
        yield tape


@on_classifiers("model", layers=True)
def forward_to(
    model: nn.Module, layers: LayerMap, x: Tensor, indices: int | Iterable[int], *, at: Place = "input"
) -> dict[int, Tensor]:
    """Features of the given layers, from a pass that stops where the deepest of them is known.

    Args:
        model: any network; it is left as it was.
        layers: the map of ``model``.
        x: (N, ...) pixels in [0, 1].
        indices: of one layer or of several, from 1.
        at: where a feature is taken: the ``input`` of the next layer, the raw ``conv`` output, or the
            end of a ``block``.

    Returns:
        index -> feature (N, ...).

    Raises:
        InputError: there is no layer of that index, or none at that place.
    """
    wanted = _check_wanted(layers, [indices] if isinstance(indices, int) else indices, at)
    with _recording(model, layers, wanted, at, None, stop=True) as tape, stopping_at(_DeepestReached):
        model(x)
    return {index: tape[index] for index in wanted}  # raises for a place that was not reached


def _check_wanted(layers: LayerMap, indices: Iterable[int] | None, at: Place) -> tuple[int, ...]:
    allowed = indices_at(layers, at)
    wanted = allowed if indices is None else tuple(sorted(set(indices)))
    for index in wanted:
        layers.at(index)
        if index not in allowed:
            raise InputError(f"layer {index}: expected the end of a block ({', '.join(map(str, allowed))})")
    if not wanted:
        raise InputError("layers: expected at least one layer, got none")
    return wanted


@contextmanager
def _recording(
    model: nn.Module,
    layers: LayerMap,
    wanted: tuple[int, ...],
    at: Place,
    transform: Callable[[int, Tensor], Tensor] | None,
    *,
    stop: bool,
) -> Iterator[_Tape]:
    # Where each feature is: the layer whose result or argument it is, n+1 for the logits.
    place_of = {index: index if at == "conv" else layers.at(index).feature_at for index in wanted}
    places: dict[int, list[int]] = {}
    for index, place in place_of.items():
        places.setdefault(place, []).append(index)
    tape = _Tape(layers, place_of)
    deepest, own = max(places), threading.get_ident()
    given: list[int] = []  # how many examples the model got

    def record(place: int, value: Callable[[int], Tensor]) -> None:
        if threading.get_ident() != own:  # another thread runs the same model for itself
            return
        for index in places[place]:
            if index not in tape:  # a module may run several times; the first run counts
                found = value(index)
                if place <= len(layers) and given:
                    layers.at(index).check_rows(found, given[-1], raw=at == "conv")
                tape[index] = found if transform is None else transform(index, found)
        if stop and place == deepest:
            raise _DeepestReached

    def clear(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == own:
            tape.clear()
            given[:] = [len(args[0])] if args and isinstance(args[0], Tensor) else []
            tape.model = module

    def before(place: int) -> Before:
        def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            record(place, lambda index: argument(layers.at(index).feature_key, args, kwargs))

        return call

    def after(place: int) -> After:
        # Raw outputs are cloned, because an activation in place behind them would overwrite the record.
        return lambda output: record(place, lambda index: first_tensor((output,)).clone())

    def logits(module: nn.Module, args: Any, output: Any) -> None:
        record(len(layers) + 1, lambda index: logits_of(output, training=module.training))

    names = {place: layers.at(place).name for place in places if place <= len(layers)}
    handles = [model.register_forward_pre_hook(clear)]
    if len(layers) + 1 in places:
        handles.append(model.register_forward_hook(logits))
    befores = {} if at == "conv" else {name: before(place) for place, name in names.items()}
    afters = {name: after(place) for place, name in names.items()} if at == "conv" else {}
    try:
        with watched(model, befores, afters, layers.functions):
            yield tape
    finally:
        for handle in handles:
            handle.remove()

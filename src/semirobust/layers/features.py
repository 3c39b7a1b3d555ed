"""Features of the layers of a model, recorded by hooks that are removed afterwards."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, get_args

from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap
from semirobust.layers.trace import first_tensor

__all__ = ["Place", "check_place", "features", "forward_to", "indices_at"]

Place = Literal["input", "conv", "block"]
"""Where the feature of layer i is taken.

``input``: the input of layer i+1, of the last layer the logits. ``conv``: the raw output of the convolution
or linear module of layer i. ``block``: like ``input``, but only at the ends of blocks."""


def check_place(at: str) -> None:
    """Raise ``InputError`` where features cannot be taken at a place of that name."""
    if at not in get_args(Place):
        raise InputError(f"at: expected input, conv or block; got {at!r}")


def indices_at(layers: LayerMap, at: Place) -> tuple[int, ...]:
    """The layers that have a feature at this place: all, or the ends of blocks."""
    return layers.block_ends if at == "block" else layers.indices


class _DeepestReached(Exception):
    """Raised inside a forward pass once the last wanted feature is recorded."""


class _Tape(dict[int, Tensor]):
    """Features of the latest forward pass, by layer index."""

    def __missing__(self, index: int) -> Tensor:
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

    Each forward pass starts a new record. Gradients flow through what was recorded. All hooks are removed
    afterwards.

    Args:
        model: the module that ``layers`` describes.
        layers: its layer map.
        indices: the wanted layers; where None all, with ``block`` all ends of blocks.
        at: where a feature is taken.
        transform: (index, feature (N, ...)) -> what is recorded of the feature, to save memory.
    """
    with _recording(model, layers, _check_wanted(layers, indices, at), at, transform, stop=False) as tape:
        yield tape


def forward_to(
    model: nn.Module, layers: LayerMap, x: Tensor, indices: int | Iterable[int], *, at: Place = "input"
) -> dict[int, Tensor]:
    """Features of the given layers, from a pass that stops where the deepest of them is known.

    Returns:
        index -> feature (N, ...).
    """
    wanted = _check_wanted(layers, [indices] if isinstance(indices, int) else indices, at)
    with _recording(model, layers, wanted, at, None, stop=True) as tape, suppress(_DeepestReached):
        model(x)
    return dict(tape)


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
    tape = _Tape()
    deepest = wanted[-1]

    def record(index: int, value: Tensor) -> None:
        if index not in tape:  # a module may run several times; the first run counts
            tape[index] = value if transform is None else transform(index, value)
        if stop and index == deepest:
            raise _DeepestReached

    def clear(module: nn.Module, args: Any) -> None:
        tape.clear()

    def before(index: int) -> Any:
        return lambda module, args, kwargs: record(index, first_tensor((*args, *kwargs.values())))

    def after(index: int, clone: bool) -> Any:
        # Raw outputs are cloned, because an activation in place behind them would overwrite the record.
        return lambda module, args, output: record(
            index, first_tensor((output,)).clone() if clone else output
        )

    named = dict(model.named_modules())
    handles = [model.register_forward_pre_hook(clear)]
    try:
        for index in wanted:
            # F_i is the input of layer i+1, so it includes functional code behind layer i, such as ReLU.
            if at == "conv":
                handles.append(named[layers.at(index).name].register_forward_hook(after(index, clone=True)))
            elif index == len(layers):
                handles.append(model.register_forward_hook(after(index, clone=False)))
            else:
                following = named[layers.at(index + 1).name]
                handles.append(following.register_forward_pre_hook(before(index), with_kwargs=True))
        yield tape
    finally:
        for handle in handles:
            handle.remove()

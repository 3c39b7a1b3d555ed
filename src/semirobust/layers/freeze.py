"""Layers that take no part in training."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, get_args

from torch import nn

from semirobust.core.classifiers import unwrapped
from semirobust.core.errors import InputError
from semirobust.layers.layer import Layer
from semirobust.layers.map import LayerMap

__all__ = ["Part", "check_part", "frozen", "only_trainable", "part_of", "stays_in_eval"]


Part = Literal["layer", "layer+tokens", "weights+biases", "weights", "biases"]
"""What trains of a layer. Class tokens and embeddings of positions do in ``layer+tokens`` alone."""

_WITH_NORMS = ("layer", "layer+tokens")


def check_part(part: str, name: str = "part") -> None:
    """Raise ``InputError`` where there is no part of that name."""
    if part not in get_args(Part):
        *others, last = get_args(Part)
        raise InputError(f"{name}: expected {', '.join(others)} or {last}, got {part!r}")


def part_of(model: nn.Module, layer: Layer, part: Part) -> tuple[str, ...]:
    """The names of the parameters that are this part of a layer."""
    if part == "layer+tokens":
        return layer.parameters
    if part == "layer":
        return tuple(name for name in layer.parameters if name not in layer.tokens)
    if part == "weights+biases":
        return layer.linear
    if part == "weights":
        return layer.weights
    # Some networks call them q_bias and v_bias; a table of biases by position is none.
    ends = (name for name in layer.parameters if name.endswith("bias"))
    return tuple(name for name in ends if model.get_parameter(name).dim() == 1)


class _StaysInEval:
    """Takes the place of ``module.train``, so that the module itself stays in eval mode whatever is asked,
    while the modules inside it are asked as before.

    A class rather than a closure, because then a deep copy of the model refers to the copied module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.own = module.__dict__.get("train")

    def __call__(self, mode: bool = True) -> nn.Module:
        train = self.own or partial(type(self.module).train, self.module)
        train(mode)
        self.module.training = False
        return self.module


def _has_statistics(module: nn.Module) -> bool:
    """Whether train mode may change the module itself: batch norm and spectral norm write their buffers."""
    return next(module.buffers(recurse=False), None) is not None


@contextmanager
def stays_in_eval(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, these modules are in eval mode, also after ``model.train()``, but not what is inside them;
    afterwards modes and ``train`` are as before.
    """
    before = [(module, module.training, module.__dict__.get("train")) for module in modules]
    try:
        for module, _, _ in before:
            module.training = False
            module.__dict__["train"] = _StaysInEval(module)
        yield
    finally:
        for module, mode, train in before:
            module.__dict__.pop("train", None)
            if train is not None:
                module.__dict__["train"] = train
            module.training = mode


@contextmanager
def frozen(
    model: nn.Module, layers: LayerMap, indices: Iterable[int], *, include_unassigned: bool = False
) -> Iterator[None]:
    """Inside, the given layers take no gradient and their batch norm keeps its statistics, also after
    ``model.train()``.

    Afterwards ``requires_grad``, modes and ``train`` methods are as before. A deep copy made inside stays
    frozen.

    Args:
        model: the module that ``layers`` describes.
        layers: its layer map.
        indices: the layers to freeze.
        include_unassigned: freeze also what belongs to no layer, such as an auxiliary head that runs in train
            mode alone.
    """
    model, indices = unwrapped(model), tuple(indices)
    names = set(layers.parameters(indices)) | (set(layers.unassigned) if include_unassigned else set())
    modules = set(layers.modules(indices))
    if include_unassigned:
        assigned = set(layers.modules(layers.indices))
        modules |= {name for name, _ in model.named_modules() if name not in assigned}
    parameters = [(p, p.requires_grad) for name, p in model.named_parameters() if name in names]
    norms = [m for name, m in model.named_modules() if name in modules and _has_statistics(m)]
    try:
        for parameter, _ in parameters:
            parameter.requires_grad_(False)
        with stays_in_eval(norms):
            yield
    finally:
        for parameter, flag in parameters:
            parameter.requires_grad_(flag)


@contextmanager
def only_trainable(
    model: nn.Module, layers: LayerMap, indices: Iterable[int] | None, *, part: Part = "layer"
) -> Iterator[None]:
    """Within a ``with`` block all but the given layers are frozen, batch norm too, whatever ``train`` says.

    Args:
        model: its parameters outside of these layers need no gradient within the block.
        layers: the map of ``model``.
        indices: the layers that train, from 1; ``None`` freezes nothing.
        part: of these layers, the ``layer`` (weight, norm, bias, projection of a shortcut), the same and
            class tokens and embeddings of positions (``layer+tokens``), ``weights+biases`` without norms,
            ``weights`` or ``biases`` (those of norms too) train. The rest of them is frozen as other layers
            are.

    Raises:
        InputError: there is no layer of that index, or no part of that name.
    """
    check_part(part)
    if indices is None:
        yield
        return
    trainable = {layers.at(index).index for index in indices}
    others = [index for index in layers.indices if index not in trainable]
    with (
        frozen(model, layers, others, include_unassigned=True),
        _alone(unwrapped(model), layers, trainable, part),
    ):
        yield


@contextmanager
def _alone(model: nn.Module, layers: LayerMap, indices: Iterable[int], part: Part) -> Iterator[None]:
    """Inside, all of these layers but this part of them is frozen."""
    indices = tuple(indices)
    kept = {name for index in indices for name in part_of(model, layers.at(index), part)}
    names, modules = set(layers.parameters(indices)) - kept, set(layers.modules(indices))
    others = [p for name, p in model.named_parameters() if name in names and p.requires_grad]
    still = () if part in _WITH_NORMS else model.named_modules()
    norms = [m for name, m in still if name in modules and _has_statistics(m)]
    try:
        for parameter in others:
            parameter.requires_grad_(False)
        with stays_in_eval(norms):
            yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)

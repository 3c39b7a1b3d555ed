"""What a forward pass shows of a model's weight layers: order, shapes, and what belongs to each."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.layers.quiet import run_with_hooks

__all__ = ["WEIGHT_LAYERS", "Trace", "first_tensor", "projections_in", "traced"]

WEIGHT_LAYERS = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.MultiheadAttention)


@dataclass
class Trace:
    """What one forward pass shows.

    Attributes:
        order: the names of the weight layers as they run.
        owner: module name -> index of the layer that it belongs to; 0 while that is open.
        features: shapes of the inputs of the weight layers, then of the logits.
        outputs: shapes of the outputs of the weight layers, by name.
        projections: the projections that ran.
    """

    order: list[str] = field(default_factory=list)
    owner: dict[str, int] = field(default_factory=dict)
    features: list[tuple[int, ...]] = field(default_factory=list)
    outputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    projections: list[str] = field(default_factory=list)


def projections_in(model: nn.Module, x: Tensor, shortcuts: str) -> tuple[str, ...]:
    """Modules that have the name of a projection and lie beside the main path.

    The input of a projection is also the input of another module, neither around it nor inside it. A
    downsampling between two stages may have such a name too, but it is the only module with its input.
    """
    if not shortcuts:
        return ()
    inputs: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            if tensors:
                # The tensor is kept alive, because `is` below would be fooled by a new tensor at its address.
                inputs.setdefault(name, tensors[0])

        return before

    run_with_hooks(model, x, [(module, hook(name)) for name, module in model.named_modules() if name])
    pattern = re.compile(shortcuts)
    projections = []
    for name, tensor in inputs.items():
        if pattern.fullmatch(name.rpartition(".")[2]):
            beside = (
                k for k, v in inputs.items() if v is tensor and not _inside(k, name) and not _inside(name, k)
            )
            if next(beside, None) is not None:
                projections.append(name)
    return tuple(projections)


def _inside(name: str, outer: str) -> bool:
    """Whether ``name`` is ``outer`` or a module inside it."""
    return name == outer or name.startswith(f"{outer}.")


def traced(model: nn.Module, x: Tensor, projections: tuple[str, ...]) -> Trace:
    """Run the model on ``x`` and note which modules run, in which order, on which shapes."""
    trace = Trace()
    before, after = [], []
    weight_layers: set[str] = set()
    for name, module in model.named_modules():
        # A weight layer inside another one, as in attention, is part of it.
        if any(name.startswith(f"{outer}.") for outer in weight_layers):
            trace.owner.setdefault(name, 0)
            continue
        if isinstance(module, WEIGHT_LAYERS):
            weight_layers.add(name)
        is_projection = any(_inside(name, projection) for projection in projections)
        before.append((module, _before(trace, name, is_projection)))
        after.append((module, _after(trace, name)))
    logits = run_with_hooks(model, x, before, after)
    if not isinstance(logits, Tensor):
        raise InputError(f"model: expected one tensor of logits, got {type(logits).__name__}")
    trace.features.append(tuple(logits.shape))
    _assign_inner_modules(trace)
    return trace


def _before(trace: Trace, name: str, is_projection: bool) -> Any:
    """A pre-hook that assigns a module to a layer when it first runs."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name in trace.owner:
            return
        if is_projection:
            if _has_tensors(module):
                trace.owner[name] = max(len(trace.order), 1)
                trace.projections.append(name)
        elif isinstance(module, WEIGHT_LAYERS):
            trace.order.append(name)
            trace.owner[name] = len(trace.order)
            trace.features.append(tuple(first_tensor((*args, *kwargs.values())).shape))
        elif _has_tensors(module):
            # A norm belongs to the layer before it; a module around layers belongs to the next one.
            around_layers = any(isinstance(child, WEIGHT_LAYERS) for child in module.modules())
            trace.owner[name] = max(len(trace.order) + (1 if around_layers else 0), 1)

    return hook


def _after(trace: Trace, name: str) -> Any:
    """A hook that notes the shape of a weight layer's first output."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if name in trace.order and name not in trace.outputs:
            trace.outputs[name] = tuple(first_tensor((output,)).shape)

    return hook


def first_tensor(values: Iterable[Any]) -> Tensor:
    """The first tensor among ``values``, which may lie in nested tuples and lists."""
    for value in values:
        if isinstance(value, Tensor):
            return value
        if isinstance(value, tuple | list) and value:
            return first_tensor(value)
    raise InputError("model: expected its layers to pass on tensors, found none")


def _has_tensors(module: nn.Module) -> bool:
    """Whether the module has parameters or buffers outside its sub-modules."""
    return (
        next(module.parameters(recurse=False), None) is not None
        or next(module.buffers(recurse=False), None) is not None
    )


def _assign_inner_modules(trace: Trace) -> None:
    """Modules inside a weight layer (the output projection of an attention) belong to it."""
    for name in [name for name, index in trace.owner.items() if index == 0]:
        outer = next((layer for layer in trace.order if name.startswith(f"{layer}.")), None)
        if outer is None:
            del trace.owner[name]
        else:
            trace.owner[name] = trace.owner[outer]

"""Time of a forward pass, MACs, parameters and memory of a network."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.layers.macs import macs_by_module
from semirobust.layers.quiet import device_of, quiet, run_with_hooks

__all__ = ["Cost", "costs"]


@dataclass(frozen=True)
class Cost:
    """The cost of one network on batches of one size.

    Attributes:
        seconds: of a forward pass of the batch, median over runs.
        ratio, low, high: time divided by that of the first network in the same turn: median, minimum and
            maximum.
        macs: of its convolutions and linear layers, for one image.
        parameters: their number.
        megabytes: of its weights plus, for the batch, the largest sum of an operation's input and output.
    """

    seconds: float
    ratio: float
    low: float
    high: float
    macs: float
    parameters: int
    megabytes: float


@anywhere
@on_classifiers("models")
def costs(models: Mapping[str, nn.Module], x: Tensor, *, runs: int = 15) -> dict[str, Cost]:
    """The cost of several networks, measured in turn, so that noise of the machine meets all of them alike.

    Args:
        models: networks by name; times are compared with those of the first.
        x: (N, ...) the batch.
        runs: timed passes of each network, after one that is not timed.

    Raises:
        InputError: no models, or no runs.
    """
    if not models or runs < 1:
        raise InputError(f"models and runs: expected at least one of each, got {len(models)} and {runs}")
    spent: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(runs + 1):
        for name, model in models.items():
            seconds = _passed(model, x)
            if turn:  # the first pass also allocates and chooses kernels
                spent[name].append(seconds)
    first = spent[next(iter(models))]
    result = {}
    for name, model in models.items():
        ratios = sorted(seconds / base for seconds, base in zip(spent[name], first, strict=True))
        result[name] = Cost(
            seconds=statistics.median(spent[name]),
            ratio=statistics.median(ratios),
            low=ratios[0],
            high=ratios[-1],
            macs=sum(macs_by_module(model, x[:1]).values()),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            megabytes=_megabytes(model, x),
        )
    return result


def _passed(model: nn.Module, x: Tensor) -> float:
    """Seconds of one forward pass."""
    device = device_of(model, torch.device("cpu"))
    x = x.to(device)
    with quiet(model), torch.no_grad():
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        model(x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started


def _megabytes(model: nn.Module, x: Tensor) -> float:
    """Counted from shapes, not measured: an allocator may hold more."""
    largest = [0]

    def count(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        tensors = [tensor for tensor in (*args, output) if isinstance(tensor, Tensor)]
        largest[0] = max(largest[0], sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    leaves = [module for module in model.modules() if not any(module.children())]
    run_with_hooks(
        model, x.to(device_of(model, torch.device("cpu"))), [], [(module, count) for module in leaves]
    )
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    return (held + largest[0]) / 1e6

"""How long a network takes, and how much it holds."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.layers.macs import multiplications
from semirobust.layers.quiet import device_of, quiet, run_hooked

__all__ = ["Cost", "costs"]


@dataclass(frozen=True)
class Cost:
    """Of one network on batches of one size.

    Attributes:
        seconds: median over runs of one forward pass of the batch.
        ratio, low, high: how many times as long as the first network in the same turn: median, and the
            smallest and largest.
        multiplications: of its convolutions and linear layers, for one image.
        parameters: how many.
        megabytes: its weights and, for the batch, the largest sum of an operation's input and output.
    """

    seconds: float
    ratio: float
    low: float
    high: float
    multiplications: float
    parameters: int
    megabytes: float


def costs(models: Mapping[str, nn.Module], x: Tensor, *, runs: int = 15) -> dict[str, Cost]:
    """Time forward passes of ``x`` (N, ...) in turn, since machines have moods; others are compared with the
    first network.

    Raises:
        InputError: no models, or no runs.
    """
    if not models or runs < 1:
        raise InputError(f"models and runs: expected at least one of each, got {len(models)} and {runs}")
    spent: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(runs + 1):
        for name, model in models.items():
            seconds = _passed(model, x)
            if turn:
                spent[name].append(seconds)
    first = spent[next(iter(models))]
    found = {}
    for name, model in models.items():
        ratios = sorted(own / other for own, other in zip(spent[name], first, strict=True))
        found[name] = Cost(
            statistics.median(spent[name]),
            statistics.median(ratios),
            ratios[0],
            ratios[-1],
            sum(multiplications(model, x[:1]).values()),
            sum(parameter.numel() for parameter in model.parameters()),
            _megabytes(model, x),
        )
    return found


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
    """Counted, not measured: what an allocator keeps is another matter."""
    largest = [0]

    def count(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        tensors = [tensor for tensor in (*args, output) if isinstance(tensor, Tensor)]
        largest[0] = max(largest[0], sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    leaves = [module for module in model.modules() if not any(module.children())]
    run_hooked(model, x.to(device_of(model, torch.device("cpu"))), [], [(module, count) for module in leaves])
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    return (held + largest[0]) / 1e6

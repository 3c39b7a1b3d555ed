"""The optimiser of a run. It is made anew when other layers train; momentum is carried over by name."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.training.run import Run

__all__ = ["momentum_by_name", "prepare_optimiser"]


def prepare_optimiser(run: Run) -> torch.optim.SGD:
    """The optimiser of what trains now; a parameter that trained before keeps its momentum.

    Raises:
        InputError: nothing trains.
    """
    if run.optimiser is not None:
        return run.optimiser
    named = {name: p for name, p in run.model.named_parameters() if p.requires_grad}
    if not named:
        raise InputError(
            "layers: expected some with parameters to train, but none of the chosen ones has any"
        )
    t = run.training
    optimiser = torch.optim.SGD(
        _groups(run, named),
        t.learning_rate,
        momentum=t.momentum,
        weight_decay=t.weight_decay,
        nesterov=t.nesterov,
    )
    for name, parameter in named.items():
        if name in run.momentum:
            optimiser.state[parameter]["momentum_buffer"] = run.momentum[name].to(parameter.device)
    run.optimiser = optimiser
    return optimiser


def _groups(run: Run, named: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """The parameters by the factor on their learning rate, which their group has as its ``share``."""
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in named.items():
        share = math.prod(hook.rates.get(name, 1.0) for hook in run.hooks)
        groups.setdefault(share, []).append(parameter)
    return [{"params": each, "share": share} for share, each in groups.items()]


def momentum_by_name(run: Run) -> Mapping[str, Tensor]:
    """The momentum of each parameter that has one."""
    if run.optimiser is None:
        return run.momentum
    buffers = (
        (name, run.optimiser.state.get(p, {}).get("momentum_buffer"))
        for name, p in run.model.named_parameters()
    )
    return {name: buffer for name, buffer in buffers if buffer is not None}

"""A running average of the weights, with batch statistics of its own."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.core.state import load_state

if TYPE_CHECKING:
    from semirobust.training.run import Run

__all__ = ["VALIDATED", "Average", "check_fraction"]

VALIDATED = "gives the network that is validated"
"""The role of a hook that averages weights."""


class Average:
    """An average of the weights of a run, by PyTorch's ``AveragedModel``.

    The batch statistics of averaged weights are not averages of statistics. Before the averaged network is
    validated, its batch norm is run over clean training images anew.

    Args:
        run: whose network to average.
        decay: of an exponential average; None for the mean.
        warm_up: the decay grows with the number of steps n as min(decay, (1 + n) / (10 + n)).
    """

    def __init__(self, run: "Run", decay: float | None, *, warm_up: bool = False) -> None:
        rule: Any = get_ema_multi_avg_fn(decay) if decay is not None else None
        if decay is not None and warm_up:
            rule = _warming_up(decay)
        self._run, self._averaged = run, AveragedModel(run.model, multi_avg_fn=rule)

    def update(self) -> None:
        """Take in the weights of now."""
        self._averaged.update_parameters(self._run.model)

    def network(self, seed: Seed) -> nn.Module:
        """The averaged network in eval mode, with statistics over the training images.

        Layers that did not train keep the statistics of the network, which are frozen too.
        """
        run, network = self._run, self._averaged.module
        trained = set(run.layers.modules(run.selected))
        frozen = {name for name, _ in run.model.named_buffers() if name.rpartition(".")[0] not in trained}
        update_bn(self._images(seed), network)
        current = dict(run.model.named_buffers())
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                if name in frozen:
                    buffer.copy_(current[name])
        return network.eval()

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs of it."""
        return dict(self._averaged.state_dict())

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what :meth:`tensors` gave."""
        load_state(self._averaged, tensors)

    def _images(self, seed: Seed) -> Iterable[Tensor]:
        """All training images, in batches."""
        images, device = self._run.images, self._run.fabric.device
        batches = images.batches(self._run.training.batch_size, seed=seed / "statistics")
        return (images.batch(rows, device)[0] for rows in batches)


def _warming_up(decay: float) -> Any:
    """``get_ema_multi_avg_fn`` with the decay of an average that has seen n steps before this one."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], n: Tensor | int) -> None:
        now = min(decay, (1 + int(n)) / (10 + int(n)))
        for old, new in zip(averaged, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - now)
            else:
                old.copy_(new)

    return update


def check_fraction(**values: float) -> None:
    """Raise ``InputError`` for a value that is not from 0 to below 1."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise InputError(f"{name}: expected from 0 to below 1, got {value}")

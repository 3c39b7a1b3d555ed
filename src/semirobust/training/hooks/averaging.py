"""Averages of the weights over the course of training."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

__all__ = ["Average"]


class Average:
    """A running average of the weights, by PyTorch's ``AveragedModel``, with batch statistics of its own.

    With a decay it is exponential, avg <- decay avg + (1 - decay) w after every step; without, it is the mean
    of the weights at the ends of epochs (stochastic weight averaging, Izmailov et al. 2018). Statistics of
    averaged weights are not
    averages of statistics: before it is looked at, batch norm is run over clean training images anew.

    Args:
        model: the network to average.
        decay: of the exponential form; None for the mean of epochs.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.by_step = decay is not None
        rule: Any = get_ema_multi_avg_fn(decay) if decay is not None else None
        self._averaged = AveragedModel(model, multi_avg_fn=rule)

    def update(self, model: nn.Module) -> None:
        """Take in the weights of now."""
        self._averaged.update_parameters(model)

    def refreshed(self, model: nn.Module, batches: Iterable[Tensor], keep: set[str]) -> nn.Module:
        """The averaged network in eval mode, its statistics from ``batches``; those named in ``keep`` are the
        model's, frozen.
        """
        network: nn.Module = self._averaged.module
        update_bn(batches, network)
        current = dict(model.named_buffers())
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                if name in keep:
                    buffer.copy_(current[name])
        return network.eval()

    def tensors(self) -> dict[str, Tensor]:
        """What a run must keep of it."""
        return dict(self._averaged.state_dict())

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`tensors` gave."""
        self._averaged.load_state_dict(dict(tensors))

"""A network whose launches on a CUDA device are recorded once and replayed.

A small network at a small batch leaves such a device idle between its launches. A recording (a CUDA graph) is
launched as one. It holds for one shape of the batch, so attacks on it take few shapes.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from semirobust.core.text import first_line

__all__ = ["Replayed", "can_replay"]

_LOG = logging.getLogger("semirobust.fast")
_MOST = 8  # shapes, each of which holds memory of its own
_ALIKE = 1e-3  # largest deviation of a replay from the network, as a fraction of the spread of an example


class Replayed:
    """``network`` as a function of batches, with one recording for each shape, forward and backward.

    The network itself runs where no gradient is asked for, for more than eight shapes, and where a recording
    fails or gives other logits: what reads a value on the way cannot be recorded. Why is logged.

    Args:
        network: (n, K, H, W) to (n, C), with weights that take no gradient; it is never changed.
    """

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        self._network = network
        self._recorded: dict[object, Callable[[Tensor], Tensor] | None] = {}

    def __call__(self, x: Tensor) -> Tensor:
        if not (x.requires_grad and torch.is_grad_enabled()):
            return self._network(x)
        key = (x.shape, x.stride(), x.dtype)
        if key not in self._recorded and len(self._recorded) < _MOST:
            self._recorded[key] = self._record(x)
        replay = self._recorded.get(key)
        # The next replay overwrites what this one gives.
        return self._network(x) if replay is None else replay(x).clone()

    def _record(self, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        sample = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()

        def run(z: Tensor) -> Tensor:  # a module with hooks would be refused
            return self._network(z)

        try:
            replay: Any = torch.cuda.make_graphed_callables(run, (sample,))
            with torch.no_grad():
                expected = self._network(x.detach())
            found = replay(x).detach()
        except Exception as error:  # a network can fail in any way on what it was not made for
            _LOG.warning("launches are not recorded, as that failed (%s)", first_line(error))
            return None
        spread = (expected.amax(1) - expected.amin(1)).clamp_min(torch.finfo(expected.dtype).tiny)
        if not bool(((found - expected).abs().amax(1) <= _ALIKE * spread).all()):
            _LOG.warning("launches are not recorded, as their replay gives other logits")
            return None
        recorded: Callable[[Tensor], Tensor] = replay
        return recorded


def can_replay(device: torch.device) -> bool:
    """Whether launches there can be recorded."""
    return device.type == "cuda"

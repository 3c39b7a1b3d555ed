"""A network of which passes without a gradient run in ONNX Runtime, which is made for them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.fast.agreement import deviation
from semirobust.layers.quiet import quiet
from semirobust.models.export import OnnxNetwork, as_onnx

__all__ = ["ForwardOnly"]


class ForwardOnly:
    """``logits`` as they are where a gradient is asked for, and those of ONNX Runtime elsewhere.

    It runs on the CPU, by as many threads as PyTorch, in batches of any size. The weights are those of now:
    it is for a network that is finished.

    Args:
        logits: (n, K, H, W) to (n, C), differentiable in its input.
        network: what to export; it gives the same logits, and is never changed.
        x: (N, K, H, W) two or more images to compare on.

    Raises:
        InputError: ``onnx``, ``onnxscript`` or ``onnxruntime`` is not installed, the network is not on the
            CPU, cannot be exported, or draws its answers.
    """

    def __init__(self, logits: Callable[[Tensor], Tensor], network: nn.Module, x: Tensor) -> None:
        if x.device.type != "cpu":
            raise InputError(f"it runs on the CPU, and the images are on {x.device.type}")
        self._logits = logits
        with quiet(network), torch.no_grad():
            self._runtime = OnnxNetwork(as_onnx(network, x[:2]))
        if not torch.equal(self._runtime(x), self._runtime(x)):
            raise InputError("it gives other logits each time, as a network does that draws its answers")

    @property
    def version(self) -> str:
        """That of the package."""
        return self._runtime.version

    def deviations(self, x: Tensor, truth: Tensor) -> Tensor:
        """Those of its logits from ``truth`` (N, C), each image alone or in the batch, the larger: (N,)."""
        alone = torch.cat([self._runtime(image) for image in x[:4].split(1)])
        error = deviation(self._runtime(x), truth)
        error[:4] = torch.maximum(error[:4], deviation(alone, truth[:4]))
        return error

    def __call__(self, x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            return self._logits(x)
        return self._runtime(x)

"""What a network of the zoo is: how it is built, and what it takes."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Network", "images_for", "lively", "logits_of"]

_NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True)
class Network:
    """One network of the zoo.

    Attributes:
        name: ``source/what``.
        build: builds it, with random weights.
        shape: of one example.
        classes: that it tells apart.
        images: how many it is tried on.
        batch: how many it takes at once; 0 for any number.
        dtype: of its weights and images.
        adapt: what ``sr.as_classifier`` is told of it; None where it is handed over as it is.
        calibrate: let its norms see random images before it is used.
        random: it draws numbers in eval mode too.
    """

    name: str
    build: Callable[[], nn.Module] = field(repr=False)
    shape: tuple[int, ...] = (3, 32, 32)
    classes: int = 10
    images: int = 16
    batch: int = 0
    dtype: torch.dtype = torch.float32
    adapt: Mapping[str, Any] | None = None
    calibrate: bool = True
    random: bool = False

    def make(self) -> nn.Module:
        """The network in eval mode, the same at every call."""
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = self.build()
            if self.calibrate:
                _calibrate(model, images_for(self, seed=1))
        with suppress(NotImplementedError):  # an exported program has no modes
            model.eval()
        return model


def images_for(network: Network, n: int | None = None, seed: int = 0) -> Tensor:
    """Random images (N, ...) in [0, 1], smooth rather than white, so that networks tell them apart."""
    generator = torch.Generator().manual_seed(seed)
    count = network.images if n is None else n
    noise = torch.rand(count, *network.shape, generator=generator)
    level = torch.rand(count, network.shape[0], *[1] * (len(network.shape) - 1), generator=generator)
    return (0.6 * level + 0.4 * noise).to(network.dtype)


def _calibrate(model: nn.Module, x: Tensor) -> None:
    """Three passes in train mode whose mean are the statistics of all batch norms."""
    norms = [module for module in model.modules() if isinstance(module, _NORMS)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with torch.no_grad(), suppress(ValueError):  # a norm over one value has no statistics
        for _ in range(3):
            model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.zero_grad()


def logits_of(output: Any) -> Tensor:
    """The logits (N, C) in whatever a network returns, by plain rules of this script alone."""
    if isinstance(output, Tensor):
        return output
    named = getattr(output, "logits", None)
    if named is None and isinstance(output, Mapping):
        named = output.get("logits", output.get("out"))
    if isinstance(named, Tensor):
        return named
    values = list(output.values()) if isinstance(output, Mapping) else list(output)
    return next(value for value in values if isinstance(value, Tensor) and value.dim() == 2)


def lively(model: nn.Module) -> nn.Module:
    """The model with weights under which the images make a difference, where its own are tiny."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            nn.init.kaiming_normal_(module.weight)
    for name, parameter in model.named_parameters():
        if "gamma" in name.rpartition(".")[2] or "layer_scale" in name or name.endswith("lambda1"):
            nn.init.constant_(parameter, 0.5)
    return model

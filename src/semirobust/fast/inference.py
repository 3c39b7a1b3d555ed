"""A faster form of a trained model for the many passes of an attack."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.fast.copy import Faster, has_bfloat16
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import quiet

__all__ = ["FastModel", "Precision", "fast_inference"]

Precision = Literal["auto", "exact"]

_LARGE = 5e5
_BUSY = 1.5e9  # multiplications of a batch that keep a processor busy


@dataclass(frozen=True)
class FastModel:
    """How to compute logits while searching; what counts is always decided by the model itself.

    Attributes:
        logits: (n, K, H, W) floats to (n, C) floats, differentiable in its input.
        description: what was done, in words.
        band: half-width of the margin within which its sign is not to be trusted, as a share of the spread of
            an example's logits; 0 where it is the model itself.
        layout: the memory layout of images that suits it.
        full: the fastest form in full precision, where this one is not: for attacks that must know where the
            boundary is.
        at_once: rows in a batch that keep the processor busy; more take more memory and are not faster.
    """

    logits: Callable[[Tensor], Tensor] = field(repr=False)
    description: str
    band: float
    layout: torch.memory_format = torch.channels_last
    full: "FastModel | None" = None
    at_once: int = 64


_Maker = Callable[[nn.Module, Tensor], FastModel]


def fast_inference(model: nn.Module, x: Tensor, *, precision: Precision = "auto") -> FastModel:
    """A faster form of ``model`` on images like ``x`` that gives the same logits up to rounding.

    Batch norm is folded into the convolution before it, the scale of the normalisation into the one behind
    it; layout is channels last, and on a CPU narrow strided convolutions get a faster gradient. A network of
    at least half a million multiplications an image also gets bfloat16 on a processor that has it; its first
    layer stays in full precision, because bfloat16 cannot tell pixels apart that differ by less than 1/255.
    Each form is compared with the model on ``x``, and one that deviates is not used. The choice depends on
    nothing but model, images and processor, never on a clock, so that equal seeds give equal results.

    Args:
        model: in eval mode; it is copied, never changed.
        x: (N, K, H, W) images to compare on; each costs some six forward passes.
        precision: ``exact`` uses the model as it is.
    """
    if precision not in ("auto", "exact"):
        raise InputError(f"precision: expected auto or exact, got {precision!r}")
    as_it_is = FastModel(model, "as it is, full precision", 0.0, torch.contiguous_format)
    if precision == "exact" or x.dim() != 4 or x.dtype != torch.float32:
        return as_it_is
    x = torch.cat([x, 0.731 * x + 0.113])  # as they are, and off any grid of 1/255
    with quiet(model), torch.no_grad():
        truth = model(x)
    work = _multiplications(model, x)
    full = _if_it_agrees(_folded, model, x, truth, 1e-4) or as_it_is
    half = (
        _if_it_agrees(_bfloat16, model, x, truth, 1e-3) if work >= _LARGE and has_bfloat16(x.device) else None
    )
    at_once = 512 if x.device.type == "cuda" else min(max(int(_BUSY / max(work, 1)), 32), 128)
    return replace(full if half is None else replace(half, full=full), at_once=at_once)


def _if_it_agrees(make: _Maker, model: nn.Module, x: Tensor, truth: Tensor, least: float) -> FastModel | None:
    try:
        candidate = make(model, x)
        with torch.no_grad():
            error = _deviation(candidate.logits(x), truth)
        if not bool((error <= candidate.band).float().mean() > 0.98):
            return None
        # What it deviates by on these images, doubled, and a little more is all that its sign need not be
        # trusted for.
        band = min(candidate.band, 2 * float(error.max()) + least)
        return replace(candidate, band=band, logits=_in_round_sizes(candidate.logits))
    except Exception:  # a model that cannot be copied or run so is used as it is
        return None


def _in_round_sizes(logits: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same with batches filled up with zeros to one of four sizes an octave.

    Each size costs compiled kernels, and memory that fits no other; an attack that drops examples would go
    through all."""

    def run(x: Tensor) -> Tensor:
        step = 1 << max(len(x).bit_length() - 3, 0)
        missing = -len(x) % step
        if not missing:
            return logits(x)
        return logits(torch.cat([x, x.new_zeros(1).expand(missing, *x.shape[1:])]))[: len(x)]

    return run


def _multiplications(model: nn.Module, x: Tensor) -> float:
    """Multiplications in the layers of one forward pass of one image; 0 for a model without layers that can
    be seen.
    """
    total = 0.0
    try:
        layers = layer_map(model, x)
    except InputError:
        return total
    for layer in layers:
        weight = getattr(model.get_submodule(layer.name), "weight", None)
        if isinstance(weight, Tensor):
            outputs = float(torch.Size(layer.output_shape).numel())
            total += outputs * weight.numel() / weight.shape[0]
    return total


def _deviation(logits: Tensor, truth: Tensor) -> Tensor:
    """Largest deviation of each example's ``logits`` from ``truth`` (N, C), as a share of the spread of
    these: (N,).
    """
    error = (logits - truth).abs().amax(1)
    return (error - 1e-4).clamp_min(0) / (truth.amax(1) - truth.mean(1)).clamp_min(1e-6)


def _folded(model: nn.Module, x: Tensor) -> FastModel:
    fast = Faster(model, x, torch.float32)
    return FastModel(fast.network, fast.description, 1e-3)


def _bfloat16(model: nn.Module, x: Tensor) -> FastModel:
    fast = Faster(model, x, torch.bfloat16)
    return FastModel(fast.network, fast.description, 0.03)

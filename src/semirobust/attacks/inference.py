"""A faster form of a trained model for the many passes of an attack."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semirobust.errors import InputError
from semirobust.layers.map import layer_map
from semirobust.layers.mode import quiet, run_hooked

__all__ = ["FastModel", "Precision", "fast_inference"]

Precision = Literal["auto", "exact"]

_LARGE = 5e6


@dataclass(frozen=True)
class FastModel:
    """How to compute logits while searching; what counts is always decided by the model itself.

    Attributes:
        logits: (n, K, H, W) floats to (n, C) floats, differentiable in its input.
        description: what was done, in words.
        band: half-width of the margin within which its sign is not to be trusted, as a share of the spread of an
            example's logits; 0 where it is the model itself.
        layout: the memory layout of images that suits it.
        full: the fastest form in full precision, where this one is not: for attacks that must know where the boundary is.
    """

    logits: Callable[[Tensor], Tensor] = field(repr=False)
    description: str
    band: float
    layout: torch.memory_format = torch.channels_last
    full: "FastModel | None" = None


_Maker = Callable[[nn.Module, Tensor], FastModel]


def fast_inference(model: nn.Module, x: Tensor, *, precision: Precision = "auto") -> FastModel:
    """A faster form of ``model`` on images like ``x`` that gives the same logits up to rounding.

    Batch norm is folded into the convolution before it. A network of at least five million multiplications an image
    also gets the channels-last layout and, on a processor that has it, bfloat16; its first layer stays in full precision,
    because bfloat16 cannot tell pixels apart that differ by less than 1/255. Each form is compared with the model on ``x``,
    and one that deviates is not used. The choice depends on nothing but model, images and processor, never on a clock,
    so that equal seeds give equal results.

    Args:
        model: in eval mode; it is copied, never changed.
        x: (N, K, H, W) images to compare on.
        precision: ``exact`` uses the model as it is.
    """
    if precision not in ("auto", "exact"):
        raise InputError(f"precision: expected auto or exact, got {precision!r}")
    as_it_is = FastModel(model, "as it is, full precision", 0.0, torch.contiguous_format)
    if precision == "exact" or x.dim() != 4 or x.dtype != torch.float32:
        return as_it_is
    x = x[:64]
    with quiet(model), torch.no_grad():
        truth = model(x)
    large = _multiplications(model, x) >= _LARGE
    full = _first_that_agrees([_folded if large else _folded_small], model, x, truth) or as_it_is
    half = _first_that_agrees([_bfloat16] if large and _has_bfloat16(x.device) else [], model, x, truth)
    if half is None:
        return full
    # What it deviates by on these images, doubled, is all that its sign need not be trusted for.
    return replace(half, full=full, band=min(half.band, 2 * float(_error(half, x, truth).max()) + 1e-3))


def _first_that_agrees(makers: list[_Maker], model: nn.Module, x: Tensor, truth: Tensor) -> FastModel | None:
    candidates = (_attempt(make, model, x) for make in makers)
    return next((c for c in candidates if c is not None and _agrees(c, x, truth)), None)


def _multiplications(model: nn.Module, x: Tensor) -> float:
    """Multiplications in the layers of one forward pass of one image; 0 for a model without layers that can be seen."""
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


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _attempt(make: _Maker, model: nn.Module, x: Tensor) -> FastModel | None:
    try:
        return make(model, x)
    except Exception:  # a model that cannot be copied or run so is used as it is
        return None


def _agrees(candidate: FastModel, x: Tensor, truth: Tensor) -> bool:
    """Logits within the candidate's band of the model's, where that band is counted in the spread of each example's logits."""
    return bool((_error(candidate, x, truth) <= candidate.band).float().mean() > 0.98)


def _error(candidate: FastModel, x: Tensor, truth: Tensor) -> Tensor:
    """Largest deviation of each example's logits, as a share of their spread: (N,)."""
    with torch.no_grad():
        error = (candidate.logits(x) - truth).abs().amax(1)
    return (error - 1e-4).clamp_min(0) / (truth.amax(1) - truth.mean(1)).clamp_min(1e-6)


def _folded(model: nn.Module, x: Tensor) -> FastModel:
    fast = _copy(model)
    count = _fold_batch_norm(fast, x)
    fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    norms = f"{count} batch norms folded, " if count else ""
    return FastModel(fast, f"{norms}channels last, full precision", 1e-3)


def _folded_small(model: nn.Module, x: Tensor) -> FastModel:
    """For small networks, whose convolutions channels last would slow down."""
    fast = _copy(model)
    count = _fold_batch_norm(fast, x)
    if not count:
        raise InputError("batch norm: found none to fold")
    return FastModel(fast, f"{count} batch norms folded, full precision", 1e-3, torch.contiguous_format)


def _bfloat16(model: nn.Module, x: Tensor) -> FastModel:
    fast = _copy(model)
    count = _fold_batch_norm(fast, x)
    layers = layer_map(fast, x)
    first = fast.get_submodule(layers[0].name)
    before = _run_before(fast, first, x)
    for module in fast.modules():
        if module is not first and module not in before:
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(parameter.to(torch.bfloat16), requires_grad=False))
            for name, buffer in module.named_buffers(recurse=False):
                if buffer.is_floating_point():
                    setattr(module, name, buffer.to(torch.bfloat16))
    first.register_forward_hook(lambda module, args, output: output.to(torch.bfloat16))
    fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    norms = f"{count} batch norms folded, " if count else ""
    return FastModel(lambda z: fast(z).float(), f"{norms}channels last, bfloat16 behind the first layer", 0.03)


def _copy(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval().requires_grad_(False)


def _run_before(model: nn.Module, first: nn.Module, x: Tensor) -> set[nn.Module]:
    """Modules without children that finish before ``first`` starts, such as a normalisation."""
    done: set[nn.Module] = set()
    started: list[bool] = []

    def after(module: nn.Module, args: Any, output: Any) -> None:
        if not started:
            done.add(module)

    run_hooked(
        model,
        x[:1],
        [(first, lambda module, args, kwargs: started.append(True))],
        [(module, after) for module in model.modules()],
    )
    return done


def _fold_batch_norm(model: nn.Module, x: Tensor) -> int:
    """Fold each batch norm whose input is the very tensor that a convolution returned; says how many."""
    produced: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    runs: dict[nn.Module, int] = {}

    def after(module: nn.Conv2d, args: Any, output: Any) -> None:
        runs[module] = runs.get(module, 0) + 1
        produced[id(output)] = (module, output)  # held, so that no other tensor gets its identity

    def before(module: nn.BatchNorm2d, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        runs[module] = runs.get(module, 0) + 1
        if args and id(args[0]) in produced:
            pairs.append((produced[id(args[0])][0], module))

    norms = [(module, before) for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    run_hooked(model, x[:1], norms, [(module, after) for module in model.modules() if isinstance(module, nn.Conv2d)])
    names = {module: name for name, module in model.named_modules()}
    pairs = [(conv, norm) for conv, norm in pairs if runs[conv] == runs[norm] == 1 and norm.running_mean is not None]
    for conv, norm in pairs:
        _replace(model, names[conv], nn.utils.fuse_conv_bn_eval(conv, norm))
        _replace(model, names[norm], nn.Identity())
    return len(pairs)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)

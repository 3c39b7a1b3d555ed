"""A trained model's neighbouring layers merged into one: fewer operations, the same logits up to rounding.

Each function changes the model it is given, which is meant to be a copy, and says what it merged.
"""

from typing import Any

import torch
from torch import Tensor, nn

from semirobust.adapters.replace import replace_module, replace_modules
from semirobust.layers.quiet import quiet, run_with_hooks

__all__ = ["fold_batch_norm", "fold_input_scale", "run_before"]


def fold_batch_norm(model: nn.Module, x: Tensor) -> tuple[tuple[str, str], ...]:
    """Fold each batch norm whose input is the very tensor that a convolution returned, and that nobody else
    gets.

    Whether somebody else gets it, a shortcut for example, is found by giving NaN to all but the
    batch norm.

    Returns:
        the names of the pairs merged.
    """
    pairs = _followed(model, x)
    names = _names(model)
    pairs = [(conv, norm) for conv, norm in pairs if len(names[conv]) == len(names[norm]) == 1]
    if not _finite(model, x, pairs):
        pairs = _to_norms_alone(model, x, pairs)
        if not _finite(model, x, pairs):
            pairs = [pair for pair in pairs if _finite(model, x, [pair])]
    fused = {names[conv][0]: nn.utils.fuse_conv_bn_eval(conv, norm) for conv, norm in pairs}
    replace_modules(model, {**fused, **{names[norm][0]: nn.Identity() for _, norm in pairs}})
    return tuple((names[conv][0], names[norm][0]) for conv, norm in pairs)


_Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


def _followed(model: nn.Module, x: Tensor) -> list[_Pair]:
    """Convolutions, and the batch norm that gets what they returned; each runs once."""
    produced: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[_Pair] = []
    runs: dict[nn.Module, int] = {}

    def after(module: nn.Conv2d, args: Any, output: Any) -> None:
        runs[module] = runs.get(module, 0) + 1
        produced[id(output)] = (module, output)  # held, so that no other tensor gets its identity

    def before(module: nn.BatchNorm2d, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        runs[module] = runs.get(module, 0) + 1
        if args and id(args[0]) in produced:
            pairs.append((produced[id(args[0])][0], module))

    # Of the very class: what is derived from it may compute something else.
    norms = [(module, before) for module in model.modules() if type(module) is nn.BatchNorm2d]
    run_with_hooks(
        model, x[:1], norms, [(module, after) for module in model.modules() if isinstance(module, nn.Conv2d)]
    )
    return [
        (conv, norm)
        for conv, norm in pairs
        if runs[conv] == runs[norm] == 1 and norm.running_mean is not None
    ]


def _finite(model: nn.Module, x: Tensor, pairs: list[_Pair]) -> bool:
    """Whether the logits stay finite where only the batch norm of each pair gets its convolution's output."""
    kept: dict[nn.Module, Tensor] = {}
    owner = {norm: conv for conv, norm in pairs}

    def after(module: nn.Conv2d, args: Any, output: Tensor) -> Tensor:
        kept[module] = output
        return torch.full_like(output, torch.nan)

    def before(module: nn.BatchNorm2d, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (kept[owner[module]], *args[1:]), kwargs

    logits = run_with_hooks(
        model, x[:1], [(norm, before) for _, norm in pairs], [(conv, after) for conv, _ in pairs]
    )
    return bool(torch.isfinite(logits).all())


def _to_norms_alone(model: nn.Module, x: Tensor, pairs: list[_Pair]) -> list[_Pair]:
    """Those pairs whose convolution's output has no gradient but by the batch norm: all at once, unlike the
    surer test above.
    """
    kept: dict[nn.Module, Tensor] = {}
    others: dict[nn.Module, Tensor] = {}
    owner = {norm: conv for conv, norm in pairs}

    def after(module: nn.Conv2d, args: Any, output: Tensor) -> Tensor:
        kept[module] = output
        others[module] = output.detach().requires_grad_()
        return others[module]

    def before(module: nn.BatchNorm2d, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (kept[owner[module]], *args[1:]), kwargs

    hooks = [
        (conv.register_forward_hook(after), norm.register_forward_pre_hook(before, with_kwargs=True))
        for conv, norm in pairs
    ]
    try:
        with quiet(model), torch.enable_grad():
            logits = model(x[:1])
            grads = torch.autograd.grad(
                logits.square().sum(), [others[conv] for conv, _ in pairs], allow_unused=True
            )
    finally:
        for pair in hooks:
            for handle in pair:
                handle.remove()
    return [pair for pair, grad in zip(pairs, grads, strict=True) if grad is None]


def _names(model: nn.Module) -> dict[nn.Module, list[str]]:
    """All names that each module is registered under."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    return names


def fold_input_scale(model: nn.Module, x: Tensor) -> tuple[str, Tensor] | None:
    """Fold the scale of a normalisation of the pixels into the convolution behind it; the shift of the pixels
    stays.

    A normalisation is known by what it does: a module without children or parameters, and no batch norm, that
    maps the images to a_k x + b_k for each channel k, and whose output goes into a convolution and nowhere
    else that can be seen.

    Returns:
        the name of the convolution and a_k (K,); None where there is nothing to fold.
    """
    x = x[:1]
    took: list[tuple[nn.Module, nn.Module]] = []
    gave: dict[int, nn.Module] = {}
    held: list[Any] = []
    runs: dict[nn.Module, int] = {}

    def after(module: nn.Module, args: Any, output: Any) -> None:
        runs[module] = runs.get(module, 0) + 1
        held.append((args, output))
        if args and args[0] is x:
            gave[id(output)] = module
        elif args and id(args[0]) in gave:
            took.append((module, gave[id(args[0])]))

    run_with_hooks(model, x, [], [(m, after) for m in model.modules() if not list(m.children())])
    if len(gave) != 1 or len(took) != 1 or not isinstance(took[0][0], nn.Conv2d):
        return None
    conv, scaling = took[0][0], took[0][1]
    constant = not list(scaling.parameters()) and not isinstance(scaling, nn.modules.batchnorm._NormBase)
    affine = _affine(scaling, x) if runs[conv] == runs[scaling] == 1 and constant else None
    if affine is None or conv.groups != 1 or conv.padding_mode != "zeros":
        return None
    scale, offset = affine
    with torch.no_grad():
        conv.weight.mul_(scale[:, None, None])
    names = {module: name for name, module in model.named_modules()}
    replace_module(model, names[scaling], _Shift(offset / scale))
    return names[conv], scale


class _Shift(nn.Module):
    """x + shift by channel; in channels-last memory a row of pixels at a time, since rows of three values are
    slow.
    """

    shift: Tensor

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift.clone())

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_contiguous(memory_format=torch.channels_last):
            return x + self.shift.view(-1, 1, 1)
        n, k, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(n, h, w * k) + self.shift.repeat(w)
        return rows.view(n, h, w, k).permute(0, 3, 1, 2)


def _affine(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """a_k and b_k of each channel where ``module`` computes a_k x + b_k with a_k not 0; None where it does
    something else.
    """
    with torch.no_grad():
        low, high, came = module(torch.zeros_like(x)), module(torch.ones_like(x)), module(x)
        if not (isinstance(came, Tensor) and came.shape == x.shape and came.dtype == x.dtype):
            return None
        offset, scale = low[0, :, 0, 0], (high - low)[0, :, 0, 0]
        uniform = torch.allclose(low, offset.view(-1, 1, 1).expand_as(low))
        for z, given in (
            (x, came),
            (0.731 * x + 0.113, module(0.731 * x + 0.113)),
        ):  # the second is on no grid of 1/255
            expected = z * scale.view(-1, 1, 1) + offset.view(-1, 1, 1)
            uniform = uniform and torch.allclose(given, expected, atol=1e-5)
    return (scale, offset) if uniform and bool((scale != 0).all()) else None


def run_before(model: nn.Module, first: nn.Module, x: Tensor) -> set[nn.Module]:
    """Modules that finish before ``first`` starts, such as a normalisation."""
    done: set[nn.Module] = set()
    started: list[bool] = []

    def after(module: nn.Module, args: Any, output: Any) -> None:
        if not started:
            done.add(module)

    started_at = [(first, lambda module, args, kwargs: started.append(True))]
    run_with_hooks(model, x[:1], started_at, [(module, after) for module in model.modules()])
    return done

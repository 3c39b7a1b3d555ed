"""What depends on what in a model, as runs tell in which one value is noise."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.core.outputs import logits_of
from semirobust.core.seed import as_seed
from semirobust.layers.quiet import quiet
from semirobust.layers.sites import After, Before, Key, tensors_in, watched
from semirobust.layers.trace import Run

__all__ = ["Dependence", "dependence_by_noise", "moved_by_image", "moving_logits"]

_SEED = as_seed(0) / "trace"

_Values = list[dict[tuple[int, Key], Tensor]]
"""For each site and at last for the logits: (call, argument) -> its value."""


@dataclass(frozen=True)
class Dependence:
    """Sets of sites in bits: bit 0 is the input, bit k the k-th site.

    Attributes:
        arguments: for each site, what each argument of its first call depends on.
        inputs: for each site, what any argument of any call depends on.
        logits: what the logits depend on.
    """

    arguments: list[dict[Key, int]]
    inputs: list[int]
    logits: int


def dependence_by_noise(model: nn.Module, x: Tensor, run: Run) -> Dependence:
    """Which sites each site and the logits depend on, by runs in which one of them gives noise."""
    plain, again = _values(model, x, run), _values(model, x, run)
    found = [dict.fromkeys(values, 0) for values in plain]
    for bit, name in enumerate([None, *run.sites]):
        changed = _values(model, _noise(x), run) if name is None else _values(model, x, run, [name])
        for place, keys in enumerate(_moved(plain, again, changed)):
            for key in keys:
                found[place][key] |= 1 << bit
    *sites, logits = found
    return Dependence(
        [{key: mask for (call, key), mask in site.items() if call == 0} for site in sites],
        [_union(site.values()) for site in sites],
        _union(logits.values()),
    )


def moved_by_image(model: nn.Module, x: Tensor, run: Run) -> set[int]:
    """The sites of which an argument of some call is another at another image."""
    plain, again = _values(model, x, run), _values(model, x, run)
    *sites, _ = _moved(plain, again, _values(model, _noise(x), run))
    return {number for number, keys in enumerate(sites, 1) if keys}


def moving_logits(model: nn.Module, x: Tensor, run: Run, sites: Iterable[int]) -> set[int]:
    """Those of the sites whose results move the logits."""
    names = dict(enumerate(run.sites, 1))
    plain, again = _values(model, x, run), _values(model, x, run)

    def moves(numbers: Iterable[int]) -> bool:
        return bool(_moved(plain, again, _values(model, x, run, [names[n] for n in numbers]))[-1])

    # Mostly none does, which one run tells of all.
    return {number for number in sites if moves([number])} if moves(sites) else set()


def _moved(plain: _Values, again: _Values, changed: _Values) -> list[set[tuple[int, Key]]]:
    """For each site, and at last for the logits, what differs, unless it does by itself."""
    return [
        {
            key
            for key in old
            if key in new
            and key in same
            and torch.equal(old[key], same[key])
            and not torch.equal(old[key], new[key])
        }
        for old, same, new in zip(plain, again, changed, strict=True)
    ]


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _values(model: nn.Module, x: Tensor, run: Run, noisy: Collection[str] = ()) -> _Values:
    """The arguments of each site, and the logits, where the sites ``noisy`` give noise."""
    values: dict[str, dict[tuple[int, Key], Tensor]] = {name: {} for name in run.sites}
    calls = dict.fromkeys(values, 0)

    def before(name: str) -> Before:
        def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for key, tensor in tensors_in([*enumerate(args), *kwargs.items()]):
                if key in run.sites[name].arguments and (calls[name], key) not in values[name]:
                    values[name][calls[name], key] = tensor.detach().clone()
            calls[name] += 1

        return call

    def after(output: Any) -> None:
        for _, tensor in tensors_in([(0, output)]):
            if tensor.is_floating_point():
                tensor.copy_(_noise(tensor))

    befores, afters = {name: before(name) for name in values}, dict[str, After].fromkeys(noisy, after)
    watching = watched(model, befores, afters, run.functions)
    with quiet(model), torch.no_grad(), _SEED.globally(), watching:
        logits = logits_of(model(x))
    return [*values.values(), {(0, 0): logits.detach()}]


def _noise(like: Tensor) -> Tensor:
    noise = torch.rand(like.shape, generator=_SEED.generator()).to(like)
    scale = like.abs().mean().clamp_min(1) if like.numel() else 1.0
    return noise * scale

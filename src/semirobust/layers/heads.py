"""Which of the outputs that a network has in train mode are its logits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.outputs import described, heads_seen, remedy
from semirobust.core.seed import Seed
from semirobust.layers.caches import without_traces
from semirobust.layers.quiet import as_it_was, guarded

__all__ = ["main_head"]

_SEED = Seed(("heads",))


def main_head(model: nn.Module, x: Tensor) -> int | None:
    """Where train mode returns several tensors of two dimensions, the index of what eval mode returns.

    It is the one with the values of eval mode in a pass whose norms and dropout are in eval mode. Where other
    randomness hides that, it is the one that depends on all parameters that the logits of eval mode and any
    of the tensors depend on. The model is left as it was.

    Args:
        model: gives logits (N, C).
        x: a few images.

    Returns:
        None where train mode returns one tensor, or says by a name which one counts.

    Raises:
        InputError: none of the tensors, or more than one, is what eval mode returns.
    """
    with (
        _SEED.globally(),
        guarded(model),
        as_it_was(model),
        without_traces(model),
        _all_take_gradients(model) as parameters,
        torch.enable_grad(),
    ):
        model.train()
        for module in model.modules():
            if module is not model and next(module.children(), None) is None:
                module.training = False
        with heads_seen() as seen:
            try:
                model(x.clone())
            except Exception:  # training says by itself why it cannot run
                return None
        if not seen:
            return None
        output, parts = seen[0]
        model.eval()
        logits = model(x.clone())
        found = _found(logits, parts, parameters)
    if found is None:
        raise InputError(
            f"model: expected one tensor of logits in train mode, got {described(output)}, and none of them"
            f" alone is what eval mode returns; say which one counts by {remedy(list(parts)[-1])}"
        )
    return found


def _found(logits: Tensor, parts: dict[int, Tensor], parameters: list[nn.Parameter]) -> int | None:
    alike = {index: part for index, part in parts.items() if part.shape == logits.shape}
    same = {i: part for i, part in alike.items() if not part.is_meta and torch.allclose(part, logits, 1e-3)}
    if len(same) == 1:
        return next(iter(same))
    reached = {index: _reached(part, parameters) for index, part in parts.items()}
    needed = _reached(logits, parameters) & set().union(*reached.values())
    whole = [index for index in same or alike if needed <= reached[index]]
    smallest = min((len(reached[index]) for index in whole), default=0)
    found = [index for index in whole if len(reached[index]) == smallest]
    return found[0] if found and (same or len(found) == 1) else None


def _reached(tensor: Tensor, parameters: list[nn.Parameter]) -> set[int]:
    """The places of the parameters that ``tensor`` depends on."""
    if not tensor.requires_grad:
        return set()
    gradients = torch.autograd.grad(tensor.sum(), parameters, allow_unused=True, retain_graph=True)
    return {place for place, gradient in enumerate(gradients) if gradient is not None}


@contextmanager
def _all_take_gradients(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Inside, all parameters that can take a gradient do; gives these."""
    flags = [(p, p.requires_grad) for p in model.parameters() if p.is_floating_point() or p.is_complex()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(True)
        yield [parameter for parameter, _ in flags]
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)

"""The form of the network in which the inner maximisation runs."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from semirobust.core.seed import Seed
from semirobust.fast.copy import Faster, has_bfloat16
from semirobust.layers.quiet import quiet
from semirobust.threats import AbstractBall

__all__ = ["InnerOf", "SearchForm", "SearchName"]

SearchName = Literal["auto", "exact"]
InnerOf = Callable[[nn.Module], Callable[[Tensor], Tensor] | None]
"""The inner loss ``x_adv -> (N,)`` of an objective for a network; None for one without an attack."""

_ENOUGH = {torch.bfloat16: 0.9, torch.float32: 0.99}


class SearchForm:
    """The network itself (``exact``), or where it is as good to search in a faster copy that follows its
    weights (``auto``).

    The attack only looks for a point; what is trained on that point is always the network itself. A copy is
    :class:`semirobust.fast.copy.Faster`, in bfloat16 on a processor that has it, else in full precision. At
    the start of
    each epoch the gradients of the inner loss at random points of the ball are compared: where the way that a
    copy points at raises the network's own loss by less than 90 % (in full precision 99 %) of what the best
    way would, to first order and on average over some training images, the next form is tried. Choices depend
    on no clock.

    Args:
        model: the network in training.
        name: ``auto`` or ``exact``.
    """

    def __init__(self, model: nn.Module, name: SearchName) -> None:
        self._model, self._name = model, name
        self._forms: dict[torch.dtype, Faster] | None = None
        self._chosen: Faster | None = None

    @property
    def description(self) -> str:
        """What runs now, in words."""
        return "as it is, full precision" if self._chosen is None else self._chosen.description

    @property
    def form(self) -> str:
        """The name of what runs now, for :meth:`take`."""
        return next((str(dtype) for dtype, form in (self._forms or {}).items() if form is self._chosen), "")

    def take(self, form: str, x: Tensor) -> None:
        """Go on with the form of that name, as it was chosen before the run was interrupted."""
        self._chosen = (
            next((own for dtype, own in self._made(x).items() if str(dtype) == form), None) if form else None
        )

    def choose(self, inner_of: InnerOf, x: Tensor, threat: AbstractBall, seed: Seed) -> None:
        """Choose the form for an epoch by the inner loss around ``x`` (n, K, H, W)."""
        self._chosen = None
        if self._name == "exact" or x.dim() != 4 or x.dtype != torch.float32:
            return
        forms = self._made(x)
        if not forms:
            return
        start = threat.restrict(x, x + threat.sample(x, seed))
        with quiet(self._model):
            truth = _slope(inner_of(self._model), start)
            if truth is None:
                return
            best = _first_order(truth, threat.ascent(truth))
            for dtype, form in forms.items():
                form.refresh()
                slope = _slope(inner_of(form.network), start)
                gain = _first_order(truth, threat.ascent(slope)) / best.clamp_min(1e-30)  # type: ignore[arg-type]
                if float(gain.mean()) >= _ENOUGH[dtype]:
                    self._chosen = form
                    return

    def _made(self, x: Tensor) -> dict[torch.dtype, Faster]:
        """The copies there can be, the fastest first; made once."""
        if self._forms is None:
            self._forms = {}
            try:
                full = Faster(self._model, x, torch.float32)
                if full.follows(x[:8]):
                    half = (
                        {torch.bfloat16: Faster(self._model, x, torch.bfloat16)}
                        if has_bfloat16(x.device)
                        else {}
                    )
                    self._forms = {**half, torch.float32: full}
            except Exception:  # a model that cannot be copied or run so is used as it is
                self._forms = {}
        return self._forms

    def network(self) -> nn.Module:
        """What to attack in this step, with the weights of now."""
        if self._chosen is None:
            return self._model
        self._chosen.refresh()
        return self._chosen.network


def _slope(inner: Callable[[Tensor], Tensor] | None, x: Tensor) -> Tensor | None:
    if inner is None:
        return None
    here = x.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        loss = inner(here)
        if not loss.requires_grad:
            return None
        (slope,) = torch.autograd.grad(loss.sum(), here)
    return slope


def _first_order(slope: Tensor, way: Tensor) -> Tensor:
    """By how much each example's loss rises along ``way``."""
    return (slope * way).flatten(1).sum(1)

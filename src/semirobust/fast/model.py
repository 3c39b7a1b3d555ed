"""What an attack on a trained model computes logits with while it searches."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from semirobust.core.margin import margin, misclassified

__all__ = ["FastModel"]


@dataclass(frozen=True)
class FastModel:
    """A form of a model for searching, with the model itself for the verdict.

    Attributes:
        model: whose prediction counts.
        logits: (n, K, H, W) floats to (n, C) floats, differentiable in its input.
        description: what was done, in words.
        band: half-width of the margin within which its sign is not to be trusted, as a fraction of the spread
            of an example's logits; 0 where the form is the model itself.
        layout: the memory layout of images that suits it.
        full: the fastest form in full precision, where this one is in half precision.
        audited: a search may leave out work that would change nothing, if it audits that.
        runtime: what else computes its logits where no gradient is asked for, as part of the description;
            empty where nothing does.
        batch_rows: rows in a batch that keep the processor busy; more take more memory and are not faster.
    """

    model: nn.Module = field(repr=False)
    logits: Callable[[Tensor], Tensor] = field(repr=False)
    description: str
    band: float
    layout: torch.memory_format = torch.channels_last
    full: "FastModel | None" = None
    runtime: str = ""
    batch_rows: int = 64
    audited: bool = True

    @property
    def is_copy(self) -> bool:
        """Whether it is another network than the model."""
        return self.band > 0

    def in_full_precision(self) -> "FastModel":
        """The form for a search whose steps are smaller than half precision can tell apart."""
        return self if self.full is None else self.full

    def fooled(self, logits: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Whether the model misclassifies each example, by this form's ``logits`` (n, C) at ``x_adv``: (n,).

        A copy in full precision is believed where the margin is beyond its rounding. One in half precision is
        believed where it says "correctly classified" by more than that; whatever else it says is asked of the
        form in full precision, which asks the model where it is unsure itself.
        """
        wrong = misclassified(logits, y)
        if not self.is_copy:
            return wrong
        unsure = self._unsure(logits, y)
        wrong &= ~unsure
        rows = unsure.nonzero().flatten()
        if len(rows):
            with torch.no_grad():
                x_adv, y = x_adv[rows].detach(), y[rows]
                if self.full is None:
                    wrong[rows] = misclassified(self.model(x_adv), y)
                else:
                    wrong[rows] = self.full.fooled(self.full.logits(x_adv), x_adv, y)
        return wrong

    def certainly_fooled(self, logits: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """:meth:`fooled` where the ``logits`` of this form say so beyond doubt, so that nothing is asked."""
        wrong = misclassified(logits, y)
        return wrong & ~self._unsure(logits, y) if self.is_copy else wrong

    def _unsure(self, logits: Tensor, y: Tensor) -> Tensor:
        """Whose verdict by these logits is not to be trusted: (n,)."""
        lead, rounding = margin(logits, y), self.band * (logits.amax(1) - logits.mean(1))
        unsure = lead > -rounding if self.full is not None else ~(lead.abs() > rounding)
        return unsure | lead.isnan() | rounding.isnan()

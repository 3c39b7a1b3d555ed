"""The margin of a classification."""

import torch
from torch import Tensor

__all__ = ["margin", "misclassified"]


def margin(logits_nC: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """max_{k != y} z_k - z_y, or z_target - z_y; at least 0 where the example is misclassified: (n,)."""
    own = logits_nC.gather(1, y[:, None])[:, 0]
    if target is not None:
        return logits_nC.gather(1, target[:, None])[:, 0] - own
    return logits_nC.scatter(1, y[:, None], -torch.inf).amax(1) - own


def misclassified(logits_nC: Tensor, y: Tensor) -> Tensor:
    """Whether another class has the highest logit, or one of them is NaN, which is no answer: (n,)."""
    # NaN spreads to the sum, which is cheaper than looking at each; so does inf - inf, which is looked at.
    wrong, odd = logits_nC.argmax(1) != y, ~torch.isfinite(logits_nC.sum(1))
    return wrong | (odd & logits_nC.isnan().any(1))

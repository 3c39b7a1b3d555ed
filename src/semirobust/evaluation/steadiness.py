"""Whether a network's answer for an image is a property of that image."""

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.outputs import note

__all__ = ["PASSES", "Steadiness"]

PASSES = 8  # for a verdict on a model that draws its answers
_LOOKED_AT = 16
# Of the spread of the logits, above which answers differ by more than rounding. Networks whose activations
# are quantised batch by batch differ by some thousandths, which decides nothing.
_DRIFT, _COMPANY = 1e-3, 0.02


class Steadiness:
    """Asks a quiet ``model`` about some images ``x`` (N, ...) twice, once in other company, and later again.

    Attributes:
        drawn: an answer differs from pass to pass: it is drawn at random, or depends on the number of calls.
            That is noted.

    Raises:
        InputError: an answer depends on the other images of its batch, so that no verdict on an image means
            anything.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self._model, self._x = model, x[: _LOOKED_AT - _LOOKED_AT % 2]
        self._first = self._answer(self._x)
        self.drawn = self._drift() > _DRIFT
        if self.drawn:
            note(
                "the model answers the same images differently from pass to pass, so each verdict is that of"
                f" {PASSES} passes, and where they differ it is not decided; average gradients over several"
                " (eot), as autoattack's preset rand does"
            )
        elif len(self._x) > 1:
            self._check_company()

    def _check_company(self) -> None:
        half = (len(self._x) + 1) // 2
        other = self._answer(torch.cat([self._x[:half], 1 - self._x[half:]]))
        if (change := _deviation(self._first[:half], other[:half], self._x.dtype)) > _COMPANY:
            raise InputError(
                "model: expected an answer that depends on the image alone, but it changes with the other"
                f" images of the batch (by {change:.1%} of the spread of its logits), as with batch norm that"
                " keeps no running statistics; give its norms statistics of their own"
                " (track_running_stats=True) and let them see the training images"
            )

    def has_changed(self) -> bool:
        """Whether the answers are others now, which is noted; of drawn ones that says nothing."""
        changed = not self.drawn and self._drift() > _DRIFT
        if changed:
            note(
                "the model answers the same images differently after it was attacked than before, so nothing"
                " is decided"
            )
        return changed

    def _answer(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            answer: Tensor = self._model(x.clone()).double()
        return answer

    def _drift(self) -> float:
        return _deviation(self._first, self._answer(self._x), self._x.dtype)


def _deviation(a: Tensor, b: Tensor, dtype: torch.dtype) -> float:
    """Largest difference of two answers as a fraction of the spread of the logits, less what is rounding."""
    spread = float((a.amax(1) - a.amin(1)).amax())
    if not bool(torch.isfinite(a).all() & torch.isfinite(b).all()):
        a, b = (z.nan_to_num(0, 0, 0) for z in (a, b))
        spread = float((a.amax(1) - a.amin(1)).amax())
    deviation = float((a - b).abs().max()) / max(spread, torch.finfo(torch.float32).tiny)
    return deviation - 8 * torch.finfo(dtype).eps

"""The form of the network in which the inner maximisation runs."""

from typing import Literal

import torch
from torch import Tensor, nn

from semirobust.attacks.inference import deviation
from semirobust.layers.faster import Faster, has_bfloat16
from semirobust.layers.mode import quiet

__all__ = ["SearchForm", "SearchName"]

SearchName = Literal["auto", "exact"]

_BANDS = {torch.bfloat16: 0.03, torch.float32: 1e-3}
_ENOUGH = 0.98


class SearchForm:
    """The network itself (``exact``), or where it agrees with it a faster copy that follows its weights (``auto``).

    The attack only looks for a point; what is trained on that point is always the network itself. A copy is
    :class:`semirobust.layers.faster.Faster`, in bfloat16 on a processor that has it. At the start of each epoch its logits
    are compared with the network's on some training images, and one that deviates by more than 3 % of their spread
    (0.1 % in full precision) on 2 % of the images is not used in that epoch.

    Args:
        model: the network in training.
        name: ``auto`` or ``exact``.
    """

    def __init__(self, model: nn.Module, name: SearchName) -> None:
        self._model, self._name = model, name
        self._forms: dict[torch.dtype, Faster] = {}
        self._chosen: Faster | None = None

    @property
    def description(self) -> str:
        """What runs now, in words."""
        return "as it is, full precision" if self._chosen is None else self._chosen.description

    def choose(self, x: Tensor) -> None:
        """Choose the form for an epoch by its logits on ``x`` (n, K, H, W)."""
        self._chosen = None
        if self._name == "exact" or x.dim() != 4 or x.dtype != torch.float32:
            return
        with quiet(self._model), torch.no_grad():
            truth = self._model(x)
        dtypes = [torch.bfloat16] * has_bfloat16(x.device) + [torch.float32]
        self._chosen = next((form for dtype in dtypes if (form := self._agreeing(dtype, x, truth)) is not None), None)

    def _agreeing(self, dtype: torch.dtype, x: Tensor, truth: Tensor) -> Faster | None:
        try:
            form = self._forms.get(dtype) or Faster(self._model, x, dtype)
            form.refresh()
            with torch.no_grad():
                share = (deviation(form.network(x), truth) <= _BANDS[dtype]).float().mean()
        except Exception:  # a model that cannot be copied or run so is used as it is
            return None
        self._forms[dtype] = form
        return form if float(share) >= _ENOUGH else None

    def network(self) -> nn.Module:
        """What to attack in this step, with the weights of now."""
        if self._chosen is None:
            return self._model
        self._chosen.refresh()
        return self._chosen.network

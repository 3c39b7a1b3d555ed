"""Adversarial training of low-rank updates of convolutions, beside adaptive batch norm."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import nn

from semirobust.adapters.conv_low_rank import conv_low_rank
from semirobust.adapters.low_rank import merged
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.methods import METHODS
from semirobust.methods.base.called import check_called
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import All
from semirobust.training.training import Trained

__all__ = ["ConvLoRA"]


@METHODS.register("convlora")
@dataclass(frozen=True)
class ConvLoRA(AbstractMethod):
    """PGD-AT of a low-rank update of each convolution, while batch norm takes the statistics of attacked
    images; everything else is frozen.

    Source: ConvLoRA and AdaBN (Aleem et al. 2024) and their code. Of a convolution with k x k taps, W <- W +
    (alpha / rank) up down, reshaped to it. ``up`` (outputs x k, rank x k) begins as 0, ``down`` (rank x k,
    inputs x k) as uniform within 1 / root(inputs x k). AdaBN (Li et al. 2018) replaces the statistics of
    batch norm by those of the new domain. The updates are merged into the weights afterwards.

    They adapt a segmentation of brain images to another scanner, without labels. That attacked images are the
    new domain, and that their labels train, is our reading. So is that projections of shortcuts have an
    update and linear layers have none. Statistics move as in any training (momentum), not in a pass of their
    own.

    Args:
        rank: of each update, times k; 2 in the authors' code. With 0 there is none, and this is AdaBN alone.
        alpha: the scale of the update, times its rank; 2 in the authors' code.
        adabn: batch norm takes new statistics; without it they stay, as in ``lora``.
        affine: weights and biases of batch norm train too, as in the authors' code; their text freezes them.

    Raises:
        InputError: there are no convolutions, or nothing would change.
    """

    rank: int = 2
    alpha: float = 2.0
    adabn: bool = True
    affine: bool = False

    def plan(self, context: Context) -> Plan:
        if self.rank < 0 or not self.alpha > 0:
            raise InputError(
                f"rank and alpha: expected at least 0 and a positive number, got {self.rank} and {self.alpha}"
            )
        if not (self.rank or self.adabn or self.affine):
            raise InputError("rank: expected at least 1 where batch norm does not adapt, got 0")
        scale = self.alpha / max(self.rank, 1)

        @contextmanager
        def prepare(model: nn.Module, seed: Seed) -> Iterator[None]:
            names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
            if not names:
                raise InputError(
                    "model: expected convolutions, which convlora updates, found none; lora updates linear"
                    " layers too"
                )
            check_called(context.layers, names if self.rank else ())
            with conv_low_rank(model, names, self.rank, scale, seed, adapts=self.adabn, affine=self.affine):
                yield

        def as_before(trained: Trained) -> Trained:
            return replace(trained, best=merged(trained.best, scale))

        return Plan(Adversarial(), All(), prepare=prepare, as_before=as_before)

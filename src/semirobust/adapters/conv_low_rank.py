"""Low-rank updates of convolutions, beside batch norm whose statistics adapt (ConvLoRA and AdaBN)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from semirobust.adapters.low_rank import updates_alone, with_updates
from semirobust.core.seed import Seed

__all__ = ["conv_low_rank"]

_NORMS = nn.modules.batchnorm._BatchNorm


@contextmanager
def conv_low_rank(
    model: nn.Module,
    names: Iterable[str],
    rank: int,
    scale: float,
    seed: Seed,
    *,
    adapts: bool = True,
    affine: bool = False,
) -> Iterator[None]:
    """Inside, the convolutions of these names have updates by kernel (Aleem et al. 2024), and nothing else of
    ``model`` trains but what follows.

    On leaving, each weight becomes W + scale * up down. ``up`` begins as 0, so that the network begins as it
    was, bit for bit; with rank 0 every weight stays so.

    Args:
        model: the network.
        names: of convolutions.
        rank: of each update, times the side of its kernel.
        scale: of the updates.
        seed: of their first values.
        adapts: train mode gives batch norm new statistics (AdaBN, Li et al. 2018).
        affine: the weights and biases of batch norm train.

    Raises:
        InputError: a module is no plain convolution.
    """
    norms = [module for module in model.modules() if isinstance(module, _NORMS)]
    updated = with_updates(
        model, names, seed, lambda module, own: module.attach_by_kernel(rank, own, scale=scale)
    )

    def is_still(module: nn.Module) -> bool:
        has_statistics = next(module.buffers(recurse=False), None) is not None
        return has_statistics and not (adapts and isinstance(module, _NORMS))

    with updates_alone(model, updated, is_still):
        for norm in norms:
            norm.requires_grad_(affine)
        yield

"""Parts of a pass that are computed again for its gradient, as by ``torch.utils.checkpoint``."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from semirobust.core.errors import InputError

__all__ = ["check_once", "once"]

_MESSAGE = (
    "model: expected a network that runs once for its gradient, since it is changed for one pass, but it"
    " computes a part again (torch.utils.checkpoint); turn checkpointing off"
)


@contextmanager
def once() -> Iterator[None]:
    """Inside, and where it is entered, nothing is computed again for the gradient.

    Where a network is changed for one pass, that would be the network without the change.

    Raises:
        InputError: something would be computed again.
    """
    try:
        # Checkpoints are hooks on what is saved for the gradient; PyTorch also refuses when there are some.
        with torch.autograd.graph.disable_saved_tensors_hooks(_MESSAGE):
            yield
    except RuntimeError as error:
        if _MESSAGE in str(error):
            raise InputError(_MESSAGE) from None
        raise


def check_once() -> None:
    """Raise ``InputError`` where what is computed here will be computed again for the gradient."""
    if torch.is_grad_enabled():
        with once():
            pass

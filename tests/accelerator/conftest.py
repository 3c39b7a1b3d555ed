"""What these tests share."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils import backend_registration

# Older versions of PyTorch have no backends in Python.
HAS_BACKENDS = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
collect_ignore_glob = [] if HAS_BACKENDS else ["test_*.py"]


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The simulated device."""
    from tests.accelerator.device import simulated

    with simulated() as device:
        yield device

"""Every registered member on the simulated device gives what it gives on the CPU."""

from typing import Any

import numpy as np
import pytest
import torch

from semirobust.experiments.families import FAMILIES
from tests.accelerator.device import to_host
from tests.accelerator.members import ELSEWHERE, RUNS, names

_CPU = torch.device("cpu")
# On the CPU attention is one operation, elsewhere several, which round in another way.
# EDGE adds the terms of its sum beside empty buckets there.
_ROUNDED = {
    ("models", "vit_small"): 1e-4,
    ("methods", "peft"): 1e-4,  # in such a network
    ("dependences", "edge"): 1e-12,
    ("measures", "connectivity"): 1e-12,
}


def test_every_family_runs_or_says_why_not():
    assert RUNS.keys() | ELSEWHERE.keys() == FAMILIES.keys()
    assert not RUNS.keys() & ELSEWHERE.keys()


def _same(here: Any, there: Any, tolerance: float) -> bool:
    if isinstance(here, torch.Tensor):
        here, there = here.detach().numpy(), to_host(there).numpy()
    if isinstance(here, np.ndarray | float | tuple):
        return np.allclose(here, there, tolerance, tolerance, equal_nan=True)
    return here == there


@pytest.mark.parametrize(("family", "name"), [(f, name) for f in RUNS for name in names(f)])
def test_it_gives_what_the_cpu_gives(device, family, name):
    """To the last digit, but for what is said above."""
    here, there = RUNS[family](name, _CPU), RUNS[family](name, device)
    assert len(here) == len(there) > 0
    tolerance = _ROUNDED.get((family, name), 0.0)
    assert [_same(one, other, tolerance) for one, other in zip(here, there, strict=True)] == [True] * len(
        here
    )

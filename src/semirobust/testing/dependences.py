"""What every measure of dependence must do."""

import numpy as np
import torch
from torch import Tensor

from semirobust.core.seed import as_seed
from semirobust.testing.base.check import Subject, demanded, refused, require

__all__: list[str] = []


def _pair(n: int = 200, d: int = 3) -> tuple[Tensor, Tensor]:
    generator = as_seed(0).generator()
    x = torch.randn(n, d, generator=generator)
    return x, x + 0.3 * torch.randn(n, d, generator=generator)


@demanded("dependences")
def tells_dependence_from_independence(subject: Subject) -> None:
    """Tell dependent rows from independent ones, each against a permutation null."""
    x, y = _pair()
    found = subject.make()(x, y)
    none = subject.make()(x, torch.randn(200, 3, generator=as_seed(4).generator()))
    require(found.verdict == "informative" and found.p_value <= 0.05, f"of dependent rows: {found.verdict}")
    independent = none.verdict == "indistinguishable from independence"
    require(independent, f"of independent rows: {none.verdict}")
    low, high = found.interval
    require(low <= found.value <= high, f"the value {found.value} is not in its interval {low} to {high}")
    require(found.value <= found.ceiling, f"the value {found.value} is above the ceiling {found.ceiling}")


@demanded("dependences")
def equal_seeds_give_equal_estimates(subject: Subject) -> None:
    """Give the same estimate and null again for equal seeds, and leave the global state alone."""
    x, y = _pair(d=20)
    measure, before = subject.make({"permutations": 3}), torch.get_rng_state()
    first, again = measure(x, y, seed=1), measure(x, y, seed=1)
    require((first.value, first.null) == (again.value, again.null), "equal seeds give other estimates")
    require(torch.equal(before, torch.get_rng_state()), "the global random state has moved")


@demanded("dependences")
def rows_of_any_shape_and_type(subject: Subject) -> None:
    """Take rows of any shape in half, double and whole numbers, and leave them alone."""
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64):
        x = (torch.randn(60, 2, 3, 3, generator=as_seed(0).generator()) * 3).to(dtype)
        kept = x.clone()
        found = subject.make({"permutations": 1})(x, x[:, :, 0].transpose(1, 2))
        require(np.isfinite(found.value), f"of {dtype} the estimate is {found.value}")
        require(torch.equal(x, kept), "the rows that were given have changed")


@demanded("dependences")
def wrong_rows_are_refused(subject: Subject) -> None:
    """Refuse rows that are not finite, not as many, too few or all alike, each in one sentence."""
    measure, (x, y) = subject.make(), _pair()
    broken = x.clone()
    broken[3, 1] = torch.nan
    refused(lambda: measure(broken, y), "a row with NaN")
    refused(lambda: measure(x, y[:50]), "a side with fewer rows")
    refused(lambda: measure(x[:5], y[:5]), "a sample of five rows")
    refused(lambda: measure(x, torch.ones(200, 2)), "rows that are all alike")
    refused(lambda: measure(x, y, given=torch.rand(200, generator=as_seed(1).generator())), "labels in parts")

"""The unbiased estimate of the Hilbert-Schmidt independence criterion (Song et al. 2012, equation 5).

Of two kernels K and M (n, n) whose diagonals are set to 0 it is

    [ tr(K M) + 1'K1 1'M1 / ((n - 1) (n - 2)) - 2 1'K M1 / (n - 2) ] / (n (n - 3)).

Both functions give the bracket, without the last factor, which cancels where two estimates are divided.
"""

from typing import TypeVar

from torch import Tensor

__all__ = ["unbiased_from_kernels", "unbiased_from_sums"]

Value = TypeVar("Value", float, Tensor)


def unbiased_from_kernels(k: Tensor, m: Tensor) -> Tensor:
    """n (n - 3) times the estimate: (), from kernels (n, n) with a diagonal of 0, n at least 4."""
    rows_k, rows_m = k.sum(1), m.sum(1)
    return unbiased_from_sums((k * m).sum(), rows_k.sum() * rows_m.sum(), rows_k @ rows_m, len(k))


def unbiased_from_sums(trace: Value, totals: Value, rows: Value, n: int) -> Value:
    """The same from tr(K M), 1'K1 1'M1 and 1'K M1, for kernels that are never formed."""
    return trace + totals / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)

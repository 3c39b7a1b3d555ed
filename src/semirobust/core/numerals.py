"""Numbers as users have them, also those of NumPy and fractions, as Python's own."""

from numbers import Integral, Real

__all__ = ["as_real", "as_whole"]


def as_whole(value: object) -> int | None:
    """The whole number; None for what is none, such as True or 2.5."""
    if isinstance(value, bool):
        return None
    return int(value) if isinstance(value, Integral) else None


def as_real(value: object) -> float | None:
    """The number, an integer as it is; None for what is none, such as True."""
    if isinstance(value, bool):
        return None
    whole = as_whole(value)
    return whole if whole is not None else float(value) if isinstance(value, Real) else None

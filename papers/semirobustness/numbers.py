"""The numbers that several tables of the page need."""

from collections.abc import Sequence

from semirobust.records import Number, Quantity
from semirobust.reports import Seeds, Source, cells, paired

from .runs import PLAIN

__all__ = ["accuracy", "example_count", "gap_to_robust", "layer_count", "mean", "pgd_name", "suffix_sizes"]


def pgd_name(source: Source) -> str:
    """The PGD that this scale evaluates with."""
    names = (str(n.about.attack) for n in source.of(Quantity.ACCURACY, arm="suffix"))
    return next((name for name in names if name.startswith("pgd")), "pgd-20")


def example_count(source: Source, attack: str) -> int:
    """How many test images suffixes were evaluated on under an attack; 0 where they were not."""
    return next((n.n or 0 for n in source.of(Quantity.ACCURACY, attack=attack, arm="suffix")), 0)


def suffix_sizes(source: Source) -> list[int]:
    """The sizes of the suffix that were trained."""
    return sorted(source.values(Quantity.RECOVERY_DIFFERENCE, lambda about: about.suffix))


def layer_count(source: Source) -> int:
    """How many layers the network has."""
    return max(source.values(Quantity.RECOVERY_THRESHOLD, lambda about: about.layer), default=0)


def accuracy(source: Source, arm: str, attack: str, size: int | None = None, variant: str = PLAIN) -> Seeds:
    """Of f* and the controls without a size; of a suffix, before (``start``) or after training, with one."""
    found = source.only(arm=arm, attack=attack)
    if attack == "autoattack" and source.of(Quantity.ACCURACY, unit="autoattack"):
        return cells(found, Quantity.ACCURACY, unit="autoattack", suffix=size)
    if size is None:
        return cells(found, Quantity.ACCURACY, unit="references" if arm == "robust" else "controls")
    return cells(found, Quantity.ACCURACY, suffix=size, variant=variant)


def gap_to_robust(source: Source, size: int) -> Seeds:
    """Accuracy under PGD after training less that of f*."""
    pgd = pgd_name(source)
    return paired(accuracy(source, "suffix", pgd, size), accuracy(source, "robust", pgd))


def mean(numbers: Sequence[Number]) -> float:
    """Of the values; 0 where there are none."""
    return sum(n.value for n in numbers) / len(numbers) if numbers else 0.0

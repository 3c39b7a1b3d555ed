"""The numbers that several tables of the page need."""

from collections.abc import Sequence

from semirobust.records import Number
from semirobust.reports import Seeds, Source, cells, paired

__all__ = ["accuracy", "example_count", "gap_to_robust", "layer_count", "mean", "pgd_name", "suffix_sizes"]


def pgd_name(source: Source) -> str:
    """The PGD that this scale evaluates with."""
    names = (str(n.labels["attack"]) for n in source.named("accuracy") if n.labels.get("arm") == "suffix")
    return next((name for name in names if name.startswith("pgd")), "pgd-20")


def example_count(source: Source, attack: str) -> int:
    """How many test images suffixes were evaluated on under an attack; 0 where they were not."""
    found = (
        n
        for n in source.named("accuracy")
        if n.labels.get("attack") == attack and n.labels.get("arm") == "suffix"
    )
    return next((n.n or 0 for n in found), 0)


def suffix_sizes(source: Source) -> list[int]:
    """The sizes of the suffix that were trained."""
    return sorted({int(n.labels["suffix"]) for n in source.named("recover.difference")})


def layer_count(source: Source) -> int:
    """How many layers the network has."""
    return max((int(n.labels["layer"]) for n in source.named("recover.threshold")), default=0)


def accuracy(
    source: Source, arm: str, attack: str, size: int | None = None, unit: str | None = None
) -> Seeds:
    """Of f* and the controls without a size; of a suffix, before (``start``) or after training, with one."""
    if attack == "autoattack" and any(n.labels["unit"] == "autoattack" for n in source.named("accuracy")):
        unit = "autoattack"
    if size is None:
        return cells(
            source,
            "accuracy",
            arm=arm,
            attack=attack,
            unit=unit or ("references" if arm == "robust" else "controls"),
        )
    return cells(source, "accuracy", arm=arm, attack=attack, suffix=size, unit=unit or f"suffix-{size}")


def gap_to_robust(source: Source, size: int) -> Seeds:
    """Accuracy under PGD after training less that of f*."""
    pgd = pgd_name(source)
    return paired(accuracy(source, "suffix", pgd, size), accuracy(source, "robust", pgd))


def mean(numbers: Sequence[Number]) -> float:
    """Of the values; 0 where there are none."""
    return sum(n.value for n in numbers) / len(numbers) if numbers else 0.0

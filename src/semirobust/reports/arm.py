"""What a row or a column of a table stands for, and the words for it."""

from dataclasses import dataclass

from semirobust.records.about import About

__all__ = ["Arm", "AttackColumn"]


@dataclass(frozen=True)
class Arm:
    """One of the things that are compared: a row of a table, a line of a figure.

    Attributes:
        name: of the arm; None for a model that was not compared with others.
        run: name of its run, where there are several.
        suffix: how many layers its suffix has, where that varies.
        level: of pruning, where each level counts by itself.
        left: fraction of the weights that is left there.
    """

    name: str | None = None
    run: str | None = None
    suffix: int | None = None
    level: int | None = None
    left: float | None = None

    @classmethod
    def of(cls, about: About) -> "Arm":
        """The arm that ``about`` names; the robust network has no suffix of its own."""
        suffix = None if about.arm == "robust" else about.suffix
        return cls(name=about.arm, run=about.run, suffix=suffix)

    def __str__(self) -> str:
        words = self._words()
        if self.level is not None:
            words += f", level {self.level}" if self.left is None else f", {100 * self.left:.3g} % left"
        return words

    def _words(self) -> str:
        if self.name is None:
            return self.run or "model"
        known = {
            "suffix": f"suffix of {self.suffix}",
            "start": f"suffix of {self.suffix}, untrained",
        }
        name = self.name if self.suffix is None else known.get(self.name, self.name)
        return f"{self.run}: {name}" if self.run else name


@dataclass(frozen=True)
class AttackColumn:
    """An attack by itself, or together with those of its threat model before it."""

    name: str
    cumulative: bool | None = None

    @classmethod
    def of(cls, about: About) -> "AttackColumn | None":
        """The attack of a about; None where it names none."""
        return None if about.attack is None else cls(about.attack, about.cumulative or None)

    def __str__(self) -> str:
        return f"+ {self.name}" if self.cumulative else self.name

"""Accuracy at each radius of the threat model: a security curve."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.core.checks import check_examples
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.outputs import is_outermost, note, notes
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.renamed import renamed
from semirobust.core.seed import Seed, as_seed
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table
from semirobust.evaluation.accuracy import evaluate
from semirobust.evaluation.plausible import note_plausibility
from semirobust.evaluation.proportion import VERDICT_COLUMNS, Proportion, not_decided, verdict_cells
from semirobust.evaluation.separation import separation
from semirobust.fast.policy import Fast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Sweep", "sweep"]


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(AbstractResult):
    """Which examples stay correctly classified at each radius.

    Attributes:
        norm: of the threat model.
        epsilons: the radii, rising; the first is 0, which is clean accuracy.
        correct: (E, N) whether an example is classified correctly and nothing was found up to that radius.
        attacks: their names.
        undecided: (E, N) whether nothing was found either, though that decides nothing.
        notes: what a reader must know.
    """

    norm: str
    epsilons: tuple[float, ...]
    correct: Tensor
    attacks: tuple[str, ...]
    undecided: Tensor
    notes: tuple[str, ...] = ()

    @property
    def accuracies(self) -> tuple[Proportion, ...]:
        """The accuracy at each radius, with interval."""
        return tuple(Proportion.of(row) for row in self.correct)

    @property
    def left_open(self) -> tuple[int, ...]:
        """How many examples are not decided at each radius."""
        return tuple(self.undecided.sum(1).tolist())

    def __str__(self) -> str:
        rows = zip(self.epsilons, self.accuracies, self.left_open, strict=True)
        curve = [f"{self.norm} {e:<8.4g} {a}{not_decided(left, a.n)}" for e, a, left in rows]
        return "\n".join([*curve, *(f"Note: {sentence}." for sentence in self.notes)])

    def table(self) -> Table:
        curve = zip(self.epsilons, self.accuracies, self.left_open, strict=True)
        rows = [(epsilon, *verdict_cells(a, left)) for epsilon, a, left in curve]
        first, *_, last = self.accuracies
        return Table(
            f"{first:.1%} clean, {last:.1%} at {self.norm} {self.epsilons[-1]:.4g}, of {first.n:,} examples"
            f" under {', '.join(self.attacks)}",
            {
                "epsilon": "number",
                **VERDICT_COLUMNS,
            },
            rows,
            {"norm": self.norm, "attacks": ", ".join(self.attacks)},
            self.notes,
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Curve, security_curve

        accuracy, low, high = (
            [100 * value for value in table.numbers(name)] for name in ("accuracy", "low", "high")
        )
        curve = Curve(str(table.facts["attacks"]), table.numbers("epsilon"), accuracy, low, high)
        return security_curve([curve], norm=str(table.facts["norm"]), title=str(table.facts["attacks"]))


@renamed("precision", "fast", {"exact": "off"})
@anywhere
@on_classifiers("model")
def sweep(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attacks: AbstractAttack | Sequence[AbstractAttack],
    epsilons: Sequence[float],
    *,
    seed: int | Seed = 0,
    batch_size: int = 256,
    fast: Fast = "auto",
    progress: Progress = silent,
) -> Sweep:
    """Accuracy under the worst of ``attacks`` at each radius; what is not decided there is not counted.

    A perturbation within a small ball is within every larger one too. So each radius is tried only on the
    examples that were not fooled at a smaller one, and the curve cannot rise. Whether an attack by itself
    grows weaker with epsilon is checked by :func:`sanity_checks`.

    Args:
        model, x, y, seed, batch_size, fast, progress: as for :func:`evaluate`.
        attacks: within a norm ball, all of the same norm; their own epsilon is not used.
        epsilons: radii in pixel units, in any order.

    Raises:
        InputError: attacks without a norm ball or of several norms, no radius, or a negative one.
    """
    check_examples(x, y)
    wanted = [attacks] if isinstance(attacks, AbstractAttack) else list(attacks)
    balls = [attack for attack in wanted if isinstance(attack, AbstractBallAttack)]
    if not wanted or len(balls) < len(wanted) or len({attack.threat.norm for attack in balls}) > 1:
        raise InputError(
            "attacks: expected attacks within norm balls of one norm, whose strength can be changed"
        )
    try:
        radii = sorted({float(epsilon) for epsilon in epsilons} - {0.0})
    except (TypeError, ValueError):
        raise InputError(f"epsilons: expected numbers such as [1 / 255, 2 / 255], got {epsilons!r}") from None
    if not radii:
        raise InputError("epsilons: expected at least one radius above 0")
    for attack in balls:
        replace(attack.threat, epsilon=radii[-1]).check_radius(x)  # before any work
    clean = evaluate(model, x, y, batch_size=batch_size).clean
    note_plausibility({"": model}, x, y)
    if is_outermost():
        note(separation(replace(balls[0].threat, epsilon=radii[-1]), x, y))
    correct, undecided = [clean], [torch.zeros_like(clean)]
    for number, epsilon in enumerate(radii, 1):
        # Only what no smaller radius fooled is attacked.
        row = correct[-1] | undecided[-1]
        left, open_ = row.nonzero().flatten(), torch.zeros_like(row)
        if len(left):
            strong = [replace(a, threat=replace(a.threat, epsilon=epsilon)) for a in balls]
            part = x[left.to(x.device)], y[left.to(y.device)]
            path = as_seed(seed) / "sweep" / f"{epsilon:.6g}"
            found = evaluate(
                model, *part, strong, seed=path, batch_size=batch_size, fast=fast, worst_case=True
            )
            row[left], open_[left] = found.worst, found.unbroken & ~found.worst
        correct.append(row)
        undecided.append(open_)
        progress("strengths", number, len(radii))
    names = tuple(a.name for a in balls)
    return Sweep(
        balls[0].threat.norm, (0.0, *radii), torch.stack(correct), names, torch.stack(undecided), notes()
    )

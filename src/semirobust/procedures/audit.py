"""What can be said of a network's robustness within a given time, and what to do next."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from semirobust.attacks import ATTACKS
from semirobust.core.checks import check_examples
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table
from semirobust.data.base.given import given_images
from semirobust.data.base.images import Images, Splits
from semirobust.evaluation.accuracy import Evaluation, evaluate
from semirobust.evaluation.check import Check
from semirobust.evaluation.proportion import drawn_accuracies
from semirobust.evaluation.sanity import sanity_checks
from semirobust.measures.criticality import CriticalityResult, criticality
from semirobust.procedures.plan import MOST, Plan, plan_audit
from semirobust.procedures.verdict import next_steps, verdict
from semirobust.threats.base.ball import AbstractBall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Audit", "audit"]


@dataclass(frozen=True, eq=False, repr=False)
class Audit(AbstractResult):
    """What was found.

    Attributes:
        plan: what was done.
        evaluation: the verdicts on each example.
        checks: of the evaluation itself.
        layers: the criticality of each layer; None where the network shows none, which a note says.
        verdict: one sentence.
        steps: what to do next, with what it is expected to cost.
        notes: what a reader must know.
    """

    plan: Plan
    evaluation: Evaluation
    checks: tuple[Check, ...]
    layers: CriticalityResult | None
    verdict: str
    steps: tuple[str, ...]
    notes: tuple[str, ...]

    def table(self) -> Table:
        found = self.evaluation.table()
        failed = [
            f"{'' if check.passed is None else 'failed: '}{check.name}: {check.text}"
            for check in self.checks
            if not check.passed
        ]
        passed = [check.name for check in self.checks if check.passed]
        told = [*failed, *([f"checks passed: {', '.join(passed)}"] if passed else [])]
        top = _top(self.layers)
        told += [f"most critical layers: {', '.join(map(str, top))}"] if top else []
        told += [*self.notes, *(f"next: {step}" for step in self.steps)]
        return Table(self.verdict.rstrip("."), found.columns, found.rows, found.facts, told)

    @staticmethod
    def drawn(table: Table) -> "Figure":
        return drawn_accuracies(table)

    def __str__(self) -> str:
        failed = [
            f"{'Note' if check.passed is None else 'Failed'} ({check.name}): {check.text}."
            for check in self.checks
            if not check.passed
        ]
        passed = [check.name for check in self.checks if check.passed]
        return "\n".join(
            [
                self.verdict,
                str(self.evaluation.summary()),
                *failed,
                *([f"Sanity checks passed: {', '.join(passed)}."] if passed else []),
                *(
                    [f"Most critical layers: {', '.join(map(str, _top(self.layers)))}."]
                    if self.layers
                    else []
                ),
                *(f"Note: {note}." for note in self.notes),
                *(f"Next: {step}" for step in self.steps),
            ]
        )


@anywhere
@on_classifiers("model")
def audit(
    model: nn.Module,
    data: Splits | Images | tuple[Tensor, Tensor] | Any,
    threat: AbstractBall,
    *,
    minutes: float = 10.0,
    seed: int | Seed = 0,
    progress: Progress = silent,
) -> Audit:
    """Clean accuracy, a quick and a strong attack, sanity checks, criticality of the layers, and what to do
    next, within about so many ``minutes``.

    How long a pass takes is measured first, and a quick PGD-20 tells on how many images the strong attack has
    work. That is AutoAttack where it fits in on 50 images at least, else auto-PGD and Square with fewer
    steps; on as many images as fit in, up to a thousand. A network without gradients gets Square alone. The
    shares of the time, and numbers of images, are our own choice.

    Args:
        model: gives logits (N, C) for pixels in [0, 1]; in eval mode. It is left as it was.
        data: the test images: those of :func:`load_data`, images, a pair of x (N, ...) in [0, 1] and y (N,),
            or a data set of PyTorch, torchvision or Hugging Face.
        threat: what the attacker may do, such as ``Linf(8 / 255)``.
        minutes: the time; a machine that is busy takes longer.
        seed: the source of all randomness.
        progress: told how far each part is.

    Raises:
        InputError: one of the arguments is not as described.
    """
    if not (isinstance(minutes, int | float) and math.isfinite(minutes) and minutes > 0):
        raise InputError(f"minutes: expected a number above 0, got {minutes!r}")
    if not isinstance(threat, AbstractBall):
        raise InputError(f"threat: expected a norm ball such as Linf(8/255), got {type(threat).__name__}")
    x, y, training = _images(data)
    check_examples(x, y)
    threat.check_radius(x)
    seed = as_seed(seed) / "audit"
    plan = plan_audit(model, x, y, threat, minutes, seed=seed, progress=progress)
    n = plan.examples
    attacks = [ATTACKS.make(name, threat=threat) for name in plan.attacks]
    found = evaluate(model, x[:n], y[:n], attacks, seed=seed, worst_case=True, progress=progress)
    few, own = (x[: plan.checked], y[: plan.checked]), seed / "checks"
    checks = tuple(sanity_checks(model, *few, threat, evaluation=found, seed=own, progress=progress))
    part, notes = slice(0, plan.profiled), list(found.notes)
    try:
        layers = criticality(model, x[part], y[part], threat=threat, seed=seed / "profile")
        notes += [note for note in layers.notes if note not in notes]
    except InputError as error:
        layers = None
        notes.append(f"there is no profile of the layers ({error})")
    accuracies, top = found.accuracies(), _top(layers)
    return Audit(
        plan,
        found,
        checks,
        layers,
        verdict(accuracies, checks, plan.outputs),
        next_steps(accuracies, checks, plan, training=training, layers=None if layers is None else top),
        tuple(notes),
    )


def _images(data: Any) -> tuple[Tensor, Tensor, int]:
    """Test images, labels, and how many training images there are; 0 where that is not known."""
    if isinstance(data, Splits):
        return *data.test.first(MOST).all(), len(data.train)
    if isinstance(data, Images):
        return *data.first(MOST).all(), 0
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        return *data, 0
    return *given_images(data, "data").first(MOST).all(), 0


def _top(layers: CriticalityResult | None) -> tuple[int, ...]:
    """The three most critical layers, the most critical first."""
    if layers is None:
        return ()
    known = [(value, index) for index, value in zip(layers.indices, layers.values) if math.isfinite(value)]
    return tuple(index for _, index in sorted(known, reverse=True)[:3])

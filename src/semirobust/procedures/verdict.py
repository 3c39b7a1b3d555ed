"""What the numbers of an audit say, in words, and what to do next."""

from collections.abc import Sequence

from semirobust.core.interval import ends
from semirobust.evaluation.check import Check
from semirobust.evaluation.proportion import Accuracy
from semirobust.procedures.plan import Plan, took

__all__ = ["next_steps", "verdict"]

_EPOCHS, _STEPS = 10, 10  # of what is proposed: epochs, and steps of its attack


def verdict(accuracies: Sequence[Accuracy], checks: Sequence[Check], outputs: int) -> str:
    """One sentence that says what the numbers say, and what they do not.

    Args:
        accuracies: of an evaluation: clean first, the worst last.
        checks: of that evaluation.
        outputs: of the network.
    """
    clean, worst = accuracies[0].value, accuracies[-1]
    n, threat = clean.n, next((a.threat for a in accuracies[::-1] if a.threat), "the attack")
    low, high = ends(worst.value.low, worst.value.high)
    if clean.low <= 1 / outputs:
        return (
            f"Nothing can be said of robustness: without any attack {clean:.1%} of {n} images are classified"
            f" correctly, which is no better than chance ({1 / outputs:.1%})."
        )
    if worst.undecided:
        return (
            f"How many images withstand {threat} cannot be told: {worst.undecided} of {n} are not decided;"
            f" {worst.value:.1%} do for certain, of {clean:.1%} that are correct."
        )
    failed = any(check.passed is False for check in checks)
    doubt = "; a check failed, so the truth may be lower" if failed else ""
    said = (
        f"Of {n} images {clean:.1%} are classified correctly, and {worst.value:.1%} ({low} to {high} %)"
        f" withstand the attacks within {threat}"
    )
    if worst.value.low <= 1 / outputs:
        return f"The network is not robust. {said}, which is no better than chance{doubt}."
    return f"{said}. Attacks give an upper bound, and a stronger one may find more{doubt}."


def next_steps(
    accuracies: Sequence[Accuracy],
    checks: Sequence[Check],
    plan: Plan,
    *,
    training: int,
    layers: Sequence[int] | None = (),
    folder: str = "",
) -> tuple[str, ...]:
    """What to do next, with what it is expected to cost.

    Args:
        accuracies, checks: as in :func:`verdict`.
        plan: whose pace is that of the network.
        training: how many training images there are; 0 where that is not known.
        layers: the most critical ones; None where the network shows no layers.
        folder: the run that the network is in; empty for a network in Python.
    """
    steps = [f"look at {check.name} first: {check.text}" for check in checks if check.passed is False]
    if plan.why:
        steps.append(plan.why)
    if accuracies[0].value.low <= 1 / plan.outputs:
        return (*steps, "check weights, classes and normalisation: the network does not know these images")
    if layers is None:
        return (*steps, "harden the network that this one was made from: of this one no layers can be seen")
    images = training or 10_000
    cost = took(3 * plan.pace * images * _EPOCHS * (_STEPS + 1))
    with_ = f"{_EPOCHS} epochs of {images:,} images with PGD-{_STEPS}"
    if accuracies[-1].value.low <= 1 / plan.outputs:
        steps.append(
            f"train it adversarially, since methods that tune few layers expect that: {with_} take {cost} at"
            f" the pace of this machine ({_hardening(folder, 'adversarial')})"
        )
    else:
        steps.append(
            "tune the most critical 5 % of the layers alone, the classifier left out:"
            f" {with_} take at most {cost} at the pace of this machine ({_hardening(folder, 'clat')})"
        )
    return tuple(steps)


def _hardening(folder: str, method: str) -> str:
    """How to do it, as it is typed."""
    if not folder:
        return f'sr.harden(model, images, "{method}", threat=threat)'
    controls = " --controls" if method == "clat" else ""
    return f"semirobust harden --from {folder} --method {method}{controls} --out hardened"

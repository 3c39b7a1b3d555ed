"""Accuracies, the security curve, the transfer matrix and checks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semirobust.cli.console import print_json, show_table, tell
from semirobust.core.interval import ends

if TYPE_CHECKING:
    from semirobust.evaluation.check import Check
    from semirobust.evaluation.proportion import Accuracy, Proportion
    from semirobust.experiments.commands.evaluate import Evaluated
    from semirobust.experiments.recipe import Recipe

__all__ = ["plain_accuracies", "plain_checks", "show_accuracies", "show_accuracy", "show_checks"]


def show_accuracy(found: "Evaluated", recipe: "Recipe", *, as_json: bool, told: Sequence[str] = ()) -> None:
    """Accuracies with their intervals, the security curve, the transfer matrix, and what the checks found.

    ``told`` are the notes on the model, which stand above, but in JSON are with the others.
    """
    accuracies, checks = found.accuracies, found.checks
    if as_json:
        content = _evaluated(found)
        notes = [*told, *content.pop("notes")]
        threats = {"threat": str(recipe.threat.ball), "threats": dict(found.threats)}
        print_json({**threats, **content, "notes": notes})
        return
    show_accuracies(accuracies, found.threats, str(recipe.threat.ball))
    n = accuracies[0].value.n
    if found.sweep is not None:
        curve = zip(found.sweep.epsilons, found.sweep.accuracies, found.sweep.left_open, strict=True)
        some_open = any(found.sweep.left_open)
        rows = [
            (f"{e:.4g}", f"{a:.1%}", _between(a), *[f"{left / a.n:.1%}" if left else "–"] * some_open)
            for e, a, left in curve
        ]
        title = f"Accuracy by strength, {found.sweep.norm}, {' and '.join(found.sweep.attacks)}"
        head = ("epsilon", "accuracy", "95 % interval", *["not decided"] * some_open)
        show_table(title, head, rows)
    if found.transfer is not None:
        names, made = found.transfer.names, found.transfer.sources
        matrix = [(source, *(f"{found.transfer.accuracy(source, t):.1%}" for t in names)) for source in made]
        show_table(
            f"Accuracy on examples made for another model, {found.transfer.attack}",
            ("made for", *names),
            matrix,
        )
        for source, target in found.transfer.correct:
            if count := found.transfer.left_open(source, target):
                tell(f"Note: made for {source}, seen by {target}: {count / n:.1%} not decided.")
    for note in found.notes:
        tell(f"Note: {note}.")
    show_checks(checks)


def show_checks(checks: "Sequence[Check]") -> None:
    """A line for each check that failed or judged nothing; where none failed, one for all others."""
    for check in checks:
        if not check.passed:
            tell(f"{'Note' if check.passed is None else 'Warning'} ({check.name}): {check.text}.")
    if checks and all(check.passed is not False for check in checks):
        tell(f"Sanity checks passed: {', '.join(check.name for check in checks if check.passed) or 'none'}.")


def show_accuracies(accuracies: "Sequence[Accuracy]", threats: Mapping[str, str], otherwise: str) -> None:
    """A table of accuracies with their intervals, and of what is not decided where there is such.

    Args:
        accuracies: clean first.
        threats: attack -> what it was allowed to do.
        otherwise: that, where there is no attack.
    """
    n = accuracies[0].value.n
    several = len(set(threats.values())) > 1
    some_undecided = any(accuracy.undecided for accuracy in accuracies)
    rows = []
    for accuracy in accuracies:
        value, threat = accuracy.value, "all of these" if accuracy.attack == "worst" else accuracy.threat
        left = f"{accuracy.undecided / n:.1%}" if accuracy.undecided else "–"
        rows.append(
            (accuracy.name, *[threat] * several, f"{value:.1%}", _between(value), *[left] * some_undecided)
        )
    title = f"Accuracy on {n} images" + ("" if several else f", {next(iter(threats.values()), otherwise)}")
    head = ("", *["allowed"] * several, "accuracy", "95 % interval", *["not decided"] * some_undecided)
    show_table(title, head, rows)
    if any(accuracy.name.startswith("+ ") for accuracy in accuracies):
        tell("With + an attack counts together with those above it; worst is under any of them.")


def _between(share: "Proportion") -> str:
    low, high = ends(share.low, share.high)
    return f"{low}% to {high}%"


def _evaluated(found: "Evaluated") -> dict[str, Any]:
    content: dict[str, Any] = {
        "accuracy": plain_accuracies(found.accuracies),
        "checks": plain_checks(found.checks),
        "notes": found.notes,
    }
    if found.sweep is not None:
        curve = zip(found.sweep.epsilons, found.sweep.accuracies, found.sweep.left_open, strict=True)
        content["sweep"] = [{"epsilon": e, **_share(a), "undecided": left} for e, a, left in curve]
    if found.transfer is not None:
        content["transfer"] = [
            {
                "source": s,
                "target": t,
                **_share(found.transfer.accuracy(s, t)),
                "undecided": found.transfer.left_open(s, t),
            }
            for s, t in found.transfer.correct
        ]
    return content


def plain_accuracies(accuracies: "Sequence[Accuracy]") -> dict[str, dict[str, float]]:
    """Accuracies by name, as JSON has them."""
    return {a.name: _share(a.value) | {"undecided": a.undecided} for a in accuracies}


def plain_checks(checks: "Sequence[Check]") -> list[dict[str, Any]]:
    """Checks as JSON has them."""
    return [{"name": c.name, "passed": c.passed, "text": c.text} for c in checks]


def _share(share: "Proportion") -> dict[str, float]:
    return {"value": float(share), "low": share.low, "high": share.high, "n": share.n}

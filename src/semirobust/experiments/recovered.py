"""What algorithm 1 found, as records."""

from collections.abc import Mapping
from dataclasses import replace

from semirobust.experiments.chance import no_better_than_chance
from semirobust.experiments.recipe import Recipe
from semirobust.procedures.recovery import Recovered
from semirobust.records.schema import About, Finding, Number, Origin, Quantity, Topic
from semirobust.records.store import AnyRecord

__all__ = ["smallest_prefix", "summary_records"]


def summary_records(found: Recovered, about: About, n: int, at: Origin) -> list[AnyRecord]:
    """A*, A, their difference, epochs and thresholds of one cut, as a row of the paper's table 1 has them."""
    converged = sum(trial.converged is not None for trial in found.trials)
    values = {
        Quantity.RECOVERY_REFERENCE: found.reference.metrics["robust"],
        Quantity.RECOVERY_DIFFERENCE: found.difference,
        Quantity.RECOVERED_TRIALS: float(converged),
    }
    if found.epochs is not None:
        values[Quantity.RECOVERY_EPOCHS] = found.epochs
    records: list[AnyRecord] = [
        Number(quantity=q, value=v, n=n, about=about, origin=at) for q, v in values.items()
    ]
    # The smallest of those trials that converged; the largest of all where none did.
    for j, rho in found.thresholds().items():
        here = replace(about, layer=j, converged=converged > 0)
        records.append(Number(quantity=Quantity.RECOVERY_THRESHOLD, value=rho, n=n, about=here, origin=at))
    return records


def smallest_prefix(
    found: Mapping[int, Recovered], n: int, recipe: Recipe, at: Origin, *, examples: int = 0, classes: int = 0
) -> list[AnyRecord]:
    """The smallest prefix that recovered, in the words of the question.

    Args:
        found: size of the suffix -> what its trials found.
        n: layers of the network.
        recipe, at: of the run.
        examples, classes: how many images decide, and of how many classes; 0 where that is not known. A
            robust network that is no better than chance on them is no aim.
    """
    tolerance = recipe.recover.recovery.tolerance
    back = [
        size for size, result in found.items() if any(trial.converged is not None for trial in result.trials)
    ]
    tried = ", ".join(map(str, found))
    if not back:
        text = f"no suffix of {tried} layers came back to within {tolerance:.1%} of the robust network"
        return [Finding(topic=Topic.SMALLEST_PREFIX, text=text, level="warning", origin=at)]
    prefix = n - max(back)
    number = Number(quantity=Quantity.ROBUST_PREFIX, value=prefix, origin=at)
    text = (
        f"training the {max(back)} layers behind it came back to within {tolerance:.1%} of the robust network"
        f" (suffixes tried: {tried})"
    )
    if classes and (aimless := _no_aim(found[back[0]], tolerance, examples, classes)):
        text = f"a robust prefix of {prefix} of {n} layers: {text}, which says nothing, since {aimless}"
        return [number, Finding(topic=Topic.SMALLEST_PREFIX, text=text, level="warning", origin=at)]
    text = f"a robust prefix of {prefix} of {n} layers is enough: {text}"
    return [number, Finding(topic=Topic.SMALLEST_PREFIX, text=text, level="good", origin=at)]


def _no_aim(found: Recovered, tolerance: float, examples: int, classes: int) -> str:
    """A clause where chance comes as far as the robust network less the tolerance; else empty."""
    reference, chance = found.reference.metrics["robust"], 1 / classes
    if not no_better_than_chance(reference, examples, classes, aim=reference - tolerance):
        return ""
    by_chance = no_better_than_chance(reference, examples, classes)
    reach = "no better than chance" if by_chance else "and the tolerance reaches down to chance"
    return (
        f"that network has {reference:.1%} under attack on the {examples} images that decide, {reach}"
        f" ({chance:.1%})"
    )

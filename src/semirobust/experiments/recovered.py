"""What algorithm 1 found, as records."""

from collections.abc import Mapping

from semirobust.experiments.recipe import Recipe
from semirobust.procedures.recovery import Recovered
from semirobust.records.schema import Finding, Label, Number, Origin
from semirobust.records.store import AnyRecord

__all__ = ["smallest_prefix", "summary_records"]


def summary_records(found: Recovered, labels: Mapping[str, Label], n: int, at: Origin) -> list[AnyRecord]:
    """A*, A, their difference, epochs and thresholds of one cut, as a row of the paper's table 1 has them."""
    converged = sum(trial.converged is not None for trial in found.trials)
    values = {
        "recover.reference": found.reference.metrics["robust"],
        "recover.difference": found.difference,
        "recover.trials_converged": float(converged),
    }
    if found.epochs is not None:
        values["recover.epochs"] = found.epochs
    records: list[AnyRecord] = [
        Number(name=k, value=v, n=n, labels=dict(labels), origin=at) for k, v in values.items()
    ]
    of = "smallest of those that converged" if converged else "largest of all, none converged"
    for j, rho in found.thresholds().items():
        here = {**labels, "layer": j, "of": of}
        records.append(Number(name="recover.threshold", value=rho, unit="bits", n=n, labels=here, origin=at))
    return records


def smallest_prefix(found: Mapping[int, Recovered], n: int, recipe: Recipe, at: Origin) -> list[AnyRecord]:
    """The smallest prefix that recovered, in the words of the question."""
    tolerance = recipe.recover.recovery.tolerance
    back = [
        size for size, result in found.items() if any(trial.converged is not None for trial in result.trials)
    ]
    tried = ", ".join(map(str, found))
    if not back:
        text = f"no suffix of {tried} layers came back to within {tolerance:.1%} of the robust network"
        return [Finding(name="smallest prefix", text=text, level="warning", origin=at)]
    prefix = n - max(back)
    text = (
        f"a robust prefix of {prefix} of {n} layers is enough: training the {max(back)} layers behind it came"
        f" back to within {tolerance:.1%} of the robust network (suffixes tried: {tried})"
    )
    return [
        Number(name="recover.prefix", value=prefix, origin=at),
        Finding(name="smallest prefix", text=text, level="good", origin=at),
    ]

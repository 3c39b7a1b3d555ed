"""What the commands print."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semirobust.cli.console import print_json, show_table, tell
from semirobust.core.interval import ends
from semirobust.records.schema import Finding, Number, Quantity
from semirobust.records.store import AnyRecord
from semirobust.reports.arm import Arm, AttackColumn
from semirobust.reports.source import Cell, Source

if TYPE_CHECKING:
    from semirobust.evaluation.proportion import Accuracy, Proportion
    from semirobust.evaluation.sanity import Check
    from semirobust.experiments.commands.evaluate import Evaluated
    from semirobust.experiments.recipe import Recipe
    from semirobust.layers.map import LayerMap
    from semirobust.layers.scores import LayerScores
    from semirobust.training.training import Trained

_WITH_INTERVALS = 2

__all__ = [
    "percent",
    "plain_accuracies",
    "plain_checks",
    "show_accuracies",
    "show_accuracy",
    "show_catalogue",
    "show_checks",
    "show_comparison",
    "show_profile",
    "show_training",
]


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
        names = found.transfer.names
        made = found.transfer.sources
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
    """A line for each check that failed, or one for all where none did."""
    for check in checks:
        if not check.passed:
            tell(f"Warning ({check.name}): {check.text}.")
    if checks and all(check.passed for check in checks):
        tell(f"Sanity checks passed: {', '.join(check.name for check in checks)}.")


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


def show_profile(
    layers: "LayerMap", scores: Sequence["LayerScores"], *, as_json: bool, told: Sequence[str] = ()
) -> None:
    """The measures by layer; ``told`` as in :func:`show_accuracy`."""
    columns = {
        score.name: dict(
            zip(score.indices, zip(score.values, score.low, score.high, strict=True), strict=True)
        )
        for score in scores
        if not score.features or math.isfinite(score.low[0])  # of single features the report has the rest
    }
    notes = [*layers.notes, *(note for score in scores for note in score.notes)]
    if as_json:
        entries = [
            {
                "index": layer.index,
                "name": layer.name,
                "feature_shape": layer.feature_shape,
                **{
                    score.name: _entry(score, layer.index) for score in scores if layer.index in score.indices
                },
            }
            for layer in layers
        ]
        content = {"examples": scores[0].examples if scores else 0, "layers": entries}
        print_json({**content, "notes": [*told, *notes]})
        return
    rows = []
    for layer in layers:
        # Intervals of many measures fill no terminal; the records and the report have them.
        cells = [
            _interval(column.get(layer.index), short=len(columns) > _WITH_INTERVALS)
            for column in columns.values()
        ]
        rows.append(
            (
                f"{layer.index} {layer.label or layer.name}",
                layer.kind,
                "x".join(map(str, layer.feature_shape)),
                *cells,
            )
        )
    show_table("Layers", ("layer", "type", "feature", *(name.replace(".", " ") for name in columns)), rows)
    first = next((score for score in scores if score.measure == "criticality"), None)
    if first is not None:
        order = [i for i in first.measured() if i != first.layers][:5]
        tell(f"Most critical, the classifier left out: layers {', '.join(map(str, order))}")
    for note in notes:
        tell(note)


def _entry(score: "LayerScores", index: int) -> dict[str, object]:
    """One layer's number with its ends and details; what is no finite number is null."""
    i = score.indices.index(index)
    numbers = {"value": float(score.values[i]), "low": float(score.low[i]), "high": float(score.high[i])}
    details = {name: values[i] for name, values in score.details.items()}
    entry = {**numbers, "unit": score.unit, **({"by": score.by} if score.by else {}), **details}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}


def _interval(value: Sequence[float] | None, *, short: bool = False) -> str:
    if value is None or math.isnan(value[0]):
        return "–"
    middle, low, high = (f"{v:.3g}" for v in value)
    known = all(map(math.isfinite, value)) and low != high
    return f"{middle} [{low}, {high}]" if known and not short else middle


def show_training(trained: "Trained", out: Path, *, as_json: bool) -> None:
    """How training went."""
    last = trained.logs[-1] if trained.logs else None
    if as_json:
        epochs = [
            {"epoch": log.epoch, "loss": log.loss, "seconds": log.seconds, **log.metrics}
            | {str(key): values for key, values in log.by_layer.items()}
            for log in trained.logs
        ]
        print_json(
            {
                "out": str(out),
                "best_epoch": trained.best_epoch,
                "stopped": trained.stopped,
                "notes": trained.notes,
                "epochs": epochs,
            }
        )
        return
    if last is not None:
        metrics = ", ".join(f"{name} {value:.1%}" for name, value in last.metrics.items())
        tell(
            f"{len(trained.logs)} epochs, loss {last.loss:.4f}; validation: {metrics or 'none'}; best epoch"
            f" {trained.best_epoch}"
        )
    for note in trained.notes:
        tell(f"{note}.")
    if trained.stopped:
        tell(trained.stopped)
    tell(
        f"wrote {out}; go on with `semirobust evaluate {out}`, `profile {out}`, `harden --from {out}`,"
        f" `report {out}`"
    )


def show_comparison(
    records: Sequence[AnyRecord],
    out: Path,
    *,
    as_json: bool,
    report: Path | None = None,
    told: Sequence[str] = (),
) -> None:
    """Arms and what they reach, and the verdicts; ``told`` has been said before the work."""
    source = Source(
        numbers=[r for r in records if isinstance(r, Number) and r.about.arm is not None],
        findings=[r for r in records if isinstance(r, Finding)],
    )
    arms, attacks = source.arms(Quantity.ACCURACY), source.attacks()
    if as_json:
        print_json(_comparison(source, arms, attacks, out, report))
        return
    seeds = len(source.values(Quantity.ACCURACY, lambda about: about.seed))
    rows = []
    for arm in arms:
        layers = _trained_layers(source, arm)
        parameters = source.cell(Quantity.TRAINED_PARAMETERS, arm)
        cells = [percent(source.accuracy(arm, attack)).split("\n") for attack in attacks]
        rows.append((str(arm), *cells, f"{parameters.value:,.0f}" if parameters else "–", layers))
    over = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
    show_table(f"Accuracy, % ({over}, 95 % interval)", ("", *map(str, attacks), "trains", "layers"), rows)
    for finding in source.findings:
        if finding.text not in told:
            tell(f"{finding.text}.")
    tell(f"wrote {report or out}")


def _comparison(
    source: Source, arms: Sequence[Arm], attacks: Sequence[AttackColumn], out: Path, report: Path | None
) -> dict[str, Any]:
    accuracy = {}
    for arm in arms:
        cells = {str(attack): source.accuracy(arm, attack) for attack in attacks}
        accuracy[str(arm)] = {
            a: {"value": c.value, "low": c.low, "high": c.high, "seeds": c.values, "undecided": c.undecided}
            for a, c in cells.items()
            if c
        }
    findings = [{"name": f.topic, "level": f.level, "text": f.text} for f in source.findings]
    return {
        "out": str(out),
        "report": str(report) if report else None,
        "accuracy": accuracy,
        "findings": findings,
    }


def percent(cell: Cell | None) -> str:
    """The number, and below it its interval and what is not decided."""
    if cell is None:
        return "–"
    value = f"{100 * cell.value:.1f}"
    if cell.low is not None and cell.high is not None:
        value += "\n{} to {}".format(*ends(cell.low, cell.high))
    return value + (f"\n{100 * cell.undecided:.1f} not decided" if cell.undecided else "")


def _trained_layers(source: Source, arm: Arm) -> str:
    layers = sorted({n.about.layer or 0 for n in source.of(Quantity.TRAINED_LAYER, arm)})
    return ", ".join(map(str, layers)) if layers else "–" if arm.name == "start" else "all"


def show_catalogue(root: str | None, *, as_json: bool) -> None:
    """The data sets known by name."""
    from semirobust.data.base.catalogue import CATALOGUE
    from semirobust.data.base.locate import data_roots

    roots = data_roots(root)
    found = {
        name: next((str(r / e.folder) for r in roots if e.folder and (r / e.folder).is_dir()), "")
        for name, e in CATALOGUE.items()
    }
    found["digits"] = "embedded"
    if as_json:
        entries: list[Mapping[str, Any]] = [
            {
                "name": e.name,
                "images": e.images,
                "megabytes": e.megabytes,
                "licence": e.licence,
                "found": found[e.name],
                "urls": [r.url for r in e.remotes],
            }
            for e in CATALOGUE.values()
        ]
        print_json({"looked_for_in": [str(r) for r in roots], "data": entries})
        return
    rows = [
        (e.name, e.images, f"{e.megabytes:.0f} MB" if e.megabytes else "–", e.licence, found[e.name] or "no")
        for e in CATALOGUE.values()
    ]
    show_table("Known data", ("name", "images", "download", "licence and credit", "at hand"), rows)
    tell(
        f"Looked for in {', '.join(map(str, roots))} and the sub-folder of each name. "
        "Also: --data FILE.npz, --data FOLDER (a sub-folder for each class)."
    )

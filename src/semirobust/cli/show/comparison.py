"""Arms, what they reach, and the verdicts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semirobust.cli.console import print_json, show_table, tell
from semirobust.core.interval import ends
from semirobust.records.schema import Finding, Number, Quantity
from semirobust.records.store import AnyRecord
from semirobust.reports.arm import Arm, AttackColumn
from semirobust.reports.source import Cell, Source

__all__ = ["percent", "show_comparison"]


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
    trained, marked = (
        sorted({n.about.layer or 0 for n in source.of(quantity, arm)})
        for quantity in (Quantity.TRAINED_LAYER, Quantity.MARKED_LAYER)
    )
    said = ", ".join(map(str, trained)) if trained else "–" if arm.name == "start" else "all"
    return said + (f", {', '.join(map(str, marked))} singled out" if marked else "")

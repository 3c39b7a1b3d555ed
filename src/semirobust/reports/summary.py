"""The first screen: what was tested, what came out, and what that does not say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from semirobust.figures.style import number
from semirobust.records.schema import Finding, Quantity, Topic
from semirobust.reports.arm import Arm, AttackColumn
from semirobust.reports.conditions import Condition, by_condition, settings_of
from semirobust.reports.figures import listed_names
from semirobust.reports.network import entries_of, short_names
from semirobust.reports.source import Cell, Source

__all__ = ["Summary", "Tile", "strongest", "summary"]

Level = Literal["good", "warning", "error", "note"]
_CLEAN = AttackColumn("clean")
_SETTINGS = 4  # that have a tile
_TOP = 3  # layers that are named


@dataclass(frozen=True)
class Tile:
    """One number that is read first.

    Attributes:
        title, value, detail: what it is, how much, and of what.
        level: a colour, and a sign beside it.
    """

    title: str
    value: str
    detail: str
    level: Level = "note"

    @property
    def sign(self) -> str:
        """What says the same as the colour."""
        return {"good": "✓", "warning": "!", "error": "✗"}.get(self.level, "")


@dataclass(frozen=True)
class Summary:
    """The first screen of a page.

    Attributes:
        facts: what was tested, as pairs of a name and a text.
        tiles: the numbers.
        verdict, level: in a sentence or two.
        caveats: what it does not say.
        steps: what to do next, of an audit.
    """

    facts: Sequence[tuple[str, str]]
    tiles: Sequence[Tile]
    verdict: str
    level: Level
    caveats: Sequence[str]
    steps: Sequence[str]


def summary(source: Source) -> Summary:
    """Of all records of a page; what none of them says is left out or named as missing."""
    conditions = by_condition(source)
    best = _best(source, conditions)
    said, level = _verdict(source, conditions, best)
    audit = [finding for finding in source.findings if finding.topic is Topic.AUDIT]
    steps = [_step(finding) for finding in audit if finding.text.startswith("Next: ")]
    return Summary(
        facts=_facts(source, conditions),
        tiles=_tiles(source, conditions, best),
        verdict=said,
        level=level,
        caveats=_caveats(source, best),
        steps=list(dict.fromkeys(steps)),
    )


def strongest(source: Source, arm: Arm) -> tuple[AttackColumn, Cell] | None:
    """The attack that leaves an arm the least, all together before each by itself; None for no attack."""
    cells = [(a, c) for a in source.attacks() if a.name != "clean" and (c := source.accuracy(arm, a))]
    worst = [pair for pair in cells if pair[0].name == "worst"]
    return min(worst or cells, key=lambda pair: pair[1].value, default=None)


def _best(source: Source, conditions: dict[Condition, list[Arm]]) -> Arm | None:
    """The most robust of the arms that may be compared; None where there are several conditions, or none."""
    return _most_robust(source, next(iter(conditions.values()))) if len(conditions) == 1 else None


def _most_robust(source: Source, arms: Sequence[Arm]) -> Arm:
    found = {arm: cell[1].value for arm in arms if (cell := strongest(source, arm))}
    return max(found, key=lambda arm: found[arm], default=arms[0])


def _facts(source: Source, conditions: dict[Condition, list[Arm]]) -> list[tuple[str, str]]:
    runs = list(dict.fromkeys(record.about.run for record in source.settings))
    records = [found for run in runs if (found := settings_of(source, run))]
    models = _models(source, runs)
    at = records[-1].origin if records else next((n.origin for n in source.numbers), None)
    days = sorted({datetime.fromtimestamp(when, UTC).strftime("%d %B %Y") for when in source.times})
    facts = [
        ("Model", listed_names(models, 4)),
        ("Data", listed_names((c.data for c in conditions if c.data), 4)),
        ("Images", listed_names((f"{c.count:,}" for c in conditions if c.count), 4)),
        ("Attacker", listed_names((c.threat for c in conditions if c.threat), 4)),
        ("Attacks", listed_names((a.name for a in source.attacks() if a.name not in ("clean", "worst")), 6)),
        ("When", " and ".join(dict.fromkeys((days[0], days[-1]))) if days else ""),
        ("With", f"semirobust {at.version}, settings {at.config}, seed {at.seed}, {at.device}" if at else ""),
    ]
    return [(name, text) for name, text in facts if text]


def _models(source: Source, runs: Sequence[str | None]) -> list[str]:
    """The networks by name and size, with their runs where they differ."""
    owners: dict[str, list[str]] = {}
    for run in runs:
        record = settings_of(source, run)
        model = record.settings.get("model") if record else None
        name = str(model.get("name", "")) if isinstance(model, dict) else ""
        if name:
            owners.setdefault(name, []).append(run or "")
    said = list[str]()
    for name, whose in owners.items():
        entries = next((found for run in whose if (found := entries_of(source, run or None))), [])
        size = (
            f" ({len(entries)} layers, {sum(e.parameters for e in entries):,} parameters)" if entries else ""
        )
        of = f"{listed_names(whose, 3)}: " if len(owners) > 1 and any(whose) else ""
        said.append(f"{of}{name}{size}")
    return said


def _tiles(source: Source, conditions: dict[Condition, list[Arm]], best: Arm | None) -> list[Tile]:
    arms = [arm for each in conditions.values() for arm in each]
    if not arms:
        return [tile for tile in (_layers(source), _checks(source)) if tile.level != "note"]
    if best is None:
        each = [_tile_of(source, *pair) for pair in list(conditions.items())[:_SETTINGS]]
        return [*each, _layers(source), _checks(source)]
    of = f"{best}, the most robust of {len(arms)}; " if len(arms) > 1 else ""
    clean, found = source.accuracy(best, _CLEAN), strongest(source, best)
    tiles = [_accuracy("Right without an attack", clean, f"{of}{_over(clean)}")]
    if found is None:
        tiles.append(Tile("Right under attack", "not tested", "no attack was run", "warning"))
    else:
        attack, cell = found
        names = listed_names((a.name for a in source.attacks() if a.name not in ("clean", "worst")), 4)
        under = f"under {names}" if attack.name == "worst" else f"under {attack.name}"
        level: Level = "warning" if by_chance(source, best, cell) else "note"
        open_ = f", {100 * cell.undecided:.1f} % not decided" if cell.undecided else ""
        tiles.append(_accuracy("Right under attack", cell, f"{of}{_over(cell)}, {under}{open_}", level))
    return [*tiles, _layers(source), _checks(source)]


def _tile_of(source: Source, condition: Condition, arms: Sequence[Arm]) -> Tile:
    """The most robust of the networks of one condition among several."""
    best = _most_robust(source, arms)
    clean, found = source.accuracy(best, _CLEAN), strongest(source, best)
    of = (
        f"{best}{f', the most robust of {len(arms)}' if len(arms) > 1 else ''}; "
        if best.name or best.run
        else ""
    )
    without = f"{100 * clean.value:.1f} % without an attack" if clean else "not measured without an attack"
    if found is None:
        return Tile(
            f"Right, {condition}",
            f"{100 * clean.value:.1f} %" if clean else "–",
            f"{of}no attack was run",
            "warning",
        )
    level: Level = "warning" if by_chance(source, best, found[1]) else "note"
    return _accuracy(f"Right under attack, {condition}", found[1], f"{of}{_over(found[1])}; {without}", level)


def _accuracy(title: str, cell: Cell | None, detail: str, level: Level = "note") -> Tile:
    return Tile(title, f"{100 * cell.value:.1f} %" if cell else "–", detail, level)


def _over(cell: Cell | None) -> str:
    if cell is None:
        return "not measured"
    over = f" over {cell.over}" if cell.over else ""
    return f"95 % interval {cell.ends} %{over}" if cell.ends else over.strip() or "no interval"


def by_chance(source: Source, arm: Arm, cell: Cell) -> bool:
    """Whether an accuracy may be that of guessing, as far as the records tell how many classes there are."""
    entries, record = entries_of(source, arm.run), settings_of(source, arm.run)
    outputs = entries[-1].shape[-1] if entries and len(entries[-1].shape) == 1 else 0
    said = record.settings.get("outputs") if record else None
    outputs = said if isinstance(said, int) else outputs
    low = cell.value if cell.low is None else cell.low
    return low <= (1 / outputs if outputs > 1 else 0.0)


def _layers(source: Source) -> Tile:
    """The most critical layers of the first arm that was profiled."""
    arms = source.arms(Quantity.MEASURE, measure="criticality")
    if not arms:
        return Tile("Weakest layers", "not profiled", "semirobust profile finds them")
    arm = arms[0]
    numbers = source.of(Quantity.MEASURE, arm, measure="criticality")
    layers = dict.fromkeys(n.about.layer for n in numbers if n.about.layer is not None and n.about.layer > 1)
    cells = {i: source.cell(Quantity.MEASURE, arm, measure="criticality", layer=i) for i in layers}
    found = {i: cell.value for i, cell in cells.items() if cell and math.isfinite(cell.value)}
    names = short_names(entries_of(source, arm.run))
    top = sorted(found, key=lambda layer: -found[layer])[:_TOP]
    if not top:
        return Tile("Weakest layers", "none", "no layer has a criticality")
    detail = ", ".join(f"{names.get(layer, layer)} ×{number(found[layer])}" for layer in top)
    of = f" of {arm}" if len(arms) > 1 or arm.name or arm.run else ""
    return Tile(
        f"Weakest layers{of}", ", ".join(map(str, top)), f"{detail}: how much weaker each leaves the feature"
    )


def _checks(source: Source) -> Tile:
    checks = [finding for finding in source.findings if finding.topic is Topic.CHECK]
    failed = [
        f"{f.about.run}: {f.about.check}" if f.about.run else f"{f.about.check}"
        for f in checks
        if f.level == "error"
    ]
    unjudged = [str(f.about.check) for f in checks if f.level == "warning"]
    if not checks:
        return Tile(
            "Checks of the test",
            "none run",
            "semirobust evaluate runs them; without, a failed search is not noticed",
            "warning",
        )
    said = f"{len(checks) - len(failed) - len(unjudged)} of {len(checks)}"
    if failed:
        return Tile("Checks of the test", said, f"failed: {listed_names(failed)}", "error")
    if unjudged:
        return Tile("Checks of the test", said, f"not judged: {listed_names(unjudged)}", "warning")
    return Tile(
        "Checks of the test", said, f"passed: {listed_names((str(f.about.check) for f in checks), 8)}", "good"
    )


def _verdict(source: Source, conditions: dict[Condition, list[Arm]], best: Arm | None) -> tuple[str, Level]:
    audit = [f for f in source.findings if f.topic is Topic.AUDIT and not f.text.startswith("Next: ")]
    if audit and len({f.text for f in audit}) == 1:
        return audit[-1].text, audit[-1].level
    if not conditions:
        return "No accuracy was measured here.", "note"
    if best is None:
        return (
            f"Tested under {len(conditions)} settings, each with numbers of its own: compare only what"
            f" stands in"
            " one table.",
            "note",
        )
    arms = next(iter(conditions.values()))
    clean, found = source.accuracy(best, _CLEAN), strongest(source, best)
    who = (
        f"The most robust of these {len(arms)} networks, {best}, gets"
        if len(arms) > 1
        else "The network gets"
    )
    first = f"{_of_100(clean)} right as they are" if clean else ""
    if found is None:
        return f"{who} {first}. No attack was run, so nothing is known of its robustness.", "warning"
    cell = found[1]
    second = "under the strongest attack tried"
    short = _of_100(cell).removesuffix(" images")
    said = f"{who} {first}, and {short} {second}." if first else f"{who} {_of_100(cell)} right {second}."
    if cell.undecided:
        return f"{said} {_of_100(cell, cell.undecided)} are not decided.", "warning"
    if by_chance(source, best, cell):
        return f"{said} That is no better than guessing: it is not robust to this attacker.", "warning"
    if any(f.topic is Topic.CHECK and f.level == "error" for f in source.findings):
        return f"{said} A check of the test itself failed, so the truth may be lower.", "warning"
    began = strongest(source, replace(best, name="start")) if best.name not in (None, "start") else None
    if began is not None:
        said += f" The network that it began from gets {_of_100(began[1]).removesuffix(' images')}."
    return said, "note"


def _of_100(cell: Cell, value: float | None = None) -> str:
    said = 100 * (cell.value if value is None else value)
    return f"{said:.0f} of 100 images" if said >= 1 or said == 0 else "fewer than 1 of 100 images"


def _caveats(source: Source, best: Arm | None) -> list[str]:
    """What the numbers of the first screen do not say."""
    said = list[str]()
    if source.of(Quantity.ACCURACY) and any(a.name != "clean" for a in source.attacks()):
        said.append(
            "Attacks that find nothing prove nothing: the accuracy under attack is an upper bound, and a"
            " stronger"
            " attack may find more."
        )
    cell = source.accuracy(best, _CLEAN) if best else None
    if cell is not None and cell.n:
        said.append(
            f"It was tested on {cell.n:,} images; the interval is what that many allow to say of others"
            f" like them."
        )
    seeds = {n.about.seed for n in source.of(Quantity.ACCURACY)}
    if source.of(Quantity.ACCURACY) and len(seeds) < 2:
        said.append(
            "All numbers are of one seed: trained or attacked anew, they come out a little different."
        )
    if source.of(Quantity.ACCURACY):
        said.append("Of other attackers, such as larger changes, other norms or patches, it says nothing.")
    return said


def _step(finding: Finding) -> str:
    text = finding.text.removeprefix("Next: ")
    return text[:1].upper() + text[1:]

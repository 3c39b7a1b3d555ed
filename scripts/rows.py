"""Draw the list of tables and figures: ``python -m scripts.rows``, from the studies and their records."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from scripts.hours import GPU, hours
from semirobust.experiments.queue.archive import read_packed
from semirobust.experiments.queue.find import find_study
from semirobust.experiments.queue.study import Row, Unit
from semirobust.reports import render, table

__all__ = ["PAGE", "drawn"]

_ROOT = Path(__file__).resolve().parents[1]
PAGE = _ROOT / "docs" / "explanation" / "rows.md"
_STUDIES = {"clat": "CLAT", "semirobustness": "Semirobust subnetworks", "lighter": "Lighter robust models"}


def drawn() -> str:
    """The page as it should be."""
    parts, count = [], 0
    for name, title in _STUDIES.items():
        found = find_study(_ROOT / "papers" / name)
        study = found.study
        done = {run.unit for run in read_packed(found) if run.scale == "cpu"}
        here, full = (study.units(scale, None, {}) for scale in ("cpu", "paper"))
        rows = study.rows()
        count += len(rows)
        total = _sum(
            full, _needed(full, [pattern for row in rows for _, runs, _ in row.lines for pattern in runs])
        )
        parts.append(
            {
                "title": title,
                "name": name,
                "items": table(
                    ("row", "what it shows", "runs here", "done", "seeds done", "GPU hours", "waits for"),
                    [_item(row, here, full, done) for row in rows],
                ),
                "lines": table(
                    ("row", "line", "runs at the scale `paper`", "runs", "GPU hours", "waits for"),
                    [line for row in rows for line in _lines(row, full)],
                ),
                "total": total,
            }
        )
    return render(Path(__file__).with_name("rows.md.j2"), parts=parts, count=count, gpu=GPU)


def _item(row: Row, here: Sequence[Unit], full: Sequence[Unit], done: set[str]) -> tuple[object, ...]:
    own = _matched(here, row.runs)
    ready = [unit for unit in own if unit.name in done]
    seeds = {network: len(set(found)) for network, found in _seeds(ready).items()}
    shown = ", ".join(f"{network} {count}" for network, count in seeds.items()) or "–"
    cost = _sum(full, _needed(full, [pattern for _, runs, _ in row.lines for pattern in runs]))
    waits = "; ".join(dict.fromkeys(filter(None, (waits for *_, waits in row.lines))))
    state = (
        "a GPU" if len(ready) == len(own) and own else "runs here" if own else "a GPU, no runs at this scale"
    )
    networks = ", ".join(dict.fromkeys(unit.network for unit in own)) or "–"
    networks = networks if len(networks) < 90 else f"{len({unit.network for unit in own})} networks"
    return (row.item, row.words, networks, f"{len(ready)} of {len(own)}", shown, cost,
            "; ".join(filter(None, (state, waits))))  # fmt: skip


def _lines(row: Row, full: Sequence[Unit]) -> list[tuple[object, ...]]:
    found = []
    for words, runs, waits in row.lines:
        own = _matched(full, runs)
        networks = list(dict.fromkeys(unit.network for unit in own))
        units = list(dict.fromkeys(unit.run for unit in own))
        recipe = f"{', '.join(networks)}: {', '.join(units)}" if own else "–"
        if runs and not own:
            raise LookupError(f"{row.item}, {words}: no run is called {runs}")
        cost = _sum(full, _needed(full, runs)) if own else "–"
        found.append((row.item, words, recipe, len(own) or "–", cost, waits or "a GPU"))
    return found


def _matched(units: Sequence[Unit], patterns: Sequence[str]) -> list[Unit]:
    return [u for u in units if any(fnmatchcase(f"{u.network}/{u.run}", pattern) for pattern in patterns)]


def _seeds(units: Sequence[Unit]) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for unit in units:
        found.setdefault(unit.network, []).append(unit.seed)
    return found


def _needed(units: Sequence[Unit], patterns: Sequence[str]) -> list[Unit]:
    """Those that match, and all that they need."""
    by_name = {unit.name: unit for unit in units}
    wanted, queue = set[str](), [unit.name for unit in _matched(units, patterns)]
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += by_name[name].needs
    return [unit for unit in units if unit.name in wanted]


def _sum(full: Sequence[Unit], units: Sequence[Unit]) -> str:
    """Hours of all, with a mark where some were not counted."""
    each = [hours(unit) for unit in units]
    if not units:
        return "–"
    total = sum(one for one in each if one is not None)
    shown = f"{total:,.0f}" if total >= 9.5 else f"{total:.1f}" if total >= 0.05 else "< 0.1"
    return f"{shown} and {each.count(None)} not counted" if None in each else shown


if __name__ == "__main__":
    PAGE.write_text(drawn(), encoding="utf-8")

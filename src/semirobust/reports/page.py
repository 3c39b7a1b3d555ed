"""The report: one HTML file that needs nothing else."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from semirobust.core.budget import BUDGET
from semirobust.core.errors import InputError
from semirobust.core.ours import GENERATOR, write_out
from semirobust.figures.style import number
from semirobust.records.schema import Number, Quantity, Settings
from semirobust.reports.arm import Arm
from semirobust.reports.assets import packaged, palette, templates
from semirobust.reports.chart import Chart, drawn
from semirobust.reports.comparison import accuracy_tables
from semirobust.reports.connectivity import connectivity_charts
from semirobust.reports.features import features_chart
from semirobust.reports.figures import curves_chart, security_chart, transfer_chart
from semirobust.reports.findings import answers, notes
from semirobust.reports.limited import limited
from semirobust.reports.network import NetworkPicture, network_pictures
from semirobust.reports.prefixes import prefix_charts
from semirobust.reports.pruning import by_level, pruning_chart
from semirobust.reports.recovery import recovery_chart
from semirobust.reports.safety import policy, shown_picture
from semirobust.reports.source import Source, read_source
from semirobust.reports.summary import summary
from semirobust.reports.tables import glossary, number_tables
from semirobust.reports.training_curve import training_curve_chart

__all__ = ["render_report", "write_report"]


def write_report(folders: Sequence[Path], out: Path, *, title: str = "Robustness report") -> Path:
    """Draw the report of one or several run folders into ``out``.

    Raises:
        InputError: no records there, records that no run writes, or ``out`` cannot be written.
    """
    source = read_source(folders)
    try:
        page = render_report(source, title)
    except (
        LookupError,
        ValueError,
        TypeError,
        ArithmeticError,
        StopIteration,
        RecursionError,
    ) as error:  # a record that lacks what its name promises
        said = f"{type(error).__name__}: {error}"
        raise InputError(
            f"records: expected those of runs, got some that do not fit together ({said})"
        ) from error
    try:
        write_out(out, page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise InputError(f"out: cannot write {out} ({error.strerror})") from None
    return out


def render_report(source: Source, title: str) -> str:
    """The HTML text; everything that came from a record is escaped."""
    source = whole = limited(source)
    pruning = pruning_chart(source)
    source = by_level(source)
    environment = templates()
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    environment.filters["number"] = number
    charts: list[Chart | None] = [
        *connectivity_charts(source),
        security_chart(source),
        transfer_chart(source),
        pruning,
        recovery_chart(source),
        *prefix_charts(source),
        features_chart(source),
        curves_chart(source),
        training_curve_chart(source),
    ]
    shown = [each for chart in charts if (each := drawn(chart))]
    networks = network_pictures(source)
    tables = accuracy_tables(source)
    charts_of_tables = [table.chart for table in tables if table.chart]
    held = [each.chart.holds for each in (*shown, *charts_of_tables)] + [_in_pictures(networks)]
    sheet = palette() + packaged("report.css") + _sizes({"network": networks})
    script = packaged("report.js")
    values = {
        "title": title,
        "generator": Markup(GENERATOR),
        "policy": policy([script], [sheet]),
        "sheet": Markup(sheet),
        "script": Markup(script),
        "summary": summary(source),
        "answers": answers(source.findings, audit=len({f.about.run for f in source.findings}) > 1),
        "notes": notes(source.findings),
        "tables": tables,
        "leads": len({row.arm.run for table in tables for row in table.rows}) > 1,
        "networks": networks,
        "charts": shown,
        "pictures": [(picture, shown_picture(picture.png)) for picture in source.pictures],
        "numbers": number_tables(whole, lambda n: any(holds(n) for holds in held)),
        "glossary": glossary(whole),
        "settings": [(_stage(s), _settings(s), s.origin) for s in source.settings],
    }
    return environment.get_template("report.html.j2").render(**values, contents=_contents(values))


# Name of a value of the template -> heading of its section.
_SECTIONS = {
    "answers": ("answers", "What each run found"),
    "notes": ("notes", "What a reader must know"),
    "tables": ("robustness", "Accuracy, clean and under attack"),
    "networks": ("layers", "Which layers add weakness"),
    "charts": ("", ""),
    "pictures": ("examples", "Adversarial examples"),
    "numbers": ("numbers", "All other numbers"),
    "glossary": ("glossary", "What the numbers mean"),
    "settings": ("settings", "Settings"),
}


def _contents(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Addresses and headings of the sections that the page has."""
    found = list[tuple[str, str]]()
    first = ("tables", "answers") if values["leads"] else ()
    order = [*first, *(name for name in _SECTIONS if name not in first)]
    for name, (address, heading) in ((name, _SECTIONS[name]) for name in order):
        if name == "charts":
            found += [(each.chart.name, each.chart.title) for each in values["charts"]]
        elif values[name] and (name != "answers" or values["leads"]):
            found.append((address, heading))
    return found


def _in_pictures(networks: Sequence[NetworkPicture]) -> Callable[[Number], bool]:
    """Whether the table below a picture of a network holds a number."""
    places = {(network.arm, column.entry.index) for network in networks for column in network.columns}
    measures = ("criticality", "weakness")
    return lambda n: (
        n.quantity is Quantity.MEASURE
        and n.about.measure in measures
        and n.about.part is None
        and (Arm.of(n.about), n.about.layer) in places
    )


def _stage(record: Settings) -> str:
    return f"{record.about.run}: {record.stage}" if record.about.run else record.stage


def _settings(record: Settings) -> str:
    text = json.dumps(record.settings, indent=2, default=str)
    return text if len(text) <= BUDGET.page else f"{text[: BUDGET.page]} ... (the rest is in the records)"


def _sizes(pictures: Mapping[str, Sequence[NetworkPicture]]) -> str:
    """Rules for the width of each picture of a network; a sheet whose hash the page's policy names."""
    return "".join(
        f".{name}-{i} {{ width: 100%; min-width: {min(picture.width * 0.9, picture.places * 52):g}px;"
        f" max-width: {picture.width * 1.3:g}px; }}\n"
        for name, each in pictures.items()
        for i, picture in enumerate(each, 1)
    )

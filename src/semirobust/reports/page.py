"""The report: one HTML file that needs nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from semirobust.core.budget import BUDGET
from semirobust.core.errors import InputError
from semirobust.core.interval import ends
from semirobust.core.ours import GENERATOR, write_out
from semirobust.records.schema import Finding, Quantity, Settings, Topic
from semirobust.reports.arm import Arm
from semirobust.reports.chart import chart_data
from semirobust.reports.connectivity import ConnectivityPicture, connectivity_pictures
from semirobust.reports.features import features_figure
from semirobust.reports.figures import accuracy_figure, curves_figure, security_figure, transfer_figure
from semirobust.reports.limited import limited
from semirobust.reports.network import NetworkPicture, network_pictures
from semirobust.reports.prefixes import prefix_figures
from semirobust.reports.pruning import by_level, pruning_figure
from semirobust.reports.recovery import recovery_figure
from semirobust.reports.safety import placeholders, policy, shown_picture
from semirobust.reports.source import Cell, Source, read_source
from semirobust.reports.training_curve import training_curve_figure

__all__ = ["render_report", "write_report"]


@dataclass(frozen=True)
class _Row:
    """One arm in the table of accuracies."""

    arm: Arm
    cells: list[Cell | None]
    parameters: float | None
    seconds: float | None

    @property
    def undecided(self) -> bool:
        """Whether an attack leaves something undecided."""
        return any(cell is not None and cell.undecided for cell in self.cells)


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
    source = limited(source)
    pruning = pruning_figure(source)
    source = by_level(source)
    environment = Environment(
        loader=PackageLoader("semirobust.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["count"] = _count
    environment.filters["ends"] = lambda cell: " to ".join(ends(cell.low, cell.high))
    figures = {
        "accuracy": accuracy_figure(source),
        "security": security_figure(source),
        "transfer": transfer_figure(source),
        "recovery": recovery_figure(source),
        "pruning": pruning,
        "features": features_figure(source),
        "curves": curves_figure(source),
        "training_curve": training_curve_figure(source),
        **prefix_figures(source),
    }
    shown = {name: chart_data(figure) for name, figure in figures.items() if figure is not None}
    rows = _rows(source)
    networks, connections = network_pictures(source), connectivity_pictures(source)
    sheet = _packaged("report.css") + _sizes({"network": networks, "picture": connections})
    plotly, script = (_plotly(), _packaged("report.js")) if shown else ("", "")
    return environment.get_template("report.html.j2").render(
        title=title,
        generator=Markup(GENERATOR),
        attacks=source.attacks(),
        plus=any(attack.cumulative for attack in source.attacks()),
        threats=source.values(Quantity.ACCURACY, lambda about: about.threat),
        swept=source.values(Quantity.ACCURACY_BY_EPSILON, lambda about: about.attack),
        open_curve=bool(source.of(Quantity.UNDECIDED_BY_EPSILON)),
        open_transfer=[
            f"Made for {n.about.source}, seen by {n.about.target}: {n.value:.1%} not decided."
            for n in source.of(Quantity.UNDECIDED_TRANSFER)
        ],
        transferred=source.values(Quantity.TRANSFER_ACCURACY, lambda about: about.attack),
        rows=rows,
        over=next((row.cells[0].over for row in rows if row.cells and row.cells[0]), ""),
        networks=networks,
        connections=connections,
        figures=shown,
        policy=policy([plotly, script] if shown else [], [sheet]),
        sheet=Markup(sheet),
        plotly=Markup(plotly),
        script=Markup(script),
        placeholders=placeholders(plotly),
        pictures=[(picture, shown_picture(picture.png)) for picture in source.pictures],
        verdicts=[finding for finding in source.findings if finding.topic is Topic.VERDICT],
        findings=_notes(source.findings),
        settings=[(s.stage, _settings(s), s.origin) for s in source.settings],
        layers=sorted(source.layers, key=lambda entry: entry.index),
    )


def _notes(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that are no verdicts, with the name of their run where there are several; passed checks in
    one line.
    """
    passed: dict[str, list[Finding]] = {}
    notes: list[Finding] = []
    for finding in findings:
        prefix = f"{finding.about.run}: " if finding.about.run else ""
        if finding.topic is Topic.CHECK and finding.level == "good":
            passed.setdefault(prefix, []).append(finding)
        elif finding.topic is not Topic.VERDICT:
            notes.append(finding.model_copy(update={"text": prefix + finding.text}))
    for prefix, checks in passed.items():
        names = ", ".join(check.about.check or "" for check in checks)
        notes.append(checks[0].model_copy(update={"text": f"{prefix}sanity checks passed: {names}"}))
    return notes


def _settings(record: Settings) -> str:
    text = json.dumps(record.settings, indent=2, default=str)
    return text if len(text) <= BUDGET.page else f"{text[: BUDGET.page]} ... (the rest is in the records)"


def _rows(source: Source) -> list[_Row]:
    attacks = source.attacks()
    rows = []
    for arm in source.arms(Quantity.ACCURACY):
        parameters = source.cell(Quantity.TRAINED_PARAMETERS, arm)
        seconds = source.cell(Quantity.EPOCH_SECONDS, arm)
        rows.append(
            _Row(
                arm=arm,
                cells=[source.accuracy(arm, attack) for attack in attacks],
                parameters=parameters.value if parameters else None,
                seconds=sorted(seconds.values)[len(seconds.values) // 2] if seconds else None,
            )
        )
    return rows


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _packaged(name: str) -> str:
    return (resources.files("semirobust.reports") / "templates" / name).read_text(encoding="utf-8")


def _sizes(pictures: Mapping[str, Sequence[NetworkPicture | ConnectivityPicture]]) -> str:
    """Rules for the width of each picture of a network; a sheet whose hash the page's policy names."""
    return "".join(
        f".{name}-{i} {{ width: 100%; min-width: {min(picture.width * 0.8, picture.places * 40):g}px;"
        f" max-width: {picture.width * 1.3:g}px; }}\n"
        for name, each in pictures.items()
        for i, picture in enumerate(each, 1)
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text

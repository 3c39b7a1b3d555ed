"""Draw what ``stress.estimators`` measured: ``python -m scripts.plot_estimators FILE.csv FOLDER`` (needs
matplotlib).
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from scripts.svg import save_figure

__all__ = ["main"]

Row = dict[str, Any]
INFORMATION = ("EDGE 4.4.1", "EDGE 4.3.1", "EDGE paper", "KSG", "InfoNCE")
SHARES = ("CKA", "CKA debiased", "distance correlation", "HSIC normalized")
COLOURS = ("#D55E00", "#E69F00", "#CC79A7", "#0072B2", "#009E73")
matplotlib.rcParams.update({"svg.hashsalt": "semirobust", "svg.fonttype": "none", "font.size": 9})
matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})


def main() -> None:
    """All figures."""
    rows = [_typed(row) for row in csv.DictReader(Path(sys.argv[1]).read_text().splitlines())]
    folder = Path(sys.argv[2])
    gaussian = [row for row in rows if row["data"] == "gaussian"]
    layers = [row for row in rows if row["data"] == "layer"]
    sizes = (100, 1000, 10_000, 100_000)
    for name, unit, measures in (("information", "bits", INFORMATION), ("shares", "value", SHARES)):
        figure, axes = plt.subplots(
            3, 4, figsize=(11, 7.5), sharex=True, sharey="row" if name == "information" else True
        )
        for line, bits in zip(axes, (0.0, 1.0, 4.0), strict=True):
            for panel, n in zip(line, sizes, strict=True):
                chosen = [row for row in gaussian if row["n"] == n and row["truth"] == bits]
                _lines(panel, chosen, measures, "dimension")
                panel.set_title(
                    f"N = {n:,}, truth {bits:g} bits"
                    if name == "information"
                    else f"N = {n:,}, {bits:g} bits"
                )
                if name == "information":
                    panel.axhline(bits, color="black", linewidth=1)
        _finish(figure, axes, "dimension of each side", unit, folder / f"dependence-{name}.svg")
    figure, axes = plt.subplots(2, 3, figsize=(9.5, 5.5), sharex=True, sharey="row")
    for line, measures in zip(axes, (INFORMATION, SHARES), strict=True):
        for panel, d in zip(line, (64, 512, 2048), strict=True):
            _lines(panel, [row for row in layers if row["dimension"] == d], measures, "n")
            panel.set_title(f"ReLU layer, {d} to {d // 2}")
            if d == 64:
                panel.legend(fontsize=6, frameon=False)
    _finish(
        figure, axes, "examples", "bits (top), value (bottom)", folder / "dependence-layers.svg", legend=False
    )
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.4), sharey=True)
    for panel, d in zip(axes, (1, 10, 1000), strict=True):
        chosen = [row for row in gaussian if row["dimension"] == d and row["truth"] == 1.0]
        _lines(panel, chosen, INFORMATION, "n", field="seconds", null=False)
        _lines(panel, chosen, SHARES, "n", field="seconds", null=False, style=":")
        panel.set_title(f"dimension {d}")
        panel.set_yscale("log")
    axes[0].legend(fontsize=6, frameon=False)
    _finish(
        figure,
        axes[None],
        "examples",
        "seconds with 20 permutations, one core",
        folder / "dependence-seconds.svg",
        legend=False,
    )


def _typed(row: dict[str, str]) -> Row:
    return {k: v if k in ("data", "measure", "verdict") else float(v) for k, v in row.items()}


def _lines(
    panel: Any,
    rows: Sequence[Row],
    measures: Sequence[str],
    across: str,
    *,
    field: str = "value",
    null: bool = True,
    style: str = "-",
) -> None:
    for colour, measure in zip(COLOURS, measures, strict=False):
        own = sorted((row for row in rows if row["measure"] == measure), key=lambda row: row[across])
        if own:
            at = [row[across] for row in own]
            values = [row[field] for row in own]
            panel.plot(
                at, values, style, marker="o", markersize=3, color=colour, linewidth=1.4, label=measure
            )
            if null:
                panel.plot(at, [row["null"] for row in own], "--", color=colour, linewidth=1)
    panel.set_xscale("log")
    panel.grid(alpha=0.25)


def _finish(figure: Any, axes: Any, x: str, y: str, path: Path, *, legend: bool = True) -> None:
    for panel in axes[-1]:
        panel.set_xlabel(x)
    for line in axes:
        line[0].set_ylabel(y)
    if legend:
        figure.legend(*axes[0][1].get_legend_handles_labels(), loc="upper center", ncols=5, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.95 if legend else 1))
    save_figure(figure, path)


if __name__ == "__main__":
    main()

"""Draw the figures of a study (needs matplotlib): ``python -m scripts.plot_studies NAME [SCALE] [OUT]``.

They are drawn from the records of its runs below OUT, or from those that come with the study where OUT is not
given, and go into docs/explanation/reproduced.
"""

import importlib
import sys
from pathlib import Path

from scripts.svg import save_figure
from semirobust.experiments import study_source

__all__ = ["draw"]

_STYLE = {
    "svg.hashsalt": "semirobust",  # equal figures are equal files
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_PAGES = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "reproduced"


def draw(name: str, scale: str = "cpu", out: Path | None = None, pages: Path = _PAGES) -> None:
    """Write ``NAME-SCALE….svg`` into ``pages`` for each of the figures in ``papers/NAME/figures.py``."""
    import matplotlib.pyplot as plt  # which the library does not need

    plt.rcParams.update(_STYLE)
    source = study_source(name, scale, out)
    figures = importlib.import_module(f"papers.{name}.figures")
    for end, rows in figures.FIGURES.items():
        size = (5 * len(rows[0]), figures.HEIGHT * len(rows))
        figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=size, squeeze=False)
        for panels, parts in zip(axes, rows, strict=True):
            for panel, part in zip(panels, parts, strict=True):
                part(panel, source)
        figure.tight_layout()
        save_figure(figure, pages / f"{name}-{scale}{end}.svg")
        plt.close(figure)


if __name__ == "__main__":
    name, scale, *rest = (*sys.argv[1:], "cpu") if len(sys.argv) == 2 else sys.argv[1:]
    draw(name, scale, *map(Path, rest[:1]))

"""A figure that a notebook shows by itself, whether pyplot is there or not."""

import io
from typing import Any

from matplotlib.figure import Figure

from semirobust.figures.style import PAPER, drawing

__all__ = ["Chart"]

_SHARP = 2.0  # pixels of the picture for one of the screen
_DPI = 96


class Chart(Figure):
    """A figure of Matplotlib; a notebook asks it for a picture of itself."""

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        """The picture on light paper, and how large it is shown."""
        file = io.BytesIO()
        with drawing():
            self.savefig(file, format="png", dpi=_SHARP * _DPI, facecolor=PAPER)
        width, height = (round(inches * _DPI) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}

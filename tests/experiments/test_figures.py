"""Charts from plain numbers."""

import io
import json
import logging
import math
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET

import matplotlib
import pytest
from matplotlib.text import Text

from semirobust.figures import (
    NARROW,
    WIDE,
    Curve,
    EpochPanel,
    Panel,
    Points,
    Verdict,
    histograms,
    layer_bars,
    layers_by_epoch,
    lines,
    matrix,
    points,
    security_curve,
    verdict_matrix,
)
from semirobust.figures.style import MARKS, PAPER, SERIES, drawing, number, shown

ODD = ["$\\frac{1}{0}$ $", "_hidden", "</text><script>", "\x00\x1b[31m\u202e", "漢字", "a\nb", "", "n" * 300]
EXTREME = [1.0, -1.0, 0.0, math.nan, math.inf, -math.inf, 1e308, 5e-324]


def _charts(names, values, width=WIDE):
    """One chart of each kind, with these names and values wherever one may stand."""
    n = len(names)
    v = (list(values) * n)[:n]
    span = range(1, n + 1)
    curve = [Curve(name, span, v, v, v, stroke="dashed") for name in names]
    cell = {(i, i): value for i, value in enumerate(v, 1)}
    yield layer_bars(names, v, low=v, high=v, behind=v, marked={0}, title=names[0], width=width)
    yield layer_bars(names, v, low=v, high=v, base=1, log=True, width=width)
    for scale in ("linear", "integer", "log", "log, falling"):
        yield lines(
            curve, x_label="x", y_label="y", references=[(names[0], v[0])], x_scale=scale, width=width
        )
    yield lines(curve, x_label=names[0], y_label=names[0], x_scale="log", interval="band", width=width)
    yield security_curve([Curve(name, v, v, v, v) for name in names], norm="Linf", width=width)
    yield points(names, [Points(name, v, v, v) for name in names], references=[("chance", 10)], width=width)
    yield matrix([v] * n, names, names, title=names[0], x_label=names[0], width=width)
    yield verdict_matrix(names, [[Verdict("better", name) for name in names]] * n, width=width)
    yield histograms([Panel(names[0], dict.fromkeys(names, v))] * 3, width=width)
    yield layers_by_epoch([EpochPanel(names[0], cell, cell), EpochPanel("b")], width=width)


def _svg(figure):
    written = io.BytesIO()
    with drawing():
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def _axis(figure, name="x"):
    figure.draw_without_rendering()
    axis = getattr(figure.axes[0], f"{name}axis")
    low, high = sorted(axis.get_view_interval())
    shown = zip(axis.get_majorticklocs(), axis.get_majorticklabels())
    return [label.get_text() for at, label in shown if low - 1e-9 <= at <= high + 1e-9]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_odd_names_and_numbers_are_drawn_and_never_read(width):
    for figure in _charts(ODD, EXTREME, width):
        text = _svg(figure)
        ET.fromstring(text)
        assert b"<script" not in text and not any(t.get_parse_math() for t in figure.findobj(Text))


def test_one_number_and_none_are_drawn():
    for figure in _charts(["a"], [0.5]):
        _svg(figure)
    for figure in (
        layer_bars([], []),
        lines([], x_label="x", y_label="y", x_scale="log"),
        points([], []),
        matrix([], [], []),
        histograms([Panel("a", {"b": []})]),
        layers_by_epoch([]),
    ):
        _svg(figure)


def test_a_chart_is_the_same_each_time_and_has_no_date():
    for one, other in zip(_charts(["a", "b"], [1.0, 2.0]), _charts(["a", "b"], [1.0, 2.0])):
        assert _svg(one) == _svg(other)
        assert b"date" not in _svg(one).lower()


def test_layers_and_epochs_are_whole_numbers():
    for count in (1, 2, 3, 7, 40, 1000):
        figure = lines(
            [Curve("a", range(1, count + 1), [1.0] * count)], x_label="", y_label="", x_scale="integer"
        )
        assert all(label.isdigit() for label in _axis(figure)) and _axis(figure)
        cells = {(layer, 1): 1.0 for layer in range(1, count + 1)}
        figure = layers_by_epoch([EpochPanel("a", cells)])
        assert _axis(figure) == ["1"] and all(label.isdigit() for label in _axis(figure, "y"))


def test_a_logarithmic_axis_has_few_ticks_that_can_be_read():
    for values in ([100 * 0.8**i for i in range(12)], [100, 98], [1e-6, 1e6], [3.0], [99.9, 100], [0.9, 110]):
        curve = [Curve("a", values, [1.0] * len(values))]
        for width in (WIDE, NARROW):
            figure = lines(curve, x_label="", y_label="", x_scale="log, falling", width=width)
            ticks = _axis(figure)
            assert 1 <= len(ticks) <= 14 and all(label and "$" not in label for label in ticks), values
            low, high = figure.axes[0].get_xlim()
            assert low > high and not figure.axes[0].xaxis.get_minorticklocs().size


def test_accuracies_are_drawn_from_0_to_100():
    figure = lines([Curve("a", [1, 2], [3.0, 4.0])], x_label="", y_label="", percent=True)
    assert _axis(figure, "y") == ["0", "20", "40", "60", "80", "100"]


def test_series_differ_in_colour_and_in_mark():
    figure = lines([Curve(str(i), [1, 2], [i, i]) for i in range(8)], x_label="", y_label="")
    drawn = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert len({line.get_color() for line in drawn}) == len({line.get_marker() for line in drawn}) == 8
    assert len(set(SERIES)) == len(set(MARKS)) == 8


def _luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_colours_stand_out_on_paper():
    for colour in SERIES:
        assert (_luminance(PAPER) + 0.05) / (_luminance(colour) + 0.05) >= 3, colour


def test_a_cell_without_a_number_says_so():
    figure = matrix([[1.0, None], [math.inf, 100.0]], ["a", "b"], ["a", "b"])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1.0", "100.0", "–", "–"]


def test_settings_of_the_user_are_as_before_and_count_for_nothing():
    before = dict(matplotlib.rcParams)
    plain = _svg(points(["a"], [Points("b", [1.0])]))
    with matplotlib.rc_context({"text.usetex": True, "font.size": 40, "svg.fonttype": "path"}):
        assert _svg(points(["a"], [Points("b", [1.0])])) == plain
    assert dict(matplotlib.rcParams) == before


def test_no_window_and_no_state_is_left_behind():
    code = (
        "import sys, logging\nfrom semirobust.figures import matrix\n"
        "assert 'matplotlib' not in sys.modules\nmatrix([[1.0]], ['a'], ['b'])\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": "", "HOME": "/proc/none"}
        | {"PYTHONPATH": ":".join(sys.path)}, check=False,
    )  # fmt: skip
    # A home that cannot be written takes a folder of its own, of which nothing is said.
    assert (done.returncode, done.stderr) == (0, "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matrix([[1.0]], ["漢"], ["b"])
    assert logging.getLogger("matplotlib").level == logging.NOTSET


def test_numbers_and_names_as_they_are_read():
    said = [number(v) for v in (0.0, 1.0, 12.345, 1234.5, 0.00012, 1e9, -2.0, math.inf, math.nan)]
    assert said == ["0.00", "1.00", "12.3", "1234", "0.000120", "1e+09", "−2.00", "∞", "–"]
    assert shown("a\n b") == "a b" and len(shown("x" * 99)) <= 40 and json.dumps(shown("\x00")) == '"\\\\x00"'


def test_a_long_legend_leaves_the_chart_its_height():
    """Twenty names on a telephone: the axes are as high as with two."""
    heights = []
    for count in (2, 20):
        curves = [Curve(f"a rather long name {i}", [1, 2], [i, i]) for i in range(count)]
        figure = lines(curves, x_label="epoch", y_label="%", percent=True, width=NARROW)
        figure.draw_without_rendering()
        heights.append(figure.axes[0].get_position().height * figure.get_figheight())
    assert heights[1] > 0.9 * heights[0] > 1.5


def test_long_names_keep_what_tells_them_apart():
    assert shown("a-long-run-of-mine: PGD-AT continued", 24) == "a-long-…PGD-AT continued"

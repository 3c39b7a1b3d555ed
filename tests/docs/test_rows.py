"""The list of tables and figures: it is drawn, it has all 45, and its passes are those that are counted."""

import re

import pytest
from scripts import hours, rows

import semirobust as sr
from semirobust.cost import Operations
from semirobust.experiments.queue.find import find_study
from semirobust.layers import macs_by_module
from semirobust.methods import METHODS


def test_the_list_is_drawn_from_the_studies_and_has_every_table_and_figure():
    text = rows.drawn()
    assert rows.PAGE.read_text() == text, "run `python -m scripts.rows`"
    assert "have 45 tables and figures" in text and "not counted" not in text.partition("## CLAT")[2]
    named = [
        [row.item for row in find_study(rows._ROOT / "papers" / name).study.rows()] for name in rows._STUDIES
    ]
    clat, subnetworks, lighter = (
        [set(map(int, re.findall(r"\d+", " ".join(i for i in items if i.startswith(kind))))) for kind in
         ("table", "figure")]
        for items in named
    )  # fmt: skip
    assert clat == [set(range(1, 21)), set(range(2, 8))]
    assert subnetworks == [{1, 2, 3}, {1, 2, 3}]
    assert lighter == [set(), {2, 3, *range(5, 13)}]  # its tables have Roman numbers
    assert [item for item in named[2] if "table" in item] == ["table I", "table II", "table III"]


@pytest.mark.parametrize(
    ("method", "options"),
    [("adversarial", {}), ("adversarial", {"objective": "trades"}), ("clat", {"layers": [11]})],
    ids=["PGD-AT", "TRADES", "CLAT"],
)
def test_passes_are_those_that_are_counted(method, options):
    """An epoch of eight images by an attack of two steps, as the difference of two trainings."""
    data = sr.load_data("digits")
    images, (x, _) = data.train.first(8), data.train.first(1).all()

    def spent(epochs):
        model = sr.build_model("resnet18", num_classes=10, width=0.125, in_channels=1, image_size=8, seed=0)
        attack = sr.PGD(sr.Linf(0.1), steps=2)
        with Operations() as counted:
            sr.harden(model, images, METHODS.make(method, options), attack=attack, epochs=epochs, seed=0)
        return counted.total / (2 * sum(macs_by_module(model, x).values()) * len(images))

    found = spent(2) - spent(1)
    assert hours.method_passes(method, options, "pgd-2", 0.62) == pytest.approx(found, rel=0.2)

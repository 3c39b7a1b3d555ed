"""The tables that compare criteria of layers, and the list of what the CLAT paper's tables need."""

import re
from pathlib import Path

import pytest
from papers.clat.arms import Pick, arms, attacks
from papers.clat.criteria import agreement, choices, layer_gains

from semirobust.experiments.queue.runner import status
from semirobust.records.schema import About, Number, Origin, Quantity
from semirobust.reports.source import Source

CLAT = Path(__file__).resolve().parents[2] / "papers" / "clat"
_AT = Origin(config="c", version="v", device="d", seed="0")


def _number(quantity, value, **about):
    return Number(quantity=quantity, value=value, about=About(network="late", **about), origin=_AT)


@pytest.fixture
def source():
    """Two seeds of four layers, the last a classifier; layer 3 gains most, 1/N knows it and RiFT's criterion
    the opposite.
    """
    numbers = []
    for seed in (0, 1):
        numbers.append(
            _number(Quantity.ACCURACY, 0.10, arm="start", unit="start", attack="pgd-20", seed=seed)
        )
        numbers.append(_number(Quantity.ACCURACY, 0.30, arm="start", unit="start", attack="clean", seed=seed))
        for layer, gain, high in (
            (1, 0.01, 1.0),
            (2, 0.02, 2.0),
            (3, 0.06 + 0.02 * seed, 3.0),
            (4, 0.5, 9.0),
        ):
            numbers.append(
                _number(
                    Quantity.ACCURACY,
                    0.10 + gain,
                    arm=f"layer {layer}",
                    tuned_layer=layer,
                    unit="each",
                    attack="pgd-20",
                    seed=seed,
                )
            )
            index = {"unit": "index", "form": "distance", "scale": "paper", "place": "input"}
            here = {"layer": layer, "seed": seed}
            numbers.append(_number(Quantity.MEASURE, high, measure="criticality", **here, **index))
            numbers.append(
                _number(Quantity.MEASURE, high, measure="weight-criticality", unit="criteria", **here)
            )
    return Source(numbers=numbers)


def test_gains_and_choices_are_those_of_the_records(source):
    assert "| 3 | +7.0 (-5.7 to +19.7) |" in layer_gains(source, "pgd-20", {"each": "PGD-AT"}, {})
    text = choices(source, "pgd-20", "each", {"late": "PGD-AT, late"})
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    # The classifier's 50 points count nowhere: the mean of the three others is 3 and 3.67 points.
    assert rows["distance, 1/N, input"].endswith(
        "| 1.00 (2 seeds agree) | 3, 3 | +7.0 (-5.7 to +19.7) | +3.7 (-4.8 to +12.1) |"
    )
    assert (
        "| -1.00 (2 seeds agree) | 1, 1 | +1.0 (2 seeds agree) |"
        in rows["RiFT's weight criticality, lowest first"]
    )
    assert (
        "| 3, 3 | +7.0" in rows["the best layer in hindsight"] and "1.00" in rows["the gains of another seed"]
    )
    assert "-1.00 (2 seeds agree)" in agreement(source)


def test_tables_without_records_are_left_out(source):
    assert (
        arms(source, {Pick("clat"): "CLAT"})
        == attacks(source, {"start": "base"})
        == layer_gains(source, "pgd-20", {"none": ""}, {})
        == ""
    )


@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_every_table_of_the_paper_that_needs_no_other_data_has_runs(tmp_path, scale):
    units = [entry.unit for entry in status(CLAT, scale, tmp_path)]
    numbers = {
        int(number)
        for unit in units
        for item in unit.items
        for number in re.findall(r"\d+", item)
        if "table" in item
    }
    assert numbers == {*range(1, 15), 17, 18, 19, 20}  # 15 and 16 are Imagenette and ImageNet
    figures = {
        int(number)
        for unit in units
        for item in unit.items
        for number in re.findall(r"\d+", item.partition("figure")[2])
    }
    assert figures == {2, 3, 4, 5, 6, 7}
    before = set()
    for unit in units:  # a unit comes after what it needs
        assert before.issuperset(unit.needs) and unit.name not in before, unit.name
        before.add(unit.name)

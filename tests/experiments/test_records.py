"""The schema of records: what it accepts, what it reads of version 1, and tables of numbers."""

import csv
import json
from dataclasses import fields

import pytest

from semirobust.core.errors import InputError
from semirobust.records.about import About, Fields
from semirobust.records.export import number_rows, write_csv
from semirobust.records.schema import Finding, Number, Origin, Quantity, Topic, parse_record
from semirobust.records.store import read_records, record_line, write_records
from semirobust.reports.arm import Arm
from semirobust.reports.source import Source

_AT = Origin(config="abc", version="0", device="test", seed="0")


def _old(name, kind="number", **more):
    labels = more.pop("labels", {})
    rest = {"value": 0.5} if kind == "number" else {}
    return json.dumps(
        {"kind": kind, "name": name, **rest, **more, "labels": labels, "origin": _AT.model_dump()}
    )


def _about(**known):
    return About(**known)


OLD = [
    # name, labels, quantity, about
    ("accuracy", {"arm": "a", "attack": "+ pgd-20", "threat": "Linf 0.3"}, "accuracy",
     _about(arm="a", attack="pgd-20", cumulative=True, threat="Linf 0.3")),
    ("accuracy", {"arm": "layer 7", "attack": "clean"}, "accuracy",
     _about(arm="layer 7", tuned_layer=7, attack="clean")),
    ("accuracy", {"arm": "free 0.1", "unit": "lambda-free-11-strong", "network": "late"}, "accuracy",
     _about(arm="free 0.1", loss_form="free", loss_weight=0.1, tuned_layer=11, variant="sweep",
            unit="lambda-free-11-strong", network="late")),
    ("accuracy", {"arm": "normal prefix, suffix 12"}, "accuracy",
     _about(arm="normal prefix, suffix 12", prefix="normal", suffix=12)),
    ("accuracy", {"arm": "suffix", "suffix": 12, "unit": "suffix-12-hsic"}, "accuracy",
     _about(arm="suffix", suffix=12, unit="suffix-12-hsic", variant="hsic")),
    ("accuracy", {"arm": "suffix-12", "unit": "precise"}, "accuracy",
     _about(arm="suffix-12", suffix=12, variant="plain", unit="precise")),
    ("accuracy", {"whole": "more epochs"}, "accuracy", _about(arm="whole-more-epochs")),
    ("accuracy.sweep", {"norm": "linf", "epsilon": 0.1}, "accuracy_by_epsilon",
     _about(norm="linf", epsilon=0.1)),
    ("across", {"source": "a", "target": "b"}, "transfer_accuracy", _about(source="a", target="b")),
    ("train.layer", {"epoch": 2, "layer": 3}, "trained_layer", _about(epoch=2, layer=3)),
    ("validation.robust", {"epoch": 0}, "validation_robust", _about(epoch=0)),
    ("validation.rho.null", {"layer": 7}, "validation_measure",
     _about(measure="connectivity", part="null", layer=7)),
    ("validation.bound", {"epoch": 1}, "quadratic_bound", _about(epoch=1)),
    ("layer.criticality", {"form": "distance", "at": "input", "layer": 1}, "measure",
     _about(measure="criticality", form="distance", place="input", layer=1)),
    ("layer.semirobustness.drop", {"by": "linear head", "layer": 2}, "measure",
     _about(measure="semirobustness", part="drop", estimator="linear head", layer=2)),
    ("feature.usefulness.original-robust", {"feature": 4}, "feature",
     _about(measure="usefulness", part="original-robust", feature=4)),
    ("feature.useful", {"feature": 4}, "feature", _about(measure="usefulness", feature=4)),
    ("features.robust.positive", {}, "feature_positive", _about(measure="usefulness", part="robust")),
    ("features.rank agreement.weights", {}, "rank_agreement", _about(part="weights")),
    ("stability.agreement", {"size": 10, "k": 1}, "stability", _about(batch=10, k=1)),
    ("size.multiplications", {"unit": "pgd-3", "network": "capacity-mnist"}, "macs",
     _about(unit="pgd-3", network="capacity-mnist", training="pgd", size=3)),
    ("cost.ratio.least", {"arm": "before", "batch": 64}, "inference_ratio_min", _about(arm="before", batch=64)),
    ("prune.layer", {"weight": "fc.weight", "level": 2}, "parameter_density",
     _about(parameter="fc.weight", level=2)),
    ("recover.threshold", {"of": "largest of all, none converged", "layer": 9}, "recovery_threshold",
     _about(converged=False, layer=9)),
    ("bound.slope", {"when": "start"}, "gradient_term", _about(when="start")),
    ("my own", {"arm": "a"}, "other", _about(measure="my own", arm="a")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "labels", "quantity", "about"), OLD, ids=[row[0] for row in OLD])
def test_numbers_of_version_1_are_read(name, labels, quantity, about):
    record = parse_record(_old(name, labels=labels, unit="bit", n=3, low=0.4, high=0.6))
    assert isinstance(record, Number)
    assert record.quantity == quantity and record.about == about
    assert (record.value, record.n, record.low, record.high, record.origin) == (0.5, 3, 0.4, 0.6, _AT)
    assert record.unit == (record.quantity.unit or "bit")
    assert parse_record(record_line(record)) == record


def test_what_a_measure_added_to_its_number_is_kept():
    labels = {"layer": 2, "on": 1, "by": "EDGE", "verdict": "saturated", "p": 0.05, "ceiling": 5.5}
    record = parse_record(_old("layer.connectivity", labels=labels, unit="bits"))
    assert record.about == About(measure="connectivity", layer=2, on=1, estimator="EDGE")
    assert record.details == {"verdict": "saturated", "p": 0.05, "ceiling": 5.5} and record.unit == "bits"


def test_other_kinds_of_version_1_are_read():
    check = parse_record(_old("check.gradients", "finding", text="t", level="good"))
    assert (check.topic, check.about.check, check.level) == (Topic.CHECK, "gradients", "good")
    note = parse_record(_old("measure.connectivity.null", "finding", text="t"))
    assert (note.topic, note.about.measure, note.about.part) == (Topic.MEASURE, "connectivity", "null")
    assert parse_record(_old("smallest prefix", "finding", text="t")).topic is Topic.SMALLEST_PREFIX
    other = parse_record(_old("mine", "finding", text="t"))
    assert (other.topic, other.about.measure) == (Topic.OTHER, "mine")
    picture = parse_record(
        _old("example", "picture", png="x", caption="c", labels={"attack": "pgd-3", "fooled": 1})
    )
    assert picture.about == About(attack="pgd-3", fooled=True)
    entry = {"index": 1, "type": "Conv2d", "shape": [3, 4, 4], "parameters": 9, "block": "b"}
    assert parse_record(_old("conv1", "layer", **entry, labels={"run": "r"})).about.run == "r"
    settings = {"kind": "settings", "stage": "train", "settings": {"a": None}, "origin": _AT.model_dump()}
    assert parse_record(json.dumps(settings)).settings == {"a": None}


def test_a_later_version_is_refused_in_one_sentence(tmp_path):
    record = Number(quantity=Quantity.ACCURACY, value=1, origin=_AT)
    line = record_line(record).replace('"schema_version":2', '"schema_version":3')
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: .*version 2 .*got version 3; install a later"):
        read_records(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    "content",
    [
        {"quantity": "acuracy"},
        {"quantity": "accuracy", "about": {"armm": "a"}},
        {"quantity": "accuracy", "unit": "bits"},
        {"quantity": "accuracy", "labels": {}},
        {"quantity": "other"},
    ],
)
def test_a_typo_does_not_validate(content):
    with pytest.raises(ValueError, match="validation error"):
        Number(value=1, origin=_AT, **content)


def test_a_misspelt_field_is_an_error_in_python_too():
    with pytest.raises(TypeError):
        About(armm="a")
    with pytest.raises(AttributeError):
        Source(numbers=[Number(quantity=Quantity.ACCURACY, value=1, origin=_AT)]).cell(
            Quantity.ACCURACY, armm="a"
        )


def test_the_fields_are_declared_alike_for_records_and_for_selection():
    assert {field.name: field.type for field in fields(About)} == Fields.__annotations__


def test_each_quantity_says_what_it_is():
    assert all(quantity.meaning and quantity.name.lower() == quantity for quantity in Quantity)


def test_a_measure_without_a_part_is_its_main_number():
    source = Source(
        numbers=[
            Number(
                quantity=Quantity.MEASURE, value=v, about=About(measure="connectivity", part=p), origin=_AT
            )
            for v, p in ((3.0, None), (1.0, "null"))
        ]
    )
    assert source.cell(Quantity.MEASURE, measure="connectivity").value == 3
    assert source.cell(Quantity.MEASURE, measure="connectivity", part="null").value == 1


def test_arms_have_their_names_from_fields():
    names = {
        About(arm="suffix", suffix=4): "suffix of 4",
        About(arm="start", suffix=4): "suffix of 4, untrained",
        About(arm="start"): "start",
        About(arm="robust", suffix=4): "robust",
        About(arm="normal prefix, suffix 4", suffix=4): "normal prefix, suffix 4",
        About(arm="clat", run="one"): "one: clat",
        About(run="one"): "one",
        About(): "model",
    }
    assert {str(Arm.of(about)) for about in names} == set(names.values())
    assert [str(Arm.of(about)) for about in names] == list(names.values())
    assert str(Arm("ticket", level=3, left=0.123)) == "ticket, 12.3 % left"


def test_numbers_are_written_as_a_table(run, tmp_path):
    records = [
        Number(quantity=Quantity.ACCURACY, value=0.5, n=10, about=About(arm="a, b", seed=0), origin=_AT),
        Number(
            quantity=Quantity.MEASURE,
            value=2.0,
            unit="bits",
            about=About(measure="connectivity", layer=2),
            details={"p": 0.5},
            origin=_AT,
        ),
        Finding(topic=Topic.NOTE, text="no number", origin=_AT),
    ]
    first, second = number_rows(records)
    assert list(first) == list(second) and first["arm"] == "a, b" and first["layer"] is None
    assert second["quantity"] == "measure" and second["details"] == '{"p": 0.5}'
    assert write_csv(tmp_path / "n.csv", records) == 2
    with (tmp_path / "n.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        [row["value"] for row in rows] == ["0.5", "2.0"] and rows[0]["layer"] == "" and "epoch" not in rows[0]
    )
    with pytest.raises(InputError, match="found none"):
        write_csv(tmp_path / "n.csv", records[2:])
    for name in ("one", "two"):
        write_records(tmp_path / name / "records" / "a.jsonl", records)
    text, _ = run("report", tmp_path / "one", tmp_path / "two", "--csv", tmp_path / "all.csv")
    assert "4 numbers" in text
    with (tmp_path / "all.csv").open(newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["one", "one", "two", "two"]

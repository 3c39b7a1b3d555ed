"""Records and the pages drawn from them."""

import base64
import json

import pytest

from semirobust.core.errors import InputError
from semirobust.experiments.recipe import read_recipe
from semirobust.experiments.verdict import verdict
from semirobust.records.origin import config_hash
from semirobust.records.schema import (
    About,
    Finding,
    LayerEntry,
    Number,
    Origin,
    Picture,
    Quantity,
    Settings,
    Topic,
    parse_record,
)
from semirobust.records.store import read_records, write_records
from semirobust.reports.connectivity import connectivity_charts
from semirobust.reports.network import network_pictures
from semirobust.reports.page import render_report, write_report
from semirobust.reports.source import Source, read_source

AT = Origin(config="abc", version="0", device="test", seed="0")
EVIL = "<script>alert(1)</script>"


def _number(quantity, value, **about):
    return Number(
        quantity=quantity,
        value=value,
        n=10,
        low=value - 0.1,
        high=value + 0.1,
        about=About(**about),
        origin=AT,
    )


def _records():
    layers = [
        LayerEntry(
            index=i, name=f"conv{i}", type="Conv2d", shape=(4, 8, 8), parameters=10, block="b", origin=AT
        )
        for i in (1, 2, 3)
    ]
    scores = [
        _number(Quantity.MEASURE, v, measure="criticality", layer=i, arm="start")
        for i, v in ((1, 0.01), (2, 2.0), (3, 0.5))
    ]
    accuracy = [
        _number(Quantity.ACCURACY, v, arm=a, attack=k, seed=s)
        for a, v in (("start", 0.5), ("clat", 0.6))
        for k in ("clean", "pgd-3")
        for s in (0, 1)
    ]
    epochs = [_number(Quantity.VALIDATION_ROBUST, 0.4, arm="clat", epoch=e) for e in (1, 2)] + [
        _number(Quantity.VALIDATION_CLEAN, 0.6, arm="clat", epoch=1)
    ]
    png = base64.b64encode(b"\x89PNG").decode()
    rest = [
        Picture(png=png, caption=EVIL, origin=AT),
        Finding(topic=Topic.DATA, text=EVIL, origin=AT),
        Settings(stage=EVIL, settings={"data": {"source": EVIL}}, origin=AT),
    ]
    return [*layers, *scores, *accuracy, *epochs, *rest]


def test_connectivity_stands_over_its_null():
    records = _records()
    for part, values in ((None, (3.0, 3.5)), ("null", (2.9, 1.0)), ("excess", (0.1, 2.5))):
        records += [
            _number(
                Quantity.MEASURE,
                v,
                measure="connectivity",
                part=part,
                layer=i,
                arm="start",
                estimator="EDGE",
            )
            for i, v in zip((2, 3), values)
        ]
    source = Source(
        numbers=[r for r in records if isinstance(r, Number)],
        layers=[r for r in records if isinstance(r, LayerEntry)],
    )
    (chart,) = connectivity_charts(source)
    assert chart.rows == [
        ("2 conv2", "1 conv1", "3.00 (2.90 to 3.10)", "2.90 (2.80 to 3.00)", "0.100 (0.00 to 0.200)"),
        ("3 conv3", "2 conv2", "3.50 (3.40 to 3.60)", "1.00 (0.900 to 1.10)", "2.50 (2.40 to 2.60)"),
    ]
    bars = [bar.get_height() for bar in chart.draw(9.5).axes[0].patches]
    assert bars == [3.0, 3.5, 2.9, 1.0]  # the null stands before the value
    page = render_report(source, "t")
    assert "How much each layer depends on the one before" in page and "EDGE" in page
    assert "depends on the one before" not in render_report(Source(), "t")


def test_records_survive_the_file(tmp_path):
    records = [
        *_records(),
        Number(quantity=Quantity.OTHER, value=float("inf"), about=About(measure="x"), origin=AT),
    ]
    write_records(tmp_path / "records" / "a.jsonl", records)
    assert read_records(tmp_path) == records
    assert read_records(tmp_path / "records" / "a.jsonl") == records
    assert parse_record(records[0].model_dump_json()) == records[0]


def test_damaged_records_are_one_sentence(tmp_path):
    path = tmp_path / "a.jsonl"
    for content in (
        "{",
        '{"kind": "nope"}',
        '{"kind": "number", "name": "x"}',
        '{"schema_version": 2, "kind": "number", "quantity": "acuracy", "value": 1}',
        '{"schema_version": 2, "kind": "number", "quantity": "accuracy", "value": 1, "about": {"armm": "x"}}',
        "[]",
        '{"kind":"finding","name":"x","text":"y","level":"odd"}',
    ):
        path.write_text(content + "\n")
        with pytest.raises(InputError, match=r"a\.jsonl, line 1"):
            read_records(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read_records(path)


def test_pages_escape_everything(tmp_path):
    write_records(
        tmp_path / "records" / "a.jsonl",
        [*_records(), _number(Quantity.ACCURACY, 0.3, arm=EVIL, attack="clean")],
    )
    page = write_report([tmp_path], tmp_path / "r.html").read_text()
    assert EVIL not in page and "alert(1)" in page
    head = page[: page.index("<body>")]
    assert "http" not in head.replace("http-equiv", "")


def test_a_report_needs_only_some_records():
    for records in ([], [_number(Quantity.ACCURACY, 0.5, arm="m", attack="clean")], _records()[:3]):
        source = Source(
            numbers=[r for r in records if r.kind == "number"],
            layers=[r for r in records if r.kind == "layer"],
        )
        assert "<h1>Title</h1>" in render_report(source, "Title")


def test_intervals_are_over_seeds_where_there_are_several():
    source = Source(
        numbers=[
            _number(Quantity.ACCURACY, v, arm="a", attack="clean", seed=i)
            for i, v in enumerate((0.5, 0.6, 0.7))
        ]
    )
    cell = source.cell(Quantity.ACCURACY, arm="a", attack="clean")
    assert cell.value == pytest.approx(0.6) and cell.over == "3 seeds"
    assert cell.low == pytest.approx(0.6 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    single = Source(numbers=source.numbers[:1]).cell(Quantity.ACCURACY, arm="a")
    assert (single.low, single.high, single.over) == (0.4, 0.6, "10 images")


def test_the_picture_of_the_network():
    source = Source(
        numbers=[r for r in _records() if r.kind == "number"],
        layers=[r for r in _records() if r.kind == "layer"],
    )
    (picture,) = network_pictures(source)
    first, second, third = picture.columns
    assert first.bar_height == 0 and second.bar_height == pytest.approx(
        third.bar_height
    )  # 2 and 1/2 on a log scale
    assert second.bar_top < picture.one_y and third.bar_top == pytest.approx(picture.one_y)


def test_several_runs_keep_their_names(tmp_path):
    for name in ("one", "two"):
        write_records(
            tmp_path / name / "records" / "a.jsonl",
            [_number(Quantity.ACCURACY, 0.5, attack="clean"), *_records()[:3]],
        )
    source = read_source([tmp_path / "one", tmp_path / "two"])
    assert [str(arm) for arm in source.arms(Quantity.ACCURACY)] == ["one", "two"] and len(source.layers) == 6


@pytest.mark.parametrize(
    ("values", "level", "words"),
    [
        ((0.6, 0.61, 0.62), "good", "clat is better than start by 11.0 points"),
        ((0.4, 0.39, 0.38), "warning", "clat does not win: start is better by 11.0 points"),
        ((0.4, 0.6, 0.5), "note", "cannot be told apart"),
        ((0.6,), "note", "one seed decides nothing"),
    ],
)
def test_verdicts(values, level, words):
    records = [_number(Quantity.ACCURACY, v, arm="clat", attack="p", seed=i) for i, v in enumerate(values)]
    records += [_number(Quantity.ACCURACY, 0.5, arm="start", attack="p", seed=i) for i in range(len(values))]
    _, finding = verdict(records, "clat", ["start"], "p", AT)
    assert finding.level == level and words in finding.text


def test_a_default_changes_no_hash_and_a_setting_does():
    plain = read_recipe().for_hash("data", "train")
    assert plain == read_recipe(changes={"train.epochs": 30}).for_hash("data", "train")
    assert config_hash(plain) != config_hash(
        read_recipe(changes={"train.epochs": 31}).for_hash("data", "train")
    )
    assert plain == read_recipe(changes={"data.root": "/somewhere"}).for_hash("data", "train")
    assert json.dumps(plain) == "{}"

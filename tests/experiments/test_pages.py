"""What a page shows, whatever its records are."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest

from semirobust.figures.style import PALETTE
from semirobust.records.schema import About, Finding, LayerEntry, Number, Origin, Quantity, Settings, Topic
from semirobust.records.store import write_records
from semirobust.reports.findings import notes
from semirobust.reports.page import render_report, write_report
from semirobust.reports.source import Source, read_source, source_of
from semirobust.reports.summary import summary
from tests.browser import CHROMIUM, opened

AT = Origin(config="abc", version="0", device="test", seed="0")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")


def _number(quantity, value, *, n=100, ends=True, at=AT, **about):
    low, high = (max(value - 0.1, 0.0), min(value + 0.1, 1.0)) if ends else (None, None)
    return Number(quantity=quantity, value=value, n=n, low=low, high=high, about=About(**about), origin=at)


def _layers(count=4, run=None):
    return [
        LayerEntry(
            index=i, name=f"net.conv{i}" if i < count else "net.linear", type="Conv2d", parameters=100, block=f"b{i}",
            shape=(4, 8, 8) if i < count else (10,), about=About(run=run), origin=AT,
        )
        for i in range(1, count + 1)
    ]  # fmt: skip


def _settings(run=None, **data):
    settings = {"model": {"name": "resnet8"}, "data": {"source": "digits", **data}}
    return Settings(stage="evaluate", settings=settings, about=About(run=run), origin=AT)


def _evaluated(clean=0.98, robust=0.45, **about):
    return [
        _number(Quantity.ACCURACY, clean, attack="clean", **about),
        _number(Quantity.ACCURACY, robust, attack="pgd-20", threat="Linf 0.1", **about),
    ]


def _one_of_each():
    """A record of each quantity and each topic, with a value or a text that no other has."""
    values = {q: round(0.1234 + 0.001 * i, 4) for i, q in enumerate(Quantity)}
    numbers = [
        Number(
            quantity=q, value=v, about=About(measure="odd one" if q is Quantity.OTHER else None), origin=AT
        )
        for q, v in values.items()
    ]
    texts = {topic: f"the sentence of {topic}" for topic in Topic}
    return numbers, values, [Finding(topic=t, text=text, origin=AT) for t, text in texts.items()], texts


def test_every_kind_of_record_is_shown():
    numbers, values, findings, texts = _one_of_each()
    page = render_report(source_of([*numbers, *findings]), "t")
    for quantity, value in values.items():
        assert quantity.replace("_", " ") in page, quantity
        said = (f"{value:.3g}", f"{100 * value:.1f}", f"{1000 * value:.3g}")
        # What has no layer or no radius has no place in a chart, and stands in a table all the same.
        assert any(text in page for text in said), (quantity, value)
    for topic, text in texts.items():
        assert text in page and (topic is Topic.AUDIT or f"<b>{topic}</b>" in page), topic


@pytest.mark.parametrize(
    "about", [{"arm": "a", "seed": 0}, {"layer": 2}, {"epoch": 3, "arm": "a"}, {"level": 1}]
)
def test_numbers_with_something_to_say_of_them_are_shown_too(about):
    for number in _one_of_each()[0]:
        extra = {"measure": number.about.measure or "criticality", **about}
        record = number.model_copy(update={"about": About(**extra), "value": 0.6789})
        page = render_report(source_of([*_layers(), record]), "t")
        assert any(text in page for text in ("0.679", "67.9", "679", "layer 2", "layer 0")), record


def test_the_costs_of_a_pruned_network_are_shown():
    costs = {Quantity.PARAMETERS: 12345, Quantity.MACS: 67890, Quantity.INFERENCE_SECONDS: 0.00321}
    records = [
        Number(quantity=q, value=v * f, about=About(arm=arm, batch=64), origin=AT)
        for q, v in costs.items()
        for arm, f in (("before", 1), ("after", 0.5))
    ]
    page = render_report(source_of([*_evaluated(), *records]), "t")
    assert all(
        text in page
        for text in ("12,345", "67,890", "3.21", "inference seconds, ms", "MACs", "batches of 64")
    )
    assert "<details open><summary>Size and cost" in page


def test_the_first_screen_answers():
    checks = [
        Finding(topic=Topic.CHECK, text=name, level=level, about=About(check=name), origin=AT)
        for name, level in (("growing", "good"), ("gradients", "error"))
    ]
    profile = [
        _number(Quantity.MEASURE, v, measure="criticality", layer=i)
        for i, v in ((1, 9.0), (2, 2.0), (3, 0.5))
    ]
    found = summary(source_of([_settings(), *_layers(), *_evaluated(), *profile, *checks]))
    tiles = {tile.title: tile for tile in found.tiles}
    assert (
        tiles["Right without an attack"].value == "98.0 %" and tiles["Right under attack"].value == "45.0 %"
    )
    assert "35.0 to 55.0 % over 100 images, under pgd-20" in tiles["Right under attack"].detail
    assert tiles["Weakest layers"].value.startswith("2, 3") and "conv2" in tiles["Weakest layers"].detail
    assert tiles["Checks of the test"].value == "1 of 2" and "gradients" in tiles["Checks of the test"].detail
    assert (
        "98 of 100" in found.verdict
        and "45 of 100" in found.verdict
        and "the truth may be lower" in found.verdict
    )
    said = " ".join(found.caveats)
    assert "upper bound" in said and "100 images" in said and "one seed" in said
    facts = dict(found.facts)
    assert facts["Data"] == "digits" and "resnet8 (4 layers, 400 parameters)" in facts["Model"]
    assert facts["Images"] == "100" and facts["Attacker"] == "Linf 0.1"


@pytest.mark.parametrize(("robust", "by_chance"), [(0.05, True), (0.18, True), (0.0, True), (0.5, False)])
def test_what_is_no_better_than_guessing_is_no_success(robust, by_chance):
    found = summary(source_of([*_layers(), *_evaluated(robust=robust)]))
    assert ("guessing" in found.verdict) is by_chance and (found.level == "warning") is by_chance
    assert {tile.level for tile in found.tiles if tile.title == "Right under attack"} == {
        "warning" if by_chance else "note"
    }


def test_an_audit_is_said_first():
    findings = [
        Finding(topic=Topic.AUDIT, text="Of 50 images 3 withstand.", level="warning", origin=AT),
        Finding(topic=Topic.AUDIT, text="Next: train it (about 3 minutes).", origin=AT),
    ]
    found = summary(source_of([*_evaluated(), *findings]))
    assert (found.verdict, found.level) == ("Of 50 images 3 withstand.", "warning")
    assert found.steps == ["Train it (about 3 minutes)."]
    page = render_report(source_of([*_evaluated(), *findings]), "t")
    assert page.index("Of 50 images 3 withstand") < page.index("Contents") < page.index("<table>")


def test_verdicts_stand_before_the_first_row():
    verdict = Finding(topic=Topic.VERDICT, text="clat is better", level="good", origin=AT)
    page = render_report(source_of([*_evaluated(), verdict]), "t")
    assert page.index("clat is better") < page.index("<table>")


def test_settings_that_do_not_compare_stand_apart(tmp_path):
    for name, data, n in (
        ("one", {}, 100),
        ("two", {}, 100),
        ("three", {"classes": [1, 2]}, 100),
        ("four", {}, 50),
    ):
        records = [_settings(**data), *[r.model_copy(update={"n": n}) for r in _evaluated()]]
        write_records(tmp_path / name / "records" / "3-evaluate.jsonl", records)
    source = read_source([tmp_path / name for name in ("one", "two", "three", "four")])
    page = render_report(source, "t")
    tables = re.findall(r"<table[^>]*>\s*<caption[^>]*>Accuracy, clean.*?</table>", page, re.S)
    drawn = re.findall(r"<table[^>]*>\s*<caption[^>]*>Accuracy at.*?</table>", page, re.S)
    assert ["two" in each for each in drawn] == [True, False, False]
    assert [re.findall(r'scope="row">(\w+)', table) for table in tables] == [
        ["one", "two"],
        ["three"],
        ["four"],
    ]
    assert "do not compare" in page and "under 3 settings" in summary(source).verdict
    tiles = {tile.title: tile.value for tile in summary(source).tiles}
    assert tiles["Right under attack, digits: 50 images, Linf 0.1"] == "45.0 %" and len(tiles) == 5
    assert "two: evaluate" in page  # each has its own settings


def test_equal_sentences_are_said_once():
    findings = [
        Finding(
            topic=Topic.NOTE,
            text="one output is never given",
            level="warning",
            about=About(arm=arm),
            origin=AT,
        )
        for arm in ("a", "b", "c", "d")
    ]
    (said,) = notes(findings)
    assert said.text == "a; b; c; d: one output is never given"


def test_the_tallest_bar_that_did_not_train_is_spoken_of():
    profile = [_number(Quantity.MEASURE, v, measure="criticality", layer=i) for i, v in ((2, 2.0), (3, 1.5))]
    trained = [_number(Quantity.TRAINED_LAYER, 1, ends=False, arm="clat", epoch=1, layer=3)]
    page = render_report(source_of([*_layers(), *profile, *trained]), "t")
    assert "The tallest bar, layer 2, is not among those that clat trained" in page and "A star" in page
    without = render_report(source_of([*_layers(), *profile]), "t")
    assert "The tallest bar" not in without and "A star" not in without and "orange" not in without


def test_captions_name_only_what_is_drawn():
    dots = [_number(Quantity.TRAINED_LAYER, 1, ends=False, arm="a", epoch=1, layer=3)]
    heat = [
        _number(Quantity.VALIDATION_MEASURE, 2, ends=False, arm="a", epoch=1, layer=3, measure="criticality")
    ]
    only_dots, only_heat = (render_report(source_of(records), "t") for records in (dots, heat))
    assert "Dots: layers that trained" in only_dots and "Colour:" not in only_dots
    assert "Colour: criticality" in only_heat and "Dots:" not in only_heat


def _full(arms=6, layers=60, epochs=60):
    """The records of a comparison as large as they come."""
    names = [f"method {i}" for i in range(arms)]
    records = [_settings(), *_layers(layers)]
    for arm, seed in itertools.product(names, range(3)):
        records += _evaluated(arm=arm, seed=seed)
        for epoch in range(1, epochs + 1):
            for quantity in (Quantity.VALIDATION_ROBUST, Quantity.VALIDATION_CLEAN, Quantity.TRAINING_LOSS):
                records.append(_number(quantity, 0.5, ends=False, arm=arm, seed=seed, epoch=epoch))
            records.append(
                _number(Quantity.TRAINED_LAYER, 1, ends=False, arm=arm, epoch=epoch, layer=epoch % 9 + 1)
            )
    for layer in range(1, layers + 1):
        records.append(_number(Quantity.MEASURE, 0.5, measure="criticality", layer=layer))
        records.append(_number(Quantity.MEASURE, 0.5, measure="connectivity", layer=layer))
        for epoch in range(1, epochs + 1):
            records.append(
                _number(
                    Quantity.VALIDATION_MEASURE, 0.5, ends=False, arm=names[0], epoch=epoch, layer=layer,
                    measure="criticality",
                )
            )  # fmt: skip
    return records


def test_a_page_is_small_and_charts_need_no_script():
    page = render_report(source_of(_full()), "t")
    assert len(page.encode()) < 1_000_000
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 1 and len(scripts[0]) < 3000 and page.count("<svg") >= 8
    assert not re.search(r"https?:", page.replace("http-equiv", ""))


def test_a_page_is_drawn_again_as_it_was():
    records = [*_layers(), *_evaluated()]
    assert render_report(source_of(records), "t") == render_report(source_of(records), "t")


def test_pictures_have_names_and_ids_are_told_apart():
    page = render_report(source_of(_full(2, 8, 3)), "t")
    ids = Counter(re.findall(r'\sid="([^"]+)"', page))
    assert max(ids.values()) == 1
    used = re.findall(r'(?:url\(#|href="#|labelledby="|describedby=")([^")]+)', page)
    assert set(used) <= set(ids)
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        assert 'role="img"' in svg and (("<title" in svg and "<desc" in svg) or "aria-label=" in svg)
        ElementTree.fromstring(svg)
    assert not re.search(r"<t[hd][^>]*></t[hd]>", page)
    for table in re.findall(r"<table.*?</table>", page, re.S):
        assert "<caption" in table and 'scope="col"' in table


def _colours(sheet):
    return dict(re.findall(r"--([\w-]+): (#\w{6})", sheet))


def _luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def _contrast(one, other):
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_read_on_light_and_on_dark_pages(dark):
    page = render_report(Source(), "t")
    sheet = page[page.index("<style>") : page.index("</style>")]
    light, _, rest = sheet.partition("@media screen and (prefers-color-scheme: dark)")
    colours = _colours(light) | (_colours(rest) if dark else {})
    if dark:
        assert set(PALETTE) <= set(_colours(rest)), "each colour of a chart has one for dark pages"
    for back in ("paper", "panel"):
        for text in ("ink", "soft", "link", "good", "warning", "error"):
            assert _contrast(colours[text], colours[back]) >= 4.5, (text, back)
    for drawn in [name for name in colours if name.startswith("series")] + ["edge", "trained"]:
        assert _contrast(colours[drawn], colours["paper"]) >= 3, drawn
    for cell in ("positive", "negative"):
        assert _contrast(colours[cell], colours["paper"]) >= 4.5, cell


_SEEN = """(() => ({
  colour: getComputedStyle(document.querySelector("svg.wide text, svg.narrow text")).fill,
  back: getComputedStyle(document.body).backgroundColor,
  wide: [...document.querySelectorAll("svg.wide")].filter(s => s.getBoundingClientRect().width > 0).length,
  narrow: [...document.querySelectorAll("svg.narrow")].filter(s => s.getBoundingClientRect().width > 0).length,
  over: document.documentElement.scrollWidth - innerWidth,
  smallest: Math.min(...[...document.querySelectorAll("figure.chart svg text")]
    .filter(t => t.getBoundingClientRect().width > 0).map(t => t.getBoundingClientRect().height)),
  folded: [...document.querySelectorAll("details table")].filter(t => t.checkVisibility({contentVisibilityAuto: true})
    && t.getBoundingClientRect().height > 0).length,
  tables: document.querySelectorAll("details table").length}))()"""


@needs_browser
def test_a_page_fits_a_telephone_a_dark_room_and_paper(tmp_path):
    write_records(tmp_path / "records" / "1.jsonl", _full(2, 8, 3))
    with opened(write_report([tmp_path], tmp_path / "r.html"), tmp_path / "profile") as page:

        def seen(width, scheme="light", media="screen"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            page.call("Emulation.setEmulatedMedia", media=media, features=features)
            page.call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=900,
                deviceScaleFactor=1,
                mobile=False,
            )
            return page.run(_SEEN)

        desk, phone, dark = seen(1400), seen(390), seen(1400, "dark")
        assert desk["wide"] and not desk["narrow"] and phone["narrow"] and not phone["wide"]
        assert desk["over"] <= 0 and phone["over"] <= 0
        assert min(desk["smallest"], phone["smallest"]) >= 10
        assert (desk["colour"], desk["back"]) == ("rgb(29, 35, 41)", "rgb(255, 255, 255)")
        assert (dark["colour"], dark["back"]) == ("rgb(230, 234, 237)", "rgb(20, 24, 28)")
        paper = seen(700, "dark", "print")
        assert paper["back"] == "rgb(255, 255, 255)" and paper["folded"] == paper["tables"] > 3
        assert seen(1400)["folded"] < paper["tables"] and not page.problems() and not page.requests()

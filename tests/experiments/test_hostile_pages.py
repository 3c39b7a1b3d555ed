"""Pages of hostile records, opened in a browser."""

import base64
import csv
import io
import json
import re
from dataclasses import fields

import pytest
from PIL import Image

from semirobust.records.export import write_csv
from semirobust.records.schema import About, LayerEntry, Number, Origin, Quantity
from semirobust.records.store import read_records, write_records
from semirobust.reports import render, table
from semirobust.reports.page import write_report
from semirobust.reports.safety import shown_picture
from tests.browser import CHROMIUM, counting_server, opened
from tests.kinds import attempt

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
RAN = "window.ran = (window.ran || 0) + 1; document.title = 'ran'"


def _payloads(address):
    """What a stranger may write where a name is expected; each asks for a path of its own, or runs."""
    quiet = f"fetch('{address}/code')"
    return [
        f'<span style="background:url({address}/style);cursor:url({address}/cursor),auto">a</span>',
        f'<a href="{address}/link" target="_self">b</a>',
        f'<img src={address}/img onerror="{RAN}">',
        f"<script>{RAN}</script></script><script>{RAN};{quiet}</script>",
        f"</title></style></pre></svg></textarea><svg onload=\"{RAN}\"><image href='{address}/svg'/></svg>",
        f"<!--<script>--></script><script>{RAN}</script><script src='{address}/src'></script>",
        f"\u2028</script\n><iframe src='{address}/frame' srcdoc='<script>parent.ran=1</script>'></iframe>",
        f"'\" onmouseover=\"{RAN}\" style='background:url({address}/attribute)' x='",
        f"<meta http-equiv=refresh content='0;url={address}/refresh'><base href='{address}/base/'>",
        f"<link rel=stylesheet href={address}/sheet><style>@import '{address}/import';</style>",
        "%{customdata} %{x:$,.2f} %{meta[0]} <extra><b>c</b></extra> %{y",
        f"$\\href{{{address}/latex}}{{d}}$ $$\\unicode{{x}}$$",
        f"&lt;span style=&quot;background:url({address}/entity)&quot;&gt;e&lt;/span&gt;&#60;b&#62;",
        f"<sup><sub><b><em><br>{'<i>' * 30}f {{{{ 7*7 }}}} {{% raw %}} ${{7*7}}",
        f"<span style='fill:url({address}/fill#a);mask:url({address}/mask)'>g</span>",
        "__proto__",
        "\ufffe\u202e\x00\x1b[31mred\x07",
    ]


def _record(kind, said, /, **content):
    origin = {"config": said, "version": said, "device": said, "seed": said}
    return {"schema_version": 2, "kind": kind, "origin": origin, **content}


def _about(text, **more):
    """Every field of what a record speaks of that takes a text."""
    free = [f.name for f in fields(About) if f.type in ("str | None", str | None)]
    return {**dict.fromkeys(free, text), "run": None, "measure": None, "part": None, **more}


def _hostile(text):
    """Records of every kind and for every figure, with ``text`` wherever a text may stand."""
    numbers = [
        ("accuracy", {"attack": "clean"}),
        ("accuracy", {}),
        ("accuracy_by_epsilon", {"epsilon": 0.1}),
        ("accuracy_by_epsilon", {"epsilon": 0.2}),
        ("transfer_accuracy", {}),
        ("validation_robust", {"epoch": 1}),
        ("validation_clean", {"epoch": 1}),
        ("validation_measure", {"epoch": 1, "layer": 2, "measure": "criticality"}),
        ("trained_layer", {"epoch": 1, "layer": 2}),
        ("marked_layer", {"epoch": 1, "layer": 2}),
        *(("measure", {"measure": m, "layer": i}) for m in _MEASURES for i in (1, 2)),
        ("feature", {"measure": "usefulness", "feature": 0}),
        ("recovery_best", {"suffix": 1}),
        ("validation_robust", {"suffix": 1, "epoch": 1, "prefix": None}),
        ("validation_robust", {"suffix": 1, "prefix": None}),
    ]
    yield from (
        _record(
            "number",
            text,
            quantity=quantity,
            value=0.5,
            low=0.4,
            high=0.6,
            n=10,
            about=_about(text, **more),
            details={text: text},
        )
        for quantity, more in numbers
    )
    for index in (1, 2):
        shape = [4, 8, 8]
        yield _record("layer", text, index=index, name=text, type=text, shape=shape, parameters=1, block=text)
    yield _record("picture", text, png=text, caption=text, about=_about(text))
    yield _record("picture", text, png=_png("PNG"), caption=text, about=_about(text))
    for topic in ("verdict", "check", "data"):
        yield _record("finding", text, topic=topic, text=text, about=_about(text))
    yield _record("settings", text, stage=text, settings={text: [text, {text: text}]}, about=_about(text))


_MEASURES = ("criticality", "weakness", "connectivity", "semirobustness", "readout")


def _png(kind, size=(6, 4)):
    written = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(written, kind)
    return base64.b64encode(written.getvalue()).decode()


def _folder(where, texts):
    lines = [json.dumps(record) for text in texts for record in _hostile(text)]
    (where / "records").mkdir(parents=True)
    (where / "records" / "1.jsonl").write_text("\n".join(lines) + "\n")
    return where


USED = """(async () => {
  const wait = t => new Promise(done => setTimeout(done, t));
  document.querySelectorAll("details").forEach(d => d.open = true);
  for (const element of document.querySelectorAll("body *")) {
    for (const kind of ["mouseover", "mouseenter", "focus", "click"])
      if (!element.closest("summary, nav")) element.dispatchEvent(new MouseEvent(kind));
  }
  await wait(300);
  const bad = "a[href]:not([href^='#']), svg a, image:not([href^='data:image/png;base64,']), foreignObject, iframe, object, embed, base, form, link, [onload], [onerror], [onmouseover]";
  return {charts: document.querySelectorAll("figure.chart svg.wide").length, ran: window.ran || 0,
    title: document.title, bad: document.querySelectorAll(bad).length, text: document.body.innerText,
    drawn: [...document.querySelectorAll("svg text")].map(t => t.textContent).join(" ")};
})()"""


@needs_browser
@attempt(
    "Records whose every text is HTML, a template, LaTeX, an entity, an event or the end of a"
    " script, opened in a browser, pointed at and clicked",
    "it is shown as it was written; no request leaves, no script runs, no link or frame is there",
    promise="fetched",
)
def test_hostile_records_in_a_browser(tmp_path):
    with counting_server() as (address, asked):
        payloads = _payloads(address)
        run = _folder(tmp_path / "run", payloads)
        out = tmp_path / "r.html"
        write_report([run], out, title=" ".join(payloads[:4]))
        with opened(out, tmp_path / "profile") as page:
            found = page.run(USED)
            assert found["ran"] == 0 and found["title"] != "ran" and found["bad"] == 0
            assert not page.requests() and not asked
            assert found["charts"] >= 7
            assert not page.problems()
            assert "<a href=" in found["text"] and "%{customdata}" in found["text"]
            assert "<a href=" in found["drawn"] and "$" in found["drawn"]


@needs_browser
@attempt(
    "A folder whose name is markup, beside another run",
    "the name is shown as it is; nothing is asked for",
    promise="fetched",
)
def test_a_hostile_name_of_a_run(tmp_path):
    with counting_server() as (address, asked):
        name = f"<img src={address}>".replace("/", "\u2044") + "<style>*{background:red}<b>"
        runs = [_folder(tmp_path / each, ["plain"]) for each in (name, "other")]
        with opened(write_report(runs, tmp_path / "r.html"), tmp_path / "profile") as page:
            found = page.run(USED)
            assert not asked and not page.requests() and found["bad"] == 0 and not page.problems()
            assert name in found["text"]


@needs_browser
@attempt(
    "Markup that a page of the library would let through, were it there",
    "the page's policy stops scripts, events, styles, pictures, frames and links to styles",
    promise="fetched",
)
def test_the_policy_holds_without_any_escaping(tmp_path):
    with counting_server() as (address, asked):
        out = write_report([_folder(tmp_path / "run", ["plain"])], tmp_path / "r.html")
        raw = "".join(_payloads(address)[i] for i in (0, 2, 3, 4, 7, 9, 14))
        raw += f"<iframe src={address}/f></iframe><form action={address}/g id=g></form>"
        out.write_text(out.read_text().replace("<h1>", f"<h1>{raw}"))
        with opened(out, tmp_path / "profile") as page:
            page.run("document.getElementById('g')?.submit()")
            assert page.run("new Promise(done => setTimeout(() => done(window.ran || 0), 300))") == 0
            assert not asked


def test_a_page_says_first_what_it_may_do(tmp_path):
    page = write_report([_folder(tmp_path / "run", ["plain"])], tmp_path / "r.html").read_text()
    assert page.index("Content-Security-Policy") < page.index("<style") < page.index("<script")
    policy = page.split('Security-Policy" content="', 1)[1].split('"', 1)[0]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert " style=" not in page


@attempt(
    "A record's picture that is SVG, GIF, HTML, a bomb of pixels, cut or no base64",
    "it is left out, and the page says so",
    promise="fetched",
)
@pytest.mark.parametrize(
    "png",
    [
        base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>").decode(),
        _png("GIF"),
        _png("BMP"),
        _png("PNG")[:-24],
        _png("PNG") + '" onerror="x()',
        _png("PNG", (20_000, 1)),
        "x",
        "",
    ],
)
def test_only_small_whole_pngs_are_shown(png):
    assert shown_picture(png) == ""
    assert shown_picture(_png("PNG")) == _png("PNG")


@attempt(
    "Texts of records that a spreadsheet would calculate, in a table of all numbers",
    "an apostrophe stands before them; numbers stay numbers",
    promise="fetched",
)
def test_formulas_in_csv(tmp_path):
    at = Origin(config="a", version="b", device="+cmd|' /C calc'!A0", seed="0")
    texts = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "a,b\n=1", "\x1c\u2028c"]
    numbers = [
        Number(quantity=Quantity.ACCURACY, value=-0.5, about=About(arm=text), origin=at) for text in texts
    ]
    write_csv(tmp_path / "a.csv", numbers)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == ["-0.5"] * len(texts)
    assert [row["arm"] for row in rows] == [f"'{text}" for text in texts[:5]] + [
        "'\n=1",
        "'\uff1d1",
        *texts[7:],
    ]
    assert all(row["device"].startswith("'+") for row in rows)


@attempt(
    "Names in the Markdown page of a study that are links, pictures, HTML, cells or new lines",
    "they are escaped; tables keep their columns",
    promise="fetched",
)
def test_markdown_of_hostile_names(tmp_path):
    names = [
        "[a](http://x)",
        "![b](//x)",
        "<img src=x>",
        "a | b",
        "c\n\n# d",
        "<http://x>",
        "`e` www.x.org",
        "&lt;f",
        "\\| g",
        "[h]: http://x",
    ]
    (tmp_path / "t.md.j2").write_text("{{ rows }}\n{{ name }}\n")
    for name in names:
        page = render(tmp_path / "t.md.j2", rows=table(("x", "y"), [(name, 1)]), name=name)
        lines = page.split("\n")
        assert len(lines) == 6 and lines[2].replace("\\|", "").count("|") == 3
        assert not re.search(r"<|(?<!\\)\][(:]|://|www\.|&lt;f", page)
    assert table(("a", "b"), [("1 (0 to 2)", "–")]) == "| a | b |\n| --- | --- |\n| 1 (0 to 2) | – |\n"


@attempt(
    "Names with separators that some readers take for the end of a line, and halves of surrogates",
    "records with them are written, read back and drawn",
    promise="terminal",
)
def test_names_with_separators_are_read_back(tmp_path):
    at = Origin(config="a", version="b", device="c", seed="0")
    for text in ("a\u2028b", "a\u2029b", "a\x85b", "a\x1cb\x1d\x1e", "a\x0b\x0cb", "a\r\nb", "bytes \udcff"):
        entry = LayerEntry(index=1, name="a", type="t", shape=(1,), parameters=1, block="b", origin=at)
        entry = entry.model_copy(update={"name": text})
        write_records(tmp_path / "a.jsonl", [entry])
        assert read_records(tmp_path / "a.jsonl")[0].name == text.replace("\udcff", "\\xff")
        write_report([tmp_path / "a.jsonl"], tmp_path / "r.html", title=text)

"""What axe finds in our pages, in light and in dark, where it is there: SEMIROBUST_AXE names its axe.min.js."""

import os
from pathlib import Path

import pytest

from semirobust.records.schema import About, Finding, Origin, Picture, Quantity, Topic
from semirobust.records.store import write_records
from semirobust.reports.document import as_html
from semirobust.reports.page import write_report
from tests.browser import CHROMIUM, opened
from tests.experiments.test_documents import _PAGE
from tests.experiments.test_hostile_pages import _png
from tests.experiments.test_pages import _evaluated, _full, _number, _settings

PLACES = (
    os.environ.get("SEMIROBUST_AXE", ""),
    "node_modules/axe-core/axe.min.js",
    "/usr/lib/node_modules/axe-core/axe.min.js",
    "/usr/local/lib/node_modules/axe-core/axe.min.js",
)
AXE = next((Path(place) for place in PLACES if place and Path(place).is_file()), None)
AT = Origin(config="a", version="0", device="d", seed="0")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium"),
    pytest.mark.skipif(AXE is None, reason="needs axe-core: npm install axe-core, or SEMIROBUST_AXE"),
]
_RUN = """(async () => {
  document.querySelectorAll("details").forEach(each => { each.open = true; });
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.map(v => [v.impact, v.id, v.nodes.length, v.nodes[0].html.slice(0, 200)]);
})()"""


def _page(folder, kind):
    """A page of one run, of several, or of a study."""
    if kind == "document":
        (folder / "page.html").write_text(as_html(_PAGE), encoding="utf-8")
        return folder / "page.html"
    records = [*_full(3, 8, 3), Picture(png=_png("PNG"), caption="3 → 5", origin=AT)]
    levels = ("note", "good", "warning", "error")
    records += [Finding(topic=Topic.VERDICT, text=level, level=level, origin=AT) for level in levels]
    records += [Finding(topic=Topic.CHECK, text=level, level=level, origin=AT) for level in levels]
    radii = [_number(Quantity.ACCURACY_BY_EPSILON, 0.5, norm="linf", epsilon=e) for e in (0.0, 0.1, 0.2)]
    pairs = [_number(Quantity.TRANSFER_ACCURACY, 0.5, source=a, target=b) for a in "ab" for b in "ab"]
    records += [*radii, *pairs, Finding(topic=Topic.AUDIT, text="Next: rest.", about=About(), origin=AT)]
    write_records(folder / "one" / "records" / "1.jsonl", records)
    write_records(folder / "two" / "records" / "1.jsonl", [_settings(), *_evaluated(robust=0.9)])
    write_records(folder / "three" / "records" / "1.jsonl", [_settings(), *_evaluated(robust=0.2)])
    runs = ["one"] if kind == "report" else ["one", "two", "three"]
    return write_report([folder / run for run in runs], folder / "page.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["report", "comparison", "document"])
def test_axe_finds_no_fault(tmp_path, kind, scheme):
    assert AXE is not None
    with opened(_page(tmp_path, kind), tmp_path / "profile") as page:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.call("Emulation.setEmulatedMedia", features=features)
        page.call("Page.setBypassCSP", enabled=True)
        page.run(AXE.read_text() + "\n0")
        found = page.run(_RUN)
        assert not [each for each in found if each[0] in ("serious", "critical", "moderate")], found

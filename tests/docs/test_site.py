"""The site is built in strict mode, and needs nothing but itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, opened
from tests.docs.reference import homes
from tests.experiments.test_accessibility import AXE

pytest.importorskip("mkdocs", reason="the site needs the extra `docs`")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, which no broken link, no page outside of the navigation and no unknown name is part of."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", out],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.xdist_group("site")
def test_every_page_is_built(site):
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page


@pytest.mark.xdist_group("site")
def test_no_page_asks_the_network_for_anything(site):
    """Nothing that a browser fetches by itself comes from elsewhere."""
    fetched = re.compile(
        r"<(?:script|img|iframe|source)[^>]* src=[\"']?(?:https?:)?//|<link[^>]* href=[\"']?https?://"
    )
    for page in site.rglob("*.html"):
        assert not fetched.search(page.read_text(encoding="utf-8")), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:|@import", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.xdist_group("site")
def test_every_public_name_is_in_the_site(site):
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "reference/api").glob("*.html"))
    assert not [name for name, module in homes().items() if f'id="{module}.{name}"' not in text]


_SEARCH = """(async () => {
  const field = document.querySelector("[data-md-component=search-query]");
  document.getElementById("__search").click();
  field.focus();
  field.value = "criticality";
  field.dispatchEvent(new Event("input", {bubbles: true}));
  field.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}));
  for (let waited = 0; waited < 300; waited++) {
    const found = document.querySelectorAll(".md-search-result__link");
    if (found.length) return found.length;
    await new Promise(done => setTimeout(done, 100));
  }
  return 0;
})()"""


@pytest.mark.xdist_group("site")
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
def test_the_search_works_from_files_and_asks_nobody(site, tmp_path):
    with opened(site / "index.html", tmp_path / "profile") as page:
        assert page.run(_SEARCH) > 0
        assert not page.requests()
        assert not [text for text in page.problems() if "exceptionThrown" in text], page.problems()


# With a mouse, as on a desktop, long lines of code can be scrolled by the keyboard; without one they are swiped.
_MOUSE = """const asked = window.matchMedia.bind(window);
window.matchMedia = query => asked(query === "(hover)" ? "all" : query);"""


@pytest.mark.xdist_group("site")
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
@pytest.mark.skipif(AXE is None, reason="needs axe-core: npm install axe-core, or SEMIROBUST_AXE")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name", ["index", "tutorials/audit-your-model", "reference/api/attacks", "explanation/clat"]
)
def test_axe_finds_no_serious_fault(site, tmp_path, name, scheme):
    with opened(site / f"{name}.html", tmp_path / "profile") as page:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.call("Emulation.setEmulatedMedia", features=features)
        page.call("Page.addScriptToEvaluateOnNewDocument", source=_MOUSE)
        page.run("localStorage.clear()")  # which remembers the scheme of the first visit
        page.call("Page.reload")
        page.run("new Promise(done => setTimeout(done, 1500))")
        page.run(AXE.read_text() + "\n0")
        found = page.run(
            "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map("
            "v => [v.impact, v.id, v.nodes.length, v.nodes[0].html.slice(0, 200), v.nodes[0].failureSummary]))"
        )
        assert not [each for each in found if each[0] in ("serious", "critical")], found

"""The site is built in strict mode, and needs nothing but itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.reference import homes

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

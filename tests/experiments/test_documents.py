"""A page in Markdown as one HTML file with tables that can be sorted."""

import re
from html.parser import HTMLParser

import pytest

from semirobust.reports.document import as_html
from tests.browser import CHROMIUM, opened

_PAGE = """# Methods & more

Words with *stress*, `code` and [a link](other.md).

## One <script>alert(1)</script>

Accuracy of each, in %:

| method | robust | p |  |
| --- | --- | --- | --- |
| b | 27.1 (25.9 to 28.3) | < 0.001 | x |
| a \\| c | −1.5 (one seed) | 0.001 | <img src=x onerror=alert(1)> |
| d | 12,345 | – | 3, 5 |

**Second table**

| name | value |
| --- | --- |
| one | all |

## Two

![picture](http://example.com/x.png) and https://example.com
"""


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def _tags(page):
    parser = _Tags()
    parser.feed(page)
    return parser.found


def test_a_page_has_its_tables_with_what_they_sort_by():
    page = as_html(_PAGE)
    tags = _tags(page)
    assert re.search(r"<title>Methods &amp; more</title>", page) and page.count("<h1>") == 1
    values = [attrs.get("data-value") for tag, attrs in tags if tag == "td"]
    assert values == ["27.1", "0.000999", None, "-1.5", "0.001", None, "12345.0", "", "3.0", None]
    regions = [attrs["aria-label"] for tag, attrs in tags if attrs.get("role") == "region"]
    assert regions == ["Table: Accuracy of each, in %", "Table: Second table"]
    heads = [attrs for tag, attrs in tags if tag == "th"]
    assert [h["scope"] for h in heads] == ["col"] * 4 + ["row"] * 3 + ["col"] * 2 + ["row"]
    assert ">name</th>" in page and "a | c" in page and "a link" in page
    links = [attrs["href"] for tag, attrs in tags if tag == "a"]
    ids = {attrs.get("id") for tag, attrs in tags if tag == "h2"}
    assert len(links) == 2 and {link.removeprefix("#") for link in links} <= ids


def test_nothing_of_a_page_becomes_markup_of_its_own_or_asks_the_network():
    page = as_html(_PAGE)
    tags = [tag for tag, _ in _tags(page)]
    assert tags.count("script") == 1 and not {"img", "iframe", "link"} & set(tags)
    assert "default-src 'none'" in page.replace("&#39;", "'")
    assert not any(key.startswith("on") for _, attrs in _tags(page) for key in attrs)
    assert as_html("") and "The head of a column" not in as_html("# Only words")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.xdist_group("browser")
def test_a_click_on_a_head_sorts_by_numbers(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(as_html(_PAGE), encoding="utf-8")
    names = "[...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => r.cells[0].textContent)"
    click = "document.querySelectorAll('table')[0].tHead.rows[0].cells[{}].firstElementChild.click()"
    with opened(file, tmp_path / "profile") as page:
        page.run(click.format(1))
        assert page.run(names) == ["d", "b", "a | c"]
        page.run(click.format(2))
        assert page.run(names) == ["a | c", "b", "d"]  # what has no number is last
        page.run(click.format(0))
        assert page.run(names) == ["a | c", "b", "d"]
        assert not page.problems() and not page.requests()

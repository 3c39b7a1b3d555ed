"""The prose is short-winded: what is counted, and the line that every page keeps."""

import pytest
from scripts.readability import LONGEST_LINE, ROOT, cells, long_lines, pages, read, sentences, words, wrapped

_LONGEST = 45  # words of a sentence


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_keeps_the_line(path):
    text = path.read_text(encoding="utf-8")
    assert not long_lines(text), f"run `python -m scripts.readability --wrap {path}`"
    assert not [s for s in (*sentences(text), *cells(text)) if words(s) > _LONGEST]


def test_sentences_are_told_apart():
    text = "# A head. Not one.\n\nOne holds 0.5 points, e.g. this. Two (`a. B`) [is a\nlink](x.md).\n\n- Three\n- Four; and\n  more\n"
    assert sentences(text + "\n```\nno. Prose.\n```\n") == [
        "One holds 0.5 points, e.g. this.",
        "Two (Code) is a link.",
        "Three",
        "Four; and more",
    ]
    assert cells("| a b. C d | e |\n|---|---|\n| f | |\n") == ["a b.", "C d", "e", "f"]


def test_numbers_of_a_page(tmp_path):
    (tmp_path / "a.md").write_text(f"One two three; four.\n\nFive {'x' * 110} seven.\n\n| {'y ' * 80} |\n")
    page = read(tmp_path / "a.md", tmp_path)
    assert (page.lengths, page.long_lines, page.semicolons, page.longest_cell) == ([4, 3], 1, 50.0, 80)


def test_wrapping_changes_no_word():
    long = (
        "A sentence with [a link](https://a.example/that/is/long), "
        + "many words, " * 20
        + "and an end. Next."
    )
    text = f"# Head\n\n{long}\n\n1. {long}\n   {long}\n\n```\n{long}\n```\n\n| {long} |\n"
    again = wrapped(text)
    assert again.split() == text.split() and wrapped(again) == again
    assert max(map(len, long_lines(again)), default=0) == 0
    assert LONGEST_LINE == 110

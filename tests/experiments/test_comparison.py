"""Many networks against each other: tables, verdicts, CSV and LaTeX."""

import csv
import itertools
import random
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from scipy.stats import ttest_ind, ttest_rel

from semirobust.cli.app import app
from semirobust.core.difference import holm, paired_p, proportions_p, unpaired_p
from semirobust.core.errors import InputError
from semirobust.records.schema import Quantity
from semirobust.records.store import write_records
from semirobust.reports.arm import Arm
from semirobust.reports.comparison import accuracy_tables, export
from semirobust.reports.page import render_report, write_report
from semirobust.reports.source import read_source, source_of
from semirobust.reports.verdicts import verdict_table
from tests.browser import CHROMIUM, opened
from tests.experiments.test_pages import _evaluated, _number, _settings

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")


def test_tests_are_those_of_scipy():
    draw = random.Random(0)
    for n in (2, 3, 5):
        a, b = ([draw.gauss(0.5, 0.1) for _ in range(n)] for _ in range(2))
        assert paired_p([x - y for x, y in zip(a, b)], resolution=0) == pytest.approx(ttest_rel(a, b).pvalue)
        assert unpaired_p(a, b, resolution=0) == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue)
    assert proportions_p(0.5, 0.5, 100) == 1 and proportions_p(0.9, 0.5, 100) < 1e-8
    assert proportions_p(0.0, 1.0, 2) == pytest.approx(1 / 3)  # 2 of the 6 ways to place two rights


def test_runs_that_agree_by_chance_are_not_certain():
    assert paired_p([0.01, 0.01, 0.01], resolution=0.01) > 0.05 > paired_p([0.1, 0.1, 0.1], resolution=0.01)
    assert paired_p([0.0, 0.0], resolution=0) == 1 and paired_p([0.1, 0.1], resolution=0) == 0
    assert unpaired_p([0.5, 0.5], [0.5, 0.5], resolution=0) == 1


def test_holm_is_what_it_says():
    """Step by step: the smallest times n, the next times n - 1, none below the one before."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0] and holm([]) == []
    for values in itertools.permutations((0.001, 0.02, 0.3, 0.04)):
        adjusted = dict(zip(values, holm(values)))
        assert adjusted == pytest.approx({0.001: 0.004, 0.02: 0.06, 0.04: 0.08, 0.3: 0.3})


def _arm(name, values, n=1000, **about):
    return [
        _number(Quantity.ACCURACY, v, n=n, arm=name, attack="pgd", threat="Linf 0.1", seed=i, **about)
        for i, v in enumerate(values)
    ]


def _outcomes(records):
    source = source_of(records)
    found = verdict_table(source, source.arms(Quantity.ACCURACY))
    return [[cell.outcome if cell else None for cell in row] for row in found.cells], found


def test_each_against_each():
    better, far = (0.60, 0.61, 0.62), (0.30, 0.31, 0.32)
    outcomes, found = _outcomes([*_arm("a", better), *_arm("b", far), *_arm("c", (0.59, 0.62, 0.615))])
    assert outcomes == [[None, "better", "equal"], ["worse", None, "worse"], ["equal", "better", None]]
    assert found.cells[0][1].points == "+30.0" and found.cells[1][0].points == "−30.0"
    assert found.over == ["3 seeds, in pairs"] and found.attack == "pgd"
    page = render_report(source_of([*_arm("a", better), *_arm("b", far)]), "t")
    assert "Each against each" in page and "▲" in page and ">better,<" in page


def test_one_seed_of_a_method_decides_nothing():
    outcomes, found = _outcomes([*_arm("a", (0.9,)), *_arm("b", (0.1,))])
    assert outcomes == [[None, "unknown"], ["unknown", None]]
    assert found.cells[0][1].small == "one seed"
    assert "decides nothing" in render_report(source_of([*_arm("a", (0.9,)), *_arm("b", (0.1,))]), "t")


def test_trials_are_compared_in_pairs_and_not_by_their_first():
    def trials(name, values):
        return [
            r.model_copy(update={"about": replace(r.about, seed=None, trial=r.about.seed)})
            for r in _arm(name, values)
        ]

    outcomes, found = _outcomes([*trials("a", (0.9, 0.1)), *trials("b", (0.1, 0.2)), *_evaluated()[1:]])
    assert outcomes[0][1] == "equal" and found.over == ["2 trials, in pairs"]
    assert found.cells[0][2].small == "no attack in common"


def test_what_would_read_0_points_is_a_tie():
    close = [*_arm("a", (0.5000, 0.5000, 0.5001), n=10**6), *_arm("b", (0.4998, 0.4998, 0.4999), n=10**6)]
    outcomes, found = _outcomes(close)
    assert outcomes[0][1] == "equal" and found.cells[0][1].points == "0.0"


def test_many_pairs_are_adjusted():
    """Twenty methods that differ by noise alone: without adjustment one pair in twenty would be called better."""
    draw = random.Random(1)
    arms = [r for i in range(20) for r in _arm(f"m{i}", [draw.gauss(0.5, 0.02) for _ in range(4)])]
    outcomes, _ = _outcomes(arms)
    called = sum(cell in ("better", "worse") for row in outcomes for cell in row)
    assert called == 0


def _runs(folder, **runs):
    for name, records in runs.items():
        write_records(folder / name / "records" / "3-evaluate.jsonl", [_settings(), *records])
    return [folder / name for name in runs]


def test_networks_of_several_runs_are_compared_over_their_images(tmp_path):
    runs = _runs(
        tmp_path, one=_evaluated(robust=0.9), two=_evaluated(robust=0.2), three=_evaluated(robust=0.88)
    )
    (table,) = accuracy_tables(read_source(runs), charts=False)
    outcomes = [[cell.outcome if cell else None for cell in row] for row in table.verdicts.cells]
    assert outcomes == [[None, "better", "equal"], ["worse", None, "worse"], ["equal", "better", None]]
    assert table.verdicts.over == ["their 100 images"]


def test_other_attacks_are_not_compared(tmp_path):
    other = _number(Quantity.ACCURACY, 0.1, attack="square", threat="Linf 0.1")
    runs = _runs(tmp_path, one=_evaluated(), two=[_evaluated()[0], other])
    (table,) = accuracy_tables(read_source(runs), charts=False)
    assert table.verdicts.cells[0][1].small == "no attack in common"


def test_worst_of_other_attacks_is_not_compared(tmp_path):
    """The worst of a weak attack against the worst of a strong one says nothing."""
    worst = [_number(Quantity.ACCURACY, v, attack="worst", threat="Linf 0.1") for v in (0.45, 0.1)]
    strong = _number(Quantity.ACCURACY, 0.1, attack="autoattack", threat="Linf 0.1")
    runs = _runs(tmp_path, one=[*_evaluated(), worst[0]], two=[*_evaluated(), strong, worst[1]])
    (table,) = accuracy_tables(read_source(runs), charts=False)
    assert table.verdicts.attack == "pgd-20" and table.verdicts.cells[0][1].lead == pytest.approx(0)


def test_other_data_images_and_radii_stand_apart(tmp_path):
    far = [r.model_copy(update={"n": 50}) for r in _evaluated()]
    runs = _runs(tmp_path, one=_evaluated(), two=far)
    write_records(tmp_path / "x" / "records" / "1.jsonl", [_settings(source="mnist"), *_evaluated()])
    wide = [_number(Quantity.ACCURACY, 0.3, attack="pgd-20", threat="Linf 0.2")]
    write_records(tmp_path / "y" / "records" / "1.jsonl", [_settings(), *wide])
    tables = accuracy_tables(read_source([*runs, tmp_path / "x", tmp_path / "y"]), charts=False)
    assert len(tables) == 4 and all(table.verdicts is None for table in tables)


def test_levels_of_pruning_are_no_methods():
    arms = [Arm("a", level=i) for i in range(3)]
    assert verdict_table(source_of([]), arms) is None


EVIL = ["=1+1", "a & b_c% $x$ #{}~^\\", "<b>", "+cmd|' /C calc'!A0", "x\ny"]


def test_the_table_as_csv_and_as_latex(tmp_path):
    records = [r for i, name in enumerate(EVIL) for r in _evaluated(arm=name, seed=i)]
    write_records(tmp_path / "run" / "records" / "1.jsonl", [_settings(), *records])
    assert (
        export([tmp_path / "run"], tmp_path / "t.csv") == export([tmp_path / "run"], tmp_path / "t.tex") == 5
    )
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["'=1+1", EVIL[1], "<b>", f"'{EVIL[3]}", "x\ny"]
    assert rows[0]["data"] == "digits" and rows[0]["images"] == "100" and rows[0]["attacker"] == "Linf 0.1"
    assert (float(rows[0]["pgd-20 %"]), float(rows[0]["pgd-20 low"])) == (45.0, 35.0)
    text = (tmp_path / "t.tex").read_text()
    assert r"a \& b\_c\% \$x\$ \#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}" in text
    assert r"\textless{}b\textgreater{}" in text and r"x\textbackslash{}ny" in text and r"clean, \%" in text
    assert text.count(r"\\") == 6 and r"45.0 {\scriptsize (35.0--55.0)}" in text
    bare = re.sub(r"\\(?:[a-z]+|[&%$#_{}\\])", "", text.replace(r"\usepackage", ""))
    body = bare[bare.index("network") :]
    assert "$" not in body and "_" not in body and "#" not in body and body.count("&") == 2 * 6
    export([tmp_path / "run"], tmp_path / "t.csv")  # ours is replaced
    (tmp_path / "mine.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="not made by semirobust"):
        export([tmp_path / "run"], tmp_path / "mine.csv")


def test_what_cannot_be_exported_is_one_sentence(tmp_path):
    runs = _runs(tmp_path, one=_evaluated())
    with pytest.raises(InputError, match=r"ends in \.csv or \.tex"):
        export(runs, tmp_path / "t.xlsx")
    write_records(tmp_path / "two" / "records" / "1.jsonl", [_settings()])
    with pytest.raises(InputError, match="semirobust evaluate"):
        export([tmp_path / "two"], tmp_path / "t.csv")


def test_the_command_writes_all_three(tmp_path):
    runs = _runs(tmp_path, one=_evaluated(), two=_evaluated(robust=0.9))
    asked = ["report", *runs, "--export", tmp_path / "t.tex", "--csv", tmp_path / "n.csv"]
    done = CliRunner().invoke(app, list(map(str, asked)), catch_exceptions=False)
    assert done.exit_code == 0
    assert (tmp_path / "one" / "comparison.html").is_file() and (tmp_path / "t.tex").is_file()
    assert "Comparison of 2 runs" in (tmp_path / "one" / "comparison.html").read_text()
    assert not (tmp_path / "one" / "report.html").exists()


_SORT = """((column) => {
  const table = document.querySelector("table.sortable");
  table.tHead.rows[0].cells[column].querySelector("button").click();
  return [[...table.tBodies[0].rows].map(r => r.cells[0].textContent),
          table.tHead.rows[0].cells[column].getAttribute("aria-sort")];
})"""


@needs_browser
def test_the_table_can_be_sorted(tmp_path):
    runs = _runs(
        tmp_path,
        one=_evaluated(robust=0.5),
        two=_evaluated(robust=0.09),
        ten=_evaluated(robust=1.0),
        no=[_evaluated()[0], _number(Quantity.ACCURACY, 0.1, attack="square", threat="Linf 0.1")],
    )
    with opened(write_report(runs, tmp_path / "r.html"), tmp_path / "profile") as page:
        assert page.run(f"{_SORT}(2)") == [["ten", "one", "two", "no"], "descending"]
        assert page.run(f"{_SORT}(2)") == [["two", "one", "ten", "no"], "ascending"]
        assert page.run(f"{_SORT}(0)") == [["no", "one", "ten", "two"], "ascending"]
        assert not page.problems()

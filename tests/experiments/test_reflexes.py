"""What everybody types at a program that they do not know yet."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from semirobust.cli.app import COMMANDS, app
from semirobust.experiments.families import FAMILIES, RECIPES, members


def test_a_bare_call_and_both_short_flags_show_the_help():
    for arguments in ([], ["-h"], ["--help"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0 and all(name in done.stdout for name in COMMANDS), arguments
    done = CliRunner().invoke(app, ["evaluate", "-h"])
    assert not done.exit_code, done.output
    assert "--attacks" in CliRunner().invoke(app, ["evaluate", "-h"]).stdout


def test_the_version_is_shown():
    done = subprocess.run(
        [sys.executable, "-m", "semirobust", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("semirobust ") and not done.stderr


def test_commands_are_completed(monkeypatch):
    monkeypatch.setenv("_SEMIROBUST_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "semirobust ev")
    monkeypatch.setenv("COMP_CWORD", "1")
    done = CliRunner().invoke(app, [], prog_name="semirobust")
    assert done.stdout == "plain,evaluate\n"


@pytest.mark.parametrize("family", [*FAMILIES, RECIPES])
def test_every_family_is_listed(run, family):
    listed = json.loads(run("list", family, "--json")[0])
    assert {row["name"]: row["what"] for row in listed} == members(family)
    assert all(row["what"] for row in listed)


def test_families_are_listed_with_their_names(run):
    found = json.loads(run("list", "--json")[0])
    assert "pgd" in found["attacks"] and "clat" in found["methods"] and set(found) == {*FAMILIES, RECIPES}
    text, _ = run("list")
    assert "autoattack" in text
    _, error = run("list", "attack", code=2)
    assert "expected one of" in error and "attacks" in error


def test_a_command_knows_its_short_flag_whoever_asks_first():
    """Click keeps the flag of the first look, which may be without the program, as when pages are drawn."""
    command = app.get_command(None, "report")
    click.Context(command, info_name="report").get_help()
    assert "--out" in CliRunner().invoke(app, ["report", "-h"]).stdout

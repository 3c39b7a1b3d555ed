"""The examples run as they stand, and say what they promise."""

import importlib
import re
from pathlib import Path

import pytest

_FOLDER = Path(__file__).resolve().parents[2] / "examples"
_PRINTED = {
    "evaluate_your_model": r"clean +\d+\.\d%\nfgsm +\d+\.\d%\n",
    "profile_layers": r"(.*\n)+ 8 .* to \d+\.\d+\n$",
    "harden_one_layer": r"start .*\nCLAT, one layer .*\nPGD-AT .*\n$",
}


def test_every_example_is_run():
    assert {path.stem for path in _FOLDER.glob("[!_]*.py")} == set(_PRINTED)


@pytest.mark.parametrize("name", _PRINTED)
def test_an_example_prints_its_table(name, capsys):
    importlib.import_module(f"examples.{name}").main()
    assert re.match(_PRINTED[name], capsys.readouterr().out)

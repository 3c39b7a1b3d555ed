"""What tries every function on the networks of the zoo (``stress.networks``): it says ok where all is well, and
wrong where an answer is not so.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stress.matrix.case import Case, Crashed, Refused, Wrong, product
from stress.matrix.functions import FUNCTIONS
from stress.matrix.one import file_of
from stress.matrix.table import cells_of, counts, markdown
from stress.zoo import all_networks, find

import semirobust as sr

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "function", ["layer_map", "features", "forward_to", "split", "criticality", "evaluate"]
)
def test_a_plain_network_is_ok(function):
    assert FUNCTIONS[function](Case(find("made/small")))


def test_a_number_that_does_not_depend_on_its_layer_is_found(monkeypatch):
    case, measured = Case(find("made/small")), sr.criticality
    fixed = measured(case.model, case.x[:8], case.y[:8], x_adv=case.x_adv[:8])
    monkeypatch.setattr(sr, "criticality", lambda *given, **more: fixed)
    with pytest.raises(Wrong, match="whatever its weights are"):
        FUNCTIONS["criticality"](case)


def test_verdicts_that_a_plain_attack_contradicts_are_found(monkeypatch):
    case, evaluated = Case(find("made/small")), sr.evaluate
    monkeypatch.setattr(
        sr, "evaluate", lambda m, x, y, attack, **more: evaluated(m, x, y, sr.PGD(sr.Linf(1e-6), steps=5))
    )
    with pytest.raises(Wrong, match="by hand"):
        FUNCTIONS["evaluate"](case)


def test_a_network_that_is_changed_by_a_measure_is_found(monkeypatch):
    def spoil(model, layers, x, indices):
        model.bn1.running_mean += 1
        return found(model, layers, x, indices)

    found = sr.forward_to
    monkeypatch.setattr(sr, "forward_to", spoil)
    with pytest.raises(Wrong, match="not as they were|differs from"):
        FUNCTIONS["forward_to"](Case(find("made/small")))


def test_refusals_and_crashes_are_told_apart():
    with pytest.raises(Refused), product():
        raise sr.InputError("x: no")
    with pytest.raises(Crashed, match="ValueError: no"), product():
        raise ValueError("no")
    with pytest.raises(Crashed, match="several lines"), product():
        raise sr.InputError("x: no\nand no")


def test_each_network_has_a_name_of_its_own_and_the_pages_count_them():
    names = [network.name for network in all_networks()]
    assert len(names) == len(set(names)) >= 130
    for page in ("networks.md", "promises.md"):
        assert f"{len(names)} networks" in (ROOT / "docs" / "explanation" / page).read_text()


def test_it_runs_in_a_process_and_goes_on_where_it_stopped(tmp_path):
    kept = {"state": "ok", "text": "done before", "seconds": 0}
    file = file_of(tmp_path, "made/gated (SwiGLU)")
    file.write_text(json.dumps({"network": "made/gated (SwiGLU)", "cells": {"layer_map": kept}}))
    command = [sys.executable, "-m", "stress.networks", "--folder", str(tmp_path), "--jobs", "1"]
    chosen = ["--only", "made/small,made/gated*", "--functions", "layer_map,forward_to"]
    subprocess.run([*command, *chosen], cwd=ROOT, capture_output=True, text=True, check=True)
    cells = cells_of(tmp_path)
    assert cells["made/gated (SwiGLU)"]["layer_map"] == kept
    assert counts(cells)["forward_to"] == {"ok": 2}
    assert "| forward_to | 2 |" in markdown(cells)

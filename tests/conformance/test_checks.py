"""Every registered member meets the demands of its family, and a member that does not is told why."""

import importlib.util
import itertools
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

import semirobust as sr
from semirobust.attacks import ATTACKS
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.core.errors import InputError
from semirobust.experiments.families import FAMILIES
from semirobust.methods import METHODS
from semirobust.selection import AbstractSelection
from semirobust.testing import FAMILIES_WITH_CHECKS, checks
from tests.conformance.test_attacks import QUICK as _QUICK_ATTACKS

_QUICK = {
    "attacks": _QUICK_ATTACKS,
    "dependences": {"infonce": {"steps": 60}},
    "measures": {"semirobustness": {"layers": [2, 4], "rounds": 1, "decays": [0.1], "resamples": 50}},
    "methods": {
        "suffix": {"layers": 2},
        "clat": {"examples": 30},
        "selected": {"examples": 30},
        "rift": {"layers": [2]},
        "at-lr": {"examples": 30},
        "lp-ft": {"probe": 0},  # the demands train for one epoch
        "lat": {"examples": 30},
        "safer": {"examples": 30},
    },
}
_NAMED = {"wrn_D_K": "wrn_10_2"}


def _all():
    for family in FAMILIES_WITH_CHECKS:
        names = ["digits"] if family == "data" else FAMILIES[family][1].names()
        for name in (_NAMED.get(name, name) for name in names):
            package = getattr(METHODS.member(name), "package", "") if family == "methods" else ""
            absent = bool(package) and importlib.util.find_spec(package) is None
            marks = [pytest.mark.skip(f"{package} is not installed")] if absent else []
            for check in checks(family, name, _QUICK.get(family, {}).get(name)):
                yield pytest.param(check, id=f"{family}-{check}", marks=marks)


@pytest.mark.parametrize("check", list(_all()))
def test_each_member_does_what_its_family_demands(check):
    check()


@pytest.mark.parametrize("family", FAMILIES_WITH_CHECKS)
def test_each_demand_is_a_sentence(family):
    name = "digits" if family == "data" else FAMILIES[family][1].names()[0]
    found = checks(family, _NAMED.get(name, name))
    assert len(found) >= 2 and len({str(check) for check in found}) == len(found)
    assert all(len(check.demand.split()) > 4 and check.demand[0].isupper() for check in found)


_CALLS = itertools.count(1)


@dataclass(frozen=True)
class Careless(AbstractBallAttack):
    """An attack that does most things wrong."""

    @property
    def name(self):
        return "careless"

    def search(self, goal, x, seed):
        return x + 0.001 * next(_CALLS)


@dataclass(frozen=True)
class Greedy(AbstractSelection):
    """A selection that takes one more."""

    def choose(self, ranking, count, seed):
        return ranking[: count + 1]


def _failures(family, member):
    found = {}
    for check in checks(family, member):
        try:
            check()
        except AssertionError as error:
            found[check.run.__name__] = str(error)
    return found


def test_what_a_member_does_wrong_is_told():
    found = _failures("attacks", Careless)
    assert found["stays_inside_and_leaves_all_alone"].startswith("an example is outside under ")
    assert found["equal_seeds_give_equal_examples"] == "equal seeds give different examples"
    assert "no_room_means_no_change" in found and "wrong_examples_are_refused" not in found
    assert _failures("selections", Greedy)["as_many_as_asked_for"] == "of k = 1 it chooses (2, 5)"


def test_a_member_is_a_name_a_class_or_a_reference(monkeypatch):
    monkeypatch.setenv("SEMIROBUST_PLUGINS", "")
    for member in ("top", Greedy, f"{__name__}:Greedy"):
        assert len(checks("selections", member)) == 4
    assert "Greedy" not in FAMILIES["selections"][1].names()
    for family, member, said in (
        ("selection", "top", "checks: expected one of attacks"),
        ("selections", "best", "selection: expected one of"),
        (
            "selections",
            Careless,
            "expected a subclass of AbstractLayerSelection at Careless, got the class Careless",
        ),
    ):
        with pytest.raises(InputError, match=said):
            checks(family, member)


def test_from_a_terminal(tmp_path):
    environment = {**os.environ, "SEMIROBUST_PLUGINS": ""}
    command = [sys.executable, "-m", "semirobust.testing"]
    told = subprocess.run(
        [*command, "selections", "top"], capture_output=True, text=True, check=True, env=environment
    )
    assert told.stdout.endswith("4 of 4 demands are met\n") and told.stdout.startswith("ok      Choose k ")
    (tmp_path / "outside_check.py").write_text(
        "from tests.conformance.test_checks import Greedy\n", encoding="utf-8"
    )
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
    told = subprocess.run(
        [*command, "selections", "outside_check:Greedy"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert told.returncode == 1 and "failed  Choose k different layers" in told.stdout, told
    told = subprocess.run(
        [*command, "selections"], capture_output=True, text=True, env=environment, check=False
    )
    assert told.returncode == 2 and told.stderr.startswith("usage: ")


@pytest.mark.parametrize("name", ATTACKS.names())
def test_an_attack_moves_what_it_does_not_fool(name):
    if name in ("fab", "autoattack"):  # they give back the image where they cannot mislead
        return
    torch.manual_seed(1)
    model, x = sr.testing.SmallResidual().eval(), torch.rand(3, 3, 5, 5)
    attack = ATTACKS.make(name, _QUICK_ATTACKS.get(name), threat=sr.Linf(0.05))
    assert not torch.equal(attack(model, x, torch.tensor([0, 1, 2])), x)


def test_methods_are_all_checked():
    assert len({c.subject.name for p in _all() for c in p.values if c.subject.family == "methods"}) == len(
        METHODS.names()
    )

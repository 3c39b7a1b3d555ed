"""A setting is declared once: flags, the list of settings and the documentation follow from the field."""

import json
import pickle
from dataclasses import dataclass, field

import pytest

import semirobust as sr
from semirobust.attacks import ATTACKS
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.cli.flags import command
from semirobust.cli.section_flags import section
from semirobust.core.errors import InputError
from semirobust.core.settings import build, plain, setting, settings_of
from semirobust.core.values import Misfit
from semirobust.experiments.listing import setting_rows
from semirobust.experiments.recipe import SECTIONS, Recipe, read_recipe, shipped
from semirobust.methods.suffix import SuffixAdversarial
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.threats.l2 import L2
from tests.docs.tables import render_settings


@dataclass(frozen=True)
class _Inner:
    """Stands beside.

    Args:
        depth: how deep.
        width: how wide,
            in all.
        gone: left out.
    """

    depth: int = 3
    width: float = 0.5
    gone: int = 7


@dataclass(frozen=True)
class _Toy:
    """A section that nobody has.

    Args:
        objective: the two losses.
        names: words with commas.
        loud: say it.
    """

    inner: _Inner = field(default=_Inner(depth=4), metadata=setting(without=("gone",)))
    objective: AbstractObjective = Adversarial()
    names: tuple[str, ...] = ()
    width: int = 1
    loud: bool = field(default=False, metadata=setting(flag="--shout"))


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(SECTIONS, "toy", _Toy)


def test_a_field_shows_up_everywhere(toy):
    """As a flag with its help, in the list of settings, and in the documentation, without another file."""
    flags = {flag.opts[0]: flag for flag in section("toy")}
    assert list(flags) == ["--depth", "--objective", "--names", "--width", "--shout"]
    assert flags["--depth"].help == "How deep.  [default: 4]"
    assert "trades" in flags["--objective"].help and "mart" in flags["--objective"].help
    rows = {row.path: row for row in setting_rows("toy")}
    assert rows["toy.depth"].default == 4 and rows["toy.depth"].meaning == "how deep."
    assert rows["toy.width"].kind == "int", "the outer field comes first"
    assert "toy.gone" not in rows
    page = render_settings()
    assert "| `toy.depth` | int | `4` | how deep. |" in page
    options = {(row.path, row.member) for row in setting_rows("toy.objective_options")}
    assert ("toy.objective_options.beta", "trades") in options


def test_flags_become_plain_values(toy):
    seen = {}

    def act(changes):
        """Help."""
        seen.update(changes)

    line = ["--depth", "5", "--names", "a, b", "--shout", "--set", "toy.objective=trades", "--seed", "3"]
    command(act, section("toy")).main(line, standalone_mode=False)
    assert seen == {
        "toy.depth": "5", "toy.names": ["a", "b"], "toy.loud": True, "toy.objective": "trades", "seed": "3",
    }  # fmt: skip
    tree = {key.removeprefix("toy."): value for key, value in seen.items() if key != "seed"}
    made = build(_Toy, {**tree, "objective_options": {"beta": "1/2"}})
    assert made == _Toy(_Inner(depth=5), sr.TRADES(beta=0.5), ("a", "b"), 1, True)
    assert made.inner.gone == 7


def test_a_plugged_in_attack_is_a_setting(monkeypatch):
    monkeypatch.setattr(ATTACKS, "_members", {**ATTACKS._members} if ATTACKS.names() else {})

    @ATTACKS.register("plugged")
    @dataclass(frozen=True)
    class Plugged(AbstractBallAttack):
        """Nothing (ours).

        Args:
            power: how much.
        """

        power: float = 2.0

        @property
        def name(self):
            return "plugged"

        def search(self, goal, x, seed):
            return x

    recipe = read_recipe(None, {"train.attack": "plugged", "train.attack_options": {"power": "1/4"}})
    assert recipe.train.training.attack == Plugged(recipe.threat.ball, power=0.25)
    assert any("plugged" in flag.help for flag in section("train"))
    rows = [row for row in setting_rows("train.attack_options") if row.member == "plugged"]
    assert [(row.path, row.default, row.meaning) for row in rows] == [
        ("train.attack_options.power", 2.0, "how much.")
    ]
    assert "| `plugged` | `power` | number | `2` | how much. |" in render_settings()


def test_every_setting_has_a_meaning():
    for row in [row for name in SECTIONS for row in setting_rows(name)]:
        assert row.meaning, row.path


def test_a_section_holds_real_objects_under_the_threat_model():
    changes = {
        "threat.norm": "l2", "threat.epsilon": "1/2", "train.objective": "trades",
        "train.objective_options": {"beta": 2}, "evaluate.attacks": ["fgsm", "pgd-3"],
        "evaluate.attacks_options": {"pgd-3": {"step_size": "1/10"}}, "recover.trials": 2, "recover.epochs": 4,
        "recover.method_options": {"dependence": "hsic"},
    }  # fmt: skip
    recipe = read_recipe(None, changes)
    assert recipe.threat.ball == L2(0.5)
    assert recipe.train.training.objective == sr.TRADES(beta=2.0)
    assert recipe.train.training.attack == sr.PGD(L2(0.5), steps=10)
    assert recipe.evaluate.attacks[1] == sr.PGD(L2(0.5), steps=3, step_size=0.1)
    recovery = recipe.recover.recovery
    assert (recovery.trials, recovery.training.epochs) == (2, 4)
    assert recovery.method == SuffixAdversarial(dependence="hsic")
    assert pickle.loads(pickle.dumps(recipe)) == recipe == Recipe(recipe.plain())
    assert Recipe(json.loads(json.dumps(recipe.plain()))).for_hash("train") == recipe.for_hash("train")


def test_defaults_are_those_of_the_dataclasses():
    for name, cls in SECTIONS.items():
        tree = plain(cls, {})
        given = {"threat": Recipe().threat.ball}
        assert build(cls, tree, given) == build(cls, {}, given) == getattr(Recipe(), name), name
    assert Recipe().changed() == {}
    for name, path in shipped().items():
        assert set(read_recipe(path).changed()) <= {"data", "train", "harden"}, name


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"train.epoch": 1}, "unknown option train.epoch; expected one of"),
        ({"trian.epochs": 1}, "unknown option trian; expected one of seed, data"),
        ({"train.epochs": -1}, "train.epochs"),
        ({"train.epochs": "many"}, "train.epochs: input should be a valid integer"),
        ({"train": 3}, "train: "),
        ({"threat.norm": "l7"}, "threat.norm: expected one of l1"),
        ({"threat.epsilon": "nan"}, "threat.epsilon: "),
        ({"train.attack": "pdg-10"}, "train.attack: attack: expected one of"),
        ({"train.attack_options": {"stpes": 1}}, "unknown option 'stpes'; it has"),
        ({"evaluate.attacks": []}, "evaluate.attacks: expected at least one"),
        ({"profile.options": {"readout": {}}}, "profile.options: 'readout' is not among criticality"),
        ({"harden.objective": "trades"}, "unknown option harden.objective"),
        ({"data.train": 0}, "data.train: "),
        ({"prune.macs": 1}, "prune.macs: expected a fraction"),
        ({"recover.watch": ["criticality"]}, "recover.watch: expected none"),
        ({"train.until": 0.5}, "unknown option train.until"),
    ],
)
def test_what_does_not_fit_is_said_with_its_path(changes, words):
    with pytest.raises(InputError) as caught:
        read_recipe(None, changes)
    assert str(caught.value).startswith("recipe: ") and words in str(caught.value)


def test_members_of_a_family_are_checked():
    with pytest.raises(Misfit) as caught:
        build(_Toy, {"objective": "nothing"})
    assert caught.value.key == "objective"
    assert {s.name for s in settings_of(_Toy) if s.family} == {"objective", "objective_options"}


def test_the_command_lists_settings(run):
    out, _ = run("settings", "train", "--json")
    rows = {row["path"]: row for row in json.loads(out)}
    assert rows["train.epochs"] == {
        "path": "train.epochs", "type": "int", "default": 30, "meaning": rows["train.epochs"]["meaning"],
    }  # fmt: skip
    assert "trades" in rows["train.objective"]["names"]
    assert "harden.method" in run("settings")[0]
    assert "lora" in run("settings", "harden.options")[0]
    assert "expected the beginning of a path" in run("settings", "nowhere", code=2)[1]

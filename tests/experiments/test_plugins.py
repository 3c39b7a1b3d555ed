"""Members of families from other packages: by entry point, by a named module, by ``module:Class``."""

import importlib.metadata
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import semirobust as sr
from semirobust.attacks import ATTACKS
from semirobust.core import plugins
from semirobust.core.errors import InputError
from semirobust.experiments.families import FAMILIES, members
from semirobust.selection import SELECTIONS, AbstractSelection
from tests.helpers import SmallResidual
from tests.kinds import attempt

_MODULE = """
    from dataclasses import dataclass

    import semirobust as sr
    from semirobust.attacks.base.attack import AbstractBallAttack
    from semirobust.selection import AbstractSelection


    @dataclass(frozen=True)
    class Corner(AbstractBallAttack):
        \"\"\"x_adv = restrict(x + step): every value is raised by as much as the ball allows.

        Args:
            step: by how much.
        \"\"\"

        step: float = 1.0

        @property
        def name(self):
            return "corner"

        def search(self, goal, x, seed):
            return self.threat.restrict(x, x + self.step)


    @dataclass(frozen=True)
    class Last(AbstractSelection):
        \"\"\"The layers with the lowest scores.\"\"\"

        def choose(self, ranking, count, seed):
            return ranking[-count:]


    class Nothing:
        pass
"""
_REGISTERING = """
    sr.register("attacks", "raised")(Corner)
    sr.register("attacks", "raised-N", pattern=r"raised-(?P<step>\\d+)")(Corner)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A function that writes a module into the working directory, which nobody has named yet; what it
    registers is forgotten afterwards.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, "")
    kept = {}
    for _, registry in FAMILIES.values():
        registry.names()
        kept[registry] = [dict(getattr(registry, part)) for part in _PARTS]
    before = set(sys.modules)

    def write(name, more=""):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(_MODULE) + textwrap.dedent(more))
        return name

    yield write
    for registry, parts in kept.items():
        for part, content in zip(_PARTS, parts):
            getattr(registry, part).clear()
            getattr(registry, part).update(content)
    for name in set(sys.modules) - before:
        if name.startswith("outside_"):
            del sys.modules[name]


_PARTS = ("_members", "_patterns", "_points", "_taken", "_references", "_left_out")


class _Package:
    name, version = "outside", "1.2"


def _installed(monkeypatch, **values):
    """As if a package with these entry points of attacks were installed."""
    points = {
        name: importlib.metadata.EntryPoint(name, value, "semirobust.attacks")._for(_Package)
        for name, value in values.items()
    }
    monkeypatch.setattr("semirobust.core.registry.entry_points", lambda: {"semirobust.attacks": points})
    monkeypatch.setattr(ATTACKS, "_loaded", False)
    monkeypatch.syspath_prepend(Path.cwd())


def _attacked(name, **options):
    torch.manual_seed(0)
    x, y = torch.rand(3, 3, 5, 5), torch.tensor([0, 1, 2])
    attack = ATTACKS.make(name, options, threat=sr.Linf(0.1))
    return float((attack(SmallResidual().eval(), x, y) - x).max())


def test_a_module_that_is_named_registers_its_members(plugin):
    sr.load_plugin(plugin("outside_a", _REGISTERING))
    assert {"raised", "raised-N"} <= set(ATTACKS.names())
    assert _attacked("raised", step=0.05) == pytest.approx(0.05, abs=1e-6)
    assert ATTACKS.make("raised-2", threat=sr.Linf(0.1)).step == 2
    assert members("attacks")["raised"].endswith("as much as the ball allows. (from outside_a)")
    assert [option.name for option in ATTACKS.options_of("raised")] == ["step"]
    with pytest.raises(
        InputError, match="unknown option 'steps'; it has insist, step|unknown option 'steps'"
    ):
        ATTACKS.make("raised", {"steps": 3}, threat=sr.Linf(0.1))


def test_a_class_runs_only_where_the_user_named_it(plugin, monkeypatch):
    name = plugin("outside_b")
    with pytest.raises(InputError, match=r"outside_b:Corner is code, .* --plugin outside_b"):
        ATTACKS.make(f"{name}:Corner", threat=sr.Linf(0.1))
    assert name not in sys.modules, "nothing of it has run"
    plugins.allow([f"{name}:Corner"])
    assert _attacked(f"{name}:Corner", step=0.03) == pytest.approx(0.03, abs=1e-6)
    assert ATTACKS.name_of(ATTACKS.make(f"{name}:Corner", threat=sr.Linf(0.1))) == f"{name}:Corner"
    with pytest.raises(InputError, match="outside_b:Last is code"):
        SELECTIONS.make(f"{name}:Last")
    sr.load_plugin(name)
    assert isinstance(SELECTIONS.make(f"{name}:Last"), AbstractSelection)
    for wrong, said in (
        ("Last", "expected a subclass of AbstractAttack at outside_b:Last, got the class Last"),
        ("Nothing", "got the class Nothing"),
        ("Nobody", "expected Nobody in outside_b, found none"),
    ):
        with pytest.raises(InputError, match=said):
            ATTACKS.make(f"{name}:{wrong}", threat=sr.Linf(0.1))
    assert f"{name}:Corner" not in ATTACKS.names()


def test_an_installed_package_brings_members_that_are_imported_when_they_are_used(plugin, monkeypatch):
    name = plugin("outside_c")
    _installed(monkeypatch, corner=f"{name}:Corner", broken="outside_nowhere:Attack", pgd=f"{name}:Corner")
    assert {"corner", "broken"} <= set(ATTACKS.names())
    assert ATTACKS.make("pgd", threat=sr.Linf(0.1)) == sr.PGD(sr.Linf(0.1))
    assert name not in sys.modules
    listed = members("attacks")
    assert listed["corner"].endswith("(from outside 1.2)")
    assert "not that of another package of this name, which is outside_c:Corner" in listed["pgd"]
    assert listed["broken"].startswith("cannot be used: ")
    with pytest.raises(InputError, match=r"the package outside 1.2 brings it as outside_nowhere:Attack"):
        ATTACKS.make("broken", threat=sr.Linf(0.1))
    assert _attacked("corner") == pytest.approx(0.1, abs=1e-6)


def test_an_installed_module_may_register_a_pattern(plugin, monkeypatch):
    name = plugin("outside_d", _REGISTERING)
    _installed(monkeypatch, **{"raised-N": name, "wrong": "outside_d:Nothing"})
    assert ATTACKS.make("raised-3", threat=sr.Linf(0.1)).step == 3
    with pytest.raises(InputError, match="expected a subclass of AbstractAttack at outside_d:Nothing"):
        ATTACKS.make("wrong", threat=sr.Linf(0.1))


def test_no_plugin_takes_a_name_that_is_taken(plugin):
    with pytest.raises(InputError, match="plugin: cannot import outside_e .*are called 'pgd'"):
        sr.load_plugin(plugin("outside_e", 'sr.register("attacks", "pgd")(Corner)\n'))
    assert ATTACKS.member("pgd") is sr.PGD
    with pytest.raises(InputError, match="register: expected one of .*; got 'attack'"):
        sr.register("attack", "mine")


@pytest.mark.parametrize("wrong", ["", "a b", "os;x", "../x", "mod:Class", "-c"])
def test_a_plugin_is_the_name_of_a_module(wrong):
    with pytest.raises(InputError, match="expected the name of a module"):
        sr.load_plugin(wrong)


def test_a_plugin_that_fails_is_said_in_a_sentence(plugin):
    with pytest.raises(InputError, match=r"cannot import outside_f \(ZeroDivisionError: division by zero\)"):
        sr.load_plugin(plugin("outside_f", "1 / 0\n"))
    with pytest.raises(InputError, match=r"cannot import outside_nowhere .*is it on PYTHONPATH"):
        sr.load_plugin("outside_nowhere")


def test_on_the_command_line_it_may_stand_anywhere(plugin, run):
    plugin("outside_g", _REGISTERING)
    for words in (["--plugin", "outside_g", "list", "attacks"], ["list", "--plugin=outside_g", "attacks"]):
        assert "raised-N" in run(*words)[0]
    _, error = run("list", "attacks", "--plugin", code=2)
    assert "--plugin: expected the name of a module" in error
    _, error = run("list", "attacks", "--plugin", "outside_nowhere", code=2)
    assert error.count("\n") == 1 and "outside_nowhere" in error


@attempt(
    "a recipe that names code as `module:Class`, in place of an attack, a method or a selection",
    "refused unless the user has named that class, or its module with `--plugin`; nothing of it is imported",
    promise="executed",
)
def test_what_is_typed_may_run_and_what_a_recipe_says_may_not(plugin, run, tmp_path):
    name = plugin("outside_h")
    (tmp_path / "recipe.toml").write_text(f'[evaluate]\nattacks = ["{name}:Corner"]\n')
    model = sr.build_model("resnet8", 10, 0.125, in_channels=1, image_size=8)
    sr.save_model(model, tmp_path / "weights.safetensors")
    few = ("--data", "digits", "--model", "resnet8", "--width", "0.125", "--examples", "8")
    few = ("evaluate", *few, "--checkpoint", "weights.safetensors")
    _, error = run(*few, "--recipe", "recipe.toml", code=2)
    assert "outside_h:Corner is code" in error and name not in sys.modules
    options = f'evaluate.attacks_options={{"{name}:Corner": {{"step": 0.01}}}}'
    out, _ = run(*few, "--attacks", f"{name}:Corner", "--set", options, "--out", "run")
    assert "corner" in out


def test_a_run_of_a_plugin_asks_for_its_module_again(plugin, run, tmp_path, monkeypatch):
    name = plugin("outside_j")
    few = ("--data", "digits", "--model", "resnet8", "--width", "0.125", "--data-train", "40")
    run("train", *few, "--epochs", "1", "--attack", f"{name}:Corner", "--out", "r", "--data-test", "20")
    monkeypatch.setenv(plugins.VARIABLE, "")  # as in another process
    monkeypatch.setattr(ATTACKS, "_references", {})
    _, error = run("evaluate", "r", "--attacks", "fgsm", code=2)
    assert "r: expected the settings of a run that hold" in error and "add --plugin outside_j" in error
    run("evaluate", "r", "--attacks", "fgsm", "--plugin", name, "--examples", "8")


def test_processes_that_this_one_starts_know_its_plugins(plugin):
    sr.load_plugin(plugin("outside_i", _REGISTERING))
    code = "from semirobust.attacks import ATTACKS; print('raised' in ATTACKS.names())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n" and os.environ[plugins.VARIABLE] == "outside_i"

"""What is wrong with a command line is said before PyTorch is imported, and as the command would say it."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from semirobust.cli import early, known
from semirobust.cli.app import COMMANDS, app
from semirobust.core.errors import InputError
from tests.docs.tables import DOCS

# Command lines that are wrong in one way each.
_TAKE = {
    "audit": "audit NET",
    "evaluate": "evaluate NET",
    "export": "export NET --out o.onnx",
    "harden": "harden --from NET --out o",
    "profile": "profile NET",
    "prune": "prune --out o",
    "recover": "recover NET --normal NET --out o",
    "train": "train --out o",
}
WRONG = [
    *(f"{start} --set pgd.step=1" for start in _TAKE.values()),
    *(f"{start} --set train.epoch=3" for start in _TAKE.values()),
    *(f"{start} --epsilom 0.1" for start in _TAKE.values()),
    "evaluate NET --set pgd",
    "evaluate NET --set evaluate=3",
    "evaluate NET --set seed=many",
    "evaluate NET --set evaluate.examples.more=3",
    "evaluate NET --examples many",
    "evaluate NET --fast maybe",
    "evaluate NET --attacks fgsm,pdg-20",
    "evaluate NET --attacks pgd-20 --set evaluate.attacks_options.pgd-20.step=1",
    "evaluate NET --attacks pgd-20 --set evaluate.attacks_options.pgd-20.steps=1",
    "evaluate NET --attacks pgd-20 --set evaluate.attacks_options.pgd-20.momentum=much",
    "evaluate NET --attacks pgd-20 --set evaluate.attacks_options.pgd-30.momentum=1",
    "evaluate NET --sweep 1/255,lots",
    "evaluate NET --attacks",
    "profile NET --measures criticallity",
    "profile NET --measures criticality --set profile.options.criticality.granularty=1",
    "profile NET --set profile.measures=[1]",
    "harden --from NET --out o --method clatt",
    "harden --from NET --out o --method clat --set harden.options.kk=3",
    "prune --out o --keep most",
    "prune --out o --set prune.saliency=magnitud",
    "recover NET --normal NET --out o --layers 3,x",
    "recover NET --normal NET --out o --set recover.method_options.sizes=3",
    "train --out o --objective tradess",
    "train --out o --set train.objective_options.bet=3",
    "train --out o --set train.hooks=swaa",
    "train --out o --set train.attack=7",
    "train --out o --model resnet81",
    "evaluate resnet81",
    "evaluate resnet18",
]
# And some that are left to the command, since other things may be meant.
LEFT = [
    "evaluate NET --attacks mine:Attack",
    "harden --from NET --out o --method clat,lora --set harden.options.clat.k=3",
    'harden --from NET --out o --set harden.method=["clat","lora"]',
    "harden --from NET --out o --set harden.options.steps_of_another_method=3",
    "evaluate NET --attacks fgsmm --help",
    "evaluate NET --attacks fgsmm --print-settings",
    "evaluate timm:resnet81",
    "evaluate ./resnet81",
    "train --out o --model timm:resnet81",
    "evaluate NET --data mnsit",
    "evaluate NET --set train.epochs=null",
    "list attacs",
]


def _said(line: str) -> str:
    """How a command line is refused; nothing where it is taken."""
    try:
        app(line.split(), standalone_mode=False)
    except Exception as error:
        return error.format_message() if hasattr(error, "format_message") else str(error)
    return ""


# The same in a process without PyTorch; the modules that are there at the end.
_CODE = """
import json, shlex, sys
from semirobust.cli.early import refuse_early
said = []
for line in json.load(sys.stdin):
    command, *words = shlex.split(line)
    try:
        refuse_early(command, words)
        said.append("")
    except Exception as error:
        said.append(error.format_message() if hasattr(error, "format_message") else str(error))
print(json.dumps([said, [name for name in ("torch", "numpy", "rich", "PIL") if name in sys.modules]]))
"""


def _early(lines: list[str], folder, **environment: str) -> tuple[list[str], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _CODE],
        input=json.dumps(lines),
        capture_output=True,
        check=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
    )
    said, modules = json.loads(done.stdout)
    return said, modules


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A folder with something called NET in it, which an early refusal does not look into."""
    folder = tmp_path_factory.mktemp("early")
    (folder / "NET").mkdir()
    return folder


def test_wrong_lines_are_refused_without_pytorch_as_the_command_would(network, monkeypatch):
    monkeypatch.chdir(network)
    said, modules = _early(WRONG, network)
    assert modules == [] and all(said), [line for line, text in zip(WRONG, said, strict=True) if not text]
    # With PyTorch there, what is left of an early refusal is the command itself.
    for line, text in zip(WRONG, said, strict=True):
        if "NET" not in line:
            assert text == _said(line), line
    # Settings are read before a run folder is, but those of a run are its base.
    in_place = {
        line.replace("NET", "resnet18"): text for line, text in zip(WRONG, said, strict=True) if "NET" in line
    }
    assert {line: _said(line) for line in in_place} == in_place


def test_what_may_be_meant_otherwise_is_left_to_the_command(network):
    said, modules = _early(LEFT, network)
    assert said == [""] * len(LEFT) and "torch" not in modules
    plugged = ["evaluate NET --attacks mine", "train --out o --model mine", "evaluate mine"]
    assert all(_early(plugged, network)[0])
    assert _early(plugged, network, SEMIROBUST_PLUGINS="mine")[0] == [""] * 3


def test_the_program_asks_first(network):
    """From the outside: the exit code, one sentence, and no PyTorch among the modules."""
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "semirobust",
        "evaluate",
        "NET",
        "--set",
        "pgd.step=1",
    ]
    done = subprocess.run(command, capture_output=True, check=False, text=True, cwd=network)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time" in line}
    assert done.returncode == 2 and not {"torch", "numpy", "rich", "PIL"} & modules and len(modules) < 500
    assert done.stderr.splitlines()[-1].startswith(
        "error: recipe: unknown option pgd; expected one of seed, data"
    )


def test_between_an_edit_and_the_next_drawing_nothing_is_refused(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.raises(InputError, match="unknown option pgd"):
        early.refuse_early("evaluate", ["NET", "--set", "pgd.step=1"])
    table = json.loads(known.TABLE.read_text())
    for change in ({"attacks/pgd.py": 1}, {"attacks/gone.py": 1}):
        other = tmp_path / "known.json"
        other.write_text(json.dumps({**table, "declared": {**table["declared"], **change}}))
        monkeypatch.setattr(known, "TABLE", other)
        early.refuse_early("evaluate", ["NET", "--set", "pgd.step=1"])
    # A new file of a family may bring a member.
    less = {name: said for name, said in table["declared"].items() if name != "attacks/pgd.py"}
    other.write_text(json.dumps({**table, "declared": less}))
    early.refuse_early("evaluate", ["NET", "--set", "pgd.step=1"])
    other.write_text("{")
    early.refuse_early("evaluate", ["NET", "--set", "pgd.step=1"])
    assert importlib.import_module("semirobust.cli.known") is known


def test_no_command_of_the_documentation_is_refused(network):
    lines = set()
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        for line in re.findall(r"^(?:\$ )?semirobust +(\w.*)$", page.read_text(), flags=re.M):
            words = shlex.split(line.partition(" #")[0].rstrip("\\"))
            if words[0] in COMMANDS and not {"...", "…", "--plugin"} & set(words):
                lines.add(shlex.join(words))
    assert len(lines) > 50
    said, _ = _early(sorted(lines), network)
    assert {line: text for line, text in zip(sorted(lines), said, strict=True) if text} == {}

"""Rules that keep the code as it is meant to be."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from semirobust.attacks import ATTACKS
from semirobust.augment import AUGMENTATIONS
from semirobust.data import SOURCES
from semirobust.dependence import DEPENDENCES
from semirobust.measures import MEASURES
from semirobust.methods import METHODS
from semirobust.models import MODELS
from semirobust.objectives import OBJECTIVES
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.selection import SELECTIONS
from semirobust.threats import NORMS, THREATS
from semirobust.training.hooks import HOOKS
from semirobust.zoo import ZOO

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "semirobust"
PAPERS = sorted((ROOT / "papers").rglob("*.py"))
FILES = [*sorted(SOURCE.rglob("*.py")), *PAPERS]
ROOMS = sorted(file.parent for file in SOURCE.glob("*/__init__.pyi"))
FAMILIES = (
    ATTACKS,
    AUGMENTATIONS,
    DEPENDENCES,
    HOOKS,
    MEASURES,
    METHODS,
    MODELS,
    OBJECTIVES,
    SALIENCIES,
    SELECTIONS,
    SOURCES,
    NORMS,
    THREATS,
    ZOO,
)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.family)
def test_every_file_of_a_family_registers_a_member(family):
    family.names()
    package = sys.modules[family.package]
    # A room may hold two families, as that of threat models does.
    members = [
        member for other in FAMILIES if other.package == family.package for member in other._members.values()
    ]
    registered = {member.__module__.rpartition(".")[2] for member in members}
    modules = list(pkgutil.iter_modules(package.__path__))
    assert {module.name for module in modules if not module.ispkg} == registered
    assert {module.name for module in modules if module.ispkg} <= {"base"}, "machinery has one room"


def test_a_class_is_abstract_or_final():
    """What is shared is composed, or stands in an abstract class: no concrete dataclass is subclassed."""
    for file in FILES:
        root = SOURCE.parent if file.is_relative_to(SOURCE) else ROOT
        name = ".".join(file.relative_to(root).with_suffix("").parts)
        if file.name in ("__init__.py", "__main__.py"):
            continue
        for cls in vars(importlib.import_module(name)).values():
            if inspect.isclass(cls) and cls.__module__ == name:
                bases = [base for base in cls.__bases__ if dataclasses.is_dataclass(base)]
                assert all(map(inspect.isabstract, bases)), cls


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.family)
def test_every_member_is_documented(family):
    cites = r"\d{4}|CLAT|[Ss]ource|ours|scikit-learn|Lighter robust model"
    for name in family.names():
        text = inspect.getdoc(family._members[name])
        assert text, name
        if family is not NORMS:  # a norm needs no paper
            module = inspect.getdoc(sys.modules[family._members[name].__module__]) or ""
            assert re.search(cites, " ".join((text + module).split())), name


def test_randomness_is_an_argument():
    """No call of a global generator outside seed.py, and none without one."""
    draws = re.compile(
        r"manual_seed|np\.random\.(?!default_rng|RandomState\(\s*\w)|default_rng\(\)|\brandom\.(random|choice|shuffle|randint)"
    )
    drawn = {f"torch.{name}" for name in ("rand", "randn", "randint", "randperm")}
    for file in FILES:
        text = file.read_text()
        if file.name != "seed.py":
            assert not draws.search(text), file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in drawn:
                given = "generator" in {keyword.arg for keyword in node.keywords}
                assert given or file.parent.name == "models", (file, ast.unparse(node))


def test_nothing_unpickles_or_evaluates():
    for file in FILES:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in ("eval", "exec", "pickle.load", "pickle.loads", "np.loadtxt"), (file, name)
                if name == "torch.load":
                    assert any(
                        k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
                    ), file


def test_files_and_functions_stay_short():
    for file in FILES:
        lines = file.read_text().splitlines()
        assert len(lines) <= 360, (file, len(lines))
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef) and file.name != "app.py":
                body = (
                    node.end_lineno - node.body[0].lineno - len((ast.get_docstring(node) or "").splitlines())
                )
                assert body <= 60, (file, node.name, body)
    lengths = sorted(len(file.read_text().splitlines()) for file in FILES)
    assert lengths[len(lengths) // 2] <= 120


def test_errors_for_users_are_not_asserts():
    """``assert`` may narrow a type or state an invariant, never check an argument by value."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Assert):
                text = ast.unparse(node.test)
                assert "isinstance" in text or "is not None" in text, (file, text)


def test_the_command_line_starts_without_torch():
    code = (
        "import sys, semirobust.cli.app; sys.exit(bool({'torch', 'matplotlib', 'plotly'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists_and_is_typed():
    import semirobust as sr

    for name in sr.__all__:
        assert getattr(sr, name) is not None
    text = (SOURCE / "__init__.pyi").read_text()
    assert set(re.findall(r"import \w+ as (\w+)$", text, re.M)) == set(sr.__all__)
    assert set(re.findall(r'^    "(\w+)",$', text, re.M)) == set(sr.__all__)
    with pytest.raises(AttributeError, match="No semirobust attribute nope"):
        _ = sr.nope


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_public_name_of_a_room_exists_and_is_no_file_of_it(room):
    """A name that a file of the room has too would be the function or the module, as imports happened."""
    package = importlib.import_module(f"semirobust.{room.name}")
    text = (room / "__init__.pyi").read_text()
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(re.findall(r"import \w+ as (\w+)$", text, re.M)) == set(package.__all__)
    assert set(re.findall(r'^    "(\w+)",$', text, re.M)) == set(package.__all__)
    assert not set(package.__all__) & {path.stem for path in room.iterdir()}


def test_papers_use_public_names_only():
    """Names in ``__all__`` of semirobust or of one of its rooms, files of their own folder, other libraries."""
    for file in PAPERS:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith(("semirobust", "papers")) for alias in node.names), file
            elif isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1 and (file.parent / f"{node.module}.py").is_file(), (file, node.module)
            elif isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "semirobust":
                assert node.module.count(".") <= 1, (file, node.module)
                public = importlib.import_module(node.module).__all__
                assert {alias.name for alias in node.names} <= set(public), (file, node.module)


def test_the_library_knows_no_paper():
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.partition(".")[0] == "papers" for name in names), file


def test_the_project_speaks_of_itself_alone():
    words = re.compile(r"(?<![\w.])/(?:work|home|root|opt|farm)/|pip_find_links", re.I)
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    for name in listed:
        path = ROOT / name
        if (
            path.suffix in (".py", ".md", ".toml", ".txt", "")
            and path.is_file()
            and path != Path(__file__).resolve()
        ):
            assert not words.search(path.read_text(errors="replace")), name


def test_the_commands_are_a_frozen_set():
    from semirobust.cli.app import COMMANDS, app

    for name, line in COMMANDS.items():
        command = app.get_command(None, name)
        assert command.name == name and command.get_short_help_str(500).startswith(line.rstrip("?.")), name
    assert set(COMMANDS) == {
        "audit",
        "data",
        "demo",
        "evaluate",
        "export",
        "harden",
        "list",
        "profile",
        "prune",
        "recover",
        "report",
        "reproduce",
        "settings",
        "train",
    }


# What opens, writes, renames or deletes a file by its path; the last line also takes open files.
_BY_PATH = {
    *("read_bytes", "read_text", "write_bytes", "write_text", "unlink", "rmtree", "touch", "hardlink_to"),
    *("symlink_to", "mkdir", "makedirs", "rename", "copyfile", "copy2", "fromfile", "loadtxt", "memmap"),
    *("safe_open", "load_file", "save_file", "extractall", "rglob", "os.walk"),
}
_BY_PATH_OR_FILE = {"open", "np.load", "torch.load", "ZipFile", "GzipFile", "LZMAFile", "BZ2File"}
_ELSEWHERE = {
    ("core/tensor_files.py", "safe_open"): "takes paths alone; check_is_file has opened the path before",
    ("core/torch_files.py", "torch.load"): "far faster by a path; check_is_file has opened it before",
    ("data/base/imagenet.py", "read_text"): "a resource of the package",
    ("reports/assets.py", "read_text"): "a resource of the package",
    ("cli/streams.py", "open"): "the null device, in place of a stream that is closed",
    ("records/origin.py", "read_text"): "/proc/cpuinfo",
    (
        "experiments/run_lock.py",
        "open",
    ): "the handle stays open while a run lasts; it follows and truncates nothing",
    ("experiments/run_lock.py", "os.walk"): "follows no links, and deletes through core/files.py",
}


def test_files_are_opened_in_one_place():
    """Everything else goes through core/files.py, which follows no link and opens plain files alone."""
    found = set()
    for file in sorted(SOURCE.rglob("*.py")):
        place, tree = file.relative_to(SOURCE).as_posix(), ast.parse(file.read_text())
        nodes = list(ast.walk(tree))
        imports = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "semirobust.core.files"]
        ours = {name.name for node in imports for name in node.names}
        items = [item for node in nodes if isinstance(node, ast.With) for item in node.items]
        files = {ast.unparse(item.optional_vars) for item in items if item.optional_vars is not None}
        for node in nodes:
            if not isinstance(node, ast.Call) or (called := ast.unparse(node.func)) in ours:
                continue
            name = called.rpartition(".")[2]
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            of_a_file = (values and ast.unparse(values[0]) in files) or called.rpartition(".")[0] in files
            if {name, called} & _BY_PATH or ({name, called} & _BY_PATH_OR_FILE and not of_a_file):
                found.add((place, called if called in ("torch.load", "os.walk") else name))
    found = {each for each in found if each[0] != "core/files.py"} - {("evaluation/runner.py", "open")}
    assert found <= set(_ELSEWHERE), found - set(_ELSEWHERE)

"""A report on the size and shape of the code: ``python -m scripts.house`` or ``make house``, some seconds.

It prints a table and judges nothing. What counts how:

- files, lengths, functions, types, docstrings and comments: of all of ``src/`` and ``papers/``; no tests,
  benchmarks or scripts. Lines are lines of a file, blank ones too.
- typed: every argument but ``self`` and ``cls`` is annotated, and what is returned. Keyword-only: at least
  one argument can be given by name alone.
- docstring share: lines of docstrings of functions and classes over the lines that are not blank.
- exempted files: files of a family's folder in which no member is registered, ``base/`` aside.
- quantities named by literals: strings outside ``records/`` that name what a record holds, where the schema
  has a constant; its older names such as "train.loss" too.
- files to add a member: in how many files of ``src/`` the rarest member of the family is named, by its class
  or as a literal. Of an option: in how many files the rarest field of ``Training`` is declared (others
  share their names with fields of other things).
  Of a study: its folder, and the files of ``src/`` that know its name.
"""

import ast
import dataclasses
import importlib
import io
import pkgutil
import re
import subprocess
import sys
import tempfile
import tokenize
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semirobust.core.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
SOURCE, PAPERS, TESTS = ROOT / "src" / "semirobust", ROOT / "papers", ROOT / "tests"
_DOTTED = re.compile(r"[a-z]+(\.[a-z][a-z0-9_-]*)+")
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_DOCUMENTED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclasses.dataclass(frozen=True)
class File:
    """One file of Python, as text and as a syntax tree."""

    path: Path
    text: str
    tree: ast.Module

    @classmethod
    def read(cls, path: Path) -> "File":
        """Read and parse it."""
        text = path.read_text()
        return cls(path, text, ast.parse(text))

    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Functions and methods, nested ones too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, _FUNCTIONS)]

    def comments(self) -> int:
        """How many comments it has."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return sum(token.type == tokenize.COMMENT for token in tokens)

    def docstring_lines(self) -> int:
        """Lines of the docstrings of its functions and classes."""
        documented = (node for node in ast.walk(self.tree) if isinstance(node, _DOCUMENTED))
        return sum(len((ast.get_docstring(node) or "").splitlines()) for node in documented)

    def literals(self) -> set[str]:
        """Its strings, docstrings among them."""
        constants = (node.value for node in ast.walk(self.tree) if isinstance(node, ast.Constant))
        return {value for value in constants if isinstance(value, str)}

    def names(self) -> set[str]:
        """Names that it defines, uses or imports, and its literals."""
        names = self.literals()
        for node in ast.walk(self.tree):
            match node:
                case ast.Name(id=name) | ast.ClassDef(name=name) | ast.alias(name=name):
                    names.add(name)
                case ast.Attribute(attr=name):
                    names.add(name)
        return names

    def declared(self) -> set[str]:
        """Fields of its classes."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                fields = (item.target for item in node.body if isinstance(item, ast.AnnAssign))
                found |= {target.id for target in fields if isinstance(target, ast.Name)}
        return found


def report(*, sizes: bool = True) -> Iterator[tuple[str, str]]:
    """The rows of the table; without ``sizes`` nothing is cloned or packed."""
    source = [File.read(path) for path in sorted(SOURCE.rglob("*.py"))]
    papers = [File.read(path) for path in sorted(PAPERS.rglob("*.py"))]
    yield from _shape([*source, *papers])
    tests = sum(len(path.read_text().splitlines()) for path in TESTS.rglob("*.py"))
    yield "test / source lines", f"{tests / sum(len(f.text.splitlines()) for f in (*source, *papers)):.2f}"
    yield "exempted files", str(len(_exempted()))
    yield "quantities named by literals", str(len(_by_literal([*source, *papers])))
    for family in ("method", "measure", "attack", "objective"):
        yield f"files to add a member: {family}", str(_files_of_a_member(family, source))
    yield "files to add a training option", str(_files_of_an_option(source))
    yield "folders (files of src/) to add a study", f"1 ({_files_of_a_study(source)})"
    if sizes:
        yield "clone, MB: history + files", "{:.1f} + {:.1f}".format(*_clone())
        yield "wheel, kB", f"{_wheel() / 1000:.0f}"


def _shape(files: list[File]) -> Iterator[tuple[str, str]]:
    lengths = [len(file.text.splitlines()) for file in files]
    functions = [function for file in files for function in file.functions()]
    spans = [node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno]
    yield "files", str(len(files))
    yield "lines", f"{sum(lengths):,}"
    yield "file length, median / p90 / longest", _spread(lengths)
    yield "function length, median / p90 / longest", _spread(spans)
    yield "typed", _percent(sum(map(_typed, functions)), len(functions))
    yield "keyword-only", _percent(sum(bool(f.args.kwonlyargs) for f in functions), len(functions))
    documentation = sum(file.docstring_lines() for file in files)
    yield "docstring share", _percent(documentation, sum(_filled(file.text) for file in files))
    yield "comments / 100 lines", f"{100 * sum(file.comments() for file in files) / sum(lengths):.1f}"


def _filled(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _spread(values: list[int]) -> str:
    ordered = sorted(values)
    return f"{median(ordered):g} / {ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]} / {ordered[-1]}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"


def _typed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    arguments = [a for a in named if a.arg not in ("self", "cls")]
    arguments += [a for a in (given.vararg, given.kwarg) if a is not None]
    return function.returns is not None and all(a.annotation is not None for a in arguments)


def _families() -> "Mapping[str, Registry[Any]]":
    """Every registry by the name of its family."""
    from semirobust.core.registry import Registry

    found: dict[str, Registry[Any]] = {}
    for room in pkgutil.walk_packages([str(SOURCE)], "semirobust."):
        if room.ispkg:
            for value in vars(importlib.import_module(room.name)).values():
                if isinstance(value, Registry):
                    found[value.family] = value
    return found


def _exempted() -> list[str]:
    """Files of families' folders without a member."""
    members: dict[str, set[str]] = {}
    for family in _families().values():
        family.names()
        modules = {member.__module__ for member in family._members.values()}
        members.setdefault(family.package, set()).update(modules)
    return [
        f"{package}.{module.name}"
        for package, registered in members.items()
        for module in pkgutil.iter_modules(sys.modules[package].__path__)
        if not module.ispkg and f"{package}.{module.name}" not in registered
    ]


def _by_literal(files: Iterable[File]) -> list[str]:
    """Where a record's quantity is named by a string instead of the schema's constant."""
    schema = SOURCE / "records"
    old = {
        text
        for path in schema.glob("legacy*.py")
        for text in File.read(path).literals()
        if _DOTTED.fullmatch(text)
    }
    return [
        f"{file.path.relative_to(ROOT)}: {text}"
        for file in files
        if schema not in file.path.parents
        for text in [*sorted(file.literals() & old), *_given(file.tree)]
    ]


def _given(tree: ast.Module) -> Iterator[str]:
    """Strings given as ``quantity=...`` or ``Number(name=...)``, or compared with ``.quantity``."""
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            names = {"quantity"} | ({"name"} if ast.unparse(node.func) == "Number" else set())
            values = [keyword.value for keyword in node.keywords if keyword.arg in names]
        elif isinstance(node, ast.Compare) and ast.unparse(node.left).endswith(".quantity"):
            values = node.comparators
        yield from (v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str))


def _files_of_a_member(family: str, files: list[File]) -> int:
    registry = next(r for name, r in _families().items() if family in name)
    names = {name: {name, registry._members[name].__name__} for name in registry.names()}
    known = [file.names() for file in files]
    return min(sum(bool(called & words) for words in known) for called in names.values())


def _files_of_an_option(files: list[File]) -> int:
    from semirobust.training.training import Training

    declared = [file.declared() for file in files]
    fields = [field.name for field in dataclasses.fields(Training)]
    return min(sum(field in names for names in declared) for field in fields)


def _files_of_a_study(files: list[File]) -> int:
    studies = [path.parent.name for path in PAPERS.glob("*/study.py")]
    unlike = [name for name in studies if name not in {n for f in _families().values() for n in f.names()}]
    return max((sum(name in file.literals() for file in files) for name in unlike), default=0)


def _clone() -> tuple[float, float]:
    """Megabytes of what a clone brings: the history, and the files."""
    with tempfile.TemporaryDirectory() as place:
        command = ["git", "clone", "--quiet", "--no-local", "--single-branch", str(ROOT), place]
        subprocess.run(command, check=True)
        sizes = {True: 0, False: 0}
        for path in Path(place).rglob("*"):
            if path.is_file() and not path.is_symlink():
                sizes[".git" in path.relative_to(place).parts] += path.stat().st_size
    return sizes[True] / 1e6, sizes[False] / 1e6


def _wheel() -> int:
    """Bytes of the package packed as a wheel packs it, without its metadata."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(SOURCE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(SOURCE.parent))
    return len(packed.getvalue())


def main() -> None:
    """Print the table; with ``--list`` what stands behind its zeros."""
    print("| | semirobust |\n|---|---|")
    for name, value in report():
        print(f"| {name} | {value} |", flush=True)
    if "--list" in sys.argv:
        files = [File.read(path) for root in (SOURCE, PAPERS) for path in sorted(root.rglob("*.py"))]
        print("\n".join([*_exempted(), *_by_literal(files)]))


if __name__ == "__main__":
    main()

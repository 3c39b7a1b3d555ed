"""What people have that is not as it should be, and what is tried against the promises, with what the library
does: one mark on the test that shows it. ``docs/reference/kinds.md`` and ``docs/reference/hostile.md`` are drawn from these marks.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["ABOUT", "PROMISES", "attempt", "kind", "render_attempts", "render_kinds"]

ABOUT = {
    "checkpoints": "Checkpoints",
    "data": "Data sets, folders and arrays",
    "classes": "Classes and plausibility",
    "epsilon": "ε",
    "attacks": "Attacks and verdicts",
    "measures": "Measures",
    "runs": "Runs and records",
    "statistics": "Statistics",
}
PROMISES = {
    "executed": "Nothing from a file is executed",
    "fetched": "Nothing is fetched, and no page runs or asks for anything that a record names",
    "outside": "Nothing outside the folder is touched, and nothing is replaced that the run did not make",
    "small": "No small file costs a large machine",
    "terminal": "Names and outputs of any kind end in one sentence",
    "damage": "Damage and change are noticed",
    "lost": "No run is lost",
    "together": "Runs, processes and threads side by side give the numbers of one",
}
_TESTS = Path(__file__).parent


def kind(given: str, done: str, *, about: str) -> Callable[[Any], Any]:
    """Mark a test as the proof of a row: what a user has, and what the library does.

    The arguments are literal strings, since the page is drawn without running the tests.
    """
    if about not in ABOUT or not given or not done:
        raise ValueError(f"kind: expected two sentences, and about one of {', '.join(ABOUT)}")
    return lambda test: test


def attempt(tried: str, result: str, *, promise: str) -> Callable[[Any], Any]:
    """Mark a test as the proof of a row: what is tried against a promise, and what comes of it.

    The arguments are literal strings, since the page is drawn without running the tests.
    """
    if promise not in PROMISES or not tried or not result:
        raise ValueError(f"attempt: expected two sentences, and promise one of {', '.join(PROMISES)}")
    return lambda test: test


def _marks(path: Path, name: str) -> Iterator[tuple[str, str, str, str]]:
    """(topic, first sentence, second sentence, test) of each mark of that name in a file of tests."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == name:
                    first, second = (ast.literal_eval(value) for value in mark.args)
                    topic = ast.literal_eval(mark.keywords[0].value)
                    place = path.relative_to(_TESTS).as_posix()
                    test = f"`{place}` {node.name.removeprefix('test_').replace('_', ' ')}"
                    yield topic, first, second, test


def _tables(name: str, topics: Mapping[str, str], head: str) -> tuple[int, str]:
    """How many marks of that name there are, and a table of them for each topic."""
    marks = [mark for path in sorted(_TESTS.rglob("test_*.py")) for mark in _marks(path, name)]
    parts = []
    for topic, title in topics.items():
        rows = [f"| {first} | {second} | {test} |" for where, first, second, test in marks if where == topic]
        if rows:
            parts.append(f"## {title}\n\n{head}\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return len(marks), "\n".join(parts)


def render_kinds() -> str:
    """The page of what is not as it should be, as it should be."""
    count, tables = _tables("kind", ABOUT, "| what there is | what happens | shown by |")
    return (
        "# Wrong input, and what happens\n\n"
        "Drawn from the tests: each row is one that shows it.\n"
        "A number may be missing, with a reason.\nIt is never wrong without one.\n"
        "What is refused is refused in one sentence, with exit code 2 on the command line.\n"
        f"There are {count} kinds.\n\n{tables}"
    )


def render_attempts() -> str:
    """The page of the promises and what was tried against them, as it should be."""
    count, tables = _tables("attempt", PROMISES, "| what is tried | what comes of it | shown by |")
    return (
        "# Security and recovery: each promise, and what was tried against it\n\n"
        "Drawn from the tests: each row is one that tries it, with every run of the suite.\n"
        "The threat model is in [SECURITY.md](../../SECURITY.md).\n"
        "The long tests are in [promises](../explanation/promises.md).\n"
        f"There are {count} attempts.\n\n{tables}"
    )

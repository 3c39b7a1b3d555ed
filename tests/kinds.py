"""What people have that is not as it should be, and what the library does with it: one mark on the test that
shows it. ``docs/kinds.md`` is drawn from these marks.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["ABOUT", "kind", "render_kinds"]

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
_TESTS = Path(__file__).parent


def kind(given: str, done: str, *, about: str) -> Callable[[Any], Any]:
    """Mark a test as the proof of a row: what a user has, and what the library does.

    The arguments are literal strings, since the page is drawn without running the tests.
    """
    if about not in ABOUT or not given or not done:
        raise ValueError(f"kind: expected two sentences, and about one of {', '.join(ABOUT)}")
    return lambda test: test


def _marks(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """(about, given, done, test) of each mark in a file of tests."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "kind":
                    given, done = (ast.literal_eval(value) for value in mark.args)
                    about = ast.literal_eval(mark.keywords[0].value)
                    place = path.relative_to(_TESTS).as_posix()
                    yield about, given, done, f"`{place}` {node.name.removeprefix('test_').replace('_', ' ')}"


def render_kinds() -> str:
    """The page as it should be."""
    marks = [mark for path in sorted(_TESTS.rglob("test_*.py")) for mark in _marks(path)]
    parts = [
        "# What is not as it should be, and what happens then\n\n"
        "Drawn from the tests: each row is one that shows it.\n"
        "A number may be missing, with a reason; it is never wrong without one. What is refused is refused in one\n"
        f"sentence, with exit code 2 on the command line. {len(marks)} kinds.\n"
    ]
    for about, title in ABOUT.items():
        rows = [f"| {given} | {done} | {test} |" for where, given, done, test in marks if where == about]
        if rows:
            head = "| what there is | what happens | shown by |\n|---|---|---|\n"
            parts.append(f"## {title}\n\n{head}" + "\n".join(rows) + "\n")
    return "\n".join(parts)

"""Every function on many networks of other makers: ``python -m stress.networks --install FOLDER``.

The zoo (:mod:`stress.zoo`) has networks of torchvision, timm, transformers, RobustBench and hand-made ones,
with random weights. Each runs in a process of its own, with limits on time and memory. What it gives is
checked (:mod:`stress.matrix`) and kept in a folder, so that an interrupted run resumes.

ok: it answers, and rightly. refused: in one sentence. wrong: the answer is not so. crash: another error, or
out of time or memory. harness: the script's own fault.
"""

import argparse
import fnmatch
import os
import signal
import sys
import time
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run what is missing, and print the table."""
    given = _arguments()
    if given.install is not None:
        _in_environment(given.install)
    # Everything heavy is imported here, once; each network then runs in a fork.
    from stress.matrix.functions import FUNCTIONS
    from stress.matrix.one import cells_in, file_of
    from stress.matrix.table import cells_of, markdown
    from stress.zoo import all_networks, preload

    names = [network.name for network in all_networks()]
    if given.only:
        names = [name for name in names if any(_matches(name, pattern) for pattern in given.only.split(","))]
    if given.list:
        print("\n".join(names))
        return
    folder, again = Path(given.folder), set(filter(None, given.again.split(",")))
    folder.mkdir(parents=True, exist_ok=True)
    functions = given.functions.split(",") if given.functions else list(FUNCTIONS)
    left = {}
    for name in names:
        cells = cells_in(file_of(folder, name))
        missing = [f for f in functions if f not in cells or cells[f]["state"] in again | {"running"}]
        if missing:
            left[name] = missing
    preload(list(left))
    _run(left, folder, given.jobs, given.seconds)
    cells = cells_of(folder)
    (folder / "table.md").write_text(markdown(cells))
    print(markdown(cells, details=not given.brief))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--install", type=Path, metavar="FOLDER", help="install what it needs there, and run it there"
    )
    parser.add_argument("--folder", default="runs/networks", help="where the results are kept")
    parser.add_argument("--only", default="", help="patterns of names, such as 'timm/*,made/view*'")
    parser.add_argument("--functions", default="", help="some functions only, such as features,split")
    parser.add_argument("--again", default="", help="run these states again, such as crash,wrong")
    parser.add_argument("--jobs", type=int, default=2, help="networks at a time")
    parser.add_argument(
        "--seconds", type=int, default=120, help="processor time for one function on one network"
    )
    parser.add_argument("--list", action="store_true", help="print the names alone")
    parser.add_argument("--brief", action="store_true", help="print the counts alone")
    return parser.parse_args()


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatch(name, pattern) or name == pattern


def _in_environment(folder: Path) -> None:
    """Go on with the Python of an environment that has everything, made now if there is none."""
    from stress.zoo.install import install

    python = folder / "bin" / "python"
    if not python.exists():
        install(folder)
    rest = [a for i, a in enumerate(sys.argv[1:]) if a != "--install" and sys.argv[i] != "--install"]
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    os.execv(str(python), [str(python), "-m", "stress.networks", *rest])


def _run(left: dict[str, list[str]], folder: Path, jobs: int, seconds: int) -> None:
    running: dict[int, tuple[str, float]] = {}
    waiting, done, total = list(left), 0, len(left)
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            running[_forked(name, left[name], folder, seconds)] = (name, time.monotonic())
        pid = _ended(running, 10 * seconds)
        if pid is None:
            continue
        name, start = running.pop(pid)
        rest = _after(name, left[name], folder)
        if rest:  # the process died within one function; the others still run
            left[name] = rest
            waiting.insert(0, name)
            continue
        done += 1
        print(
            f"{done}/{total} {name}: {_summary(name, folder)} ({time.monotonic() - start:.0f} s)",
            file=sys.stderr,
        )


def _forked(name: str, functions: list[str], folder: Path, seconds: int) -> int:
    from stress.matrix.one import run_one

    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            run_one(name, functions, folder, seconds)
        finally:
            os._exit(0)
    return pid


def _ended(running: dict[int, tuple[str, float]], longest: float) -> int | None:
    """A process that has ended, or none within half a second; one that hangs is killed."""
    for pid, (_, start) in running.items():
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return pid
        if time.monotonic() - start > longest:
            os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    return None


def _after(name: str, functions: list[str], folder: Path) -> list[str]:
    """Mark the function within which the process died, and give those that it had not begun."""
    from stress.matrix.one import _write, cells_in, file_of

    file = file_of(folder, name)
    cells = cells_in(file)
    died = [f for f in functions if cells.get(f, {}).get("state") == "running"]
    for function in died:
        _write(file, name, function, {"state": "crash", "text": "the process died", "seconds": 0})
    missing = [f for f in functions if f not in cells]
    if missing and not died:  # it died before it began
        for function in missing:
            _write(file, name, function, {"state": "harness", "text": "the process died", "seconds": 0})
        return []
    return missing


def _summary(name: str, folder: Path) -> str:
    from stress.matrix.one import cells_in, file_of

    states = {f: str(cell["state"]) for f, cell in cells_in(file_of(folder, name)).items()}
    bad = [f"{f} {state}" for f, state in states.items() if state not in ("ok", "refused")]
    return f"{sum(s == 'ok' for s in states.values())} of {len(states)} ok" + (
        f"; {', '.join(bad)}" if bad else ""
    )


if __name__ == "__main__":
    main()

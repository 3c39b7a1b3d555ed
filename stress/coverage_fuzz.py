"""Coverage-guided fuzzing of every reader by atheris, which is installed for it alone:
``python -m stress.coverage_fuzz SECONDS FOLDER [READER ...]``.

Each reader has a process of its own and an equal share of the seconds. FOLDER keeps the corpus of each reader
and what was found (``FOLDER/found``), so that a later call goes on where this one ended. ``--merge`` in place
of the seconds keeps of each corpus the fewest files that reach as much.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

__all__ = ["main"]

_LIBRARIES = ["semirobust", "tomllib", "json", "zipfile", "tarfile", "gzip", "pickletools", "PIL"]
_KEPT = Path(__file__).parents[1] / "tests/fuzz/corpus"
_LONGEST = 1 << 16  # bytes of a file


def main() -> None:
    """A line for each reader: how long, how many files, how much of the code, what was found."""
    seconds, place, *names = sys.argv[1:]
    from tests.fuzz.readers import READERS

    chosen = names or list(READERS)
    for name in chosen:
        began, folder = time.monotonic(), Path(place) / name.replace(" ", "_").replace("/", "_")
        (folder / "corpus").mkdir(parents=True, exist_ok=True)
        (Path(place) / "found").mkdir(exist_ok=True)
        arguments = (
            [f"-max_total_time={int(seconds) // len(chosen)}"] if seconds != "--merge" else ["-merge=1"]
        )
        if seconds == "--merge":
            shutil.rmtree(folder / "least", ignore_errors=True)
            (folder / "least").mkdir()
            arguments.append(str(folder / "least"))
        command = [sys.executable, "-m", "stress.coverage_fuzz", "--one", name, place]
        with (folder / "log").open("w") as log:
            subprocess.run(
                [*command, *arguments, str(folder / "corpus")],
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        lines = (folder / "log").read_text(errors="replace").splitlines()
        last = next((line for line in reversed(lines) if " cov: " in line), "")
        found = len(list((Path(place) / "found").glob(f"{folder.name}-*")))
        print(f"{name:16} {time.monotonic() - began:5.0f} s, {found} found; {last}", flush=True)


def _one(name: str, place: Path, arguments: list[str]) -> None:
    """One reader, whose code is watched while it reads."""
    import atheris

    with atheris.instrument_imports(include=_LIBRARIES):
        from tests.fuzz.fuzzer import attempt
        from tests.fuzz.readers import READERS
    reader = READERS[name]
    folder = Path(tempfile.mkdtemp(prefix="coverage-"))
    reader.make(folder)
    corpus, short = Path(arguments[-1]), name.replace(" ", "_").replace("/", "_")
    (corpus / "good").write_bytes((folder / reader.name).read_bytes())
    for kept in _KEPT.glob(f"{name.replace(' ', '_')}-*"):
        shutil.copy(kept, corpus / kept.name)
    seen: set[str] = set()

    def read(content: bytes) -> None:
        what = attempt(reader, folder, content)
        kind = what.rpartition("File ")[2]
        if what and kind not in seen:
            seen.add(kind)
            digest = hashlib.sha256(content).hexdigest()[:8]
            (place / "found" / f"{short}-{digest}").write_bytes(content)
            print(f"FOUND {digest}: {what}", flush=True)

    atheris.Setup(
        [
            sys.argv[0],
            *(
                f"-max_len={_LONGEST}",
                "-timeout=60",
                "-rss_limit_mb=0",
                f"-artifact_prefix={place}/found/{short}-",
            ),
            *arguments,
        ],
        read,
    )
    try:
        atheris.Fuzz()
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        _one(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    else:
        main()

"""Kill runs at random instants and compare how they end: ``python -m stress.kills [KILLS] [SEED]
[STAGE]`` (Unix).

Each stage runs once undisturbed and then again, killed by signal 9 with all its processes and started anew
until it ends. Training keeps its state after every step, so that most kills fall within an epoch. Every file
that both leave must hold the same tensors and the same records, seconds left aside, and there must be no
others. Where a stage replaces what was there before, that must be kept."""

import hashlib
import http.server
import inspect
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from semirobust.cli.app import main as program
from semirobust.core.tensor_files import read_metadata, read_tensors
from semirobust.data.base.catalogue import CATALOGUE, Remote
from semirobust.experiments.commands.demo import demo
from semirobust.experiments.queue.runner import reproduce
from semirobust.records.schema import Number, Quantity
from semirobust.records.seal import split_seal
from semirobust.records.store import read_records, write_records
from semirobust.training.training import Training

__all__ = ["main"]

_DATA = [
    "--data",
    "digits",
    "--width",
    "0.25",
    "--set",
    "model.name=resnet8",
    "--eps",
    "0.1",
    "--set",
    "data.train=400",
]
_FIT = [*_DATA, "--attack", "pgd-3", "--set", "train.batch_size=40"]
_STUDY = Path(__file__).resolve().parents[1] / "papers" / "lighter"
_JUDGED = ["--attacks", "fgsm,pgd-10", "--examples", "200"]
STAGES: Mapping[str, list[str]] = {
    "train": ["train", *_FIT, "--epochs", "4", "--out", "runs/out"],
    "train, TRADES, AWP, SWA": [
        "train",
        *_FIT,
        "--epochs",
        "3",
        "--objective",
        "trades",
        "--hooks",
        "awp,swa",
        "--schedule",
        "cyclic",
        "--out",
        "runs/out",
    ],
    "train, free": ["train", *_FIT, "--epochs", "3", "--hooks", "free", "--out", "runs/out"],
    "train, stored starts, EMA": [
        "train",
        *_FIT,
        "--epochs",
        "4",
        "--hooks",
        "stored-starts,ema",
        "--out",
        "runs/out",
    ],
    "harden": [
        "harden",
        "--from",
        "runs/base",
        "--method",
        "clat",
        "--epochs",
        "2",
        "--controls",
        *_JUDGED,
        "--out",
        "runs/out",
        "--set",
        "harden.attack=pgd-3",
        "--set",
        "harden.options.every=1",
    ],
    "prune": [
        "prune",
        *_FIT[:-2],
        "--levels",
        "3",
        "--epochs",
        "2",
        "--lr",
        "0.05",
        *_JUDGED,
        "--out",
        "runs/out",
        "--set",
        "prune.rewind_epoch=1",
    ],
    "prune --macs": [
        "prune",
        "--from",
        "runs/base",
        "--macs",
        "0.5",
        "--epochs",
        "2",
        "--attack",
        "pgd-3",
        *_JUDGED,
        "--out",
        "runs/out",
    ],
    "recover": [
        "recover",
        "runs/base",
        "--normal",
        "runs/normal",
        "--layers",
        "2",
        "--trials",
        "2",
        "--epochs",
        "3",
        *_JUDGED,
        "--out",
        "runs/out",
        "--set",
        "recover.attack=pgd-3",
        "--set",
        "recover.dependence=cka",
    ],
    "profile": [
        "profile",
        "runs/base",
        "--measures",
        "criticality,gradient-norm",
        "--examples",
        "300",
        "--out",
        "runs/out",
    ],
    "evaluate": [
        "evaluate",
        "runs/base",
        "--attacks",
        "fgsm,pgd-20,apgd",
        "--examples",
        "400",
        "--out",
        "runs/out",
    ],
    "evaluate, sweep and transfer": [
        "evaluate",
        "runs/base",
        "--attacks",
        "pgd-20",
        "--examples",
        "300",
        "--sweep",
        "0.05,0.1",
        "--transfer",
        "runs/normal",
        "--out",
        "runs/out",
    ],
    "evaluate, over other numbers": [
        "evaluate",
        "runs/out",
        *_JUDGED,
    ],
    "prune, over another level": [],
    "report and table": [
        "report",
        "runs/base",
        "runs/normal",
        "--out",
        "runs/out/report.html",
        "--csv",
        "runs/out/numbers.csv",
    ],
    "demo": [],
    "data --fetch": ["data", "--fetch", "mnist", "--data-root", "runs/out"],
    "page of a study": ["reproduce", str(_STUDY), "--packed", "--page", "runs/out/page.md"],
    "reproduce": [],
    "reproduce, two workers": [],
}
STAGES = {**STAGES, "prune, over another level": [*STAGES["prune"], "--keep", "2"]}
_SMALL = {
    "data.source": "digits",
    "data.train": 400,
    "model.name": "resnet8",
    "model.width": 0.25,
    "train.epochs": 3,
    "evaluate.examples": 100,
    "prune.levels": 2,
    "prune.epochs": 1,
}
_UNITS = ["capacity-mnist/seed-0/fgsm-0", "lottery-fgsm/seed-0/ticket", "features-pgd/seed-0/features"]
_TIMED = ("seconds", "inference_ratio")


_DEMO = {
    "data.train": 400,
    "data.validation": 0.2,
    "model.name": "resnet8",
    "model.width": 0.25,
    "train.epochs": 2,
    "harden.epochs": 2,
    "evaluate.examples": 100,
    "profile.examples": 100,
}


def main() -> None:
    """A line for each stage: kills, times it was started, whether both ends are equal."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 54
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    stages = [name for name in STAGES if len(sys.argv) < 4 or sys.argv[3] in name]
    share, done, unequal = -(-kills // len(stages)), 0, 0
    # Every child is a fork of this process.
    inspect.unwrap(Training.__call__).__kwdefaults__["save_every"] = 0.0
    with tempfile.TemporaryDirectory() as place:
        base = _bases(Path(place))
        _serve(Path(place) / "served")
        for name in stages:
            killed, started, equal, seconds = _stage(name, base, Path(place), share, chance)
            done, unequal = done + killed, unequal + (not equal)
            end = "equal" if equal else "DIFFER"
            print(f"{name:28} {killed:3} kills in {started:3} starts of {seconds:4.1f} s  {end}", flush=True)
    print(f"{done} kills, {unequal} stages that ended otherwise")
    sys.exit(1 if unequal else 0)


def _bases(place: Path) -> Path:
    """A robust and a normal network that other stages start from."""
    folder = place / "bases"
    folder.mkdir()
    for name, objective in (("base", "adversarial"), ("normal", "standard")):
        arguments = ["train", *_FIT, "--epochs", "3", "--objective", objective, "--out", f"runs/{name}"]
        assert _carry_out(partial(_call, arguments), folder, None) == 0, name
    return folder


def _serve(folder: Path) -> None:
    """A data set of random bytes at an address of this machine, in the place of MNIST's; it comes slowly."""
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Slowly, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    remotes, chance = [], random.Random(0)
    for remote in CATALOGUE["mnist"].remotes:
        content = chance.randbytes(200_000)
        (folder / remote.filename).write_bytes(content)
        address = f"http://127.0.0.1:{server.server_port}/{remote.filename}"
        remotes.append(Remote(address, hashlib.md5(content).hexdigest(), 0.2))
    CATALOGUE["mnist"] = replace(CATALOGUE["mnist"], remotes=tuple(remotes))


class _Slowly(http.server.SimpleHTTPRequestHandler):
    def copyfile(self, source: Any, outputfile: Any) -> None:
        with suppress(OSError):  # who asked was killed
            while part := source.read(20_000):
                outputfile.write(part)
                time.sleep(0.05)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _stage(
    name: str, base: Path, place: Path, kills: int, chance: random.Random
) -> tuple[int, int, bool, float]:
    """Kills, starts, whether all ends are equal, and seconds of an undisturbed run."""
    work, prepare = _WORK.get(name) or partial(_call, STAGES[name]), _PREPARED.get(name)
    if prepare is not None:
        base = _fresh(base, place / "prepared")
        assert _carry_out(partial(prepare, base), base, None) == 0, (base / "log").read_text()
    first = _fresh(base, place / "undisturbed")
    began = time.monotonic()
    assert _carry_out(work, first, None) == 0, (first / "log").read_text()
    seconds, aim = time.monotonic() - began, _content(first / "runs/out")
    killed, started, equal = 0, 0, True
    while killed < kills:
        folder, code = _fresh(base, place / "killed"), None
        while code != 0:
            started += 1
            assert started < 20 * kills + 20, name
            code = _carry_out(work, folder, chance.uniform(0, 0.7 * seconds) if killed < kills else None)
            killed += code is None
            assert code in (0, None), (name, code)
        ended = _content(folder / "runs/out")
        equal = equal and ended == aim
        for file in sorted(k for k in ended.keys() | aim.keys() if ended.get(k) != aim.get(k)):
            print(f"  {name}: {file}: {_difference(ended.get(file), aim.get(file))}", flush=True)
    return killed, started, equal, seconds


def _difference(one: object, other: object) -> str:
    if one is None or other is None:
        return "left behind" if other is None else "missing"
    if isinstance(one, list) and isinstance(other, list):
        pairs = [(a, b) for a, b in itertools.zip_longest(one, other) if a != b]
        return f"{len(pairs)} records, the first {pairs[0]}"
    return "other content"


def _fresh(base: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    return folder


def _carry_out(work: Callable[[], int], folder: Path, kill_after: float | None) -> int | None:
    """Run ``work`` in a process of its own in ``folder``; its exit code, or None where it was killed."""
    child = os.fork()  # not a new interpreter: most of the time would go into imports
    if child == 0:
        os.setsid()  # its own processes are killed with it
        os.chdir(folder)
        with Path(folder / "log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        try:
            os._exit(work())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    began = time.monotonic()
    while kill_after is None or time.monotonic() - began < kill_after:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(child, 9)
    _, status = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def _call(arguments: list[str]) -> int:
    sys.argv = ["semirobust", *arguments, *(["--json"] if arguments[0] != "report" else [])]
    try:
        program()
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 1
    return 0


def _reproduced(workers: int) -> int:
    reproduce(_STUDY, "cpu", Path("runs/out"), only=_UNITS, workers=workers, changes=_SMALL)
    return 0


def _shown() -> int:
    demo(Path("runs/out"), seeds=1, workers=1, changes=_DEMO)
    return 0


def _judged_before(folder: Path) -> int:
    """An evaluation whose numbers are not those that will be found."""
    shutil.copytree("runs/base", "runs/out")
    code = _call(STAGES["evaluate, over other numbers"])
    file = Path("runs/out/records/3-evaluate.jsonl")
    records = [
        r.model_copy(update={"value": 0.5})
        if isinstance(r, Number) and r.quantity is Quantity.ACCURACY
        else r
        for r in read_records(file)
    ]
    write_records(file, records)
    return code


def _pruned_before(folder: Path) -> int:
    return _call([*STAGES["prune"], "--keep", "0"])


_WORK: Mapping[str, Callable[[], int]] = {
    "reproduce": partial(_reproduced, 1),
    "reproduce, two workers": partial(_reproduced, 2),
    "demo": _shown,
}
_PREPARED: Mapping[str, Callable[[Path], int]] = {
    "evaluate, over other numbers": _judged_before,
    "prune, over another level": _pruned_before,
}


def _content(folder: Path) -> dict[str, object]:
    """What every file says, but for seconds."""
    found: dict[str, object] = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"):
        name = str(file.relative_to(folder))
        if file.suffix == ".safetensors":
            tensors = {
                key: (t.dtype, tuple(t.shape), t.numpy().tobytes()) for key, t in read_tensors(file).items()
            }
            found[name] = (tensors, _timeless(read_metadata(file)))
        elif file.suffix == ".jsonl":
            records = [json.loads(split_seal(line)[0]) for line in file.read_text().splitlines()]
            found[name] = [
                r for r in records if not any(word in str(r.get("quantity", "")) for word in _TIMED)
            ]
        elif file.suffix == ".html" and (folder / "records").is_dir():
            found[name] = "drawn from records, which have seconds"
        else:
            found[name] = file.read_bytes()
    return found


def _timeless(content: object) -> object:
    """Without seconds, and without the checksum over them."""
    if isinstance(content, dict):
        return {key: _timeless(value) for key, value in content.items() if key not in ("seconds", "sum")}
    return [_timeless(value) for value in content] if isinstance(content, list) else content


if __name__ == "__main__":
    main()

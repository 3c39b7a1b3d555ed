"""The bench of an accelerator: ``python -m benchmarks.gpu [--out FILE] [--seconds 520] [PART ...]``.

It runs from the checkout (``PYTHONPATH=src``) with PyTorch and NumPy alone. Each part is a process of its own
with a share of the time, and writes each record as soon as it is known, so that a run that is cut off keeps
what it has. Parts are prepare, training, pgd, dependence, usefulness, processes and autoattack.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.machine import Records, described
from benchmarks.gpu.subject import FULL, SMALL, Size, prepare, subject

_SECONDS = {
    "prepare": 60,
    "training": 110,
    "pgd": 40,
    "dependence": 40,
    "usefulness": 40,
    "processes": 50,
    "autoattack": 320,
}
"""Part -> the seconds that it may take at most; the last has what the others leave."""
_START = 8  # seconds of a process before it begins, in which no part is worth starting


def main() -> None:
    """All parts, or one of them in a process of its own."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(_SECONDS), metavar="PART", help=", ".join(_SECONDS))
    parser.add_argument(
        "--out", type=Path, default=Path("bench-gpu.jsonl"), help="records, to which is added"
    )
    parser.add_argument("--seconds", type=float, default=520, help="for all of it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="in small, to see that it works")
    parser.add_argument("--together", action="store_true", help="all parts in one process")
    parser.add_argument("--within", help=argparse.SUPPRESS)  # one part: folder and seconds
    asked = parser.parse_args()
    if unknown := [part for part in asked.parts if part not in _SECONDS]:
        parser.error(f"part: expected some of {', '.join(_SECONDS)}; got {unknown[0]}")
    device, size = torch.device(asked.device), SMALL if asked.small else FULL
    records = Records(asked.out, described(device))
    if asked.within:
        folder, _, seconds = asked.within.rpartition(":")
        _part(asked.parts[0], size, device, Path(folder), asked.out, float(seconds))
        return
    if device.type == "cpu" and size is FULL:
        parser.error("device: expected a GPU, found none; --small shows on the CPU that it works")
    records.write("machine", "the device", small=asked.small)
    with tempfile.TemporaryDirectory(prefix="semirobust-gpu-") as folder:
        for part in dict.fromkeys(["prepare", *asked.parts]):
            left = asked.seconds - (time.monotonic() - began)
            if left < _START:
                records.leave_out(part, f"{asked.seconds:.0f} s were over")
                continue
            if asked.together:
                _part(part, size, device, Path(folder), asked.out, left)
            else:
                _in_a_process(part, asked, Path(folder), min(_SECONDS[part], left), records)
    records.write("machine", "the end", seconds=time.monotonic() - began)


def _in_a_process(
    part: str, asked: argparse.Namespace, folder: Path, seconds: float, records: Records
) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", part, "--within", f"{folder}:{seconds}"]
    command += ["--out", str(asked.out), "--device", asked.device, *(["--small"] if asked.small else [])]
    try:
        code = subprocess.run(command, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        records.leave_out(part, f"the rest of it did not fit into {seconds:.0f} s")
        return
    if code:
        records.leave_out(part, f"it failed with code {code}; what it said stands above")


def _part(part: str, size: Size, device: torch.device, folder: Path, out: Path, seconds: float) -> None:
    """One part; what fails in it is said, and the rest of it runs."""
    from benchmarks.gpu import attacks, layers, processes, training

    warnings.simplefilter("ignore")
    records, until = Records(out, described(device)), time.monotonic() + seconds - _START
    if part not in ("prepare", "dependence", "usefulness"):
        if not (folder / "subject.pt").is_file():
            records.leave_out(part, "there is no network, since preparing it failed")
            return
        s = subject(size, device, folder)
        records = Records(out, {**records.about, "images_are": s.images})
    where: dict[str, Any] = {"size": size, "device": device, "records": records}
    works: dict[str, list[Callable[[], None]]] = {
        "prepare": [lambda: prepare(folder=folder, **where)],
        "dependence": [lambda: layers.edge(**where)],
        "usefulness": [lambda: layers.useful(**where)],
        "training": [lambda each=each: each(s=s, **where) for each in training.WORKS],
        "pgd": [lambda: attacks.against_a_plain_loop(s=s, **where)],
        "processes": [lambda: processes.run(folder=folder, seconds=until - time.monotonic(), **where)],
        "autoattack": [lambda: attacks.autoattack(s=s, seconds=until - time.monotonic(), **where)],
    }
    for work in works[part]:
        try:
            work()
        except Exception as error:  # what never ran on such a device can fail in any way
            traceback.print_exc()
            records.leave_out(part, f"it failed: {type(error).__name__}: {str(error)[:300]}")


if __name__ == "__main__":
    main()

"""One network under all functions, in a process of its own."""

import faulthandler
import json
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch

from stress.matrix.case import Case, Crashed, OutOfTime, Refused, Wrong
from stress.matrix.functions import FUNCTIONS
from stress.zoo import find

__all__ = ["cells_in", "file_of", "run_one"]

_MEMORY = 12 << 30


def file_of(folder: Path, network: str) -> Path:
    """Where the cells of a network are kept."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in network.replace("/", "__"))
    return folder / f"{kept}.json"


def cells_in(file: Path) -> dict[str, dict[str, object]]:
    """Function -> its cell, of those that are done or were begun."""
    return json.loads(file.read_text())["cells"] if file.is_file() else {}


def run_one(network: str, functions: Iterable[str], folder: Path, seconds: int) -> None:
    """Fill these cells of a network; each is written before it begins and after it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _out_of_time)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    file, case = file_of(folder, network), Case(find(network))
    with (folder / "errors.txt").open("a") as errors:
        faulthandler.enable(errors)
        os.dup2(errors.fileno(), 2)
        for function in functions:
            _write(file, network, function, {"state": "running"})
            start = time.process_time()
            state, text = _cell(case, function, seconds)
            if state != "ok":  # whatever it left behind is not handed on
                case = Case(case.network)
            spent = round(time.process_time() - start, 2)
            _write(file, network, function, {"state": state, "text": text, "seconds": spent})


def _cell(case: Case, function: str, seconds: int) -> tuple[str, str]:
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        return "ok", FUNCTIONS[function](case)
    except Refused as refused:
        return "refused", str(refused)
    except Wrong as wrong:
        return "wrong", str(wrong)
    except Crashed as crashed:
        return "crash", str(crashed)
    except OutOfTime:
        return "crash", f"more than {seconds} seconds of processor time"
    except Exception as error:  # this script's own fault, or the network's: counted apart
        frame = traceback.extract_tb(error.__traceback__)[-1]
        first = (str(error).strip().splitlines() or [""])[0][:200]
        return "harness", f"{type(error).__name__}: {first} ({Path(frame.filename).name}:{frame.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _out_of_time(number: int, frame: object) -> None:
    raise OutOfTime


def _write(file: Path, network: str, function: str, cell: dict[str, object]) -> None:
    cells = cells_in(file)
    cells[function] = cell
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps({"network": network, "cells": cells}, indent=1))
    temporary.replace(file)

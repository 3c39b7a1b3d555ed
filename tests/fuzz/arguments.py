"""Command lines that nobody means."""

import contextlib
import io
import os
import random
import sys
from pathlib import Path

from semirobust.cli.app import main as program
from tests.fuzz.fuzzer import bounded

__all__ = ["attempt_arguments", "command_line", "small_run"]

_VALUES = (
    "",
    " ",
    "-1",
    "0",
    "1",
    "2",
    "3.5",
    "nan",
    "inf",
    "-inf",
    "1e99",
    "8/255",
    "1/0",
    "a/b",
    "9" * 40,
    "none",
    "null",
    "true",
    "[]",
    "{}",
    "[[",
    '{"a": 1}',
    "../..",
    "/dev/null",
    "/proc/self/mem",
    ".",
    "runs/a",
    "runs/a/model.safetensors",
    "digits",
    "resnet8",
    "pgd-0",
    "pgd--1",
    "pgd-1x0",
    "fgsm,fgsm",
    "os:system",
    "semirobust:nothing",
    "a.b=c",
    "=",
    "x=",
    "train.epochs=-1",
    "seed=x",
    "data.train=0",
    "model.options={}",
    "model.name=os:system",
    "evaluate.attacks=[]",
    "threat.norm=l7",
    "\0",
    "ü\u202e",
    "--",
    "-h",
    "1,2",
    "1,,2",
    "x" * 5000,
)
_COMMANDS = {
    "train": (
        "--out",
        "--data",
        "--eps",
        "--norm",
        "--objective",
        "--attack",
        "--batch-size",
        "--lr",
        "--schedule",
        "--augment",
        "--precision",
        "--seed",
        "--width",
        "--model",
        "--device",
        "--devices",
        "--threads",
        "--set",
        "--recipe",
        "--image-size",
    ),
    "evaluate": (
        "--out",
        "--model",
        "--checkpoint",
        "--data",
        "--attacks",
        "--examples",
        "--norm",
        "--eps",
        "--set",
        "--recipe",
        "--device",
    ),
    "profile": (
        "--out",
        "--measures",
        "--examples",
        "--attack",
        "--set",
        "--checkpoint",
        "--data",
        "--width",
        "--device",
    ),
    "harden": (
        "--from",
        "--method",
        "--layers",
        "--k",
        "--out",
        "--epochs",
        "--lr",
        "--set",
        "--seeds",
        "--attacks",
        "--examples",
    ),
    "prune": (
        "--from",
        "--levels",
        "--fraction",
        "--saliency",
        "--rewind",
        "--macs",
        "--export",
        "--set",
        "--seeds",
        "--out",
    ),
    "recover": ("--normal", "--layers", "--trials", "--tolerance", "--protocol", "--set", "--out"),
    "reproduce": (
        "--scale",
        "--only",
        "--seeds",
        "--page",
        "--packed",
        "--unpack",
        "--workers",
        "--launcher",
        "--launcher-set",
        "--retries",
        "--data-root",
    ),
    "report": ("--out", "--title"),
    "data": ("--data-root", "--set"),
    "models": ("--set",),
    "attacks": ("--json",),
}
_ALWAYS = {
    "train": ["--epochs", "0", "--set", "data.train=20"],
    "evaluate": ["--examples", "4"],
    "profile": ["--examples", "4"],
    "harden": ["--epochs", "0", "--examples", "4"],
    "prune": ["--epochs", "0", "--levels", "1", "--examples", "4", "--width", "0.125"],
    "recover": ["--epochs", "0"],
    "reproduce": ["--list"],
}


def small_run(folder: Path) -> None:
    """A run folder ``runs/a`` to speak of."""
    _call(
        folder,
        [
            "train",
            "--data",
            "digits",
            "--model",
            "resnet8",
            "--width",
            "0.125",
            "--epochs",
            "0",
            "--set",
            "data.train=20",
            "--out",
            "runs/a",
        ],
    )


def command_line(chance: random.Random) -> list[str]:
    """A command, what keeps it short, and options with values of another kind than they ask for."""
    command = chance.choice([*_COMMANDS, chance.choice(_VALUES)])
    options = _COMMANDS.get(command, ("--out", "--json", "--nothing"))
    line = [
        command,
        *(["runs/a"] if chance.random() < 0.6 else [chance.choice(_VALUES)] if chance.random() < 0.5 else []),
    ]
    for _ in range(chance.randrange(1, 5)):
        option, value = chance.choice(options), chance.choice(_VALUES)
        line += [
            option,
            "1" if option == "--seeds" and value.isdigit() else value,
        ]  # many seeds take long, as they should
    return [*line, *_ALWAYS.get(command, [])]


def attempt_arguments(folder: Path, line: list[str]) -> str:
    """Call the program; a sentence where it did something else than work, or refuse in one sentence with code
    2.
    """
    return _call(folder, line)


def _call(folder: Path, line: list[str]) -> str:
    here, arguments = Path.cwd(), sys.argv
    out, errors = io.StringIO(), io.StringIO()
    os.chdir(folder)
    sys.argv = ["semirobust", *line]
    code: object = 0
    try:
        with bounded(30), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            program()
    except SystemExit as leave:
        code = leave.code
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        sys.argv = arguments
        os.chdir(here)
    said = errors.getvalue()
    if "Traceback" in said or code not in (0, 1, 2, None):
        return f"code {code}: {said[-300:]}"
    if code == 2 and "error: " not in said:
        return f"code 2 without a sentence: {said[-200:]!r}"
    return ""

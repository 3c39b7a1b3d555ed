"""How commands end, whatever the terminal, the locale, the names and the machine are."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from semirobust.cli import console, progress, streams
from semirobust.cli.app import main
from semirobust.core.errors import InputError, LostProcessError
from semirobust.core.text import in_markdown, printable, unicode_all
from semirobust.experiments import build, parallel
from semirobust.experiments.launch import LAUNCHERS
from tests.kinds import attempt
from tests.programs import PROGRAM, started, wait_until

ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
HOSTILE = (
    "a\x1b[31mred",
    "a\x1b]0;title\x07",
    "a\x9b2Jb",
    "a\u202eb\u2066c",
    "a\u200bb\ufeffc",
    "a\nerror: b\rc",
    "a\u2028b\x85c",
    "a\udcffb",
    "[bold]a[/bold][link=http://x]b[/link]",
    "a\U000e0041b",
)


def _shell(line, tmp_path, **variables):
    """Exit code, output and errors of a line of bash in which $SR is the program."""
    environment = {**os.environ, "SR": " ".join(PROGRAM), **variables}
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@attempt(
    "Escape sequences, turns of direction, invisible characters, ends of lines and bytes that are no UTF-8 in names",
    "they are printed as escapes, on one line; markup of the terminal library is printed as it stands",
    promise="terminal",
)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_on_the_terminal(name, capsys, monkeypatch):
    console.tell(name)
    console.show_table(name, (name, name), [(name, name)])
    monkeypatch.setattr(sys, "argv", ["semirobust", "report", f"/nowhere/{name}"])
    with pytest.raises(SystemExit) as left:
        main()
    found = capsys.readouterr()
    assert left.value.code == 2 and found.err.startswith("error: records: ") and found.err.count("\n") == 1
    shown = found.out.replace("\n", "") + found.err.replace("\n", "")
    assert shown.isprintable() and printable(name)[:6] in shown
    with progress.bars() as told:
        told(name, 1, 2)
    assert "\x1b]0;" not in capsys.readouterr().err


def test_what_can_be_printed_stays_as_it_is():
    for text in ("ε 0.1 → 8/255, ℓ∞ – ×", "Ünïcödé 猫 🐈", "a b"):
        assert printable(text) == text
    assert (
        in_markdown("PGD-20, ε = 8/255 (95 %) [1 of 2] a_b *c*")
        == "PGD-20, ε = 8/255 (95 %) [1 of 2] a_b *c*"
    )


@attempt(
    "Control characters in messages of logging and warnings, as those of readers that quote a file",
    "each is one line, with escapes",
    promise="terminal",
)
def test_messages_of_logging_and_warnings(tmp_path):
    code = (
        "import logging, warnings\nfrom semirobust.cli.streams import settle\nsettle()\n"
        "logging.getLogger('x').warning('a\\x1b[2J\\u202e\\nb')\nwarnings.warn('c\\x1b]0;d\\nb')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        "\x1b" not in done.stderr
        and "a\\x1b[2J\\u202e\\nb" in done.stderr
        and "c\\x1b]0;d\\nb" in done.stderr
    )


@attempt(
    "`--json` of numbers that are not finite and names that no UTF-8 holds",
    "strict JSON in ASCII",
    promise="terminal",
)
def test_json_is_strict_and_ascii(capsys):
    content = {"a\udcff": float("nan"), "b": [float("inf"), "ε\x1b\u2028", Path("x")], 3: (1, None, True)}
    console.print_json(content)
    out = capsys.readouterr().out

    def refused(constant):
        raise AssertionError(constant)

    assert out.isascii() and "\x1b" not in out
    found = json.loads(out, parse_constant=refused)
    assert found == {"a\\xff": None, "b": [None, "ε\x1b\u2028", "x"], "3": [1, None, True]}
    assert unicode_all(float("inf")) == float("inf")


@attempt(
    "Standard output that is closed, full or not read any more, with and without `--json`",
    "one sentence on standard error and exit code 1, after the work is done and its files are written",
    promise="terminal",
)
@pytest.mark.parametrize(
    "line",
    [
        "$SR data --json >&-",
        "$SR data >/dev/full",
        "$SR data >&- <&-",
        "set -o pipefail; $SR data --json | true",
        "set -o pipefail; $SR --help | true",
    ],
)
def test_output_that_cannot_be_written(tmp_path, line):
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    code, _, errors = _shell(line, tmp_path)
    assert code == 1 and errors.startswith(b"error: standard output: ") and errors.count(b"\n") == 1


@attempt(
    "Standard output and error both closed, or standard error alone",
    "results are written; the exit code tells the rest, and no file is opened in their place",
    promise="terminal",
)
def test_everything_closed(tmp_path):
    assert _shell("$SR data >&- 2>&-", tmp_path) == (1, b"", b"")
    code, out, _ = _shell("$SR data --json 2>&-", tmp_path)
    assert code == 0 and json.loads(out)
    code, out, _ = _shell("$SR report nowhere 2>&- <&-", tmp_path)
    assert (code, out) == (2, b"")


def test_a_run_goes_on_when_nobody_reads_it_any_more(tmp_path):
    small = "--data digits --model mlp_300_100_100 --epochs 1 --set data.train=60 --attack fgsm --out run"
    code, _, errors = _shell(f"set -o pipefail; $SR train {small} 2>&1 >/dev/null | true", tmp_path)
    assert code == 0 and not errors and (tmp_path / "run" / "records").is_dir()


@attempt(
    "A locale without UTF-8",
    "every command ends as with it; ε, arrows and the like are written in ASCII",
    promise="terminal",
)
@pytest.mark.parametrize("variables", [ASCII, {"PYTHONIOENCODING": "ascii"}], ids=["C", "ioencoding"])
@pytest.mark.parametrize("line", ["$SR train --help", "$SR data"])
def test_locales_without_utf8(tmp_path, variables, line):
    code, out, errors = _shell(line, tmp_path, **variables)
    assert code == 0 and not errors and out.isascii() and len(out) > 100


@attempt(
    "Names of folders and files that are no UTF-8, in a locale without it and with it",
    "they are used as they are and printed as escapes",
    promise="terminal",
)
@pytest.mark.parametrize("variables", [{}, ASCII], ids=["UTF-8", "C"])
def test_names_of_files_that_are_no_utf8(tmp_path, variables):
    line = "$SR train --data digits --model mlp_300_100_100 --epochs 1 --set data.train=60 --attack fgsm --out $'r\\xff\\xce\\xb5' && $SR report $'r\\xff\\xce\\xb5' --title $'\\xff\\xce\\xb5' --out $'p\\xff.html' --csv $'c\\xff'"
    code, out, errors = _shell(line, tmp_path, **variables)
    assert code == 0 and b"Traceback" not in errors and b"\\xff" in out and b"\xff" not in out
    assert os.fsdecode(b"p\xff.html") in [path.name for path in tmp_path.iterdir()]


@attempt(
    "Terminals of one column, of none, without colours and without any abilities",
    "the command ends as on any other",
    promise="terminal",
)
@pytest.mark.parametrize(
    "variables", [{"COLUMNS": "1"}, {"COLUMNS": "0"}, {"COLUMNS": "20", "TERM": "dumb"}, {"NO_COLOR": "1"}]
)
def test_terminals_of_any_kind(tmp_path, variables):
    code, out, errors = _shell("$SR data", tmp_path, **variables)
    assert code == 0 and out and not errors


@attempt(
    "Numbers of 5,000 digits on the command line",
    "one sentence of at most a thousand characters, exit code 2",
    promise="terminal",
)
@pytest.mark.parametrize(
    "flag",
    ["--epochs", "--seed", "--eps", "--width", "--threads", "--devices", "--set=train.epochs", "--set=seed",
     "--attack=pgd-", "--batch-size", "--learning-rate"],
)  # fmt: skip
def test_numbers_of_thousands_of_digits(tmp_path, flag, capsys, monkeypatch):
    for digits in ("9" * 5000, "9" * 4000, "1e" + "9" * 400):
        name, _, rest = flag.partition("=")
        value = f"{rest}{digits}" if rest.endswith("-") else f"{rest}={digits}" if rest else digits
        argv = [
            "semirobust",
            "train",
            "--data",
            "digits",
            "--model",
            "mlp_300_100_100",
            "--out",
            str(tmp_path / "r"),
        ]
        monkeypatch.setattr(sys, "argv", [*argv, name, value])
        with pytest.raises(SystemExit) as left:
            main()
        errors = capsys.readouterr().err.strip() + "\n"
        assert left.value.code == 2 and errors.startswith("error: ") and errors.count("\n") == 1
        assert len(errors) < 1100


@attempt(
    "A port for several processes that is taken, or none",
    "one sentence that says which, exit code 2, before another process is started",
    promise="lost",
)
def test_a_taken_port(monkeypatch):
    class Two:
        world_size = 2

        def launch(self):
            raise AssertionError("started")

    for name in ("LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        with pytest.raises(InputError, match="MASTER_PORT: expected a free port"):
            build.launch(Two())
    for port in ("abc", "0", "70000", "", "9" * 5000):
        monkeypatch.setenv("MASTER_PORT", port)
        with pytest.raises(InputError, match="MASTER_PORT: expected a port"):
            build.launch(Two())


@attempt(
    "Processes of a run that cannot meet, as where an address is wrong",
    "the others are ended and one sentence says where they were to meet",
    promise="lost",
)
def test_processes_that_cannot_meet(monkeypatch):
    ended = []

    class Other:
        def kill(self):
            ended.append(self)

    class Two:
        world_size = 2
        strategy = type("S", (), {"launcher": type("L", (), {"procs": [Other(), Other()]})})

        def launch(self):
            raise RuntimeError("The server socket has failed to listen\nC++ stack")

    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(InputError, match="cannot meet"):
        build.launch(Two())
    assert len(ended) == 2


def _dies(number, progress):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _ends(number, progress):
    if number == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return number


@attempt(
    "A worker process that the system kills",
    "one sentence and exit code 1; runs of `reproduce` that are done stay done",
    promise="lost",
)
@pytest.mark.parametrize("work", [_dies, _ends])
def test_a_killed_worker(work, capsys, monkeypatch):
    with pytest.raises(LostProcessError, match="a worker was killed"):
        parallel.for_each_seed(work, 3, lambda *_: None, 2)
    with pytest.raises(LostProcessError, match="what is done stays"):
        LAUNCHERS.make("local")(work, 2, lambda *_: None)
    import semirobust.cli.commands.demo as demo

    def run(*_, **__):
        raise LostProcessError("a worker was killed")

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setattr(sys, "argv", ["semirobust", "demo", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1 and capsys.readouterr() == ("", "error: a worker was killed\n")


@attempt(
    "Ctrl-C twice, SIGTERM, a terminal that is closed",
    "one sentence each, exit codes 130, 143 and 129; below `nohup` a closed terminal changes nothing",
    promise="lost",
)
@pytest.mark.parametrize(
    ("numbers", "code"),
    [((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM,), 143), ((signal.SIGHUP,), 129),
     ((signal.SIGHUP, signal.SIGTERM, signal.SIGINT), 129)],
)  # fmt: skip
def test_signals(tmp_path, numbers, code):
    # Where the suite itself runs below nohup, whatever it starts would ignore a closed terminal.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        _end_by_signals(tmp_path, numbers, code)
    finally:
        signal.signal(signal.SIGHUP, before)


def _end_by_signals(tmp_path, numbers, code):
    with started(tmp_path, "train", "--data", "digits", "--model", "resnet8", "--set", "data.train=1000",
                 "--epochs", "500", "--out", "run") as process:  # fmt: skip
        wait_until(
            lambda: (tmp_path / "run" / "settings.json").exists() or any(tmp_path.rglob("*.safetensors")),
            process,
        )
        for number in numbers:
            process.send_signal(number)
        _, errors = process.communicate(timeout=600)
    assert process.returncode == code and "Traceback" not in errors
    assert errors.count("interrupted; ") == 1


_WRITES = """
import sys
from semirobust.cli.ending import _listen
_listen()
while True:
    print("epoch", file=sys.stderr)
"""


@attempt(
    "SIGTERM while a line is written to standard error, and where nobody reads that any more",
    "exit code 143 at once, without a traceback",
    promise="lost",
)
@pytest.mark.parametrize("read", [True, False])
def test_a_signal_while_writing(read):
    with subprocess.Popen([sys.executable, "-c", _WRITES], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        if not read:
            time.sleep(0.5)  # the pipe is full by then
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read() if read else ""
        assert process.wait(60) == 143 and "Traceback" not in said
        assert not read or said.count("interrupted; ") == 1


def test_a_stream_is_settled_once_and_keeps_its_kind(monkeypatch):
    assert streams.in_reach("ε") == "ε"
    before = warnings.formatwarning, logging.lastResort.formatter
    monkeypatch.setattr(streams, "_sinks", {"stdout": None})
    streams.settle()
    assert before == (warnings.formatwarning, logging.lastResort.formatter)


@attempt(
    "`data --fetch NAME --json`",
    "JSON and nothing but JSON on standard output",
    promise="terminal",
)
def test_fetch_as_json(tmp_path, capsys, monkeypatch):
    import semirobust.cli.commands.data as data

    monkeypatch.setattr(data, "download", lambda *_, **__: tmp_path)
    monkeypatch.setattr(sys, "argv", ["semirobust", "data", "--fetch", "mnist", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0 and json.loads(capsys.readouterr().out) == {
        "name": "mnist",
        "folder": str(tmp_path),
    }

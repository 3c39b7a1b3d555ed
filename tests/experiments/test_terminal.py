"""What a terminal shows: the header, tables at any width, epochs and the time that is left."""

import json
import logging
import queue
import re
from pathlib import Path

import pytest

from semirobust.cli.header import both_ways
from semirobust.cli.progress import Clock, bars, spoken_time
from semirobust.cli.tables import laid_out, wrapped
from semirobust.experiments import parallel
from semirobust.experiments.commands.demo import DEMO
from semirobust.experiments.recipe import read_recipe
from semirobust.training import training

SMALL = ("--model", "resnet8", "--width", "0.25", "--set", "data.train=64", "--batch-size", "32")


@pytest.fixture
def trained(run):
    run("train", "--out", "a", *SMALL, "--epochs", 1, "--attack", "pgd-1")
    return "a"


LONG = "a long sentence about a licence, with words in it such as naturalisation and https://example.org/a/b"
TABLES = {
    "numbers": (
        ["", *(f"measure {i} of robustness" for i in range(9))],
        [[f"layer {j} stages.{j}.downsample.conv", *(f"{i * j + 0.123:.3f} [0.001, 12.5]" for i in range(9))] for j in range(4)],
        False,
    ),
    "words": (
        ["setting", "type", "default", "meaning"],
        [[f"harden.options.attack_options.{i}", "list of numbers or none", str(i), LONG] for i in range(3)],
        True,
    ),
    "lines": (["", "clean", "pgd-20x2"], [["clat, random layers", ["96.7", "88.5 to 99.6"], ["85.8", "75.2 to 96.4"]]] * 2, False),
}  # fmt: skip


@pytest.mark.parametrize("width", [40, 80, 100, 160])
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_no_wider_than_the_terminal_and_loses_nothing(table, width):
    header, rows, left = TABLES[table]
    lines = laid_out(header, rows, width, left=left)
    words = [word for row in rows for word in " ".join(map(str, row)).split()]
    assert max(map(len, lines)) <= max(width, *map(len, words))
    shown = " ".join(lines).split()
    for row in rows:
        for cell in row:
            for text in [cell] if isinstance(cell, str) else cell:
                assert all(word in shown for word in text.split()), text  # no word is cut
    if width >= 80:
        assert max(map(len, lines)) <= width


def test_columns_that_do_not_fit_stand_below_with_the_first_one_again():
    header, rows, _ = TABLES["numbers"]
    text = "\n".join(laid_out(header, rows, 80))
    assert text.count("stages.1.downsample.conv") > 1
    assert "\n\n" in text and "stages.1.downsample.conv" in text.split("\n\n")[1]


def test_sentences_are_broken_between_words():
    lines = wrapped(LONG, 30)
    assert max(map(len, lines)) <= max(30, len("https://example.org/a/b")) and " ".join(lines) == LONG


def test_a_radius_is_said_both_ways():
    assert both_ways(8 / 255) == "8/255 = 0.0314" and both_ways(0.15) == "38.25/255 = 0.15"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (3.2, "3 s"),
        (99, "99 s"),
        (100, "2 min"),
        (12_000, "3 h 20 min"),
        (7200, "2 h"),
        (200_000, "2 days 8 h"),
    ],
)
def test_times_are_said_as_people_say_them(seconds, said):
    assert spoken_time(seconds) == said


def test_the_clock_knows_all_trainings_and_passes_over_those_done_before():
    clock = Clock([("train", 10), ("seed 1: clat", 5), ("seed 2: clat", 5)])
    assert not clock.step("attack", 0.5, 0.0) and clock.left is None
    clock.step("train", 0.1, 100.0)
    clock.step("train", 0.2, 110.0)  # an epoch takes 10 s
    assert clock.left == pytest.approx(18 * 10)
    clock.step("seed 1: clat", 0.2, 190.0)  # 11 epochs are done, 10 of them within 90 s
    assert clock.left == pytest.approx(9 * 9)
    resumed = Clock([("level 0", 4), ("level 1", 4), ("level 2", 4)])
    resumed.step("level 1", 0.25, 0.0)
    resumed.step("level 1", 0.5, 5.0)
    assert resumed.left == pytest.approx(6 * 5)


def test_the_header_says_what_runs(run, trained):
    out, err = run(
        "evaluate", trained, "--examples", 10, "--attacks", "pgd-2", "--checks", 4, "--device", "cpu"
    )
    lines = {line.split()[0]: line for line in err.splitlines()}
    assert "10 of its 500 test images are used" in lines["data"]
    assert "resnet8" in lines["model"] and "weights of the run a" in lines["model"]
    assert re.search(r"[\d,]+ parameters", lines["model"])
    assert "8/255 = 0.0314" in lines["threat"] and "pgd-2" in lines["attacks"]
    assert "cpu, 1 thread" in lines["device"]
    assert lines["writes"].endswith("a, beside what it has: train") and "writes" not in out
    _, err = run("evaluate", trained, "--examples", 10, "--attacks", "pgd-3", "--checks", 4)
    assert "evaluate (pgd-2; 10 images at most; linf 0.03137)" in err  # what is there already
    out, err = run("evaluate", trained, "--examples", 10, "--attacks", "pgd-2", "--checks", 4, "--json")
    assert err == "" and json.loads(out)["accuracy"]


def test_surprising_defaults_are_said_before_a_run(run):
    _, err = run("train", "--out", "b", *SMALL[4:], "--width", "0.1", "--epochs", 0)
    assert "of 10 classes (by default)" in err and "resnet18 (by default), fresh weights" in err
    assert "8/255 = 0.0314 (by default)" in err
    _, err = run("train", "--out", "c", *SMALL, "--data", "digits", "--eps", "8/255", "--epochs", 0)
    assert "by default" not in err


def test_every_epoch_is_a_line_without_control_characters(run):
    _, err = run("train", "--out", "a", *SMALL, "--epochs", 2, "--attack", "pgd-1")
    lines = [line for line in err.splitlines() if line.startswith("epoch")]
    pattern = r"epoch {} of 2: loss \d+\.\d{{4}}; held out: clean [\d.]+%, robust [\d.]+%"
    assert re.match(pattern.format(1) + r"; about \d+ s left in all$", lines[0])
    assert re.match(pattern.format(2) + "$", lines[1])
    assert all(line.isprintable() for line in err.splitlines())


def test_epochs_of_several_seeds_say_which(run, trained):
    _, err = run("harden", "--from", trained, "--out", "h", "--method", "adversarial", "--epochs", 1, "--attack", "pgd-1",
                 "--seeds", 2, "--attacks", "pgd-1", "--examples", 20, "--set", "profile.examples=20")  # fmt: skip
    assert "seed 1: adversarial, epoch 1 of 1" in err and "seed 2: adversarial, epoch 1 of 1" in err
    assert "2 seeds" in err


def test_epochs_of_other_processes_are_heard(capsys, monkeypatch):
    def work(number, progress):
        progress(f"seed {number}: train", 1, 1)
        logging.getLogger("semirobust.training").info("epoch 1 of 1: loss 1", extra={"epoch": 1})

    messages = queue.Queue()
    monkeypatch.setattr(parallel, "_messages", messages)
    for number in (0, 1):
        parallel._run(work, number)  # as each process does
    with bars() as told:
        parallel._forward(messages, told)
    assert capsys.readouterr().err.splitlines() == [
        "seed 0: train, epoch 1 of 1: loss 1",
        "seed 1: train, epoch 1 of 1: loss 1",
    ]


def test_a_table_for_each_measure(run, trained, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out, _ = run("profile", trained, "--measures", "criticality,weight-criticality,gradient-norm,readout",
                 "--examples", 100, "--set", "profile.attack=pgd-1")  # fmt: skip
    for name in ("criticality", "weight-criticality", "gradient-norm", "readout"):
        assert re.search(rf"^{name}\b.*, by \d+ images$", out, re.M), name
    assert max(map(len, out.splitlines())) <= 80


def test_checks_can_be_left_out_and_this_is_said(run, trained):
    out, _ = run("evaluate", trained, "--examples", 10, "--attacks", "pgd-2", "--no-checks")
    assert "Note: no sanity checks were run" in out and "Sanity checks passed" not in out
    assert any("no sanity checks" in file.read_text() for file in Path("a/records").iterdir())
    _, err = run("evaluate", trained, "--checks", 5, "--no-checks", code=2)
    assert "--no-checks" in err


COMMANDS = {
    "train": ("--epochs", "3", "--model", "resnet8", "--eps", "4/255", "--set", "train.momentum=0.5"),
    "evaluate": ("--attacks", "fgsm,pgd-7", "--model", "resnet8", "--sweep", "1/255,2/255", "--no-checks"),
    "profile": ("--measures", "criticality,readout", "--model", "resnet8"),
    "harden": ("--recipe", "trades", "--method", "clat", "--k", "2", "--layers", "3,5", "--out", "x y"),
    "recover": ("--set", "recover.layers=auto", "--no-controls"),
    "prune": ("--model", "resnet8", "--levels", "2", "--keep", "1"),
    "audit": ("--eps", "0.1", "--model", "resnet8"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_settings_that_are_printed_make_the_same_recipe(run, tmp_path, command):
    text, err = run(command, *COMMANDS[command], "--print-settings")
    assert text.startswith(f"# semirobust {command} --recipe THIS-FILE") and not err
    (tmp_path / "printed.toml").write_text(text)
    again, _ = run(command, "--recipe", "printed.toml", "--print-settings")
    assert again.partition("\n")[2] == text.partition("\n")[2]
    if command == "harden":
        assert "options = { k = 2, layers = [3, 5] }" in text and "--out 'x y'" in text.splitlines()[0]
    if command == "recover":
        assert 'layers = "auto"' in text


def test_the_settings_of_the_demo_are_a_recipe(run):
    Path("demo.toml").write_text(run("demo", "--print-settings")[0])
    assert read_recipe(Path("demo.toml")) == read_recipe(None, DEMO)


def test_settings_of_a_run_are_printed_with_what_it_was_trained_with(run, trained, tmp_path):
    text, _ = run("evaluate", trained, "--attacks", "pgd-2", "--examples", 20, "--print-settings")
    assert 'name = "resnet8"' in text and "width = 0.25" in text and text.startswith("# semirobust evaluate")
    (tmp_path / "r.toml").write_text(text)
    first = run("evaluate", trained, "--attacks", "pgd-2", "--examples", 20, "--json")[0]
    assert json.loads(run("evaluate", trained, "--recipe", "r.toml", "--json")[0]) | {
        "notes": []
    } == json.loads(first) | {"notes": []}


def test_a_printed_recipe_names_no_code(run):
    text, _ = run("evaluate", "--model", "own:net", "--set", "model.options.depth=3", "--print-settings")
    first, rest = text.split("\n", 1)
    assert "--model own:net --set model.options.depth=3" in first and "own:net" not in rest


def test_other_settings_are_named(run, trained, monkeypatch):
    _, err = run("train", "--out", trained, *SMALL, "--epochs", 2, "--attack", "pgd-2", code=2)
    assert "with other settings; choose another folder or delete it: " in err
    assert "train.attack was 'pgd-1' and is 'pgd-2'" in err and "train.epochs was 1 and is 2" in err
    assert not Path(trained, "started.json").exists()

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.engine, "run_epoch", killed)
        run("train", "--out", "b", *SMALL, "--epochs", 3, "--attack", "pgd-1", code=130)
    Path("b/state.safetensors").write_bytes(Path(trained, "state.safetensors").read_bytes())
    _, err = run("train", "--out", "b", *SMALL, "--epochs", 4, "--attack", "pgd-1", code=2)
    assert "train.epochs was 3 and is 4" in err  # also of a run that was interrupted


def test_clat_of_a_standard_network_is_warned_of_before_training(run, trained, monkeypatch):
    monkeypatch.setattr("semirobust.experiments.commands.harden._NEXT_TO_NOTHING", 0.9)
    _, err = run("harden", "--from", trained, "--method", "clat", "--controls", "--k", 1, "--epochs", 1, "--attack", "pgd-1",
                 "--eps", "0.9", "--attacks", "pgd-1", "--examples", 40, "--set", "profile.examples=40",
                 "--set", "harden.options.examples=40", "--out", "h")  # fmt: skip
    warning = err.index("CLAT is made for adversarially trained networks")
    assert warning < err.index("clat, epoch 1 of 1") and "use the method adversarial" in err


def test_a_method_without_controls_of_layers_says_so_first(run, trained):
    _, err = run("harden", "--from", trained, "--method", "adversarial", "--controls", "--epochs", 0, "--attack", "pgd-1",
                 "--attacks", "pgd-1", "--examples", 10, "--set", "profile.examples=10", "--out", "h")  # fmt: skip
    assert "there are no controls of the layers that adversarial trains" in err.split("device")[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evalaute", "a"], "did you mean 'evaluate'?"),
        (["list", "attacs"], "did you mean 'attacks'?"),
        (["settings", "trian"], "did you mean 'train'?"),
        (["evaluate", "a", "--attacks", "pdg-20x2"], "did you mean 'pgd-20x2'?"),
        (["evaluate", "a", "--set", "evaluate.exampels=3"], "did you mean 'examples'?"),
        (["train", "--out", "x", "--recipe", "tradse"], "did you mean 'trades'?"),
        (["train", "--out", "x", "--model", "resnt18"], "did you mean 'resnet18'?"),
        (["train", "--out", "x", "--data", "cifar-10"], "did you mean 'cifar10'?"),
        (["train", "--out", "x", "--schedule", "cosin"], "did you mean 'cosine'?"),
        (["train", "--out", "x", "--set", "trian.epochs=3"], "did you mean 'train'?"),
        (["train", "--out", "x", "--epohcs", "3"], "--epochs"),
        (["train", "--out", "x", "--eps", "8"], "did you mean 8/255?"),
        (["evaluate", "resnt18"], "did you mean 'resnet18'?"),
        (["evaluate", "runs/none"], "there is no folder runs/none"),
        (["data", "--fetch", "mnits"], "did you mean 'mnist'?"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(run, arguments, said):
    _, err = run(*arguments, code=2)
    assert said in err and err.count("\n") == 1


def test_a_radius_of_a_curve_is_refused_before_any_work(run, trained):
    _, err = run("evaluate", trained, "--sweep", "2/255,8", "--examples", 10, code=2)
    assert "did you mean 8/255?" in err and "data " not in err  # no header: nothing has begun


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_command_writes_a_line_wider_than_the_terminal(run, trained, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    small = ("--examples", 12, "--set", "evaluate.pictures=0", "--no-checks")
    commands = [
        ("list",), ("list", "measures"), ("data",), ("settings", "harden"), ("settings", "harden.options"),
        ("evaluate", trained, "--attacks", "fgsm,pgd-2,apgd-2", "--sweep", "1/255", "--transfer", trained, *small),
        ("audit", "--help"),
    ]  # fmt: skip
    for command in commands:
        out, err = run(*command)
        for line in (out + err).splitlines():
            longest = max(map(len, line.split()), default=0)
            assert len(line) <= max(width, longest + 2), (command, line)

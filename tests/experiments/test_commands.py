"""The command line as a user meets it: the whole job, and what happens to wrong input."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

import semirobust as sr
from semirobust.records.store import read_records
from semirobust.training.trainable import Fixed
from tests.programs import finish

FAST = [
    "--set",
    "model.name=resnet8",
    "--width",
    "0.25",
    "--set",
    "data.train=120",
    "--eps",
    "0.1",
    "--set",
    "train.batch_size=40",
]


def _train(run, *more):
    return run(
        "train", "--data", "digits", "--attack", "pgd-2", "--epochs", "2", "--out", "runs/a", *FAST, *more
    )


def test_the_whole_job(run, tmp_path):
    out, _ = _train(run)
    assert "best epoch" in out
    assert {p.name for p in Path("runs/a").iterdir()} == {
        ".lock", "last.safetensors", "model.safetensors", "records", "settings.json", "state.safetensors"
    }  # fmt: skip
    out, _ = run("evaluate", "runs/a", "--attacks", "fgsm,pgd-3x2", "--examples", "60", "--json")
    shares = json.loads(out)["accuracy"]
    assert set(shares) == {"clean", "fgsm", "+ pgd-3x2", "worst"} and shares["clean"]["n"] == 60
    out, _ = run("profile", "runs/a", "--examples", "40", "--json")
    layers = json.loads(out)["layers"]
    assert len(layers) == 8 and layers[2]["criticality"]["low"] <= layers[2]["criticality"]["value"]
    few, _ = run("profile", "runs/a", "--measures", "criticality,connectivity", "--examples", "40", "--json")
    assert "EDGE needs" in json.loads(few)["notes"][0] and "connectivity" not in json.loads(few)["layers"][3]
    own = "profile.options.connectivity."
    settings = ("--set", f"{own}dependence=cka", "--set", f"{own}settings.permutations=1")
    one, _ = run("profile", "runs/a", "--measures", "connectivity", *settings, "--json")
    entry = json.loads(one)["layers"][1]["connectivity"]
    assert (entry["by"], entry["unit"], entry["verdict"], entry["singletons"]) == (
        "CKA",
        "1",
        "not tested",
        None,
    )
    out, _ = run("profile", "runs/a", "--measures", "criticality,connectivity", "--examples", "300")
    assert "excess" in out and re.search(r"connectivity: EDGE is \w+", out)
    out, _ = run(
        "harden",
        "--from",
        "runs/a",
        "--method",
        "clat",
        "--epochs",
        "2",
        "--controls",
        "--seeds",
        "2",
        "--examples",
        "50",
        "--attacks",
        "pgd-2",
        "--out",
        "runs/b",
        "--set",
        "harden.attack=pgd-2",
        "--set",
        "harden.options.examples=30",
        "--json",
    )
    found = json.loads(out)
    assert set(found["accuracy"]) == {
        "start",
        "clat",
        "PGD-AT continued",
        "PGD-AT of clat's layers",
        "clat, random layers",
    }
    assert len(found["accuracy"]["clat"]["pgd-2"]["seeds"]) == 2
    assert sum(f["name"] == "verdict" for f in found["findings"]) == 4
    out, _ = run("evaluate", "runs/b", "--examples", "50", "--attacks", "pgd-2")
    assert "95 % interval" in out
    run("report", "runs/a", "runs/b", "--out", "both.html", "--title", "<b>Both</b>")
    page = Path("both.html").read_text()
    assert "&lt;b&gt;Both&lt;/b&gt;" in page and "<b>Both</b>" not in page
    assert "How much each layer depends on the one before" in page and "EDGE, in bits" in page
    body = page[page.index("<body>") :]
    assert not re.search(r'(src="(?!data:)|href="(?!#))', body), "nothing is fetched, and links stay inside"


def test_a_finished_run_is_not_trained_again(run, monkeypatch):
    _train(run)
    before = Path("runs/a/model.safetensors").read_bytes()

    def step(*_, **__):
        raise AssertionError("a step of training")

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Optimizer, "zero_grad", step)
        patch.setattr(sr.PGD, "search", step)
        _train(run)
    assert Path("runs/a/model.safetensors").read_bytes() == before
    _, err = run("train", "--data", "digits", "--epochs", "3", "--out", "runs/a", *FAST, code=2)
    assert "holds a run with other settings" in err


def test_a_recipe_and_flags_on_top(run):
    Path("r.toml").write_text(
        '[data]\nsource = "digits"\ntrain = 100\n[model]\nname = "resnet8"\nwidth = 0.25\n[threat]\nepsilon = "8/255"\n'
        '[train]\nepochs = 5\nattack = "pgd-1"\n'
    )
    out, _ = run("train", "--recipe", "r.toml", "--epochs", "1", "--out", "runs/c", "--json")
    assert len(json.loads(out)["epochs"]) == 1
    settings = next(r for r in read_records(Path("runs/c")) if r.kind == "settings").settings
    assert settings["threat"]["epsilon"] == pytest.approx(8 / 255) and settings["train"]["epochs"] == 1


def test_own_model_and_checkpoint(run):
    Path("mine.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), "
        "torch.nn.Linear(16, 10))\ndef number():\n    return 3\n"
    )
    sys.modules.pop("mine", None)
    torch.save(
        {
            "state_dict": torch.nn.Sequential(
                torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)
            ).state_dict()
        },
        "w.pt",
    )
    given = ["--model", "mine:net", "--checkpoint", "w.pt", "--data", "digits", "--examples", "30"]
    out, _ = run("evaluate", *given, "--attacks", "fgsm", "--json")
    assert json.loads(out)["accuracy"]["clean"]["n"] == 30
    out, _ = run("profile", "mine:net", *given[2:], "--json")
    assert [layer["name"] for layer in json.loads(out)["layers"]] == ["1", "3"]
    run(
        "harden",
        *given,
        "--method",
        "selected",
        "--layers",
        "2",
        "--epochs",
        "1",
        "--attacks",
        "fgsm",
        "--out",
        "runs/d",
    )
    run("evaluate", "runs/d", "--examples", "20", "--attacks", "fgsm")  # named once, for this folder
    shutil.copytree("runs/d", "runs/e")
    _, err = run("evaluate", "runs/e", code=2)
    assert "say so once with --model mine:net" in err
    run("evaluate", "runs/e", "--model", "mine:net", "--examples", "20", "--attacks", "fgsm")
    _, err = run("evaluate", "--model", "mine:number", *given[2:], code=2)
    assert "to return a torch.nn.Module, got int" in err
    _, err = run("evaluate", "--model", "nowhere:net", *given[2:], code=2)
    assert "cannot import nowhere" in err
    Path("r.toml").write_text('[model]\nname = "mine:net"\n')
    _, err = run("evaluate", "--recipe", "r.toml", *given[2:], code=2)
    assert "give it on the command line with --model" in err


WRONG = {
    "no such data": (["train", "--data", "nope", "--out", "o"], "data: expected cifar10"),
    "no such model": (
        ["train", "--data", "digits", "--model", "nope", "--out", "o"],
        "model: expected one of",
    ),
    "no such attack": (
        ["train", "--data", "digits", "--attack", "nope", "--out", "o"],
        "attack: expected one of",
    ),
    "no such objective": (["train", "--objective", "nope", "--out", "o"], "objective: expected one of"),
    "no such schedule": (["train", "--schedule", "nope", "--out", "o"], "schedule: expected one of"),
    "no such norm": (["train", "--norm", "l7", "--out", "o"], "norm: expected one of"),
    "epsilon": (
        ["train", "--eps", "many", "--out", "o"],
        "recipe: threat.epsilon: input should be a valid number",
    ),
    "epsilon by zero": (["train", "--eps", "8/0", "--out", "o"], "threat.epsilon"),
    "unknown entry": (
        ["train", "--set", "train.speed=9", "--out", "o"],
        "recipe: unknown option train.speed; expected one of objective",
    ),
    "unknown section": (
        ["train", "--set", "trian.epochs=9", "--out", "o"],
        "recipe: unknown option trian; expected one of seed",
    ),
    "below a value": (["train", "--set", "seed.x=9", "--out", "o"], "seed"),
    "a flag and the setting differ": (
        ["train", "--epochs", "2", "--set", "train.epochs=3", "--out", "o"],
        "--set train.epochs: expected it once, got another value by --epochs beside it",
    ),
    "demo without workers": (["demo", "--workers", "0"], "workers: expected a whole number from 1 on, got 0"),
    "no equals": (["train", "--set", "seed", "--out", "o"], "--set: expected section.key=value, got 'seed'"),
    "no recipe": (["train", "--recipe", "none.toml", "--out", "o"], "cannot read none.toml"),
    "unknown flag": (["train", "--speed", "9"], "No such option"),
    "missing flag": (["train"], "Missing option '--out'"),
    "no checkpoint": (["evaluate", "resnet18"], "checkpoint: expected the weights of resnet18"),
    "missing checkpoint": (
        ["evaluate", "resnet8", "--checkpoint", "none.pt", "--data", "digits"],
        "checkpoint: expected a file at none.pt",
    ),
    "no run": (["evaluate", "."], "expected a run folder with settings.json"),
    "no records": (["report", "."], "records: expected a run folder"),
    "no method": (["harden", "--from", "x", "--out", "o"], "checkpoint: expected the weights of x"),
    "layers": (["harden", "--from", "x", "--layers", "a,b", "--out", "o"], "--layers: expected numbers"),
    "threads": (
        ["train", "--data", "digits", "--threads", "0", "--out", "o"],
        "threads: expected at least 1",
    ),
    "device": (
        ["train", "--data", "digits", "--model", "resnet8", "--device", "quantum", "--out", "o"],
        "device 'quantum'",
    ),
    "fetch": (["data", "--fetch", "nope"], "data: expected one of mnist"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_sentence_and_code_2(run, case, tmp_path):
    arguments, message = WRONG[case]
    _, err = run(*arguments, code=2)
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1 and message in lines[0], err
    assert not (tmp_path / "o" / "model.safetensors").exists()


def test_wrong_files_are_one_sentence(run):
    for content, message in (
        ("a = = 3", "expected TOML"),
        ("[train]\nepochs = 'x'\n", "train.epochs"),
        ("\x00", "expected TOML"),
    ):
        Path("r.toml").write_text(content)
        _, err = run("train", "--recipe", "r.toml", "--out", "o", code=2)
        assert message in err and "Traceback" not in err
    np.savez("d.npz", x=np.zeros((9, 3, 8, 9), np.uint8), y=np.arange(9) % 2)
    _, err = run("train", "--data", "d.npz", "--out", "o", code=2)
    assert "expected square images, got 8x9" in err
    _train(run)
    Path("runs/a/settings.json").write_text("{}")
    _, err = run("evaluate", "runs/a", code=2)
    assert "expected the settings of a run" in err
    Path("runs/a/records/1-train.jsonl").write_text('{"kind": "number"}\n')
    _, err = run("report", "runs/a", code=2)
    assert "1-train.jsonl, line 1: expected a record" in err


def test_a_folder_that_cannot_be_written(run):
    Path("file").write_text("x")
    _, err = run("train", "--data", "digits", "--epochs", "1", "--out", "file/x", *FAST, code=2)
    assert "cannot make the folder" in err


def test_a_run_is_not_hardened_onto_itself(run):
    _train(run)
    _, err = run("harden", "--from", "runs/a", "--out", "runs/a", code=2)
    assert "another folder" in err


def test_divergence_has_its_own_code(run):
    out, _ = run(
        "train",
        "--data",
        "digits",
        "--objective",
        "standard",
        "--lr",
        "1e30",
        "--epochs",
        "1",
        "--out",
        "o",
        *FAST,
        code=1,
    )
    assert "learning rate is probably too high" in out


def test_data_is_listed(run):
    out, _ = run("data", "--json")
    entries = json.loads(out)["data"]
    assert {"digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "imagenet", "imagenette"} == {
        e["name"] for e in entries
    }
    assert "licence" in run("data")[0]


_SCRIPT = """
import json, sys
from pathlib import Path
from semirobust.cli.app import main

for command in json.loads(Path("commands.json").read_text()):
    sys.argv[1:] = command
    try:
        main()
    except SystemExit as leave:
        assert not leave.code, leave.code
"""


@pytest.mark.xdist_group("processes")
def test_two_processes_train_together(run, tmp_path):
    """Against one process; commands after the first are called in the same pair, as a start takes longest."""
    one = ["--device", "cpu", "--threads", "1", "--json"]
    train = ["train", "--data", "digits", "--attack", "pgd-1", "--epochs", "1", *one, *FAST]
    judges = [["evaluate", "1", "--attacks", "fgsm,pgd-5,square", "--examples", "300"],
              ["profile", "1", "--measures", "criticality,gradient-norm", "--examples", "300"]]  # fmt: skip
    harden = ["harden", "--from", "1", "--epochs", "1", "--attacks", "pgd-2", "--examples", "100", "--k", "1",
              "--set", "harden.attack=pgd-1"]  # fmt: skip
    alone = [json.loads(run(*train, "--out", "1")[0])]
    alone += [json.loads(run(*judge, *one, "--out", f"{judge[0]}1")[0]) for judge in judges]
    code, out, errors = finish(tmp_path, *train, "--devices", "2", "--out", "2")
    assert code == 0, errors
    together = json.loads(out)  # one document: the second process is silent
    losses = [found["epochs"][0]["loss"] for found in (alone[0], together)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    assert read_records(tmp_path / "2")
    (tmp_path / "script.py").write_text(_SCRIPT)
    commands = [[*judge, *one, "--devices", "2", "--out", f"{judge[0]}2"] for judge in judges]
    commands.append([*harden, *one, "--devices", "2", "--out", "hardened"])
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    code, out, errors = finish(tmp_path, "script.py", program=(sys.executable,))
    assert code == 0, errors
    documents = _documents(out)
    assert len(documents) == 3
    for one_process, two in zip(alone[1:], documents[:2], strict=True):
        assert {**one_process, "out": ""} == {**two, "out": ""}  # exactly
    assert not list(tmp_path.glob("*/evaluate-*")) + list(
        tmp_path.glob("*/profile-*")
    )  # what they kept to go on is gone
    assert set(documents[2]["accuracy"]) == {"start", "clat"}


def _documents(text):
    """Every JSON document of a text, one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


class _Counting(Fabric):
    """Two processes in word: counts what would be sent."""

    sent = 0
    world_size = 2

    def all_reduce(self, data, group=None, reduce_op="mean"):
        self.sent += data.numel()
        return data


def test_only_the_gradients_of_chosen_layers_are_sent():
    images, found = sr.load_data("digits").train.first(80), {}
    for layers in (None, [7]):
        model = sr.build_model("resnet8", 10, 0.25, in_channels=1, image_size=8)
        fabric = _Counting(accelerator="cpu", devices=1)
        options = {} if layers is None else {"trainable": Fixed(layers)}
        training = sr.Training(
            objective=sr.Adversarial(), attack=sr.FGSM(sr.Linf(0.1)), epochs=1, batch_size=40, **options
        )
        logs = training(model, images, fabric=fabric).logs
        buffers = sum(b.numel() for b in model.buffers() if b.is_floating_point())
        # Two steps with their losses, and the statistics and the objective's scale once.
        assert fabric.sent == 2 * (logs[0].trained_parameters + 1) + buffers + 1
        found[str(layers)] = fabric.sent
    assert found["[7]"] < 0.55 * found["None"]


def test_help_is_quick():
    """What makes a start slow is what is imported: 1,900 modules with PyTorch, of which help needs none."""
    command = [sys.executable, "-X", "importtime", "-m", "semirobust", "--help"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time" in line}
    heavy = {
        "torch",
        "numpy",
        "scipy",
        "sklearn",
        "plotly",
        "matplotlib",
        "lightning_fabric",
        "pydantic",
        "jinja2",
        "PIL",
    }
    assert not heavy & modules and len(modules) < 250 and "harden" in done.stdout


def test_evaluating_imports_no_more_than_it_needs():
    """PyTorch takes seconds, and what trains as long again."""
    code = "import sys, semirobust; semirobust.evaluate, semirobust.PGD; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    unneeded = {"lightning_fabric", "torch._dynamo", "sympy", "matplotlib", "pandas", "sklearn", "plotly"}
    assert not unneeded & set(done.stdout.split()) and "torch" in done.stdout.split()


def test_an_evaluation_imports_nothing_large():
    """SciPy's statistics take 60 MB and sympy 35, beside which a search is small."""
    code = (
        "import sys, torch, semirobust as sr\n"
        "net, x = sr.build_model('resnet8', width=0.25), torch.rand(32, 3, 16, 16)\n"
        "y = net(x).argmax(1).detach()\n"
        "sr.evaluate(net, x, y, [sr.FGSM(sr.Linf(0.01)), sr.AutoAttack(sr.Linf(0.5))])\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    large = {"scipy", "sympy", "sklearn", "pandas", "matplotlib", "lightning_fabric", "pydantic"}
    assert not large & set(done.stdout.split())


def test_lightning_is_imported_only_to_train():
    """It brings the compiler of PyTorch with it, which takes as long again."""
    code = "import importlib, sys, semirobust; semirobust.harden, semirobust.Training\n"
    code += "from semirobust.cli.app import COMMANDS\n"
    code += "[importlib.import_module(f'semirobust.cli.commands.{name}') for name in COMMANDS]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert (
        not {"lightning_fabric", "torch._dynamo"} & set(done.stdout.split())
        and "torch" in done.stdout.split()
    )


def test_the_demo_in_small(tmp_path):
    from semirobust.experiments.commands.demo import demo

    changes = {
        "data.train": 120,
        "data.validation": 40,
        "train.epochs": 1,
        "harden.epochs": 1,
        "evaluate.examples": 40,
        "profile.examples": 40,
        "evaluate.attacks": ["pgd-2"],
        "model.width": 0.25,
    }
    records = demo(tmp_path / "demo", seeds=2, workers=1, changes=changes)
    again = demo(tmp_path / "again", seeds=2, workers=2, changes=changes)

    def numbers(found):
        return [
            (r.quantity, r.value, r.about)
            for r in found
            if r.kind == "number" and r.quantity != "epoch_seconds"
        ]

    assert numbers(records) == numbers(again)  # side by side or one after the other
    assert {p.name for p in (tmp_path / "demo").iterdir()} == {
        ".lock",
        "checkpoints",
        "model.safetensors",
        "records",
        "report.html",
        "settings.json",
    }
    arms = {r.about.arm for r in records if r.kind == "number" and r.quantity == "accuracy"}
    assert arms == {"start", "clat", "PGD-AT continued", "PGD-AT of clat's layers", "clat, random layers"}
    assert sum(r.kind == "finding" and r.topic == "verdict" for r in records) == 4


@pytest.mark.slow
def test_real_checkpoints_reach_their_accuracy(run, real_data, tmp_path):
    from semirobust.data.base.locate import unpack

    shared = real_data("checkpoints", "cifar10-sample.tar.gz")
    sys.path.insert(0, str(shared / "checkpoints"))
    try:
        unpack(shared / "cifar10-sample.tar.gz", tmp_path)
        for factory, file, clean, robust in (
            ("resnet20", "cifar10-resnet20-clean.th", 0.917, None),
            ("resnet2b", "cifar10-resnet2b-robust.pth", 0.693, 0.57),
        ):
            model = ["--model", f"models:{factory}", "--checkpoint", str(shared / "checkpoints" / file)]
            attacks = ["--attacks", "pgd-10" if robust else "fgsm"]
            given = [
                "--data",
                "cifar10",
                "--data-root",
                str(tmp_path),
                "--examples",
                "1000",
                "--eps",
                "2/255",
                *attacks,
                "--set",
                "evaluate.checks=0",  # they cost most, and have tests of their own
            ]
            found = json.loads(run("evaluate", *model, *given, "--json")[0])["accuracy"]
            assert found["clean"]["low"] <= clean <= found["clean"]["high"]
            if robust:
                assert found["pgd-10"]["low"] <= robust <= found["pgd-10"]["high"]
    finally:
        sys.path.remove(str(shared / "checkpoints"))


def test_public_names_as_documented(tmp_path):
    model = sr.build_model("resnet8", num_classes=10, width=0.25, in_channels=1, image_size=8)
    x, y = sr.load_data("digits").test.first(20).all()
    attack = sr.PGD(sr.Linf(0.1), steps=3, step_size=0.05, restarts=2, random_start=True)
    result = sr.evaluate(model, x, y, attacks=[attack], seed=0)
    assert result.clean.dtype == torch.bool and result.robust["pgd"].shape == (20,)
    assert (
        len(sr.criticality(model, x, y, threat=sr.L2(0.3), seed=0).values) == len(sr.layer_map(model, x)) == 8
    )
    sr.save_model(model, tmp_path / "m.safetensors")
    sr.load_checkpoint(model, tmp_path / "m.safetensors")


def test_a_suffix_is_trained_behind_a_robust_prefix(run, tmp_path):
    """Algorithm 1, step 2: the robust run's prefix, the standard run's suffix, which alone is trained."""
    run(
        "train",
        "--data",
        "digits",
        "--objective",
        "standard",
        "--epochs",
        "1",
        "--out",
        "runs/standard",
        *FAST,
    )
    _train(run)
    out, _ = run(
        "harden",
        "--from",
        "runs/a",
        "--method",
        "suffix",
        "--layers",
        "3",
        "--epochs",
        "1",
        "--examples",
        "40",
        "--attacks",
        "pgd-2",
        "--out",
        "runs/s",
        "--set",
        "harden.suffix_from=runs/standard",
        "--set",
        "harden.attack=pgd-2",
        "--json",
    )
    assert set(json.loads(out)["accuracy"]) == {"start", "suffix"}
    from safetensors.torch import load_file

    robust, trained = (load_file(f"runs/{name}/model.safetensors") for name in ("a", "s"))
    moved = {name for name, value in robust.items() if not value.equal(trained[name])}
    assert moved and not any(name.startswith(("network.conv1", "network.stages.0")) for name in moved)
    assert (
        "method suffix"
        in run(
            "harden",
            "--from",
            "runs/a",
            "--method",
            "adversarial",
            "--set",
            "harden.suffix_from=runs/standard",
            "--out",
            "runs/t",
            code=2,
        )[1]
    )

"""Commands that answer a question by many runs: recover and reproduce."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.data.base.load import load_data
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.recovered import smallest_prefix
from semirobust.experiments.reproduce.runner import reproduce, status, write_page
from semirobust.experiments.subject import build_subject
from semirobust.records.schema import Finding, Number, Origin
from semirobust.records.store import read_records
from tests.experiments.test_commands import FAST, _train

_SMALL = {
    "data.source": "digits",
    "data.train": 200,
    "data.test": 60,
    "data.validation": 100,
    "model.name": "resnet8",
    "train.epochs": 1,
    "harden.epochs": 1,
    "harden.attack": "pgd-1",
    "recover.epochs": 1,
    "recover.attack": "pgd-1",
    "recover.judge": "pgd-1",
    "recover.layers": [2, 3],
    "evaluate.examples": 40,
    "evaluate.attacks": ["fgsm"],
    "profile.examples": 16,
    "recover.dependence": "cka",
    "recover.dependence_options": {"permutations": 0},
    "recover.sharpness_examples": 16,
}


def test_recover_says_how_small_the_robust_prefix_may_be(run, tmp_path):
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
        "recover",
        "runs/a",
        "--normal",
        "runs/standard",
        "--layers",
        "2,4",
        "--trials",
        "2",
        "--epochs",
        "1",
        "--tolerance",
        "1",
        "--attacks",
        "pgd-2",
        "--examples",
        "40",
        "--out",
        "runs/r",
        "--set",
        "recover.attack=pgd-2",
        "--controls",
        "--json",
        "--set",
        "recover.dependence=cka",
        "--set",
        'recover.dependence_options={"permutations": 0}',
        "--set",
        "recover.sharpness_examples=16",
    )
    found = json.loads(out)
    assert set(found["suffix"]) == {"2", "4"} and len(found["suffix"]["2"]["best"]) == 2
    assert "training the 4 layers behind it" in found["findings"][-1]
    records = read_records(tmp_path / "runs/r")
    numbers = [r for r in records if isinstance(r, Number)]
    names = {r.name for r in numbers}
    assert {"bound.quadratic", "bound.loss", "recover.difference", "recover.prefix", "train.seconds"} <= names
    both = [
        {r.labels["epoch"]: r.value for r in numbers if r.name == f"validation.{k}"}
        for k in ("difference", "bound")
    ]
    assert all(set(values) == {0, 1} for values in both)  # the bound beside what it bounds, epoch by epoch
    arms = {r.labels["arm"] for r in numbers if r.name == "accuracy"}
    assert arms == {
        "normal",
        "robust",
        "start",
        "suffix",
        "everything",
        "normal prefix, suffix 2",
        "normal prefix, suffix 4",
    }
    assert {
        r.labels["epoch"] for r in numbers if r.name == "validation.robust" and r.labels["arm"] == "suffix"
    } == {0, 1}
    page, _ = run("report", "runs/r")
    assert "How small may the robust prefix be" in Path("runs/r/report.html").read_text() and "wrote" in page
    table, _ = run(
        "recover",
        "runs/a",
        "--normal",
        "runs/standard",
        "--layers",
        "auto",
        "--trials",
        "1",
        "--epochs",
        "1",
        "--attacks",
        "pgd-2",
        "--examples",
        "40",
        "--out",
        "runs/q",
        "--set",
        "recover.attack=pgd-2",
        "--set",
        "recover.dependence=",
        "--set",
        "recover.sharpness_examples=0",
    )
    assert "robust prefix" in table or "came back" in table


def test_the_largest_suffix_that_recovers_is_found_by_halving(monkeypatch):
    """Of 8 layers those up to 5 recover: 4 does, 6 does not, 5 does."""
    from semirobust.experiments.commands import recover as stage

    class Job:
        layers, robust, seed = range(8), None, Seed(("0",))
        asked: list[int] = []

        def score(self, model, seed):
            return {"robust": 0.5}

        def recover(self, size, reference):
            self.asked.append(size)
            trial = SimpleNamespace(converged=1 if size <= 5 else None)
            return SimpleNamespace(trials=(trial,)), []

    found, _ = stage._Job.all_cuts(Job(), ())
    assert Job.asked == [4, 6, 5] and list(found) == [4, 5, 6]
    _, sentence = smallest_prefix(found, 8, Recipe(), Origin(config="", version="", device="", seed="0"))
    assert "prefix of 3 of 8" in sentence.text


def test_images_that_were_trained_on_are_not_held_out(run):
    """Whatever seed goes on from a run, its split stays; another share would hold out what it has seen."""
    _train(run)
    subject = build_subject("runs/a", None, None, None, {"seed": 5})
    own = build_subject("runs/a", None, None, None, {})
    splits = [s.inputs.held_out for s in (subject, own)]
    assert (
        subject.recipe.seed == 5
        and splits[0].y.equal(splits[1].y)
        and splits[0].pixels.equal(splits[1].pixels)
    )
    command = ("harden", "--from", "runs/a", "--method", "adversarial", "--epochs", "1", "--out", "runs/h")
    assert "saw other images" in run(*command, "--set", "data.validation=0.3", code=2)[1]


def test_classes_in_order_are_mixed(tmp_path):
    import numpy as np

    y = np.repeat(np.arange(3), 20)
    np.savez(
        tmp_path / "d.npz",
        x_train=np.random.default_rng(0).random((60, 3, 4, 4)),
        y_train=y,
        x_test=np.zeros((60, 3, 4, 4)),
        y_test=y,
    )
    splits = load_data(str(tmp_path / "d.npz"))
    assert set(splits.test.first(20).y.tolist()) == {0, 1, 2} == set(splits.train.first(20).y.tolist())


def test_recover_refuses_what_does_not_fit(run):
    _train(run)
    run(
        "train",
        "--data",
        "digits",
        "--model",
        "resnet20",
        "--epochs",
        "1",
        "--out",
        "runs/other",
        "--set",
        "data.train=100",
        "--set",
        "train.attack=pgd-1",
        "--width",
        "0.125",
    )
    assert "same build" in run("recover", "runs/a", "--normal", "runs/other", "--out", "runs/r", code=2)[1]
    assert (
        "how many layers"
        in run("recover", "runs/a", "--normal", "runs/a", "--layers", "99", "--out", "runs/r", code=2)[1]
    )
    assert (
        "held out"
        in run(
            "recover",
            "runs/a",
            "--normal",
            "runs/a",
            "--layers",
            "2",
            "--out",
            "runs/r",
            "--set",
            "recover.validation_examples=0",
            code=2,
        )[1]
    )


def test_reproduce_runs_what_is_open_and_only_that(tmp_path):
    def states():
        return {
            s.unit.name.rpartition("/")[2]: s.state
            for s in status("semirobustness", "cpu", tmp_path, seeds=1, changes=_SMALL)
        }

    assert set(states().values()) == {"open"}
    home = reproduce("semirobustness", "cpu", tmp_path, seeds=1, only=["suffix-2"], workers=1, changes=_SMALL)
    now = states()
    assert {name for name, state in now.items() if state == "done"} == {"normal", "robust", "suffix-2"}
    files = {f: f.stat().st_mtime_ns for f in (home / "records").iterdir()}
    reproduce("semirobustness", "cpu", tmp_path, seeds=1, only=["suffix-2"], workers=1, changes=_SMALL)
    assert files == {f: f.stat().st_mtime_ns for f in (home / "records").iterdir()}
    records = read_records(home)
    assert {r.labels["layer"] for r in records if r.kind == "number" and r.name == "validation.rho"} == set(
        range(2, 9)
    )
    assert all(
        r.labels["unit"] and r.labels["network"] == "resnet18-cifar10"
        for r in records
        if isinstance(r, Number | Finding)
    )
    changed = {
        **_SMALL,
        "harden.epochs": 2,
    }  # made again with the new settings, what was there is moved aside
    reproduce("semirobustness", "cpu", tmp_path, seeds=1, only=["robust"], workers=1, changes=changed)
    settings = next(
        r for r in read_records(home / "records/resnet18-cifar10_seed-0_robust.jsonl") if r.kind == "settings"
    )
    assert (
        settings.settings["harden"]["epochs"] == 2 and settings.settings["harden"]["method"] == "adversarial"
    )
    assert len(list((home / "resnet18-cifar10/seed-0").glob("robust-before-*"))) == 1
    reproduce("semirobustness", "cpu", tmp_path, seeds=1, only=["robust"], workers=1, changes=_SMALL)
    (
        home / "resnet18-cifar10/seed-0/robust/model.safetensors"
    ).unlink()  # records without the network: it is made again
    reproduce("semirobustness", "cpu", tmp_path, seeds=1, only=["suffix-3"], workers=1, changes=_SMALL)
    assert states()["suffix-3"] == "done"
    other = {**_SMALL, "recover.epochs": 2}
    found = {
        s.unit.name.rpartition("/")[2]: s.state
        for s in status("semirobustness", "cpu", tmp_path, seeds=1, changes=other)
    }
    assert found["suffix-2"] == "other settings" and found["robust"] == "done"
    text = write_page("semirobustness", "cpu", tmp_path, tmp_path / "page.md").read_text()
    assert "# Semirobust subnetworks" in text and "(one seed)" in text and "nan" not in text
    with pytest.raises(InputError, match="part of a unit's name"):
        reproduce("semirobustness", "cpu", tmp_path, only=["nothing"])
    with pytest.raises(InputError, match="scale"):
        status("semirobustness", "large", tmp_path)


def test_reproduce_lists_the_full_setting_too(run):
    units = json.loads(run("reproduce", "semirobustness", "--scale", "paper", "--list", "--json")[0])["units"]
    assert len({u["name"].partition("/")[0] for u in units}) == 4
    assert {item for u in units for item in u["for"]} >= {
        "table 1",
        "table 2",
        "table 3",
        "figure 1",
        "figure 2",
        "figure 3",
    }


def test_clat_is_reproduced_in_small(tmp_path):
    """Base, arms with a control on the same layers, the index in all forms; the page shows what is there and
    dashes elsewhere.
    """
    changes = {
        **{key: value for key, value in _SMALL.items() if not key.startswith("recover")},
        "data.test": 120,
        "evaluate.examples": 120,
        "train.attack": "pgd-1",
        "harden.judge": "pgd-1",
        "train.watch": ["criticality"],
        "train.epochs": 2,
        "harden.epochs": 2,
    }
    only = ["base", "start", "continued", "/clat-rms", "index"]
    home = reproduce(
        "clat",
        "cpu",
        tmp_path,
        seeds=1,
        only=[f"early/seed-0{'' if o[0] == '/' else '/'}{o}" for o in only],
        workers=1,
        changes=changes,
    )
    numbers = [r for r in read_records(home) if isinstance(r, Number)]
    trained = {
        arm: {
            (n.labels["epoch"], n.labels["layer"])
            for n in numbers
            if n.name == "train.layer" and n.labels["arm"] == arm
        }
        for arm in ("clat-rms", "PGD-AT as clat-rms")
    }
    assert trained["clat-rms"] == trained["PGD-AT as clat-rms"] != set()
    seconds = {
        n.labels["arm"]: [
            m.value for m in numbers if m.name == "train.seconds" and m.labels.get("arm") == n.labels["arm"]
        ]
        for n in numbers
        if n.name == "train.seconds" and n.labels["unit"] != "base"
    }
    assert set(seconds) == {"continued", *trained} and {len(v) for v in seconds.values()} == {2}
    text = write_page("clat", "cpu", tmp_path, tmp_path / "page.md").read_text()
    assert (
        "# CLAT, made again" in text
        and "PGD-AT continued" in text
        and "curvature" in text
        and "nan" not in text
    )
    assert "Ablations" not in text


def test_lighter_models_are_reproduced_in_small(tmp_path):
    """One run of each kind; the page shows what is there."""
    changes = {
        **{key: value for key, value in _SMALL.items() if not key.startswith(("recover", "harden"))},
        "data.validation": 0,
        "data.classes": [],
        "evaluate.attacks": ["fgsm", "pgd-40", "pgd-20"],
        "evaluate.examples": 40,
        "train.epochs": 1,
        "train.watch": [],
        "train.augment": "none",
        "prune.levels": 1,
        "prune.epochs": 1,
        "prune.attack": "fgsm",
        "prune.attack_options": {},
        "prune.augment": "none",
    }
    dense = [
        "lottery-fgsm/seed-0/ticket",
        "lottery-fgsm/seed-0/fresh-weights",
        "features-pgd/seed-0/features",
    ]
    only = [*dense, "dropped/seed-0/robust-usefulness", "layers/seed-0/critical-stay", "layers/seed-0/even"]
    home = reproduce("lighter", "cpu", tmp_path, seeds=1, only=only, workers=1, changes=changes)
    capacity = {k: v for k, v in changes.items() if not k.startswith("model")} | {
        "train.attack": "fgsm",
        "train.attack_options": {},
    }
    sizes = ["capacity-mnist/seed-0/standard-0", "capacity-mnist/seed-0/pgd-0"]
    larger = {"data.source": _square(tmp_path)}
    reproduce("lighter", "cpu", tmp_path, seeds=1, only=sizes, workers=1, changes={**capacity, **larger})
    numbers = [r for r in read_records(home) if isinstance(r, Number)]
    assert {n.labels["unit"] for n in numbers if n.name == "prune.features"} == {"robust-usefulness"}
    assert {
        n.labels["arm"] for n in numbers if n.labels["network"] == "lottery-fgsm" and n.name == "accuracy"
    } == {"ticket", "fresh weights"}
    text = write_page("lighter", "cpu", tmp_path, tmp_path / "page.md").read_text()
    for words in (
        "### MNIST, 0.3",
        "ticket less fresh",
        "robust usefulness, mean",
        "features left",
        "layers that are not critical",
    ):
        assert words in text, words
    assert "nan" not in text and "Half of the multiplications" not in text


def _square(tmp_path):
    """Digits on 16 by 16 pixels, which the networks of the capacity study need at least."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(90, 1, 16, 16, generator=generator).numpy()
    file = tmp_path / "square.npz"
    np.savez(file, x_train=x[:60], y_train=np.arange(60) % 3, x_test=x[60:], y_test=np.arange(30) % 3)
    return str(file)


def test_some_classes_alone_are_numbered_anew(run, tmp_path):
    changes = {"data.source": "digits", "data.classes": [7, 3], "data.train": 50}
    splits = Inputs.of(read_recipe(None, changes)).splits
    whole = Inputs.of(read_recipe(None, {"data.source": "digits"})).splits
    assert splits.classes == (whole.classes[7], whole.classes[3]) and len(splits.train) == 50
    rows = [i for i, label in enumerate(whole.train.y.tolist()) if label in (3, 7)][:50]
    assert splits.train.y.tolist() == [0 if whole.train.y[i] == 7 else 1 for i in rows]
    assert torch.equal(splits.train.all()[0], whole.train.batch(torch.tensor(rows))[0])
    for wrong in ("[3]", "[3, 3]", "[3, 10]"):
        said = run("train", "--data", "digits", "--set", f"data.classes={wrong}", "--out", "runs/a", code=2)[
            1
        ]
        assert "classes: expected two or more different ones from 0 to 9" in said

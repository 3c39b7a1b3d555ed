"""Commands that answer a question by many runs: recover and reproduce."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from semirobust.core.seed import Seed
from semirobust.data.base.load import load_data
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.recovered import smallest_prefix
from semirobust.experiments.subject import build_subject
from semirobust.records.schema import Number, Origin
from semirobust.records.store import read_records
from tests.experiments.test_commands import FAST, _train


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
    quantities = {r.quantity for r in numbers}
    assert {
        "quadratic_bound",
        "loss_difference",
        "recovery_difference",
        "robust_prefix",
        "epoch_seconds",
    } <= quantities
    both = [
        {r.about.epoch: r.value for r in numbers if r.quantity == k and r.about.when is None}
        for k in ("loss_difference", "quadratic_bound")
    ]
    assert all(set(values) == {0, 1} for values in both)  # the bound beside what it bounds, epoch by epoch
    arms = {r.about.arm for r in numbers if r.quantity == "accuracy"}
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
        r.about.epoch for r in numbers if r.quantity == "validation_robust" and r.about.arm == "suffix"
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
    from semirobust.experiments.recover_job import RecoverJob

    class Job:
        layers, robust, seed = range(8), None, Seed(("0",))
        asked: list[int] = []

        def score(self, model, seed):
            return {"robust": 0.5}

        def recover(self, size, reference):
            self.asked.append(size)
            trial = SimpleNamespace(converged=1 if size <= 5 else None)
            return SimpleNamespace(trials=(trial,)), []

    found, _ = RecoverJob.all_cuts(Job(), ())
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


def test_recover_judges_on_other_images_and_counts_projections(run, tmp_path):
    more = ("--set", "data.train=120", "--set", "data.validation=40")
    examples = ("--set", "train.validation_examples=20", "--set", "harden.validation_examples=20")
    start = ("train", "--data", "digits", "--epochs", "1", "--set", "train.attack=pgd-1", *FAST)
    run(*start, *more, *examples, "--out", "runs/a")
    recover = ("recover", "runs/a", "--normal", "runs/a", "--layers", "3,4", "--trials", "1", "--epochs", "1")
    short = ("--set", "recover.dependence=", "--set", "recover.sharpness_examples=0", "--examples", "20")
    own = ("--attacks", "pgd-1", "--set", "recover.attack=pgd-1", "--set", "recover.validation_examples=20")
    judge = ("--set", "recover.judge_examples=20", "--set", "recover.count_projections=true")
    found = json.loads(run(*recover, *short, *own, *judge, "--out", "runs/r", "--json")[0])
    assert set(found["suffix"]) == {"2", "3"}  # the last block of a ResNet-8 has a projection
    assert "a suffix of 3 layers, projections counted" in " ".join(found["findings"])
    numbers = [r for r in read_records(tmp_path / "runs/r") if isinstance(r, Number)]
    judged = [r for r in numbers if r.quantity in ("recovery_reference", "recovery_best", "recovery_start")]
    assert judged and {r.n for r in judged} == {20}
    said = run(*recover, *short, *own, "--set", "recover.judge_examples=21", "--out", "runs/s", code=2)[1]
    assert "judge_examples: expected at most 20" in said
    paper = ("--set", "recover.judge_examples=1", "--protocol", "paper")
    assert "expected 0 with protocol=paper" in run(*recover, *paper, "--out", "runs/s", code=2)[1]
    both = ("--layers", "1,2", "--set", "recover.count_projections=true")
    said = run(*recover[:4], *both, *short, *own, "--out", "runs/s", code=2)[1]
    assert "1 and 2 with projections counted are the same one, 1 without them" in said


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


def test_every_seed_may_draw_its_own_images(run):
    def drawn(**changes):
        changes = {"data.source": "digits", "data.train": 60, "data.test": 30, "data.draw": True, **changes}
        return Inputs.of(read_recipe(None, changes))

    first, second, split = drawn(), drawn(seed=1), drawn(seed=1, **{"data.split_seed": 0})
    whole = Inputs.of(read_recipe(None, {"data.source": "digits"})).splits
    rows = {tuple(image.flatten().tolist()) for image in whole.test.pixels}
    for part in ("train", "test"):
        mine, other, same = (getattr(found.splits, part).pixels for found in (first, second, split))
        assert torch.equal(mine, same) and not torch.equal(mine, other)
    assert {tuple(image.flatten().tolist()) for image in first.splits.test.pixels} <= rows
    # Fewer test images are the first of these, and no subset that all seeds share.
    fewer = drawn(**{"data.test": 10}).splits.test.pixels
    assert torch.equal(fewer, first.splits.test.pixels[:10])
    everything = drawn(**{"data.test": None}).splits.test
    assert len(everything) == len(whole.test) and torch.equal(
        everything.pixels[:30], first.splits.test.pixels
    )
    assert "30 of its 500 test images are used, drawn by seed 0," in first.said()[0]
    assert "drawn by seed 0" in split.said()[0] and "drawn" not in Inputs.of(Recipe()).said()[0]


def test_what_continues_a_run_keeps_the_images_that_it_drew(run):
    few = ("--set", "data.train=40", "--set", "data.test=20", "--set", "data.draw=true")
    run("train", "--data", "digits", "--model", "resnet8", *few, "--set", "train.epochs=1", "--out", "runs/a")
    own = build_subject("runs/a", None, None, None, {}).inputs.splits.test.pixels
    again = build_subject("runs/a", None, None, None, {"seed": 5}).inputs.splits.test.pixels
    assert torch.equal(own, again)
    said = run("harden", "--from", "runs/a", "--set", "data.draw=false", "--out", "runs/b", code=2)[1]
    assert "data.draw: expected True as in the model's training, which saw other images" in said

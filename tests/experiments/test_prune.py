"""``semirobust prune`` from a fresh model and from a trained one, interrupted, and what its report shows."""

import json

import pytest
import torch

from semirobust.core.tensor_files import read_tensors
from semirobust.experiments.subject import build_subject
from semirobust.records.schema import Number
from semirobust.records.store import read_records
from tests.experiments.test_commands import _train

_SMALL = (
    "--data",
    "digits",
    "--model",
    "resnet8",
    "--width",
    "0.125",
    "--levels",
    "2",
    "--fraction",
    "0.5",
    "--epochs",
    "1",
    "--attack",
    "fgsm",
    "--attacks",
    "fgsm",
    "--examples",
    "60",
    "--set",
    "data.train=120",
    "--lr",
    "0.05",
)


def test_levels_are_evaluated_with_their_controls_and_the_sparsest_robust_one_is_kept(run, tmp_path):
    found = json.loads(
        run("prune", *_SMALL, "--controls", "--out", "runs/p", "--set", "prune.tolerance=1", "--json")[0]
    )
    assert [round(level["left"], 2) for level in found["levels"]] == [1.0, 0.5, 0.25] * 3
    assert {level["arm"] for level in found["levels"]} == {"ticket", "fresh weights", "random weights"}
    first = [level["accuracy"] for level in found["levels"] if level["left"] == 1.0]
    assert first[0] == first[1] == first[2]  # the whole network is the same in all arms
    assert any(
        note["name"] == "kept" and note["text"].startswith("level 2, 25.0%") for note in found["findings"]
    )
    weights = read_tensors(tmp_path / "runs/p/model.safetensors")
    masks = {
        n.removeprefix("mask/"): t
        for n, t in read_tensors(tmp_path / "runs/p/seed-0/ticket/level-2.safetensors").items()
        if n.startswith("mask/")
    }
    assert all(not weights[name][~mask].any() for name, mask in masks.items())
    run("evaluate", "runs/p", "--attacks", "fgsm", "--examples", "20")
    run("report", "runs/p", "--out", "runs/p.html")
    page = (tmp_path / "runs/p.html").read_text()
    assert "How many weights can go?" in page and "ticket, 25 % left" in page
    again = run("prune", *_SMALL, "--controls", "--out", "runs/p", "--set", "prune.tolerance=1", "--json")[0]
    assert json.loads(again) == found  # all levels are there: nothing runs again
    assert "other settings" in run("prune", *_SMALL, "--fraction", "0.4", "--out", "runs/p", code=2)[1]


def test_another_level_may_be_kept_afterwards_and_none_runs_again(run, tmp_path):
    command = ["prune", *_SMALL, "--out", "runs/p"]
    run(*command)
    levels = sorted((tmp_path / "runs/p/seed-0/ticket").glob("level-?.safetensors"))
    written = [file.stat().st_mtime_ns for file in levels]
    for keep, words in (
        ("0", "level 0, 100.0%"),
        ("1", "level 1, 50.0%"),
        ("most-robust", "the most robust"),
    ):
        assert words in run(*command, "--keep", keep)[0].replace("\n", " ")
        weights = read_tensors(tmp_path / "runs/p/model.safetensors")
        if keep.isdigit():
            own = read_tensors(levels[int(keep)])
            assert all(torch.equal(own[f"best/{name}"], tensor) for name, tensor in weights.items())
    assert [file.stat().st_mtime_ns for file in levels] == written
    assert "keep: expected one of the levels 0 to 2, got 3" in run(*command, "--keep", "3", code=2)[1]
    assert "prune.keep" in run(*command, "--keep", "smallest", code=2)[1]


def test_a_network_that_is_cut_through_is_never_kept(run):
    """Without accuracy under attack every level is as robust as the whole network, a constant one too."""
    found = json.loads(
        run(
            "prune",
            *_SMALL[:6],
            "--levels",
            "5",
            "--fraction",
            "0.8",
            "--epochs",
            "1",
            "--objective",
            "standard",
            "--attack",
            "fgsm",
            "--attacks",
            "fgsm",
            "--examples",
            "60",
            "--eps",
            "0.4",
            "--set",
            "data.train=120",
            "--set",
            "prune.tolerance=1",
            "--lr",
            "0.05",
            "--out",
            "runs/p",
            "--json",
        )[0]
    )
    cut = {note["text"].split(":")[0] for note in found["findings"] if note["name"] == "empty"}
    (kept,) = [note["text"] for note in found["findings"] if note["name"] == "kept"]
    assert cut and kept.split(",")[0] not in cut


def test_pruning_goes_on_from_what_was_pruned(run, tmp_path):
    run("prune", *_SMALL, "--keep", "2", "--out", "runs/p")
    run(
        "prune",
        "--from",
        "runs/p",
        "--rewind",
        "none",
        "--set",
        "prune.whole=false",
        "--levels",
        "1",
        "--fraction",
        "0.5",
        "--epochs",
        "1",
        "--keep",
        "1",
        "--attack",
        "fgsm",
        "--attacks",
        "fgsm",
        "--examples",
        "20",
        "--out",
        "runs/q",
    )
    before, after = (read_tensors(tmp_path / "runs" / name / "model.safetensors") for name in ("p", "q"))
    matrices = [
        name
        for name in before
        if before[name].dim() > 1 and "downsample" not in name and "shortcut" not in name
    ]
    left = [sum(int((weights[name] != 0).sum()) for name in matrices) for weights in (before, after)]
    assert left[1] == pytest.approx(0.5 * left[0], rel=0.05)


def test_a_training_that_stops_ends_with_1(run):
    pytest.importorskip("torch_pruning")
    _train(run)
    run(
        "prune",
        "--from",
        "runs/a",
        "--macs",
        "0.6",
        "--epochs",
        "1",
        "--attack",
        "fgsm",
        "--attacks",
        "fgsm",
        "--examples",
        "20",
        "--lr",
        "1e30",
        "--set",
        "prune.batch_size=8",
        "--out",
        "runs/s",
        code=1,
    )


def test_a_trained_model_is_pruned_as_it_comes(run, tmp_path):
    _train(run)
    run(
        "prune",
        "--from",
        "runs/a",
        "--levels",
        "1",
        "--fraction",
        "0.3",
        "--epochs",
        "1",
        "--rewind",
        "none",
        "--attack",
        "fgsm",
        "--attacks",
        "fgsm",
        "--examples",
        "40",
        "--set",
        "prune.whole=false",
        "--out",
        "runs/p",
    )
    before, level = (
        read_tensors(tmp_path / f)
        for f in ("runs/a/model.safetensors", "runs/p/seed-0/pruned/level-0.safetensors")
    )
    assert all(torch.equal(level[f"last/{name}"], tensor) for name, tensor in before.items())
    numbers = [r for r in read_records(tmp_path / "runs/p") if isinstance(r, Number)]
    assert {n.about.level for n in numbers if n.quantity == "validation_robust"} == {0, 1}
    assert "another folder" in run("prune", "--from", "runs/a", "--out", "runs/a", code=2)[1]


@pytest.mark.parametrize("model", ["mlp_300_100_100", "resnet20"])
def test_dropped_features_are_taken_out_where_they_can_be(run, tmp_path, model):
    pytest.importorskip("torch_pruning")
    arguments = [
        *_SMALL[:3],
        model,
        *_SMALL[4:],
        "--rewind",
        "none",
        "--saliency",
        "usefulness",
        "--set",
        "prune.scope=features",
        "--set",
        "prune.tolerance=1",
        "--out",
        "runs/p",
    ]
    found = json.loads(run("prune", *arguments, "--json")[0])
    said = next(note["text"] for note in found["findings"] if note["name"] == "smaller")
    shapes = {
        name: tensor.shape for name, tensor in read_tensors(tmp_path / "runs/p/model.safetensors").items()
    }
    features = [
        r.value
        for r in read_records(tmp_path / "runs/p")
        if isinstance(r, Number) and r.quantity == "features_left"
    ]
    if model == "resnet20":
        assert "weights of 0" in said
    else:
        assert (
            "taken out" in said
            and min(s[1] for n, s in shapes.items() if n.endswith("weight") and s[0] == 10) == features[-1]
        )
    subject = build_subject(str(tmp_path / "runs/p"), None, None, None, {})
    best = read_tensors(tmp_path / "runs/p/seed-0/pruned/level-2.safetensors")
    x = torch.rand(3, 1, 8, 8)
    whole = subject.spec.build(0)
    whole.load_state_dict({n.removeprefix("best/"): t for n, t in best.items() if n.startswith("best/")})
    torch.testing.assert_close(subject.model(x), whole.eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"), [("prune.saliency=none", "saliency"), ("prune.rewind_epoch=9", "rewind_epoch")]
)
def test_what_it_refuses(run, change, words):
    assert words in run("prune", *_SMALL, "--set", change, "--out", "runs/p", code=2)[1]


def test_a_smaller_network_is_a_run_like_any_other(run, tmp_path):
    """Cut, trained again, timed, exported; then evaluated, profiled, pruned further and hardened from its
    weights alone.
    """
    pytest.importorskip("torch_pruning")
    _train(run)
    text = run(
        "prune",
        "--from",
        "runs/a",
        "--macs",
        "0.6",
        "--epochs",
        "1",
        "--attack",
        "fgsm",
        "--attacks",
        "fgsm",
        "--examples",
        "40",
        "--out",
        "runs/s",
        "--export",
        "runs/s.pt2",
    )[0]
    assert "trained again" in text and "time, before = 1" in text
    before, after = (read_tensors(tmp_path / "runs" / name / "model.safetensors") for name in ("a", "s"))
    assert sum(t.numel() for t in after.values()) < sum(t.numel() for t in before.values())
    program = torch.export.load(tmp_path / "runs/s.pt2").module()
    subject = build_subject(str(tmp_path / "runs/s"), None, None, None, {})
    x = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(program(x), subject.model(x))
    run("evaluate", "runs/s", "--attacks", "fgsm", "--examples", "20")
    run("profile", "runs/s", "--examples", "20")
    run(
        "harden",
        "--from",
        "runs/s",
        "--method",
        "adversarial",
        "--epochs",
        "1",
        "--attacks",
        "fgsm",
        "--examples",
        "20",
        "--out",
        "runs/h",
    )
    run("evaluate", "runs/h", "--attacks", "fgsm", "--examples", "20")
    run("report", "runs/s", "--out", "runs/s.html")
    assert (
        "fresh weights"
        in run("prune", "--from", "runs/s", "--rewind", "reinitialise", "--out", "runs/t", code=2)[1]
    )
    assert (
        "cannot be reached"
        in run("prune", "--from", "runs/a", "--macs", "0.0001", "--out", "runs/u", code=2)[1]
    )
    assert (
        "--macs" in run("prune", "--from", "runs/a", "--export", "runs/x.pt2", "--out", "runs/v", code=2)[1]
    )


def test_features_are_profiled_one_by_one(run, tmp_path):
    """Numbers for every feature in front of the classifier, on average in the table, as histograms in the
    report.
    """
    _train(run)
    found = json.loads(run("profile", "runs/a", "--measures", "usefulness", "--examples", "40", "--json")[0])
    (layer,) = [entry for entry in found["layers"] if "usefulness" in entry]
    assert (
        layer["usefulness.robust"]["value"] <= layer["usefulness"]["value"]
        and "keep a robust usefulness" in found["notes"][0]
    )
    numbers = [r for r in read_records(tmp_path / "runs/a") if isinstance(r, Number)]
    each = [n for n in numbers if n.quantity == "feature" and n.about.part == "robust"]
    assert abs(sum(n.value for n in each) / len(each) - layer["usefulness.robust"]["value"]) < 1e-9
    run("report", "runs/a", "--out", "runs/a.html")
    assert "What single features are worth" in (tmp_path / "runs/a.html").read_text()

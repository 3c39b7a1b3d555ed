"""A run folder as an object: network, settings and numbers, of every command that makes one."""

import json
import sys

import pytest
import torch

import semirobust as sr
from semirobust.experiments import (
    build_subject,
    harden_subject,
    prune_subject,
    read_recipe,
    recover_subject,
    shrink_subject,
    train,
)

SMALL = {
    "model.name": "resnet8",
    "model.width": 0.25,
    "data.train": 60,
    "data.test": 20,
    "threat.epsilon": 0.1,
    "evaluate.attacks": ["fgsm"],
    "evaluate.checks": 0,
    "evaluate.pictures": 0,
    "profile.examples": 20,
    **{f"{section}.epochs": 2 for section in ("train", "harden")},
    **{f"{section}.attack": "pgd-1" for section in ("train", "harden", "prune", "recover")},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "base"
    train(read_recipe(None, SMALL), folder)
    return folder


def _same(model, file):
    from semirobust.core.tensor_files import read_tensors

    weights = read_tensors(file)
    return all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def _subject(base, **changes):
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return build_subject(str(base), None, None, None, changes)


def test_a_training_is_loaded_at_its_best_epoch_and_at_its_last(base):
    run = sr.load_run(base)
    assert run.stage == "train" and not run.model.training and _same(run.model, base / "model.safetensors")
    assert run.settings == read_recipe(None, SMALL) and run.settings.threat.ball == sr.Linf(0.1)
    assert len(run.log.logs) == 2 and run.log.best_epoch == run.weights.trained
    last = sr.load_run(base, epoch="last")
    assert _same(last.model, base / "last.safetensors") and "last epoch" in repr(last)
    x, y = run.data.test.all()
    assert sr.evaluate(run.model, x, y).clean.shape == (20,)
    assert {"training_loss", "best_epoch"} <= set(run.numbers.to_frame()["quantity"])


def test_every_arm_and_seed_of_a_hardening_is_kept_and_loaded(base, tmp_path):
    subject = _subject(base, harden__controls=True, harden__epochs=1)
    harden_subject(subject, tmp_path / "hard")
    run = sr.load_run(tmp_path / "hard")
    assert (run.weights.arm, run.weights.seed) == ("clat", 0) and "PGD-AT continued" in repr(run)
    assert _same(run.model, tmp_path / "hard" / "model.safetensors")
    whose = {(each.arm, each.seed) for each in run.kept}
    arms = {"clat", "PGD-AT continued", "PGD-AT of clat's layers", "clat, random layers"}
    assert whose == {(arm, 0) for arm in arms}
    other = sr.load_run(tmp_path / "hard", arm="PGD-AT continued", seed=0)
    assert (other.weights.arm, other.weights.seed) == ("PGD-AT continued", 0)
    x, y = other.data.test.all()
    found = sr.evaluate(other.model, x, y).summary()["clean"]
    frame = other.to_frame()
    row = frame[(frame.arm == "PGD-AT continued") & (frame.attack == "clean")]
    assert float(row.accuracy.iloc[0]) == pytest.approx(float(found))
    assert run.plot().axes and len(other.log.logs) == 1
    with pytest.raises(sr.InputError, match=r"arm: expected one of the weights .*clat, seed 0.*got arm 'x'"):
        sr.load_run(tmp_path / "hard", arm="x")


def test_the_network_of_a_run_is_that_of_its_last_command(base, tmp_path):
    """Records of an earlier method stay beside those of a later one, and its network is replaced."""
    folder = tmp_path / "hard"
    for method in ("clat", "selected"):
        harden_subject(_subject(base, harden__method=method, harden__epochs=1), folder)
        run = sr.load_run(folder)
        assert (run.weights.arm, run.weights.seed) == (method, 0) and len(run.log.logs) == 1
    assert _same(run.model, folder / "model.safetensors")
    with pytest.raises(
        sr.InputError, match="arm: expected one of the weights .*selected, seed 0.*got arm 'clat'"
    ):
        sr.load_run(folder, arm="clat")


def test_a_hardening_that_was_interrupted_goes_on_by_its_method(base, tmp_path):
    from semirobust.experiments.started import note_start

    (folder := tmp_path / "hard").mkdir()
    note_start(folder, _subject(base, harden__method="clat").recipe)
    before = sorted(folder.rglob("*"))
    with pytest.raises(sr.InputError, match="harden.method was 'clat' and is 'lora'"):
        harden_subject(_subject(base, harden__method="lora", harden__epochs=1), folder)
    left = [file for file in folder.rglob("*") if file.name != ".lock"]
    assert sorted(left) == before, "nothing is trained first"


def test_runs_are_compared_and_those_under_other_conditions_are_told_apart(base, run):
    for name, images in (("a", 20), ("b", 20), ("c", 10)):
        run("evaluate", "--model", "resnet8", "--width", "0.25", "--checkpoint", str(base / "model.safetensors"),
            "--set", f"data.test={images}", "--set", 'evaluate.attacks=["fgsm"]', "--set", "evaluate.checks=0",
            "--out", name)  # fmt: skip
    found = sr.compare("a", "b", "c")
    frame = found.to_frame()
    assert set(frame.network) == {"a", "b", "c"} and frame.groupby(
        "condition"
    ).network.nunique().tolist() == [1, 2]
    verdicts = found.verdicts.to_frame()
    assert len(verdicts) == 2 and set(verdicts.outcome) == {"equal"}, "equal networks cannot be told apart"
    assert found.plot().axes and found.verdicts.plot().axes
    for wrong in ((), ("none",), (base,)):
        with pytest.raises(sr.InputError):
            sr.compare(*wrong)


def test_weights_of_earlier_settings_are_not_taken_for_those_of_now(base, tmp_path):
    from semirobust.experiments.kept_weights import keep_arm, kept_in
    from semirobust.records import read_records

    records = read_records(base)
    keep_arm(tmp_path, sr.load_run(base).model, "old", 3, "0" * 12)
    keep_arm(tmp_path, sr.load_run(base).model, "new", 3, records[0].origin.config)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert [each.arm for each in kept_in(tmp_path, "harden", records)][1:] == ["new"]


def test_levels_of_pruning_are_loaded_by_number(base, tmp_path):
    subject = _subject(base, prune__levels=1, prune__epochs=1, prune__keep=1)
    prune_subject(subject, tmp_path / "pruned")
    run = sr.load_run(tmp_path / "pruned")
    assert run.weights.level == 1 and len(run.log.logs) == 1
    zeros = [sum(int((p == 0).sum()) for p in sr.load_run(tmp_path / "pruned", level=n).model.parameters() if p.dim() > 1)
             for n in (0, 1)]  # fmt: skip
    assert zeros[0] == 0 < zeros[1]
    with pytest.raises(sr.InputError, match="level"):
        sr.load_run(tmp_path / "pruned", level=5)


def test_a_network_with_fewer_channels_is_loaded(base, tmp_path):
    shrink_subject(_subject(base, prune__macs=0.5, prune__epochs=1), tmp_path / "small")
    run = sr.load_run(tmp_path / "small")
    before = sum(p.numel() for p in sr.load_run(base).model.parameters())
    assert sum(p.numel() for p in run.model.parameters()) < before
    x, y = run.data.test.all()
    clean = sr.evaluate(run.model, x, y).summary()["clean"]
    rows = run.to_frame().query("arm == 'trained again' and attack == 'clean'")
    assert float(rows.accuracy.iloc[0]) == pytest.approx(float(clean))


def test_a_recovery_is_loaded(base, tmp_path):
    changes = {"recover__layers": [1], "recover__trials": 1, "recover__epochs": 1, "recover__dependence": ""}
    subject = _subject(base, **changes, recover__sharpness_examples=0)
    recover_subject(subject, _subject(base), tmp_path / "back")
    run = sr.load_run(tmp_path / "back")
    assert run.stage == "recover" and _same(run.model, tmp_path / "back" / "model.safetensors")


def test_numbers_alone_are_loaded_and_their_network_where_it_is_given(base, tmp_path, run):
    run("evaluate", "--model", "resnet8", "--width", "0.25", "--checkpoint", str(base / "model.safetensors"),
        "--set", "data.test=20", "--set", 'evaluate.attacks=["fgsm"]', "--set", "evaluate.checks=0",
        "--out", "numbers")  # fmt: skip
    whole = sr.load_run("numbers")  # evaluate leaves the network too
    assert whole.stage == "evaluate" and _same(whole.model, base / "model.safetensors")
    for name in ("settings.json", "model.safetensors"):
        (tmp_path / "numbers" / name).unlink()
    found = sr.load_run("numbers")
    assert found.settings.model.name == "resnet8" and found.table().rows == whole.table().rows
    with pytest.raises(sr.InputError, match=r"no weights; give the network too"):
        _ = found.model
    given = sr.load_run("numbers", model="resnet8", checkpoint=base / "model.safetensors")
    assert _same(given.model, base / "model.safetensors")
    with pytest.raises(sr.InputError, match="other weights"):
        sr.load_run("numbers", model=sr.build_model("resnet8", 10, 0.25, in_channels=1, image_size=8, seed=9))


FACTORY = """
from torch import nn
ran = []
def make(width=4):
    ran.append(width)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
"""


def test_a_factory_runs_only_where_the_caller_names_it(tmp_path, run, monkeypatch):
    (tmp_path / "loaded_factory.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    run("train", "--model", "loaded_factory:make", "--set", "model.options.width=5", "--set", "train.epochs=1",
        "--set", "data.train=60", "--set", "data.test=20", "--set", "train.attack=fgsm", "--out", "own")  # fmt: skip
    sys.modules["loaded_factory"].ran.clear()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "others"))  # where it was named by nobody
    with pytest.raises(sr.InputError, match=r"code is never run because a file names it"):
        sr.load_run("own")
    assert sys.modules["loaded_factory"].ran == []
    run_ = sr.load_run("own", model="loaded_factory:make", options={"width": 5})
    assert _same(run_.model, tmp_path / "own" / "model.safetensors")
    assert _same(sr.load_run("own").model, tmp_path / "own" / "model.safetensors"), (
        "it was named for this folder"
    )
    # Or a network of the same build; it is left as it was.
    mine = sys.modules["loaded_factory"].make(5)
    before = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    assert sr.load_run("own", model=mine).model is not mine
    assert all(torch.equal(before[name], tensor) for name, tensor in mine.state_dict().items())


def test_what_is_no_run_is_refused(base, tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(sr.InputError, match="expected a run"):
            sr.load_run(folder)
    with pytest.raises(sr.InputError, match="epoch: expected best or last"):
        sr.load_run(base, epoch="first")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("settings.json", "last.safetensors"):
        (other / name).write_bytes((base / name).read_bytes())
    (other / "model.safetensors").write_bytes((base / "last.safetensors").read_bytes())
    with pytest.raises(sr.InputError, match="expected the weights that the run left"):
        sr.load_run(other)


def test_a_saved_result_is_loaded_and_shows_itself_again(base, tmp_path):
    run = sr.load_run(base)
    x, y = run.data.test.all()
    scores = sr.criticality(run.model, x, y, threat=sr.Linf(0.1))
    again = sr.load_result(scores.save(tmp_path / "scores.json"))
    assert again.table() == scores.table() and repr(again) == repr(scores) and str(again) == str(scores)
    assert again._repr_html_() == scores._repr_html_() and again.plot().axes
    assert again.save(tmp_path / "scores.json").is_file()


@pytest.mark.parametrize(
    "change",
    [
        {"columns": {"layer": "code"}},
        {"rows": [[1]]},
        {"rows": [[[]] * 6]},
        {"version": 2},
        {"facts": {"a": []}},
        {"notes": [1]},
        {"said": None},
        {"semirobust result": 3},
    ],
)
def test_a_file_of_something_else_is_no_result(change, base, tmp_path):
    run = sr.load_run(base)
    path = run.save(tmp_path / "run.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **change}))
    with pytest.raises(sr.InputError, match="load_result"):
        sr.load_result(path)


def test_a_table_of_another_kind_is_not_drawn(base, tmp_path):
    path = sr.load_run(base).save(tmp_path / "run.json")
    path.write_text(path.read_text().replace('"LoadedRun"', '"Sweep"'))
    found = sr.load_result(path)
    if found.table().rows:
        with pytest.raises(sr.InputError, match="plot"):
            found.plot()
    path.write_text(path.read_text().replace('"Sweep"', '"os.system"'))
    with pytest.raises(sr.InputError, match="plot"):
        sr.load_result(path).plot()

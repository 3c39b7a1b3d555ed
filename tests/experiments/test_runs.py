"""Several commands into one run folder: what was there stays, and no report mixes two networks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

import semirobust as sr
from semirobust.core import files
from semirobust.core.errors import InputError
from semirobust.data.base.images import Images
from semirobust.experiments import adding
from semirobust.experiments.adding import add_records
from semirobust.experiments.commands import evaluate as stage
from semirobust.experiments.folder import read_run, save_run
from semirobust.experiments.identity import weights_of
from semirobust.experiments.subject import build_subject
from semirobust.records.schema import About, Number, Origin, Quantity, Settings
from semirobust.records.store import read_records, write_records
from semirobust.reports.source import read_source
from semirobust.training import training as training_room
from tests.experiments.test_commands import FAST
from tests.kinds import kind

AT = Origin(config="c", version="0", device="d", seed="0")
_SHORT = ("--data", "digits", "--attack", "pgd-1", *FAST, "--epochs", "1")
_TINY = (
    "--examples",
    "20",
    "--attacks",
    "fgsm",
    "--set",
    "evaluate.checks=0",
    "--set",
    "evaluate.pictures=0",
)


def _records(value=0.5, *, arm="a", examples=20, n=20):
    settings = {"evaluate": {"examples": examples}, "weights": "w"}
    about = About(arm=arm, attack="clean")
    number = Number(quantity=Quantity.ACCURACY, value=value, n=n, about=about, origin=AT)
    return [Settings(stage="evaluate", settings=settings, origin=AT), number]


def _files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.jsonl")}


@pytest.fixture
def trained(run):
    run("train", *_SHORT, "--out", "runs/a")
    return Path("runs/a")


@kind(
    "a second `evaluate` or `profile` into a run, with other settings",
    "its records stand beside the first ones; the report has both and says what was asked otherwise",
    about="runs",
)
def test_a_second_command_adds(run, trained):
    run("evaluate", str(trained), *_TINY)
    run("profile", str(trained), "--examples", "20")
    before = _files(trained)
    out, _ = run("evaluate", str(trained), *_TINY, "--attacks", "pgd-2", "--examples", "30")
    run("profile", str(trained), "--examples", "30")
    after = _files(trained)
    assert "beside those of earlier commands" in out
    assert {name: after[name] for name in before} == before
    assert {*after} - {*before} == {"records/3-evaluate-2.jsonl", "records/2-profile-2.jsonl"}
    source = read_source([trained])
    first, second = source.arms(Quantity.ACCURACY)
    assert first.run is None and second.run.startswith("evaluate 2 (") and "examples=30" in second.run
    assert [cell.n for cell in map(source.accuracy, (first, second), source.attacks()[:1] * 2)] == [20, 30]
    run("report", str(trained))
    assert "evaluate 2 (" in (trained / "report.html").read_text()


@kind(
    "the same command twice",
    "the numbers are written once, which is said",
    about="runs",
)
def test_the_same_command_twice(run, trained):
    run("evaluate", str(trained), *_TINY)
    before = _files(trained)
    out, _ = run("evaluate", str(trained), *_TINY)
    assert "already" in out and _files(trained) == before


@kind(
    "the same settings, but another number than a run has",
    "the new one says so, and the old records are kept in `superseded`",
    about="runs",
)
def test_another_number_for_the_same_settings(tmp_path):
    add_records(tmp_path, "3-evaluate", _records(0.5))
    first = _files(tmp_path)["records/3-evaluate.jsonl"]
    added = add_records(tmp_path, "3-evaluate", _records(0.25))
    assert "1 numbers differ" in added.note and "superseded" in read_records(tmp_path)[-1].text
    assert _files(tmp_path)["superseded/3-evaluate.1.jsonl"] == first
    add_records(tmp_path, "3-evaluate", _records(0.75))
    assert len(list((tmp_path / "superseded").iterdir())) == 2
    assert [r.value for r in read_records(tmp_path) if isinstance(r, Number)] == [0.75]


@kind(
    "a command that measures more, or less, than the records of the same settings have",
    "more is added to them, less erases nothing",
    about="runs",
)
def test_more_and_less_of_the_same(tmp_path):
    one, more = _records(), [*_records(), _records(arm="b")[1]]
    for records in (one, more, one):
        add_records(tmp_path, "1-harden", records)
    assert list(_files(tmp_path)) == ["records/1-harden.jsonl"] and len(read_records(tmp_path)) == 3


@kind(
    "a command that is killed while it writes into an existing run",
    "the earlier records are whole, in their place or in `superseded`, and the next try goes through",
    about="runs",
)
@pytest.mark.parametrize("write", [1, 2])
def test_killed_while_it_replaces(tmp_path, monkeypatch, write):
    add_records(tmp_path, "3-evaluate", _records(0.5))
    old, count = _files(tmp_path)["records/3-evaluate.jsonl"], []

    def killed(path, content):
        count.append(path)
        if len(count) == write:
            raise KeyboardInterrupt
        files.write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(adding, "write_atomically", killed)
        patch.setattr("semirobust.records.store.write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            add_records(tmp_path, "3-evaluate", _records(0.25))
    assert _files(tmp_path)["records/3-evaluate.jsonl"] == old
    add_records(tmp_path, "3-evaluate", _records(0.25))
    kept = [p.read_bytes() for p in (tmp_path / "superseded").iterdir()]
    assert kept == [old] and read_records(tmp_path)[1].value == 0.25


@kind(
    "a second network evaluated or profiled into the folder of the first",
    "it is refused before any work, by the weights: two networks never share a report",
    about="runs",
)
def test_two_networks_do_not_share_a_folder(run, trained):
    run("train", *_SHORT, "--seed", "1", "--out", "runs/b")
    run("evaluate", "runs/a", *_TINY, "--out", "e")
    before = _files(Path("e"))
    for command in (
        ("evaluate", "runs/b", *_TINY, "--out", "e"),
        ("profile", "runs/b", "--examples", "20", "--out", "e"),
        ("evaluate", "runs/b", *_TINY, "--out", "runs/a"),
        ("evaluate", "runs/a", "--checkpoint", "runs/b/model.safetensors", *_TINY),
    ):
        _, err = run(*command, code=2)
        assert "other weights" in err and "choose another folder" in err
    assert _files(Path("e")) == before and not list(Path("e").glob("evaluate-*"))
    run("profile", "runs/a", "--examples", "20", "--out", "e")  # the same network may


@kind(
    "`harden --from` or `evaluate` of a folder that `evaluate --out` left",
    "it goes on from there, with the weights that were evaluated and the split that they were trained on; where"
    " the weights are gone a sentence says so, and how to name the network",
    about="runs",
)
def test_going_on_from_what_was_evaluated(run, trained):
    run("evaluate", "runs/a", *_TINY, "--out", "e")
    assert weights_of(build_subject("e", None, None, None, {}).model) == weights_of(
        build_subject("runs/a", None, None, None, {}).model
    )
    _, err = run("profile", "e", "--examples", "20")
    assert "beside what it has: evaluate" in err
    run(
        "harden",
        "--from",
        "e",
        "--method",
        "adversarial",
        "--attack",
        "pgd-1",
        "--epochs",
        "1",
        *_TINY,
        "--out",
        "h",
    )
    _, err = run("harden", "--from", "e", "--out", "h2", "--set", "data.validation=0.3", code=2)
    assert "as in the model's training" in err
    for file in ("settings.json", "model.safetensors"):
        Path("e", file).unlink()
    for command in (("harden", "--from", "e", "--out", "h"), ("evaluate", "e")):
        _, err = run(*command, code=2)
        assert "holds records of" in err and "no weights" in err and "--checkpoint" in err


@kind("`evaluate` or `profile` without a folder", "one line says that nothing is kept", about="runs")
def test_nothing_kept_is_said(run, trained):
    model = ("--model", read_run(trained)[1].name, "--checkpoint", str(trained / "model.safetensors"))
    width = ("--set", f"model.width={read_run(trained)[1].width}", "--data", "digits")
    _, err = run("evaluate", *model, *width, *_TINY)
    assert "Nothing is kept" in err and "--out" in err
    _, err = run("evaluate", str(trained), *_TINY)
    assert "Nothing is kept" not in err


@kind(
    "weights that a later command replaces in a run",
    "the old ones and the records that speak of them are kept in `superseded`",
    about="runs",
)
def test_other_weights_set_the_old_ones_aside(run, trained):
    recipe, spec = read_run(trained)
    run("evaluate", str(trained), *_TINY)
    old, other = weights_of(spec.build(5)), spec.build(6)
    save_run(trained, spec.build(5), spec, recipe, "train")
    save_run(trained, other, spec, recipe, "train")
    names = {p.name for p in (trained / "superseded").iterdir()}
    assert {f"model-{old}.safetensors", f"settings-{old}.json"} <= names
    assert any(name.startswith("3-evaluate-") for name in names)
    assert [p.name for p in (trained / "records").iterdir()] == ["1-train.jsonl"]
    assert json.loads((trained / "settings.json").read_text())["weights"] == weights_of(other)


@kind(
    "records with characters that end a line elsewhere (U+2028) in a class name",
    "they are read back as they were",
    about="runs",
)
@pytest.mark.parametrize("name", ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb\x1cc"])
def test_characters_that_end_a_line_elsewhere(tmp_path, name):
    records = _records(arm=name)
    write_records(tmp_path / "records" / "a.jsonl", records)
    assert read_records(tmp_path) == records


@kind(
    "an attack whose perturbations leave what it is allowed",
    "the command says how many did not count, as the records do",
    about="runs",
)
def test_rejected_examples_are_in_the_summary(run, trained, monkeypatch):
    found = stage.evaluate
    monkeypatch.setattr(stage, "evaluate", lambda *a, **k: replace(found(*a, **k), rejected={"fgsm": 3}))
    out, _ = run("evaluate", str(trained), *_TINY)
    assert "3 perturbations by fgsm failed the final check" in out


@kind(
    "a Fabric whose precision scales gradients (16-mixed) or needs another network (64-true, bf16-true)",
    "training refuses it in a sentence that names what to take",
    about="runs",
)
@pytest.mark.parametrize("precision", ["16-mixed", "64-true", "bf16-true"])
def test_precisions_that_would_be_wrong_are_refused(precision, linear, images):
    if precision == "16-mixed":  # which Lightning takes on a GPU alone
        fabric = Fabric(accelerator="cpu", devices=1)
        fabric.strategy.precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    else:
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    x, y = images
    before = {name: value.clone() for name, value in linear.state_dict().items()}
    with pytest.raises(InputError, match=f"got {precision};"):
        sr.Training(epochs=1, attack=sr.PGD(sr.Linf(0.1), steps=1))(
            linear, Images(x, y, ("0", "1", "2")), fabric=fabric
        )
    assert all(torch.equal(before[name], value) for name, value in linear.state_dict().items())


@kind(
    "training without a Fabric of a network that is on a GPU",
    "it trains there, on that very device",
    about="runs",
)
@pytest.mark.parametrize("device", ["cuda:1", "cuda", "mps", "cpu"])
def test_training_stays_where_the_network_is(device, linear, monkeypatch):
    monkeypatch.setattr(training_room, "device_of", lambda model, default: torch.device(device))
    found = training_room._where_it_is(linear)
    assert found.device == torch.device(device) and found.world_size == 1

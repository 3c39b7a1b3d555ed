"""Who is told how a training goes: callbacks, loggers of Lightning, and those that a command names."""

import csv
import sys
import types

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from torch import nn

import semirobust as sr
from semirobust.experiments import build_subject, harden_subject, prune_subject, read_recipe, train
from semirobust.experiments.loggers import make_loggers


def _images():
    generator = torch.Generator().manual_seed(1)
    return sr.images_from_tensors(torch.rand(24, 1, 4, 4, generator=generator), torch.arange(24) % 3)


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def _harden(epochs=3, **more):
    return sr.harden(_model(), _images(), "adversarial", threat=sr.Linf(0.05), epochs=epochs, **more)


class _Heard(sr.Callback):
    def __init__(self):
        self.calls = []

    def on_train_start(self, run):
        self.calls.append(("start", run.state.epoch))

    def on_epoch_end(self, log):
        self.calls.append(("epoch", log.epoch))

    def on_train_end(self, trained):
        self.calls.append(("end", len(trained.logs)))


def test_callbacks_are_told_of_the_start_every_epoch_and_the_end():
    heard, told = _Heard(), []
    trained = _harden(2, callbacks=[heard, told.append])
    assert heard.calls == [("start", 0), ("epoch", 1), ("epoch", 2), ("end", 2)]
    assert [log.epoch for log in told] == [1, 2] and tuple(told) == trained.logs
    assert str(told[1]).startswith("epoch 2: loss "), "what callbacks=[print] shows"
    plain = _harden(2)
    assert [log.loss for log in plain.logs] == [log.loss for log in trained.logs], "listening changes nothing"


def test_an_object_may_have_some_of_the_methods():
    ended = []
    _harden(1, callbacks=[types.SimpleNamespace(on_train_end=ended.append)])
    assert len(ended) == 1


def test_a_callback_that_fails_ends_the_training_and_what_was_done_is_kept():
    def broken(log):
        if log.epoch == 2:
            raise ZeroDivisionError("by zero")

    heard = _Heard()
    with pytest.warns(UserWarning, match="a callback failed in on_epoch_end: ZeroDivisionError: by zero"):
        trained = _harden(5, callbacks=[broken, heard])
    assert (
        len(trained.logs) == 2
        and "ZeroDivisionError" in trained.stopped
        and "ZeroDivisionError" in repr(trained)
    )
    assert trained.best_epoch and heard.calls[-1] == ("end", 2)


def test_a_callback_ends_a_training_on_purpose():
    def enough(log):
        raise StopIteration("loss is flat")

    trained = _harden(5, callbacks=[enough])
    assert len(trained.logs) == 1 and trained.stopped.endswith("a callback ended it: loss is flat")


def test_a_run_whose_callback_failed_goes_on(tmp_path):
    training = sr.Training(attack=sr.FGSM(sr.Linf(0.05)), epochs=3)

    def broken(log):
        raise RuntimeError("once")

    with pytest.warns(UserWarning, match="once"):
        first = training(_model(), _images(), state_file=tmp_path / "state", callbacks=[broken])
    assert len(first.logs) == 1
    whole = training(_model(), _images())
    after = training(_model(), _images(), state_file=tmp_path / "state")
    assert not after.stopped and [log.loss for log in after.logs] == [log.loss for log in whole.logs]


@pytest.mark.parametrize("wrong", ["print", [3], [_Heard], print])
def test_what_cannot_be_told_anything_is_refused_before_any_work(wrong):
    with pytest.raises(sr.InputError, match="callbacks: expected"):
        _harden(1, callbacks=wrong)


class _Memory(Logger):
    name, version = "memory", "0"

    def __init__(self):
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params):
        pass


def test_loggers_of_lightning_get_the_numbers_of_every_epoch():
    as_callback, of_fabric = _Memory(), _Memory()
    fabric = Fabric(accelerator="cpu", devices=1, loggers=[of_fabric])
    validate = lambda model, seed: {"clean": 0.5}  # noqa: E731
    trained = _harden(2, callbacks=[as_callback], fabric=fabric, validate=validate)
    assert as_callback.rows == of_fabric.rows and [step for step, _ in of_fabric.rows] == [1, 2]
    assert of_fabric.rows[1][1]["loss"] == trained.logs[1].loss and of_fabric.rows[1][1]["clean"] == 0.5


SMALL = {
    "model.name": "resnet8", "model.width": 0.25, "data.train": 60, "data.test": 10, "threat.epsilon": 0.1,
    "evaluate.attacks": ["fgsm"], "evaluate.checks": 0, "evaluate.pictures": 0, "profile.examples": 10,
    "train.epochs": 2, "train.attack": "fgsm", "harden.epochs": 1, "harden.attack": "pgd-1", "prune.attack": "fgsm",
    "train.watch": ["criticality"],
}  # fmt: skip


def _rows(folder):
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


def test_a_fabric_that_moves_a_network_says_so(monkeypatch):
    from semirobust.training import training as room

    fabric = Fabric(accelerator="cpu", devices=1)
    assert not any("fabric" in note for note in _harden(1, fabric=fabric).notes)
    monkeypatch.setattr(room, "device_of", lambda model, default: torch.device("cuda", 1))
    trained = _harden(1, fabric=fabric)
    assert "the network was on cuda:1 and is on cpu now, where the fabric is" in trained.notes


def test_every_training_command_logs_where_it_is_told_to(tmp_path):
    base = tmp_path / "base"
    trained = train(read_recipe(None, {**SMALL, "train.log": ["csv", "tensorboard"]}), base)
    rows = _rows(base)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["loss"]) for row in rows] == [log.loss for log in trained.logs]
    assert any(name.startswith("criticality.layer") for name in rows[0])
    assert any((base / "tensorboard").iterdir())
    changes = {
        "harden.log": ["csv"],
        "prune.log": ["csv"],
        "prune.levels": 1,
        "prune.epochs": 1,
    }
    subject = build_subject(str(base), None, None, None, changes)
    harden_subject(subject, tmp_path / "hard", seeds=2)
    found = {row["training"] for row in _rows(tmp_path / "hard")}
    assert found == {"clat-seed-0", "clat-seed-1"}
    run = sr.load_run(tmp_path / "hard", seed=1)
    assert run.weights.seed == 1 and len(run.kept) == 2 and "seed 0" in repr(run)
    prune_subject(subject, tmp_path / "pruned")
    assert {row["training"] for row in _rows(tmp_path / "pruned")} == {
        "ticket-seed-0-level-0", "ticket-seed-0-level-1"
    }  # fmt: skip


def test_a_log_goes_on_where_it_stopped_and_is_no_setting_of_the_training(tmp_path):
    train(read_recipe(None, {**SMALL, "train.log": ["csv"]}), tmp_path)
    before = _rows(tmp_path)
    train(read_recipe(None, SMALL), tmp_path)  # the same run, done already
    train(read_recipe(None, {**SMALL, "train.log": ["csv"]}), tmp_path)
    assert _rows(tmp_path) == before
    logger = make_loggers(["csv"], tmp_path, {})[0]
    logger.log_metrics({"loss": 1.0}, 3)
    assert [row["epoch"] for row in _rows(tmp_path)] == ["1", "2", "3"]


def test_processes_of_one_run_keep_each_others_rows(tmp_path):
    one, other = (make_loggers(["csv"], tmp_path, {})[0] for _ in range(2))
    one.log_metrics({"clat-seed-0/loss": 1.0}, 1)
    other.log_metrics({"clat-seed-1/loss": 2.0, "clat-seed-1/robust": 0.5}, 1)
    one.log_metrics({"clat-seed-0/loss": 0.5}, 2)
    found = [(row["training"], row["epoch"], row["loss"], row["robust"]) for row in _rows(tmp_path)]
    assert found == [
        ("clat-seed-0", "1", "1.0", ""), ("clat-seed-0", "2", "0.5", ""), ("clat-seed-1", "1", "2.0", "0.5")
    ]  # fmt: skip


def test_rows_that_were_lost_come_back_with_the_training(tmp_path):
    train(read_recipe(None, {**SMALL, "train.log": ["csv"]}), tmp_path)
    before = _rows(tmp_path)
    (tmp_path / "log.csv").unlink()
    train(read_recipe(None, {**SMALL, "train.log": ["csv"]}), tmp_path)
    assert _rows(tmp_path) == before


def test_a_table_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "log.csv").write_text("mine\n1\n")
    with pytest.raises(sr.InputError, match="not made by semirobust"):
        make_loggers(["csv"], tmp_path, {})


def test_names_and_packages_that_are_not_there_are_said(tmp_path, monkeypatch):
    with pytest.raises(sr.InputError, match="log: expected some of csv, mlflow, tensorboard, wandb"):
        read_recipe(None, {"harden.log": ["paper"]})
    for name in ("wandb", "mlflow", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(
            sr.InputError, match=rf"{name} is not installed; pip install 'semirobust\[{name}\]'"
        ):
            make_loggers([name], tmp_path, {})


def _module(name, monkeypatch, **entries):
    module = types.ModuleType(name)
    module.__spec__ = types.SimpleNamespace(name=name)
    for key, value in entries.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


def test_weights_and_biases_gets_the_numbers(tmp_path, monkeypatch):
    begun, logged = [], []
    run = types.SimpleNamespace(log=logged.append)
    _module("wandb", monkeypatch, init=lambda **given: begun.append(given) or run)
    (logger,) = make_loggers(["wandb"], tmp_path / "run", {"seed": 0})
    assert not begun, "nothing is opened before there is a number"
    logger.log_metrics({"a/loss": 1.0}, 1)
    assert begun[0]["config"] == {"seed": 0} and begun[0]["name"] == "run"
    assert logged == [{"a/loss": 1.0, "a/epoch": 1}]


def test_mlflow_gets_the_numbers(tmp_path, monkeypatch):
    logged, ended = [], []
    client = types.SimpleNamespace(
        create_run=lambda experiment, run_name: types.SimpleNamespace(
            info=types.SimpleNamespace(run_id=run_name)
        ),
        log_dict=lambda *given: None,
        log_metric=lambda run, key, value, step: logged.append((run, key, value, step)),
        set_terminated=ended.append,
    )
    experiment = types.SimpleNamespace(experiment_id="1")
    _module("mlflow", monkeypatch, MlflowClient=lambda: client, set_experiment=lambda name: experiment)
    (logger,) = make_loggers(["mlflow"], tmp_path / "run", {})
    logger.save()
    logger.log_metrics({"a,b/loss": 1.0}, 1)
    logger.save()
    assert logged == [("run", "a_b/loss", 1.0, 1)] and ended == ["run"]


def test_a_network_stays_on_its_device(monkeypatch):
    """What trains without a fabric trains where the network is, which no test machine needs to have."""
    from semirobust.training import training as room

    monkeypatch.setattr(room, "device_of", lambda model, default: torch.device("cuda", 1))
    assert room._where_it_is(_model()).device == torch.device("cuda", 1)
    monkeypatch.undo()
    apart = _model()
    apart[1].to("meta")
    with pytest.raises(
        sr.InputError, match="all of its weights on one device, got some on cpu and some on meta"
    ):
        sr.Training(attack=sr.FGSM(sr.Linf(0.1)), epochs=1)(apart, _images())
    with pytest.raises(sr.InputError, match="meta"):
        sr.Training(attack=sr.FGSM(sr.Linf(0.1)), epochs=1)(_model().to("meta"), _images())

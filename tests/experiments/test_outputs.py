"""Networks of a user that return no logits, from the command line to records."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from semirobust.models.checkpoint import load_checkpoint
from semirobust.records.store import read_records
from tests.kinds import kind

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv, self.head = kind, nn.Conv2d(1, 4, 3), nn.Linear(4, 10)

    def forward(self, x):
        z = self.head(torch.relu(self.conv(x)).mean((2, 3)))
        if self.kind == "held":
            return {"logits": z}
        if self.kind == "probabilities":
            return z.softmax(1)
        if self.kind == "field":
            return [x, {"scores": z}["scores"], z]
        return (z, 2 * z) if self.training else z

def held(): return Net("held")
def probabilities(): return Net("probabilities")
def field(): return Net("field")
def exported():
    free = ({0: torch.export.Dim.DYNAMIC},)
    return torch.export.export(Net("probabilities").eval(), (torch.rand(2, 1, 8, 8),), dynamic_shapes=free)
def heads(): return Net("heads")
"""
DATA = ["--data", "digits", "--set", "data.train=60"]
TRAIN = [*DATA, "--epochs", "1", "--attack", "fgsm", "--set", "train.validation_examples=0"]
FEW = ["--attacks", "pgd-2", "--examples", "20", "--set", "evaluate.checks=0", "--set", "evaluate.pictures=1"]


@pytest.fixture
def made(run):
    Path("made.py").write_text(FACTORY)
    return run


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("held", [], ""),
        ("heads", [], "main head"),
        ("probabilities", ["--output", "probabilities"], "gradient is lost"),
        ("field", ["--output", "-1"], "the part -1"),
    ],
)
def test_what_a_network_returns_is_said_once_and_kept_with_the_run(kind, given, said, made):
    name = f"made:{kind}"
    out, _ = made("train", "--model", name, *TRAIN, *given, "--out", "r")
    assert said in out
    notes = [r.text for r in read_records(Path("r")) if r.kind == "finding" and r.topic == "note"]
    assert any(said in note for note in notes) or not said
    out, _ = made("evaluate", "r", "--model", name, *FEW)
    if kind != "heads":  # which it has while it trains alone
        assert out.count(said) == 1 or not said
        notes = [r.text for r in read_records(Path("r")) if r.kind == "finding" and r.topic == "note"]
        assert sum(said in note for note in notes) <= 2 or not said
    made("profile", "r", "--model", name, "--set", "profile.examples=12")


def test_what_cannot_be_told_is_one_sentence_with_the_flag(made):
    for name, remedy in (("probabilities", 'output="probabilities"'), ("field", "output=2")):
        _, error = made("train", "--model", f"made:{name}", *TRAIN, "--out", "r", code=2)
        assert remedy in error and "--output" in error and len(error.strip().splitlines()) == 1
    _, error = made("train", "--model", "resnet8", *TRAIN, "--output", "binary", "--out", "r", code=2)
    assert "which resnet8 returns" in error


def test_weights_of_a_run_keep_the_names_of_the_network(made):
    norm = ["--set", "model.mean=[0.3]", "--set", "model.std=[0.4]"]
    made("train", "--model", "made:held", *TRAIN, *norm, "--out", "r")
    space: dict = {}
    exec(compile(FACTORY, "made", "exec"), space)
    net = load_checkpoint(space["held"](), Path("r/model.safetensors"))
    assert set(net.state_dict()) == {"conv.weight", "conv.bias", "head.weight", "head.bias"}
    assert json.loads(Path("r/settings.json").read_text())["model"]["output"] == "logits"
    assert isinstance(net(torch.rand(2, 1, 8, 8)), dict)
    layers = [r.name for r in read_records(Path("r")) if r.kind == "layer"]
    assert layers == ["conv", "head"]


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_is_evaluated_and_what_needs_layers_says_why_not(made):
    given = ["--output", "probabilities", "--set", "model.mean=[0.3]", "--set", "model.std=[0.4]"]
    out, _ = made("evaluate", "--model", "made:exported", *DATA, *FEW, *given)
    assert "Accuracy on 20 images" in out and out.count("gradient is lost") == 1
    _, error = made("train", "--model", "made:exported", *TRAIN, *given, "--out", "t", code=2)
    assert "hand over the module that it was made from" in error


@kind(
    "raw and averaged weights in the file of `--checkpoint`",
    "a note says which were taken and `--checkpoint-key` takes the others",
    about="checkpoints",
)
def test_a_key_of_a_checkpoint(made):
    space: dict = {}
    exec(compile(FACTORY, "made", "exec"), space)
    torch.manual_seed(0)
    raw, averaged = space["held"](), space["held"]()
    torch.save(
        {"model": raw.state_dict(), "model_ema": averaged.state_dict(), "args": argparse.Namespace()}, "c.pt"
    )
    given = ["evaluate", "made:held", "--checkpoint", "c.pt", *DATA, *FEW, "--json"]
    notes = json.loads(made(*given)[0])["notes"]
    assert any("those under 'model_ema' fit too and differ" in note for note in notes)
    assert any("args (argparse.Namespace)" in note for note in notes)
    notes = json.loads(made(*given, "--checkpoint-key", "model_ema")[0])["notes"]
    assert any("averages over training" in note for note in notes)
    wrong = "c.pt has no 'net'; expected one of 'model', 'model_ema'"
    assert wrong in made(*given, "--checkpoint-key", "net", code=2)[1]
    assert "both or none" in made("evaluate", "made:held", *DATA, "--checkpoint-key", "net", code=2)[1]
    made("train", "--model", "made:held", *TRAIN, "--out", "r")
    run = ["evaluate", "r", "--model", "made:held", *FEW]
    assert "both or none" in made(*run, "--checkpoint-key", "model", code=2)[1]
    out, _ = made(*run, "--checkpoint", "c.pt", "--checkpoint-key", "model_ema", "--out", "q")
    assert "averages over training" in out
    assert "leave it out" in made("train", *TRAIN, "--checkpoint-key", "model", "--out", "s", code=2)[1]
    profile = ["profile", *given[1:4], *DATA, "--set", "profile.examples=12"]
    assert "model_ema" in made(*profile, "--out", "p")[0]
    kept = [r.text for r in read_records(Path("p")) if r.kind == "finding" and r.topic == "note"]
    assert any("model_ema" in note for note in kept)

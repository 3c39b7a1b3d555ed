"""One schedule of the learning rate through a base and the method that goes on from it."""

import json

import pytest
import torch

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.experiments.commands.harden import handed_over
from semirobust.experiments.recipe import read_recipe
from semirobust.experiments.subject import build_subject
from semirobust.training.training import Training


def _rates(trained):
    return [log.learning_rate for log in trained.logs]


@pytest.mark.parametrize("schedule", ["cosine", "step", "drops-50-75"])
def test_two_parts_have_the_rates_of_the_whole(schedule):
    x = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images, given = sr.images_from_tensors(x, torch.arange(20) % 3), {"schedule": schedule, "batch_size": 10}
    attack = sr.PGD(sr.Linf(0.03), steps=1)

    def model():
        return sr.build_model("resnet8", 3, 0.125, image_size=8)

    whole = Training(attack=attack, epochs=5, **given)(model(), images)
    base = Training(attack=attack, epochs=3, epochs_after=2, **given)(model(), images)
    after = sr.harden(
        model(), images, "adversarial", attack=attack, epochs=2, epochs_before=3, learning_rate=0.1, **given
    )
    assert _rates(base) + _rates(after) == _rates(whole)
    alone = Training(attack=attack, epochs=3, **given)(model(), images)
    assert _rates(alone) != _rates(base)
    with pytest.raises(InputError, match="epochs_(before|after): expected a whole number from 0 on"):
        Training(epochs_after=-1)


def test_a_recipe_shares_the_schedule_of_the_base():
    changes = {"train.epochs": 70, "harden.epochs": 30}
    alone, shared = (read_recipe(None, {**changes, "harden.one_schedule": one}) for one in (False, True))
    assert (alone.train.training.epochs_after, alone.harden.training.epochs_before) == (0, 0)
    assert (shared.train.training.epochs_after, shared.harden.training.epochs_before) == (30, 70)
    # The base is another one, and its settings say so where only they are asked for.
    assert alone.for_hash("train") != shared.for_hash("train")
    assert read_recipe(None, {}, shared) == shared
    with pytest.raises(InputError, match="harden.schedule: expected that of train"):
        read_recipe(None, {**changes, "harden.one_schedule": True, "harden.schedule": "step"})


_SMALL = """
[data]
source = "digits"
train = 80
test = 20
validation = 20
[model]
name = "resnet8"
width = 0.125
[train]
epochs = 2
attack = "pgd-1"
validation_attack = "pgd-1"
[harden]
method = "adversarial"
epochs = 2
attack = "pgd-1"
validation_attack = "pgd-1"
one_schedule = true
learning_rate = 0.1
[evaluate]
attacks = ["fgsm"]
examples = 20
"""


def test_from_nothing_the_method_goes_on_where_the_base_ends(run, tmp_path):
    """The rates are those of four epochs, and the start is the last epoch and not the best one."""
    (tmp_path / "r.toml").write_text(_SMALL)
    out = tmp_path / "out"
    run("harden", "--recipe", str(tmp_path / "r.toml"), "--out", str(out), "--json")
    rates = [_recorded(out / "base"), _recorded(out)]
    whole = Training(attack=sr.PGD(sr.Linf(0.03), steps=1), epochs=4, batch_size=128)
    x = torch.rand(80, 1, 8, 8)
    expected = _rates(whole(sr.build_model("resnet8", 3, 0.125, image_size=8, in_channels=1),
                            sr.images_from_tensors(x, torch.arange(80) % 3)))  # fmt: skip
    assert rates[0] + rates[1] == pytest.approx(expected)
    # A base of two epochs by itself is refused, and so is a file of weights.
    run("train", "--recipe", str(tmp_path / "r.toml"), "--set", "harden.one_schedule=false", "--out", "alone")
    arguments = ("--set", "harden.one_schedule=true", "--out", "more")
    _, said = run("harden", "--from", "alone", *arguments, code=2)
    assert "was not trained as the first 2 of 4 epochs of one schedule" in said
    # The same run folder goes on by itself, too, from its last epoch.
    run("harden", "--from", str(out / "base"), "--out", "again", "--json")
    assert _recorded(tmp_path / "again") == rates[1]
    assert _accuracy(out) == _accuracy(tmp_path / "again")
    base = build_subject(str(out / "base"), None, None, None, {})
    assert handed_over(base) == out / "base" / "last.safetensors"
    (out / "base" / "last.safetensors").unlink()
    with pytest.raises(InputError, match="expected a run folder that `semirobust train` left"):
        handed_over(base)


def _recorded(folder):
    numbers = [json.loads(line) for file in sorted((folder / "records").glob("*.jsonl"))
               for line in file.read_text().splitlines()]  # fmt: skip
    found = [(n["about"]["epoch"], n["value"]) for n in numbers if n.get("quantity") == "learning_rate"]
    return [value for _, value in sorted(found)]


def _accuracy(folder):
    numbers = [json.loads(line) for file in sorted((folder / "records").glob("*.jsonl"))
               for line in file.read_text().splitlines()]  # fmt: skip
    return [
        n["value"] for n in numbers if n.get("quantity") == "accuracy" and n["about"].get("arm") == "start"
    ]

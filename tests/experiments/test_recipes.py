"""Recipes that come with the package, hardening from scratch, and what is followed epoch by epoch."""

import numpy as np
import pytest

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.experiments.commands.train import train
from semirobust.experiments.recipe import read_recipe, shipped
from semirobust.methods import METHODS
from semirobust.records.schema import Number
from semirobust.records.store import read_records

TINY = {
    "data.source": "digits", "data.train": 60, "data.test": 20, "model.name": "resnet8", "model.width": 0.25,
    "train.batch_size": 20, "train.validation_examples": 10, "train.epochs": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_recipe_trains(name, tmp_path):
    """Two epochs on digits; an average that begins after half of them has begun."""
    text = shipped()[name].read_text()
    assert text.startswith("# ") and "[train]" in text
    changes = {
        **TINY,
        "train.attack": {"pgd-10": "pgd-2"}.get(read_recipe(shipped()[name]).plain()["train"]["attack"]),
    }
    if name == "extra-data-at":
        np.savez(
            tmp_path / "made.npz",
            image=np.random.default_rng(0).random((30, 8, 8, 1), np.float32),
            label=np.arange(30) % 10,
        )
        with pytest.raises(InputError, match="data.extra: expected a second source"):
            train(read_recipe(shipped()[name], changes), tmp_path / "run")
        changes["data.extra"] = str(tmp_path / "made.npz")
    recipe = read_recipe(shipped()[name], changes)
    trained = train(recipe, tmp_path / "run")
    assert len(trained.logs) == 2 and all(log.loss == log.loss for log in trained.logs)


def test_a_file_goes_on_from_a_shipped_recipe(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('recipe = "trades"\n[train]\nepochs = 7\n[harden]\nmethod = "clat"\n')
    recipe = read_recipe(file)
    training = recipe.train.training
    assert (training.objective, training.epochs, training.weight_decay) == (sr.TRADES(), 7, 2e-4)
    assert METHODS.name_of(recipe.harden.method) == "clat"
    file.write_text('recipe = "tradess"\n')
    with pytest.raises(InputError, match="expected one of awp, .*trades"):
        read_recipe(file)
    with pytest.raises(InputError, match="or one of awp"):
        read_recipe(tmp_path / "missing.toml")


def test_base_and_fine_tuning_in_one_recipe(run, tmp_path):
    """X + CLAT without a model to start from: the base is trained into OUT/base, and not again the second
    time.
    """
    file = tmp_path / "trades-clat.toml"
    settings = "\n".join(
        [
            'recipe = "trades"',
            "[data]",
            'source = "digits"',
            "train = 80",
            "test = 30",
            "[model]",
            'name = "resnet8"',
            "width = 0.25",
            "[train]",
            "epochs = 1",
            'attack = "pgd-2"',
            "batch_size = 40",
            'watch = ["criticality"]',
            "[harden]",
            'method = "clat"',
            "epochs = 2",
            'attack = "pgd-2"',
            "batch_size = 40",
            "options = { every = 1, examples = 20 }",
            "[evaluate]",
            'attacks = ["pgd-2"]',
            "examples = 30",
            "checks = 0",
            "[profile]",
            "examples = 20",
        ]
    )
    file.write_text(settings)
    out = tmp_path / "out"
    text, _ = run("harden", "--recipe", file, "--out", out)
    assert "clat" in text
    before = (out / "base" / "model.safetensors").read_bytes()
    run("harden", "--recipe", file, "--out", out)
    assert (out / "base" / "model.safetensors").read_bytes() == before
    base = [
        r.about
        for r in read_records(out / "base")
        if isinstance(r, Number) and r.about.measure == "criticality"
    ]
    assert {about.layer for about in base} == set(range(1, 9)) and {about.epoch for about in base} == {1}
    run("report", out, out / "base", "--out", tmp_path / "report.html")
    assert "epoch by epoch" in (tmp_path / "report.html").read_text()
    hardened = [r for r in read_records(out) if isinstance(r, Number) and r.quantity == "trained_layer"]
    assert {r.about.epoch for r in hardened} == {1, 2}


def test_a_factory_is_not_trained_on_the_way(run, tmp_path):
    factory = "tests.helpers:SmallResidual"
    _, err = run("harden", "--recipe", "trades", "--model", factory, "--out", tmp_path / "x", code=2)
    assert "semirobust train" in err


def test_a_model_named_beside_a_recipe_holds_for_both_parts(run, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        '[data]\nsource = "digits"\ntrain = 60\n[model]\nname = "resnet20"\nwidth = 0.25\n[train]\nattack = "pgd-1"\n'
    )
    sets = [
        "train.epochs=1",
        "harden.epochs=1",
        "harden.attack=pgd-1",
        "evaluate.examples=20",
        "profile.examples=20",
    ]
    run(
        "harden",
        "--recipe",
        file,
        "--model",
        "resnet8",
        "--out",
        tmp_path / "x",
        "--attacks",
        "fgsm",
        *(a for s in sets for a in ("--set", s)),
    )


def test_what_recipes_refuse(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('recipe = ["trades"]\n')
    with pytest.raises(InputError, match="recipe: expected one of"):
        read_recipe(file)
    same = read_recipe(None, {**TINY, "data.extra": "digits"})
    with pytest.raises(InputError, match="another source than digits"):
        train(same, tmp_path / "a")
    with pytest.raises(InputError, match="watch: stability needs 100 held-out images"):
        train(read_recipe(None, {**TINY, "train.watch": ["stability"]}), tmp_path / "b")

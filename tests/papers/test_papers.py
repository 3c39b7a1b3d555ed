"""The studies of the papers, carried out in small."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from semirobust.core.errors import InputError
from semirobust.experiments.queue.find import find_study
from semirobust.experiments.queue.runner import reproduce, status, write_page
from semirobust.records.schema import About, Finding, Number, Origin, Quantity
from semirobust.records.store import read_records
from semirobust.reports import decide, source_of

PAPERS = Path(__file__).resolve().parents[2] / "papers"
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
    "recover.validation_attack": "pgd-1",
    "recover.layers": [2, 3],
    "evaluate.examples": 40,
    "evaluate.attacks": ["fgsm"],
    "profile.examples": 16,
    "recover.dependence": "cka",
    "recover.dependence_options": {"permutations": 0},
    "recover.sharpness_examples": 16,
}


def test_reproduce_runs_what_is_open_and_only_that(tmp_path):
    def states():
        return {
            s.unit.name.rpartition("/")[2]: s.state
            for s in status(PAPERS / "semirobustness", "cpu", tmp_path, seeds=1, changes=_SMALL)
            if s.unit.network == "resnet18-cifar10"
        }

    robust = "resnet18-cifar10/seed-0/robust"
    assert set(states().values()) == {"open"}
    home = reproduce(
        PAPERS / "semirobustness", "cpu", tmp_path, seeds=1, only=["suffix-2"], workers=1, changes=_SMALL
    )
    now = states()
    assert {name for name, state in now.items() if state == "done"} == {"normal", "robust", "suffix-2"}
    files = {f: f.stat().st_mtime_ns for f in (home / "records").iterdir()}
    reproduce(
        PAPERS / "semirobustness", "cpu", tmp_path, seeds=1, only=["suffix-2"], workers=1, changes=_SMALL
    )
    assert files == {f: f.stat().st_mtime_ns for f in (home / "records").iterdir()}
    records = read_records(home)
    watched = [r.about for r in records if r.kind == "number" and r.quantity == "validation_measure"]
    assert {about.layer for about in watched} == set(range(2, 9))
    assert {about.measure for about in watched} == {"connectivity"}
    assert all(
        r.about.unit and r.about.network == "resnet18-cifar10"
        for r in records
        if isinstance(r, Number | Finding)
    )
    changed = {
        **_SMALL,
        "harden.epochs": 2,
    }  # made again with the new settings, what was there is moved aside
    reproduce(PAPERS / "semirobustness", "cpu", tmp_path, seeds=1, only=[robust], workers=1, changes=changed)
    settings = next(
        r for r in read_records(home / "records/resnet18-cifar10_seed-0_robust.jsonl") if r.kind == "settings"
    )
    assert (
        settings.settings["harden"]["epochs"] == 2 and settings.settings["harden"]["method"] == "adversarial"
    )
    assert len(list((home / "resnet18-cifar10/seed-0").glob("robust-before-*"))) == 1
    reproduce(PAPERS / "semirobustness", "cpu", tmp_path, seeds=1, only=[robust], workers=1, changes=_SMALL)
    (
        home / "resnet18-cifar10/seed-0/robust/model.safetensors"
    ).unlink()  # records without the network: it is made again
    reproduce(
        PAPERS / "semirobustness", "cpu", tmp_path, seeds=1, only=["suffix-3"], workers=1, changes=_SMALL
    )
    assert states()["suffix-3"] == "done"
    other = {**_SMALL, "recover.epochs": 2}
    found = {
        s.unit.name.rpartition("/")[2]: s.state
        for s in status(PAPERS / "semirobustness", "cpu", tmp_path, seeds=1, changes=other)
        if s.unit.network == "resnet18-cifar10"
    }
    assert found["suffix-2"] == "other settings" and found["robust"] == "done"
    text = write_page(PAPERS / "semirobustness", "cpu", tmp_path, tmp_path / "page.md").read_text()
    assert "# Semirobust subnetworks" in text and "(one seed)" in text and "nan" not in text
    with pytest.raises(InputError, match="part of a unit's name"):
        reproduce(PAPERS / "semirobustness", "cpu", tmp_path, only=["nothing"])
    with pytest.raises(InputError, match="scale"):
        status(PAPERS / "semirobustness", "large", tmp_path)


def test_reproduce_lists_the_full_setting_too(run):
    units = json.loads(
        run("reproduce", str(PAPERS / "semirobustness"), "--scale", "paper", "--list", "--json")[0]
    )["units"]
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
        "harden.validation_attack": "pgd-1",
        "train.watch": ["criticality"],
        "train.epochs": 2,
        "harden.epochs": 2,
    }
    only = ["base", "start", "continued", "/clat-rms", "index"]
    readings = "forms-vgg19-untrained/seed-0/forms"
    home = reproduce(
        "clat",
        "cpu",
        tmp_path,
        seeds=1,
        only=[*(f"early/seed-0{'' if o[0] == '/' else '/'}{o}" for o in only), readings],
        workers=1,
        changes=changes,
    )
    numbers = [r for r in read_records(home) if isinstance(r, Number)]
    trained = {
        arm: {
            (n.about.epoch, n.about.layer)
            for n in numbers
            if n.quantity == "trained_layer" and n.about.arm == arm
        }
        for arm in ("clat-rms", "PGD-AT as clat-rms")
    }
    assert trained["clat-rms"] == trained["PGD-AT as clat-rms"] != set()
    seconds = {
        n.about.arm: [
            m.value for m in numbers if m.quantity == "epoch_seconds" and m.about.arm == n.about.arm
        ]
        for n in numbers
        if n.quantity == "epoch_seconds" and n.about.unit != "base"
    }
    assert set(seconds) == {"continued", *trained} and {len(v) for v in seconds.values()} == {2}
    text = write_page(PAPERS / "clat", "cpu", tmp_path, tmp_path / "page.md").read_text()
    assert (
        "# CLAT, made again" in text
        and "PGD-AT continued" in text
        and "curvature" in text
        and "nan" not in text
    )
    assert "Ablations" not in text
    firsts = {n.about.first for n in numbers if n.about.unit == "forms" and n.about.measure == "criticality"}
    assert firsts == {"weakness", "input"} and "VGG-19, untrained" in text and "C₁ over W(x)" in text


def test_lighter_models_are_reproduced_in_small(tmp_path):
    """One run of each kind; the page shows what is there."""
    changes = {
        **{key: value for key, value in _SMALL.items() if not key.startswith(("recover", "harden"))},
        "data.validation": 0,
        "data.classes": [],
        "evaluate.attacks": ["fgsm", "pgd-40", "pgd-20"],
        "evaluate.examples": 16,
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
    home = reproduce(PAPERS / "lighter", "cpu", tmp_path, seeds=1, only=only, workers=1, changes=changes)
    capacity = {k: v for k, v in changes.items() if not k.startswith("model")} | {
        "train.attack": "fgsm",
        "train.attack_options": {},
    }
    sizes = ["capacity-mnist/seed-0/standard-0", "capacity-mnist/seed-0/pgd-0"]
    larger = {"data.source": _square(tmp_path)}
    reproduce(
        PAPERS / "lighter", "cpu", tmp_path, seeds=1, only=sizes, workers=1, changes={**capacity, **larger}
    )
    numbers = [r for r in read_records(home) if isinstance(r, Number)]
    assert {n.about.unit for n in numbers if n.quantity == "features_left"} == {"robust-usefulness"}
    assert {
        n.about.arm for n in numbers if n.about.network == "lottery-fgsm" and n.quantity == "accuracy"
    } == {"ticket", "fresh weights"}
    text = write_page(PAPERS / "lighter", "cpu", tmp_path, tmp_path / "page.md").read_text()
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


def test_the_page_shows_whether_a_manipulation_took():
    """Of networks whose seeds draw their images: dependence and accuracy beside those without a term, the bits
    of EDGE beside their null, and the suffix beside its fair rival.
    """
    study = find_study(PAPERS / "semirobustness").study
    at, network = Origin(config="", version="", device="", seed="0"), "resnet18-cifar10-drawn"
    records = list[Number]()

    def number(quantity, value, seed, **about):
        about = About(network=network, seed=seed, **about)
        records.append(Number(quantity=quantity, value=value, n=2000, unit="1", about=about, origin=at))

    for seed in range(3):
        for unit, arm, depends, right in (
            ("starts", "start", 0.7, 0.05), ("asked-none", "arm", 0.8, 0.25), ("asked-prefix-5", "arm", 0.9, 0.24)
        ):  # fmt: skip
            number(Quantity.ACCURACY, right + seed / 100, seed, unit=unit, arm=arm, attack="pgd-20")
            for layer in (7, 8):
                more = {"unit": unit, "arm": arm, "measure": "connectivity", "layer": layer}
                number(Quantity.MEASURE, depends + layer / 100 - 0.075, seed, part="prefix", **more)
                number(Quantity.MEASURE, 0.95, seed, part="before", **more)
        for part, value in (("bits", 5.5), ("bits permuted", 5.4), ("exact", 9.97)):
            more = {"unit": "bits", "arm": "robust", "variant": "1000", "measure": "connectivity"}
            number(Quantity.MEASURE, value, seed, part=part, layer=15, **more)
        more = {"arm": "arm", "attack": "pgd-20"}
        number(Quantity.ACCURACY, 0.3, seed, unit="precise-starts", **{**more, "arm": "robust"})
        number(Quantity.ACCURACY, 0.28, seed, unit="long-suffix", **more)
        number(Quantity.ACCURACY, 0.29, seed, unit="long-everything", **more)
    source = source_of(records)
    text = study.page(source, "cpu")
    assert "| + on the prefix, weight 5 | 3 | 0.950 (3 seeds agree) | 0.900 (3 seeds agree) | 0.100" in text
    assert "5.50 (5.40)" in text and "9.97" in text and "the paper's ρ, CIFAR-100" in text
    assert "everything, from the same start" in text and "nan" not in text
    verdicts = {d.claim.words: d for d in decide(study.claims(), source) if d.effect}
    raised = next(d for words, d in verdicts.items() if "on the last layer of the prefix raises it" in words)
    assert raised.effect.mean == pytest.approx(0.1)
    bits = next(d for words, d in verdicts.items() if "1,000 images a class of f*" in words)
    assert bits.effect.mean == pytest.approx(0.1)

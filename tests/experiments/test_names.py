"""``--model SOURCE:NAME`` from the command line to records, with stand-ins for the packages."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semirobust.core.errors import InputError
from semirobust.data.base.images import images_from_tensors
from semirobust.experiments.consent import has_named, note_named
from semirobust.experiments.folder import read_run
from semirobust.experiments.outputs import naming
from semirobust.experiments.recipe import read_recipe
from semirobust.experiments.subject import build_subject
from semirobust.models.checkpoint import save_model
from semirobust.records.store import read_records
from tests.kinds import kind
from tests.stand_ins import CLASSES, OWN, Net, put_in

FAST = ["--examples", "6", "--set", "evaluate.checks=0", "--set", "evaluate.pictures=2"]


def _photos(classes, where="photos", size=(14, 17)):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in classes:
            folder = Path(where) / part / name
            folder.mkdir(parents=True)
            for i in range(4):
                picture = Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8))
                picture.save(folder / f"{i}.png")
    return where


def _npz(shape=(3, 10, 10), classes=3):
    x = np.random.default_rng(0).integers(0, 255, (30, *shape), dtype=np.uint8)
    np.savez("d.npz", x=x, y=np.arange(30) % classes)
    return "d.npz"


@pytest.mark.parametrize("source", ["timm", "torchvision", "hf"])
def test_a_name_goes_all_the_way_to_a_report(source, run, monkeypatch):
    put_in(monkeypatch, source)
    name = "hf:owner/tiny" if source == "hf" else f"{source}:tiny"
    data = ["--data", _photos(["Goldfish", "white_shark"])]
    out, _ = run("evaluate", "--model", name, *data, "--attacks", "fgsm", *FAST, "--out", "r")
    assert f"Note: {name} has the weights that its library has for it." in out
    assert "are those of" in out and "by name, out of its 5" in out
    subject = build_subject(name, None, None, None, {"data.source": "photos"})
    assert subject.recipe.data.image_size == 12 and subject.inputs.splits.train.shape == (3, 12, 12)
    assert {subject.inputs.test.classes[i] for i in subject.inputs.test.y} == {"goldfish", "white shark"} or (
        source == "timm" and subject.inputs.test.classes[1] == "goldfish, goldfishus"
    )
    assert bool((subject.model.head.bias == OWN).all())
    assert list(subject.spec.mean) == pytest.approx([0.4, 0.5, 0.6])
    notes = [r.text for r in read_records(Path("r")) if r.kind == "finding" and r.topic == "note"]
    assert f"{name} has the weights that its library has for it" in notes
    run("profile", name, *data, "--examples", "4", "--attack", "pgd-1", "--out", "r2")
    run("report", "r", "r2", "--out", "r.html")
    assert "has the weights that its library has for it" in Path("r.html").read_text()


def test_a_hardened_run_keeps_its_outputs_and_is_read_by_name(run, monkeypatch):
    put_in(monkeypatch, "timm")
    data = ["--data", _photos(["goldfish", "hen"])]
    tail = ["--method", "selected", "--layers", "2", "--epochs", "1", "--attack", "fgsm", "--attacks", "fgsm"]
    run("harden", "--model", "timm:tiny", *data, *tail, "--examples", "6", "--out", "h")
    _, spec = read_run(Path("h"))
    assert spec.num_classes == 5 and spec.classes[1][0] == "n01"
    timm = sys.modules["timm"]
    build, asked = timm.create_model, []
    timm.create_model = lambda *a, **k: asked.append(k["pretrained"]) or build(*a, **k)
    out = json.loads(run("evaluate", "h", "--attacks", "fgsm", *FAST, "--json")[0])
    assert asked == [False] and out["accuracy"]["clean"]["n"] == 6
    assert set(build_subject("h", None, None, None, {}).inputs.test.y.tolist()) == {1, 3}


def test_training_builds_them_for_the_data_with_random_weights(run, monkeypatch):
    put_in(monkeypatch, "timm")
    short = ["--epochs", "1", "--attack", "fgsm", "--set", "data.train=30"]
    run("train", "--model", "timm:tiny", "--data", "digits", *short, "--out", "t")
    recipe, spec = read_run(Path("t"))
    assert (spec.num_classes, spec.in_channels) == (10, 1) and spec.classes == tuple(
        (str(i),) for i in range(10)
    )
    assert len(spec.mean) == 1 and recipe.model.name == "timm:tiny"
    run("evaluate", "t", "--attacks", "fgsm", *FAST)
    run("train", "--model", "torchvision:tiny", "--data", "digits", *short, "--out", "u", code=2)
    put_in(monkeypatch, "torchvision")
    run("train", "--model", "torchvision:tiny", "--data", "digits", *short, "--out", "u")
    _, spec = read_run(Path("u"))
    assert spec.from_grey and len(spec.mean) == 3
    run("evaluate", "u", "--attacks", "fgsm", *FAST)


def test_pruning_starts_fresh_or_from_its_own_weights(run, monkeypatch):
    put_in(monkeypatch, "timm")
    head = ["--model", "timm:tiny", "--data", _npz(classes=5), "--attack", "fgsm", "--attacks", "fgsm"]
    short = ["--levels", "1", "--epochs", "1", "--examples", "6", "--set", "evaluate.pictures=0"]
    note = "timm:tiny has the weights that its library has for it."
    out, _ = run("prune", *head, *short, "--out", "a")
    assert note not in out
    out, _ = run("prune", *head, *short, "--set", "model.options.pretrained=true", "--out", "b")
    assert out.count(note) == 1


def test_images_that_are_not_square(run, monkeypatch):
    put_in(monkeypatch, "timm")
    data = ["--data", _npz((3, 8, 13))]
    for name in ("tiny", "square"):
        head = ["--model", f"timm:{name}", "--set", "model.options.pretrained=false"]
        run("profile", *head, *data, "--examples", "4", "--attack", "pgd-1")
    run("train", "--model", "timm:square", *data, "--epochs", "1", "--attack", "fgsm", "--out", "t")
    _, spec = read_run(Path("t"))
    assert spec.image_size == (8, 13)
    run("evaluate", "t", "--attacks", "fgsm", *FAST)
    _, err = run("train", "--model", "vit_small", *data, "--out", "o", code=2)
    assert "expected square images, got 8x13" in err and len(err.strip().splitlines()) == 1


def test_a_file_of_weights_may_have_the_datas_classes_or_the_networks_own(run, monkeypatch):
    put_in(monkeypatch, "torchvision")
    data = ["--data", _photos(["goldfish", "hen"])]
    for outputs in (2, 5):
        save_model(Net(outputs), Path("w.safetensors"))
        head = ["--model", "torchvision:tiny", "--checkpoint", "w.safetensors"]
        run("evaluate", *head, *data, "--attacks", "fgsm", *FAST)
    save_model(Net(3), Path("w.safetensors"))
    _, err = run("evaluate", *head, *data, code=2)
    assert "has shape (3,) where the model has (2,)" in err


def test_more_outputs_than_classes_are_refused_where_no_name_says_which(run, monkeypatch):
    put_in(monkeypatch, "timm")
    _, err = run("evaluate", "--model", "timm:tiny", "--data", _photos(["cat", "dog"], "a"), code=2)
    assert "has 5 outputs and a 2 classes" in err and len(err.strip().splitlines()) == 1
    Path("five.py").write_text("from tests.stand_ins import Net\n")
    monkeypatch.delitem(sys.modules, "five", raising=False)
    _, err = run("evaluate", "--model", "five:Net", "--data", "a", code=2)
    assert "by number from 0 to 4" in err
    run("evaluate", "--model", "five:Net", "--data", _photos(["1", "3"], "b"), "--attacks", "fgsm", *FAST)
    run("evaluate", "--model", "five:Net", "--data", _npz(), "--attacks", "fgsm", *FAST)


def test_weights_of_its_own_need_a_head_of_its_own(run, monkeypatch):
    put_in(monkeypatch, "timm")
    data = ["--data", _npz()]
    _, err = run("evaluate", "--model", "timm:headless", *data, code=2)
    assert "have 0 outputs; train a new head first" in err
    _, err = run("evaluate", "--model", "timm:tiny", *data, "--set", "model.options.num_classes=3", code=2)
    assert "have 5 outputs, got num_classes=3" in err
    short = ["--epochs", "1", "--attack", "fgsm", "--set", "model.options.pretrained=true"]
    run("train", "--model", "timm:headless", *data, *short, "--out", "t")
    assert read_run(Path("t"))[1].num_classes == 3


def test_a_run_of_robustbench_is_named_again(run, monkeypatch):
    put_in(monkeypatch, "robustbench")
    short = ["--epochs", "1", "--attack", "fgsm", "--set", "data.train=30"]
    run("train", "--model", "robustbench:tiny", "--data", "digits", *short, "--out", "t")
    _, err = run("evaluate", "t", code=2)
    assert "say so once with --model robustbench:tiny" in err
    run("evaluate", "t", "--model", "robustbench:tiny", "--attacks", "fgsm", *FAST)


NAMES = tuple((name,) for name in CLASSES)


@pytest.mark.parametrize(
    ("classes", "names", "outputs"),
    [
        (CLASSES, NAMES, None),
        (("Hen", "white-shark"), NAMES, [3, 2]),
        (CLASSES[::-1], NAMES, [4, 3, 2, 1, 0]),
        (("a", "b", "c", "d", "e"), (), None),
        (("0", "4"), NAMES, [0, 4]),
        (("tench", "b", "c", "d", "e"), NAMES, None),
    ],
)
def test_classes_find_their_outputs(classes, names, outputs):
    found = naming("net", 5, names, "data", classes)
    assert found.outputs == outputs
    images = images_from_tensors(torch.rand(len(classes), 3, 4, 4), torch.arange(len(classes)), classes)
    expected = list(range(len(classes))) if outputs is None else outputs
    assert found.of(images).y.tolist() == expected


@pytest.mark.parametrize(
    ("classes", "names", "message"),
    [
        (("cat", "hen"), NAMES, "2 classes"),
        (("cat", "7"), (), "by number from 0 to 4"),
        (("0", "5"), NAMES, "5 outputs"),
        (("b", "tench", "c", "d", "e"), NAMES, "neither order nor names"),
        (("hen", "ostrich"), (*NAMES[:4], ("hen",)), "5 outputs"),
        (
            ("a", "b", "c", "d", "e"),
            NAMES,
            "the outputs of net are called tench, goldfish, white shark, ... and",
        ),
        (("hen", "ostrich"), NAMES[:3], "expected names for the 5 outputs"),
    ],
)
def test_classes_that_fit_no_outputs_are_refused(classes, names, message):
    with pytest.raises(InputError, match=message):
        naming("net", 5, names, "data", classes)


def test_a_factory_with_arguments_is_used_as_it_comes(run, monkeypatch):
    Path("own.py").write_text(
        "from tests.stand_ins import Net, OWN\nimport torch\n"
        "def net(num_classes, scale=1.0):\n    net = Net(num_classes)\n"
        "    torch.nn.init.constant_(net.head.bias, scale)\n    return net\n"
    )
    monkeypatch.delitem(sys.modules, "own", raising=False)
    head = ["--model", "own:net", "--set", "model.options.scale=3"]
    data = ["--data", _npz()]
    out, _ = run("evaluate", *head, *data, "--attacks", "fgsm", *FAST)
    assert "Note: own:net has the weights that it came with, since no --checkpoint was given." in out
    tail = ["--method", "selected", "--layers", "1", "--epochs", "1", "--attack", "fgsm", "--attacks", "fgsm"]
    run("harden", *head, *data, *tail, "--examples", "6", "--out", "h")
    assert bool((build_subject("own:net", None, None, None, _changes(3)).model.head.bias == 3).all())
    _, err = run("evaluate", *head, *data, "--set", "model.options.depth=2", code=2)
    assert "own:net() failed" in err and "depth" in err
    # In a folder for which it was not named neither its name nor its arguments are taken from the folder.
    shutil.copytree("h", "other")
    for again in ([], head[:2], [*head[:2], "--set", "model.options.scale=4"]):
        _, err = run("evaluate", "other", *again, code=2)
        assert "say so once with --model own:net --set model.options.scale=3" in err
    run("evaluate", "other", *head, "--attacks", "fgsm", *FAST)
    for folder in ("h", "other"):  # once is enough
        run("evaluate", folder, "--attacks", "fgsm", *FAST)
    _, err = run("evaluate", "h", *head[:2], "--set", "model.options.scale=4", code=2)
    assert "say so once" in err


@kind(
    "a run folder that names code which its user has named for another folder, with other arguments, or whose"
    " module is another file by now",
    "it is asked for again: name, arguments, folder and file are noted in the user's folder of state, and all"
    " must be as they were",
    about="runs",
)
def test_what_was_named_once_is_used_again_only_where_all_is_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("a", "b"):
        (tmp_path / place / "pkg").mkdir(parents=True)
        (tmp_path / place / "pkg" / "__init__.py").write_text("raise RuntimeError('this must not run')")
        (tmp_path / place / "pkg" / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path / "a")
    folder = tmp_path / "run"
    note_named(folder, "pkg.mine:net", {"depth": 2})
    assert has_named(folder, "pkg.mine:net", {"depth": 2})
    assert not has_named(folder, "pkg.mine:other", {"depth": 2})
    assert not has_named(folder, "pkg.mine:net", {"depth": 3})
    assert not has_named(tmp_path / "elsewhere", "pkg.mine:net", {"depth": 2})
    monkeypatch.chdir(tmp_path / "b")  # where another pkg would be imported
    assert not has_named(folder, "pkg.mine:net", {"depth": 2})
    monkeypatch.chdir(tmp_path / "a")
    (note,) = (
        each for each in Path(os.environ["XDG_STATE_HOME"]).rglob("*.json") if str(folder) in each.read_text()
    )
    note.chmod(0o666)
    assert not has_named(folder, "pkg.mine:net", {"depth": 2})
    note.chmod(0o644)
    assert has_named(folder, "pkg.mine:net", {"depth": 2})
    note.write_text("[")
    assert not has_named(folder, "pkg.mine:net", {"depth": 2})
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    note_named(folder, "pkg.mine:net", {})
    assert not has_named(folder, "pkg.mine:net", {}) and not Path("relative").exists()


def _changes(scale):
    return {"data.source": "d.npz", "model.options.scale": scale}


def test_a_recipe_names_no_network_from_outside_and_gives_it_nothing(run, monkeypatch, tmp_path):
    put_in(monkeypatch, "timm")
    file = tmp_path / "r.toml"
    file.write_text('[model]\nname = "timm:tiny"\n')
    with pytest.raises(InputError, match="give it on the command line with --model"):
        read_recipe(file)
    file.write_text("[model.options]\nwide = 3\n")
    assert read_recipe(file).model.options == {"wide": 3}
    with pytest.raises(InputError, match="--set model.options.NAME=VALUE"):
        read_recipe(file, {"model.name": "own:net"})


def test_a_run_folder_cannot_make_a_source_read_a_file(run, monkeypatch):
    put_in(monkeypatch, "timm")
    short = ["--epochs", "1", "--attack", "fgsm", "--set", "data.train=30"]
    run("train", "--model", "timm:tiny", "--data", "digits", *short, "--out", "t")
    file = Path("t/settings.json")
    whole = json.loads(file.read_text())
    whole["model"]["options"] = {"checkpoint_path": "evil.pth"}
    file.write_text(json.dumps(whole))
    _, err = run("evaluate", "t", code=2)
    assert "'checkpoint_path' is not taken" in err
    for name in ("timm:hf_hub:a/b", "pickle:loads"):
        whole["model"] |= {"options": {}, "name": name}
        file.write_text(json.dumps(whole))
        run("evaluate", "t", code=2)
    assert isinstance(Net(), nn.Module)

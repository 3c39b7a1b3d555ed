"""Classes of the data find the outputs of a network by name, or the command ends before any attack."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semirobust.core.errors import InputError
from semirobust.data.base.imagenet import imagenet_classes
from semirobust.experiments.class_names import given_names, names_beside
from semirobust.experiments.folder import read_run
from semirobust.experiments.outputs import naming
from semirobust.experiments.subject import build_subject
from semirobust.models.checkpoint import save_model
from semirobust.records.store import read_records
from tests.kinds import kind

GREY = {"night": 25, "dusk": 120, "noon": 215}
FAST = ["--attacks", "fgsm", "--set", "evaluate.checks=0", "--set", "evaluate.pictures=1", "--json"]
TRAIN = [
    "--image-size",
    "8",
    "--model",
    "resnet8",
    "--width",
    "0.25",
    "--eps",
    "2/255",
    "--attack",
    "fgsm",
    "--epochs",
    "4",
    "--lr",
    "0.05",
]
TRAIN += ["--set", "train.batch_size=8", "--set", "data.validation=0"]


def _folder(where, names, count=12):
    """Pictures whose brightness says their class; ``names`` says how bright those of a folder are."""
    rng = np.random.default_rng(0)
    for name, grey in names.items():
        (Path(where) / name).mkdir(parents=True)
        for i in range(count):
            pixels = (rng.random((8, 8, 3)) * 20 + grey).astype(np.uint8)
            Image.fromarray(pixels).save(Path(where) / name / f"{i}.png")
    return where


def _clean(out):
    return json.loads(out)["accuracy"]["clean"]["value"]


@pytest.fixture
def trained(run):
    """A run that tells three degrees of brightness apart."""
    run("train", "--data", _folder("day", GREY), *TRAIN, "--out", "r")
    return "r"


class Brightness(nn.Module):
    """``outputs`` logits, of which output i wins at the brightness ``levels[i]``."""

    def __init__(self, *levels: float) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor(levels))

    def forward(self, x):
        return -30 * (x.mean((1, 2, 3))[:, None] - self.levels) ** 2


@kind(
    "a folder with fewer classes than the run was trained on",
    "each folder is the output of its name, in every number, picture and record",
    about="classes",
)
def test_fewer_folders_are_outputs_of_their_names(run, trained):
    data = _folder("two", {"noon": 215, "night": 25})
    out, _ = run("evaluate", trained, "--data", data, *FAST, "--out", "o")
    whole, _ = run("evaluate", trained, *FAST, "--out", "w")
    assert _clean(out) == _clean(whole) == 1
    subject = build_subject(trained, None, None, None, {"data.source": data})
    assert subject.inputs.test.classes == ("dusk", "night", "noon")
    assert set(subject.inputs.test.y.tolist()) == {1, 2}
    assert "the 2 classes of two are those of resnet8 by name, out of its 3" in {
        r.text for r in read_records(Path("o")) if r.kind == "finding"
    }
    captions = [r.caption for r in read_records(Path("o")) if r.kind == "picture"]
    assert captions and all(caption.split(",")[0].split()[0] in ("noon", "night") for caption in captions)


@kind(
    "folders that are called otherwise than the classes a run was trained on",
    "refused, with both lists of names",
    about="classes",
)
def test_other_names_are_refused_before_any_attack(run, trained):
    data = _folder("other", {"a_noon": 215, "b_night": 25, "c_dusk": 120})
    for command in (
        ["evaluate"],
        ["profile"],
        ["harden", "--out", "h", "--from"],
        ["prune", "--out", "p", "--from"],
    ):
        _, err = run(*command, trained, "--data", data, code=2)
        assert "are called dusk, night, noon and the classes of other a_noon, b_night, c_dusk" in err
        assert "--classes" in err and len(err.strip().splitlines()) == 1


@kind(
    "folders that are called otherwise, and `--classes` with the names of the outputs in their order",
    "they are matched by these names",
    about="classes",
)
def test_the_user_says_what_the_outputs_are_called(run, trained):
    data = _folder("other", {"a_noon": 215, "b_night": 25, "c_dusk": 120})
    out, _ = run("evaluate", trained, "--data", data, "--classes", "c_dusk,b_night,a_noon", *FAST)
    assert _clean(out) == 1
    out, _ = run("evaluate", trained, "--data", data, "--classes", "in-order", *FAST)
    assert _clean(out) < 0.7
    Path("names.txt").write_text("c dusk\nb night\na noon, midday\n")
    assert _clean(run("evaluate", trained, "--data", data, "--classes", "names.txt", *FAST)[0]) == 1
    for typed, words in (
        ("c_dusk,b_night", "names for the 3 outputs of resnet8, got 2"),
        ("none.txt", "which is no file"),
    ):
        _, err = run("evaluate", trained, "--data", data, "--classes", typed, code=2)
        assert words in err
    _, err = run("train", "--data", data, *TRAIN, "--classes", "a,b,c", "--out", "t", code=2)
    assert "expected none for a network that is trained anew" in err


@kind(
    "folders of which only some are called as outputs are",
    "refused, with one that is no output",
    about="classes",
)
def test_some_names_are_not_enough(run, trained):
    data = _folder("mixed", {"noon": 215, "evening": 120})
    _, err = run("evaluate", trained, "--data", data, code=2)
    assert "has 3 outputs and mixed 2 classes ('evening' is one)" in err


@kind(
    "data with more classes than the network has outputs",
    "refused, with the way to take some of them",
    about="classes",
)
def test_more_classes_than_outputs(run, trained):
    data = _folder("four", {**GREY, "dawn": 70})
    _, err = run("evaluate", trained, "--data", data, code=2)
    assert "expected logits for the 4 classes of four, got 3; take only" in err


@kind(
    "weights that a run left, given with `--checkpoint`",
    "the file knows what its outputs are called",
    about="classes",
)
def test_weights_of_a_run_bring_their_names(run, trained):
    data = _folder("two", {"noon": 215, "night": 25})
    spec = read_run(Path(trained))[1]
    assert spec.classes == (("dusk",), ("night",), ("noon",))
    assert names_beside(Path(trained) / "model.safetensors") == spec.classes
    head = ["--model", "factory:mlp", "--checkpoint", f"{trained}/model.safetensors", "--image-size", "8"]
    Path("factory.py").write_text(
        "import semirobust as sr\ndef mlp():\n    return sr.build_model('resnet8', 3, 0.25, image_size=8)\n"
    )
    sys.modules.pop("factory", None)
    sys.path.insert(0, str(Path.cwd()))
    out, _ = run("evaluate", *head, "--data", data, *FAST)
    assert _clean(out) == 1


@kind(
    "a run written before names were kept, on its own data or on fewer classes",
    "its own data are known; anything else needs `--classes`",
    about="classes",
)
def test_an_old_run_without_names(run, trained):
    file = Path(trained) / "settings.json"
    content = json.loads(file.read_text())
    content["model"].pop("classes")
    file.write_text(json.dumps(content))
    assert _clean(run("evaluate", trained, *FAST)[0]) == 1
    data = _folder("two", {"noon": 215, "night": 25})
    _, err = run("evaluate", trained, "--data", data, code=2)
    assert "nothing says which output is which class" in err
    out, _ = run("evaluate", trained, "--data", data, "--classes", "dusk,night,noon", *FAST)
    assert _clean(out) == 1


@kind(
    "a network without names on a folder of pictures",
    "a note says in which order the folders are taken for its outputs",
    about="classes",
)
def test_an_order_that_nothing_says_is_said(run, monkeypatch):
    Path("bright.py").write_text(
        "from tests.experiments.test_classes import Brightness\ndef net():\n    return Brightness(0.5, 0.1, 0.9)\n"
    )
    monkeypatch.delitem(sys.modules, "bright", raising=False)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    data = _folder("day", GREY)
    out, _ = run("evaluate", "--model", "bright:net", "--data", data, *FAST[:-1])
    assert "taken for the folders of day in the order of the alphabet (dusk 0, night 1, noon 2)" in out
    out, _ = run("evaluate", "--model", "bright:net", "--data", data, "--classes", "dusk,noon,night", *FAST)
    assert _clean(out) < 0.5


@kind(
    "a transfer matrix of networks whose outputs are the same classes in another order",
    "refused, with a class and its two outputs",
    about="classes",
)
def test_networks_that_number_classes_otherwise_are_not_compared(run, trained):
    other = _folder("later", {"noon": 215, "zenith": 250, "night": 25})
    run("train", "--data", other, *TRAIN, "--out", "s")
    data = _folder("two", {"noon": 215, "night": 25})
    _, err = run("evaluate", trained, "--data", data, "--transfer", "s", code=2)
    assert (
        "transfer: expected networks whose outputs are the same classes, but 'night' is output 1 of r and 0 of s"
        in err
    )


@kind(
    "ten folders called by ImageNet's WordNet numbers, and a network of 1,000 outputs without names",
    "they are those outputs, and a note says so",
    about="classes",
)
def test_a_thousand_outputs_are_those_of_imagenet():
    classes = imagenet_classes()
    assert len(classes) == 1000 and [each[0] for each in classes] == sorted(each[0] for each in classes)
    some = ("n01440764", "n02102040", "n03888257")
    found = naming("net", 1000, (), "imagenette", some)
    assert found.outputs == [0, 217, 701] and "in the order of ImageNet" in found.note
    assert found.names[217] == "English springer"
    assert naming("net", 1000, (), "d", ("goldfish", "Ostrich")).outputs == [1, 9]
    with pytest.raises(InputError, match="1000 outputs"):
        naming("net", 1000, (), "d", ("n01440764", "my cat"))
    with pytest.raises(InputError, match="1000 outputs"):  # a bird, and a machine
        naming("net", 1000, (), "d", ("crane", "goldfish"))


@kind(
    "folders called by WordNet numbers, and a network that calls its thousand outputs by words alone",
    "its words are known to be ImageNet's, and so are its numbers",
    about="classes",
)
def test_words_of_imagenet_bring_its_numbers():
    words = [(each[1],) for each in imagenet_classes()]
    found = naming("net", 1000, words, "d", ("n01440764", "n03888257"))
    assert found.outputs == [0, 701] and found.names[701] == "parachute"
    other = [(f"thing {i}",) for i in range(1000)]
    with pytest.raises(InputError, match="1000 outputs"):
        naming("net", 1000, other, "d", ("n01440764", "n03888257"))


@kind(
    "names of classes in a `config.json`, a JSON list, `class_to_idx`, or lines of a text",
    "each is read",
    about="classes",
)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '{"id2label": {"1": "dog", "0": "cat"}, "num_labels": 2}'),
        ("timm.json", '{"architecture": "x", "pretrained_cfg": {"label_names": ["cat", "dog"]}}'),
        ("list.json", '["cat", "dog"]'),
        ("index.json", '{"dog": 1, "cat": 0}'),
        ("keras.json", '{"0": ["n02121620", "cat"], "1": ["n02084071", "dog"]}'),
        ("lines.txt", "cat\ndog\n"),
        ("synsets.txt", "n02121620 cat, true cat\nn02084071 dog\n"),
    ],
)
def test_files_of_names(name, text, tmp_path):
    file = tmp_path / name
    file.write_text(text)
    assert naming("net", 2, given_names([str(file)]), "d", ("dog", "cat")).outputs == [1, 0]
    if name == "config.json":
        save_model(nn.Linear(2, 2), tmp_path / "w.safetensors")
        assert names_beside(tmp_path / "w.safetensors") == (("cat",), ("dog",))


@kind(
    "the names of the classes beside the weights in a `.pt`: `class_to_idx`, `classes`, `names` and the like",
    "they are the names of the outputs",
    about="classes",
)
@pytest.mark.parametrize(
    "beside",
    [
        {"class_to_idx": {"dog": 1, "cat": 0}},
        {"classes": ["cat", "dog"]},
        {"names": {0: "cat", 1: "dog"}},
        {"hyper_parameters": {"idx_to_class": {"0": "cat", "1": "dog"}}},
    ],
)
def test_names_inside_a_checkpoint(beside, tmp_path):
    torch.save({"state_dict": nn.Linear(2, 2).state_dict(), **beside}, tmp_path / "w.pt")
    assert names_beside(tmp_path / "w.pt") == (("cat",), ("dog",))
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "plain.pt")
    assert names_beside(tmp_path / "plain.pt") == ()
    (tmp_path / "odd.pt").write_bytes(b"no checkpoint")
    assert names_beside(tmp_path / "odd.pt") == ()


def test_files_that_say_no_names(tmp_path):
    for text in ("[]", '{"a": 1, "b": 3}', "[1, 2]", "{", '{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InputError, match="expected the names of classes in x.json"):
            given_names([str(tmp_path / "x.json")])
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read it"):
        given_names([str(tmp_path / "b.txt")])


class Bluish(Brightness):
    """Looks at the first channel alone, which it takes for blue, behind a normalisation."""

    def forward(self, x):
        return super().forward(x[:, :1] / 2 + 0.5)


@kind(
    "a factory that normalises nothing, or takes blue first, and `--normalisation`, `--bgr`",
    "the note before the attacks names the flag, and with the flag accuracy is what it should be",
    about="classes",
)
def test_the_flags_mend_what_the_note_says(run, monkeypatch):
    Path("blue.py").write_text(
        "from tests.experiments.test_classes import Bluish\ndef net():\n    return Bluish(0.05, 0.5, 0.95)\n"
    )
    monkeypatch.delitem(sys.modules, "blue", raising=False)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    rng = np.random.default_rng(0)
    for name, blue in GREY.items():
        (Path("sky") / name).mkdir(parents=True)
        for i in range(70):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            pixels[..., 2] = blue + rng.integers(0, 20, (8, 8))
            Image.fromarray(pixels).save(Path("sky") / name / f"{i}.png")
    head = [
        "evaluate",
        "--model",
        "blue:net",
        "--data",
        "sky",
        "--classes",
        "night,dusk,noon",
        "--image-size",
        "8",
    ]
    out = json.loads(run(*head, "--normalisation", "half", *FAST)[0])
    assert any("--bgr" in note for note in out["notes"]), out["notes"]
    assert out["accuracy"]["clean"]["value"] < 0.7
    out, _ = run(*head, "--bgr", *FAST[:-1])
    assert "and 100.0% with" in out and "--normalisation" in out.split("fgsm")[0]
    out = json.loads(run(*head, "--bgr", "--normalisation", "half", *FAST, "--out", "o")[0])
    assert out["accuracy"]["clean"]["value"] == 1 and not any(
        "clean accuracy" in note for note in out["notes"]
    )
    for wrong in ("hlf", "mnist"):
        _, err = run(*head, "--normalisation", wrong, code=2)
        assert "normalisation: expected one of" in err


@kind(
    "CLAT from a network that withstands nothing",
    "a note that it expects an adversarially trained one",
    about="classes",
)
def test_clat_from_a_standard_network_is_said(run):
    run("train", "--data", _folder("many", GREY, 70), *TRAIN[:-4], "--set", "data.validation=0", "--out", "r")
    short = ["--epochs", "1", "--attack", "pgd-2", "--attacks", "pgd-20", "--eps", "0.5", "--examples", "42"]
    said = "CLAT is made for adversarially trained networks"
    assert said in run("harden", "--from", "r", "--method", "clat", *short, "--out", "h")[0]
    other = ["--method", "adversarial", "--out", "a"]
    assert "CLAT is made" not in run("harden", "--from", "r", *other, *short)[0]

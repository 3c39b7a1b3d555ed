"""What once went wrong, each with the smallest case that shows it."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import semirobust as sr
from semirobust.cli.app import main
from semirobust.core.errors import InputError
from semirobust.experiments.comparison import controls_of
from semirobust.experiments.verdict import verdict
from semirobust.methods import METHODS
from semirobust.records.schema import Number, Origin
from semirobust.reports.source import Cell
from tests.helpers import SmallResidual


def _images(n=24, seed=0):
    x = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return sr.images_from_tensors(x, torch.arange(n) % 3)


def _small(seed=0):
    torch.manual_seed(seed)
    return SmallResidual().eval()


def test_a_state_belongs_to_its_start_and_its_images(tmp_path):
    training = sr.Training(objective=sr.Standard(), epochs=1, batch_size=8)
    state = tmp_path / "s.safetensors"
    training(_small(0), _images(), state_file=state, key="k")
    for model, images in ((_small(1), _images()), (_small(0), _images(seed=5))):
        with pytest.raises(InputError, match="other settings"):
            training(model, images, state_file=state, key="k")
    training(_small(0), _images(), state_file=state, key="k")


def test_mnist_is_not_taken_from_the_folder_of_fashion_mnist(real_data, tmp_path):
    (tmp_path / "fashion-mnist").symlink_to(real_data("fashion-mnist") / "fashion-mnist")
    sr.load_data("fashion-mnist", root=tmp_path, links=True)
    with pytest.raises(InputError, match="expected train-images-idx3-ubyte.gz"):
        sr.load_data("mnist", root=tmp_path, links=True)
    with pytest.raises(InputError, match="symbolic link.*--data-links"):
        sr.load_data("fashion-mnist", root=tmp_path)


def test_another_feature_goes_wherever_the_feature_goes():
    model = sr.build_model("resnet8", width=0.25)
    a, b = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    layers = sr.layer_map(model, a)
    for j in (1, 3, 5, 7):  # ends of blocks: the shortcut of the next block starts at the feature itself
        prefix, suffix = sr.split(model, layers, j)
        torch.testing.assert_close(suffix(prefix(a), prefix(b).feature), model(b))


def test_a_split_survives_additions_in_place_and_keeps_patches():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.c2, self.c3 = (nn.Conv2d(3, 3, 3, 1, 1) for _ in range(3))

        def forward(self, x):
            h = self.c1(x)
            r = self.c2(h)
            r += h
            return self.c3(r).mean((2, 3))

    model, x = InPlace().eval(), torch.rand(2, 3, 5, 5)
    patched = model.c1.forward
    model.c1.forward = lambda z: patched(z) * 2
    truth = model(x)
    layers = sr.layer_map(model, x)
    for j in (1, 2):
        prefix, suffix = sr.split(model, layers, j)
        cut = prefix(x)
        torch.testing.assert_close(suffix(cut), truth)
        torch.testing.assert_close(suffix(cut), truth)
    torch.testing.assert_close(model(x), truth)


def test_tied_weights_have_one_name_and_freeze():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.head(torch.relu(self.a(torch.relu(self.b(x)))))

    model = Tied()
    layers = sr.layer_map(model, torch.rand(2, 4))
    assert layers[0].parameters == ("a.weight", "b.bias") and layers[1].parameters == ("a.bias",)
    with sr.frozen(model, layers, [1]):
        assert not model.b.weight.requires_grad


def test_a_downsampling_between_stages_is_a_layer():
    class Staged(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.downsample = (
                nn.Conv2d(3, 4, 3, 1, 1),
                nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 2, 2)),
            )
            self.conv, self.projection = nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4, 2)

        def forward(self, x):
            return self.projection(self.conv(self.downsample(torch.relu(self.stem(x)))).mean((2, 3)))

    layers = sr.layer_map(Staged().eval(), torch.rand(1, 3, 6, 6))
    assert [layer.name for layer in layers] == ["stem", "downsample.1", "conv", "projection"]


def test_features_whose_first_dimension_is_not_the_batch():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mix, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(32, 2)

        def forward(self, x):
            n = len(x)
            h = self.embed(x.reshape(n * 4, 6))
            return self.head(self.mix(torch.tanh(h)).reshape(n, 32))

    x, y = torch.rand(5, 24), torch.zeros(5, dtype=torch.long)
    model = Windows().eval()
    assert [layer.features for layer in sr.layer_map(model, x)] == [32, 32, 2]
    x_adv = (x + 0.1).clamp(0, 1)
    with torch.no_grad():
        h = [torch.tanh(model.embed(z.reshape(20, 6))).reshape(5, 32) for z in (x, x_adv)]
    expected = float((h[1] - h[0]).norm(dim=1).mean() / 32)
    assert sr.criticality(model, x, y, x_adv=x_adv).values[0] == pytest.approx(expected, rel=1e-5)

    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 8)
            self.encoder = nn.TransformerEncoderLayer(8, 2, 16)  # the sequence comes first
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.encoder(self.first(x.reshape(len(x), 4, 6)).transpose(0, 1)).mean(0))

    layers = sr.layer_map(Sequence().eval(), x)
    assert layers[0].batch_dim == 1 and layers[0].feature_shape == (4, 8)
    assert len(sr.criticality(Sequence().eval(), x, y, x_adv=x_adv).values) == len(layers)


def test_the_random_control_trains_as_many_layers():
    arms = controls_of("clat", METHODS.make("clat", {"layers": [2, 3, 5]}))
    assert arms[-1].method.choice.k == 3 and arms[-1].method.choice.layers is None


def test_a_shared_evaluation_has_no_interval_over_seeds():
    at = Origin(config="a", version="0", device="d", seed="0")
    same = [
        Number(quantity="accuracy", value=0.06, n=50, low=0.01, high=0.17, about={"seed": s}, origin=at)
        for s in range(3)
    ]
    assert (Cell.of(same).low, Cell.of(same).over) == (0.01, "50 images")


def test_one_image_decides_nothing():
    at = Origin(config="a", version="0", device="d", seed="0")

    def make(arm, v):
        about = {"arm": arm, "attack": "p"}
        return [
            Number(quantity="accuracy", value=v, n=50, about={**about, "seed": s}, origin=at)
            for s in range(3)
        ]

    _, finding = verdict([*make("clat", 0.04), *make("start", 0.06)], "clat", ["start"], "p", at)
    assert "cannot be told apart" in finding.text


def test_a_head_alone_is_no_checkpoint(tmp_path):
    model = _small()
    torch.save(
        {"linear.weight": model.linear.weight.data, "linear.bias": model.linear.bias.data}, tmp_path / "h.pt"
    )
    with pytest.raises(InputError, match="missing"):
        sr.load_checkpoint(model, tmp_path / "h.pt")


def test_clat_without_a_random_start_is_refused():
    for attack in (sr.FGSM(sr.Linf(0.1)), sr.PGD(sr.Linf(0.1), random_start=False)):
        with pytest.raises(InputError, match="random start"):
            sr.harden(_small(), _images(), "clat", attack=attack, epochs=1)


def test_clat_goes_on_where_a_layer_died():
    """L_C is least where a layer gives nothing, and in a residual network the others then still do."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.fill_(-1.0)
    attack = sr.PGD(sr.Linf(0.1), steps=2)
    trained = sr.harden(model, _images(), "clat", attack=attack, epochs=1, layers=[1], weight=3.0)
    assert not trained.stopped and all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_spectral_norm_and_nested_freezing_stay_frozen():
    model = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.BatchNorm1d(4), nn.Linear(4, 2)
    )
    x = torch.rand(6, 4)
    layers = sr.layer_map(model, x)
    before = copy.deepcopy(model.state_dict())
    with sr.frozen(model, layers, [1]):
        with sr.frozen(model, layers, [1, 2]):
            pass
        model.train()
        model(x)
        assert not model[1].training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.train()
    assert model[1].training


def test_sixteen_bit_pictures_and_wrong_channels(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
        for i in range(3):
            Image.fromarray(ramp).save(tmp_path / name / f"{i}.png")
    x, _ = sr.load_data(str(tmp_path), image_size=64).train.all()
    assert 0.45 < float(x.mean()) < 0.55
    with pytest.raises(InputError, match="expected images of 3 channels, got 1"):
        sr.build_model("resnet8", width=0.25)(torch.rand(2, 1, 8, 8))


def test_transformed_targets_are_those_that_count():
    class Halved(torch.utils.data.Dataset):
        targets = (0, 1, 2, 3)
        target_transform = staticmethod(lambda t: t // 2)

        def __len__(self):
            return 4

        def __getitem__(self, i):
            return torch.rand(1, 4, 4), self.targets[i] // 2

    assert sr.images_from_dataset(Halved()).y.tolist() == [0, 0, 1, 1]


def test_a_last_batch_of_one_image_joins_the_one_before():
    from semirobust.core.seed import Seed

    sizes = [len(rows) for rows in _images(17).batches(8, seed=Seed(("s",)))]
    assert sizes == [8, 9]
    assert [len(rows) for rows in _images(17).batches(8)] == [8, 8, 1]


def test_divergence_that_shows_only_after_the_epoch():
    training = sr.Training(objective=sr.Standard(), epochs=3, batch_size=24, learning_rate=1e38)
    model = _small()
    trained = training(model, _images(), validate=lambda m, s: {"robust": 0.5})
    assert trained.stopped and all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, y: sr.PGD(0.1), "threat: expected one such as Linf"),
        (lambda m, x, y: sr.PGD(sr.Linf(0.1), steps=2.5), "steps: expected a whole number"),
        (lambda m, x, y: sr.FGSM(sr.Linf(0.1))(m, x, y + 97), "labels from 0 to 2"),
        (lambda m, x, y: sr.FGSM(sr.Linf(0.1))(m, x.double(), y), "x: expected torch.float32"),
        (
            lambda m, x, y: sr.FGSM(sr.Linf(0.1))(m, x[:, :2], y),
            "x: the model cannot run on examples of shape",
        ),
        (lambda m, x, y: sr.evaluate(m, x, y, {"a": "pgd"}), "attacks: expected one such as PGD"),
        (lambda m, x, y: sr.evaluate(m, x, y, batch_size=0), "batch_size"),
        (lambda m, x, y: sr.criticality(m, x, y, threat=0.1), "threat"),
        (lambda m, x, y: sr.criticality(m, x, y, x_adv=x.double()), "x_adv: expected torch.float32"),
        (
            lambda m, x, y: sr.criticality(m, x, y, threat=sr.Linf(0.1), batch_size=0),
            "batch_size and resamples",
        ),
        (
            lambda m, x, y: sr.harden(m, _images(), "clat", threat=sr.Linf(0.1), speed=3),
            "unknown option 'speed'",
        ),
        (lambda m, x, y: sr.harden(m, _images(), "clat", threat=sr.Linf(0.1), k=0), "k: expected"),
        (
            lambda m, x, y: sr.Training(objective=sr.Standard())(m, sr.images_from_tensors(x, y + 3)),
            "labels from 0 to 2",
        ),
        (lambda m, x, y: sr.images_from_tensors(x[:0], y[:0]), "x: expected"),
        (lambda m, x, y: sr.images_from_tensors(x, y + 10**6), "at most 100,000 classes"),
    ],
)
def test_wrong_arguments_are_one_sentence(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(_small(), torch.rand(3, 3, 6, 6), torch.tensor([0, 1, 2]))
    assert "\n" not in str(caught.value)


def test_one_attack_needs_no_list():
    result = sr.evaluate(_small(), torch.rand(3, 3, 6, 6), torch.tensor([0, 1, 2]), sr.FGSM(sr.Linf(0.1)))
    assert list(result.robust) == ["fgsm"]


TINY = [
    "--model",
    "resnet8",
    "--width",
    "0.25",
    "--set",
    "data.train=60",
    "--set",
    "train.validation_examples=0",
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "data.validation=NaN"], "data.validation"),
        (["--set", "train.momentum=-1"], "train.momentum"),
        (["--set", "train.nesterov=true", "--set", "train.momentum=0"], "nesterov"),
        (["--set", 'model.options={"num_classes": 5}'], "'num_classes' is set elsewhere"),
        (["--set", "model.mean=[0.5]"], "expected both or none"),
        (["--set", "model.mean=[0.5,0.5]", "--set", "model.std=[0.5,0.5]"], "expected 1 numbers each"),
        (["--precision", "64-true"], "train.precision"),
        (["--image-size", "-4"], "data.image_size"),
        (["--image-size", "16"], "image_size: expected none"),
        (["--set", "evaluate.attacks=[]"], "evaluate.attacks"),
        (["--model", ".rel:x"], "cannot import .rel"),
        (["--model", "needy:net"], "needy:net\\(\\) failed"),
        (["--model", "broken:net"], "cannot import broken"),
        (["--model", "few:net"], "expected logits for the 10 classes"),
        (["--model", "vit_small", "--set", 'model.options={"patch": 0}'], "multiple of its patch"),
    ],
)
def test_wrong_settings_are_one_sentence(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("needy.py").write_text("def net(size):\n    pass\n")
    Path("broken.py").write_text("def net(:\n")
    Path("few.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))\n"
    )
    tiny = TINY[2:] if "--model" in arguments else TINY
    monkeypatch.setattr(
        sys,
        "argv",
        ["semirobust", "train", "--data", "digits", "--epochs", "1", "--out", "o", *tiny, *arguments],
    )
    with pytest.raises(SystemExit) as leave:
        main()
    captured = capsys.readouterr()
    assert leave.value.code == 2, captured.err
    assert len(captured.err.strip().splitlines()) == 1
    import re

    assert re.search(message, captured.err), captured.err
    assert not Path("o/model.safetensors").exists()


def test_a_factory_is_seeded_and_another_commands_folder_is_kept(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("seeded.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["semirobust", *arguments])
        try:
            main()
        except SystemExit as leave:
            return leave.code
        return 0

    given = [
        "train",
        "--data",
        "digits",
        "--model",
        "seeded:net",
        "--epochs",
        "1",
        "--attack",
        "fgsm",
        "--set",
        "data.train=60",
    ]
    assert call(*given, "--out", "a") == 0 and call(*given, "--out", "b") == 0
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()
    Path("r.toml").write_text("[profile]\nexamples = 20\n")
    assert call("profile", "a", "--model", "seeded:net", "--recipe", "r.toml") == 0
    before = Path("b/model.safetensors").read_bytes()
    assert call("harden", "--from", "a", "--model", "seeded:net", "--out", "b") == 2
    assert (
        Path("b/model.safetensors").read_bytes() == before
        and "holds a run of `train`" in capsys.readouterr().err
    )
    assert call("evaluate", "a", "--model", "seeded:net", "--width", "0.5") == 2
    assert call("demo", "--seeds", "0") == 2

"""Networks that skip layers at random in train mode."""

import copy

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.split import split

X, Y = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
SENTENCE = r"^layer {}.*: took no part in this step, as where a network skips layers at random"


class Dropped(nn.Module):
    """Its residual blocks named in ``dropped`` do not run in train mode."""

    def __init__(self, *dropped, chance=1.0):
        super().__init__()
        self.dropped, self.chance = dropped, chance
        self.stem = nn.Conv2d(3, 4, 1)
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x).relu()
        for i, block in enumerate(self.blocks):
            if self.training and i in self.dropped and torch.rand(()) < self.chance:
                continue
            x = x + block(x).relu()
        return self.head(x.mean((2, 3)))


def _made(*dropped, **options):
    torch.manual_seed(0)
    return Dropped(*dropped, **options).eval()


def _hardened(model, method, **options):
    images = sr.images_from_tensors(X, Y)
    options = {"threat": sr.Linf(0.03), "epochs": 1, "batch_size": 6, **options}
    return sr.harden(model, images, method, **options)


@pytest.mark.parametrize(
    ("method", "options", "layer"),
    [
        ("selected", {"layers": [3]}, 3),
        ("safer", {"layers": [3]}, 3),
        ("lora", {"layers": [3]}, 3),
        ("clat", {"layers": [2]}, 3),
        ("at-lr", {"layers": [1, 2]}, 3),
    ],
)
def test_a_step_without_a_layer_that_it_needs_is_refused_in_one_sentence(method, options, layer):
    """Block 1 is layer 3, which takes the feature of layer 2."""
    with pytest.raises(InputError, match=SENTENCE.format(layer)):
        _hardened(_made(1), method, **options)


@pytest.mark.parametrize(
    ("method", "options"), [("adversarial", {}), ("selected", {"layers": [2, 3]}), ("clat", {"layers": [4]})]
)
def test_a_step_that_can_be_taken_is_that_of_a_network_without_the_layer(method, options):
    model = _made(1)
    before = copy.deepcopy(model.state_dict())
    _hardened(model, method, **options)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith("blocks.1") for name in moved)


def test_features_of_a_pass_in_train_mode_say_which_layer_did_not_run():
    model = _made(1)
    layers = sr.layer_map(model, X)
    with sr.features(model, layers, [1, 2]) as tape:
        with pytest.raises(InputError, match="no feature was recorded; run the model inside"):
            tape[1]
        model.train()(X)
        assert torch.equal(tape[1], model.stem(X).relu())
        with pytest.raises(InputError, match=SENTENCE.format(3)):
            tape[2]
        model.eval()(X)
        assert tape[2].shape == tape[1].shape


def test_a_suffix_takes_no_feature_to_another_place():
    """In train mode with block 0 gone, the sum in front of layer 3 is another call than in the prefix."""
    model = _made(0)
    layers = sr.layer_map(model, X)
    prefix, suffix = split(model, layers, 2)
    with torch.no_grad():
        cut = prefix(X)
        assert torch.equal(suffix(cut, cut.feature), model(X))
        model.train()
        with pytest.raises(InputError, match="^layer 2: expected the calls in front of its feature"):
            suffix(cut, cut.feature + 1)


def test_an_attack_on_a_feature_behind_what_is_skipped_is_refused():
    with pytest.raises(InputError, match="^layer 3: expected the calls in front of its feature"):
        _hardened(_made(1), "lat", layers=[3], steps=1)


@pytest.mark.parametrize("layer", [1, 2])
def test_an_attack_on_a_feature_before_what_is_skipped_trains(layer):
    """That of layer 2 goes round the block that is skipped."""
    assert _hardened(_made(1), "lat", layers=[layer], steps=1).logs
    model = _made(1)
    prefix, suffix = split(model, sr.layer_map(model, X), layer)
    with torch.no_grad():
        cut = prefix(X)
        other = cut.feature + 0.3
        model.train()
        behind = other + model.blocks[0](other).relu() if layer == 1 else other
        behind = behind + model.blocks[2](behind).relu()
        torch.testing.assert_close(suffix(cut, other), model.head(behind.mean((2, 3))))


def test_a_layer_that_is_skipped_now_and_then_is_refused_as_soon_as_it_is():
    with pytest.raises(InputError, match=SENTENCE.format(3)):
        _hardened(_made(1, chance=0.3), "selected", layers=[3], epochs=40)
    with Seed(("x",)).globally():
        assert _hardened(_made(1, chance=0.0), "selected", layers=[3]).logs


class Beside(nn.Module):
    """In train mode an auxiliary head calls functions in front of the feature that a function makes."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.aux, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), _Aux(), nn.Linear(4, 3)

    def forward(self, x):
        h = self.a(x).relu()
        if self.training:
            self.aux(h)
        h = h + 1
        return self.head((h + self.b(h)).mean((2, 3)))


class _Aux(nn.Module):
    def forward(self, x):
        return x.relu().add(1).sub(1).mul(2)


def test_a_module_of_train_mode_alone_puts_no_feature_in_a_wrong_place():
    torch.manual_seed(0)
    model = Beside().eval()
    prefix, suffix = split(model, sr.layer_map(model, X), 1)
    with torch.no_grad():
        cut = prefix(X)
        other = cut.feature * 2
        expected = model.head((other + model.b(other)).mean((2, 3)))
        torch.testing.assert_close(suffix(cut, other), expected)
        model.train()
        with pytest.raises(InputError, match="does more in train mode"):
            suffix(cut, other)

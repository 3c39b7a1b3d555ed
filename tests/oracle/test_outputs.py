"""Networks that return something else than one tensor of logits."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.outputs import logits_of, notes, noting


class Heads(NamedTuple):
    logits: Tensor
    aux: Tensor | None


@dataclass
class Answer:
    loss: None
    logits: Tensor


class Fields(OrderedDict):
    """Entries that are attributes too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


Z, OTHER, FEATURE = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 7)


@pytest.mark.parametrize(
    "output",
    [
        Z,
        {"logits": Z, "hidden": FEATURE},
        Fields(loss=None, logits=Z),
        Answer(None, Z),
        Heads(Z, None),
        Heads(Z, OTHER),
        (Z, torch.rand(4, 3, 8, 8)),
        (torch.rand(4, 3, 8, 8), Z),
        [Z, FEATURE],
        (Z, Z.softmax(1)),
        (Fields(logits=Z), torch.rand(4, 3, 8, 8)),
    ],
    ids=lambda output: type(output).__name__,
)
def test_logits_are_found(output):
    assert logits_of(output) is Z


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"score": Z, "deep": FEATURE}, r"dict with score \(4, 3\), deep \(4, 7\).*--output score"),
        ((Z, OTHER), r"tuple with 0 \(4, 3\), 1 \(4, 3\).*0 or 1, by .*output=1"),
        ([Z, OTHER, FEATURE.double(), OTHER], "0 or 3, by .*output=3"),
        (None, "got NoneType"),
        ((), r"got tuple.*as_classifier\(model"),
        ("logits", "got str"),
    ],
)
def test_what_cannot_be_told_is_refused_with_a_remedy(output, said):
    with pytest.raises(InputError, match=said):
        logits_of(output)


def test_heads_of_train_mode_are_noted_once():
    with noting():
        for _ in range(2):
            assert logits_of((Z, OTHER), training=True) is Z
            assert logits_of(Heads(Z, OTHER)) is Z
        (first, second) = notes()
    assert "main head" in first and "aux are left out" in second
    assert notes() == ()


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ({"pixel_values": torch.rand(2, 3, 8, 8)}, "its pixel_values.*do_normalize=False"),
        ([torch.rand(3, 8, 8)] * 2, "torch.stack"),
        (Image.new("RGB", (8, 8)), "permute"),
        ([Image.new("RGB", (8, 8))] * 2, "permute"),
        (np.zeros((2, 3, 8, 8), np.uint8), "divide bytes by 255"),
        (np.zeros((2, 8, 8, 3)), r"transpose\(0, 3, 1, 2\)"),
        ("images", "got 'images'$"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_is_no_tensor_is_refused_with_what_to_do(x, said):
    with pytest.raises(InputError, match=said):
        sr.evaluate(_network(), x, torch.tensor([0, 1]))


class Auxiliary(nn.Module):
    """A second head that runs while the network trains."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.aux = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.aux_head = nn.Linear(4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = self.stem(x)
        logits = self.head(h.mean((2, 3)))
        return Heads(logits, self.aux_head(self.aux(h))) if self.training else logits


def test_statistics_that_belong_to_no_layer_stay_while_some_layers_train():
    net, x = Auxiliary().eval(), torch.rand(4, 3, 8, 8)
    layers, before = sr.layer_map(net, x), net.aux[1].running_mean.clone()
    with sr.only_trainable(net, layers, [1]):
        net.train()
        net(x)
        assert net.stem[1].training
    assert torch.equal(net.aux[1].running_mean, before)
    assert not torch.equal(net.stem[1].running_mean, torch.zeros(4))


def _network(wrap=lambda logits: logits, classes=3):
    """A network with two convolutions that returns ``wrap(logits)``."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.second, self.head = nn.Conv2d(4, 5, 3), nn.Linear(5, classes)

        def forward(self, pixel_values):
            h = torch.relu(self.second(torch.relu(self.norm(self.first(pixel_values)))))
            return wrap(self.head(h.mean((2, 3))))

    return Net().eval()


BALL = sr.Linf(0.1)


@pytest.fixture
def data():
    x = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return x, _network()(x).argmax(1)


def _measured(net, data):
    """Numbers by several public functions."""
    x, y = data
    layers = sr.layer_map(net, x)
    with sr.features(net, layers) as tape:
        net(x)
    prefix, suffix = sr.split(net, layers, 2)
    attack = sr.PGD(BALL, steps=3)
    return [
        attack(net, x, y, seed=0),
        sr.evaluate(net, x, y, attack).robust["pgd-3"],
        sr.transfer({"a": net, "b": net}, x, y, attack).correct["a", "b"],
        sr.criticality(net, x, y, threat=BALL).weakness,
        [found.value for found in sr.connectivity(net, x, y, dependence=sr.CKA()).estimates],
        tape[len(layers)].detach(),
        sr.forward_to(net, layers, x, 3)[3].detach(),
        suffix(prefix(x)).detach(),
        sr.harden(net, sr.images_from_tensors(x, y), "clat", threat=BALL, epochs=1).best["first.weight"],
    ]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: Fields(logits=z, hidden=None),
        lambda z: {"logits": z},
        lambda z: Heads(z, z + 1),
        lambda z: (z, torch.zeros(2, 3, 4, 4)),
    ],
    ids=["model output", "dict", "named tuple", "tuple"],
)
def test_whatever_holds_the_logits_all_numbers_are_those_of_the_logits(wrap, data):
    plain, held = _network(), _network(wrap)
    for expected, got in zip(_measured(plain, data), _measured(held, data), strict=True):
        assert torch.equal(torch.as_tensor(expected), torch.as_tensor(got))
    assert not held._forward_hooks and not isinstance(held(data[0]), Tensor)


def _compiled():
    net = torch.compile(_network(), backend="eager")
    net(torch.rand(2, 3, 8, 8))
    return net


def _compiled_in_place():
    net = _network()
    net.compile(backend="eager")
    net(torch.rand(2, 3, 8, 8))
    return net


@pytest.mark.parametrize("make", [_compiled, _compiled_in_place])
def test_compiled_modules_give_the_numbers_of_the_original(make, data):
    plain, net = _network(), make()
    assert [layer.name for layer in sr.layer_map(net, data[0])] == ["first", "second", "head"]
    for expected, got in zip(_measured(plain, data), _measured(net, data), strict=True):
        assert torch.equal(torch.as_tensor(expected), torch.as_tensor(got))


def test_layers_of_a_compiled_module_are_frozen_by_the_names_of_the_original(data):
    net = _compiled()
    with sr.only_trainable(net, sr.layer_map(net, data[0]), [2]):
        trains = [name for name, p in net._orig_mod.named_parameters() if p.requires_grad]
    assert trains == ["second.weight", "second.bias"]


@pytest.mark.parametrize(
    "make",
    [
        lambda net, x: torch.jit.script(net),
        torch.jit.trace,
        lambda net, x: torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)),
        lambda net, x: torch.export.export(
            net, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        ).module(),
    ],
    ids=["scripted", "traced", "exported", "exported module"],
)
@pytest.mark.filterwarnings("ignore")
def test_what_shows_no_layers_is_good_for_attacks_alone(make, data):
    x, y = data
    eager = _plain()
    net, attack = make(_plain(), x), sr.PGD(BALL, steps=3)
    assert torch.equal(sr.evaluate(net, x, y, attack).worst, sr.evaluate(eager, x, y, attack).worst)
    scaled = sr.as_classifier(net, mean=[0.5] * 3, std=[0.5] * 3)
    assert torch.allclose(scaled(x), eager((x - 0.5) / 0.5), atol=1e-6)
    for refused in (
        lambda: sr.layer_map(net, x),
        lambda: sr.criticality(net, x, y, threat=BALL),
        lambda: sr.harden(net, sr.images_from_tensors(x, y), "adversarial", threat=BALL, epochs=1),
    ):
        with pytest.raises(InputError, match="hand over the module that it was made from"):
            refused()


class _Plain(nn.Module):
    """Without closures, which TorchScript does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.first(x)).mean((2, 3)))


def _plain():
    torch.manual_seed(0)
    return _Plain().eval()


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_network_is_refused_by_attacks_that_need_a_gradient(data):
    x, y = data
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    net = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, torch.qint8)
    for attack in (sr.PGD(BALL), sr.FAB(BALL, steps=2)):
        with pytest.raises(InputError, match="no gradient in its input.*square"):
            sr.evaluate(net, x, net(x).argmax(1), attack)
    by_square = sr.evaluate(net, x, net(x).argmax(1), sr.AutoAttack(BALL, steps=2, queries=5))
    assert not any(verdict.any() for verdict in by_square.undecided.values())
    assert "no gradient" in by_square.notes[0]
    assert sr.evaluate(net, x, y, sr.Square(BALL, queries=5)).notes == ()
    assert not sr.sanity_checks(net, x, y, BALL)[-1].passed
    with pytest.raises(InputError, match="quantised network"):
        sr.layer_map(net, x)


class Rounds(nn.Module):
    """A gradient there is, and it is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.net = _network()

    def forward(self, x):
        return self.net((x * 8).round() / 8)


def test_attacks_without_a_gradient_are_said_to_be_no_sign_of_robustness(data):
    x, y = data
    result = sr.evaluate(Rounds().eval(), x, y, sr.PGD(BALL, steps=2))
    assert "gradient of zero" in result.notes[0] and "square" in str(result.summary())
    assert sr.evaluate(Rounds().eval(), x, y, sr.Square(BALL, queries=5)).notes == ()
    assert sr.evaluate(_network(lambda z: 50 * z), x, y, sr.PGD(BALL, steps=2)).notes == ()


def test_an_auxiliary_head_is_trained_around_and_noted(data):
    x, y = data
    net, images = Auxiliary().eval(), sr.images_from_tensors(x, y)
    sr.footprint(net, x, 4, objective=sr.Adversarial())
    before = net.aux_head.weight.detach().clone()
    trained = sr.Training(attack=sr.PGD(BALL, steps=1), epochs=1)(net, images)
    assert any("aux" in note for note in trained.notes)
    assert trained.model is net and torch.equal(before, net.aux_head.weight)
    levels = sr.Lottery(levels=1)(net, images, sr.Training(attack=sr.PGD(BALL, steps=1), epochs=1))
    assert len(levels) == 2


def test_nothing_to_train_is_said_before_training(data):
    net = _network().requires_grad_(False)
    with pytest.raises(InputError, match="requires_grad"):
        sr.harden(net, sr.images_from_tensors(*data), "adversarial", threat=BALL, epochs=1)


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_a_fixed_batch_is_refused_with_what_to_do(data):
    x, y = data
    net = torch.export.export(_plain(), (x,)).module()
    with pytest.raises(InputError, match="on 20 at once.*free batch dimension"):
        sr.PGD(BALL)(net, x, y)


@pytest.mark.parametrize("model", [None, "resnet18", nn.Conv2d])
def test_what_is_no_network_is_refused(model, data):
    x, y = data
    images = sr.images_from_tensors(x, y)
    for call in (
        lambda: sr.layer_map(model, x),
        lambda: sr.evaluate(model, x, y),
        lambda: sr.criticality(model, x, y, threat=BALL),
        lambda: sr.harden(model, images, "clat", threat=BALL, epochs=1),
        lambda: sr.footprint(model, x, 2),
    ):
        with pytest.raises(InputError, match="expected a torch.nn.Module"):
            call()

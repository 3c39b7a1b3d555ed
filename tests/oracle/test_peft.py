"""Adapters of peft under attack, against updates written out here."""

import copy
import sys

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.methods import METHODS, LayerChoice
from semirobust.methods.peft import PeftFineTuning

KINDS = ("lora", "dora", "loha", "lokr", "ia3")
X = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(32) % 10
ATTACK = sr.PGD(sr.Linf(0.05), steps=1)


@pytest.fixture
def _peft():
    pytest.importorskip("peft", reason="peft is not installed")


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
NEEDS_PEFT = pytest.mark.usefixtures("_peft")


def _model():
    return sr.build_model("vit_small", width=1 / 16, in_channels=1, image_size=8, patch=2, depth=2)


def _harden(model, method, **more):
    given = {"attack": ATTACK, "epochs": 1, "batch_size": 16, "learning_rate": 0.1}
    return sr.harden(model, (X, Y), method, **given, **more)


def _written_out(kind, name, state, rank, alpha):
    """The merged weight and bias, from W and b and what trains of the adapter, by their formulae."""
    w, b = (state[f"{name}.adapter.base_layer.{part}"] for part in ("weight", "bias"))

    def get(part):
        return state[f"{name}.adapter.{part}"]

    if kind == "ia3":
        scale = get("ia3_l.default")
        return scale * w, scale.flatten() * b
    if kind in ("lora", "dora"):
        w = w + alpha / rank * get("lora_B.default.weight") @ get("lora_A.default.weight")
        if kind == "dora":
            w = get("lora_magnitude_vector.default.weight")[:, None] * w / w.norm(dim=1, keepdim=True)
        return w, b
    if kind == "loha":
        one, two = (get(f"hada_w{i}_a.default") @ get(f"hada_w{i}_b.default") for i in (1, 2))
        return w + alpha / rank * one * two, b
    # Of a network this narrow both factors are whole, and then peft takes alpha / rank, too.
    left = get("lokr_w1.default")
    right = (
        get("lokr_w2.default")
        if f"{name}.adapter.lokr_w2.default" in state
        else get("lokr_w2_a.default") @ get("lokr_w2_b.default")
    )
    return w + alpha / rank * torch.kron(left, right), b


@NEEDS_PEFT
@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_are_those_of_the_formula_and_nothing_else_moves(kind):
    model, rank, alpha = _model(), 2, 6.0
    layers = sr.layer_map(model, X)
    chosen = [2, 4]
    names = [layers.at(i).name for i in chosen]
    before = copy.deepcopy(model.state_dict())
    inside = {}

    def validate(network, seed):
        inside.update({key: tensor.clone() for key, tensor in network.state_dict().items()})
        return {"clean": 0.5, "robust": 0.5}

    made = PeftFineTuning(kind, rank, alpha, choice=LayerChoice(layers=chosen, every=0))
    trained = _harden(model, made, validate=validate)
    after = model.state_dict()
    assert list(after) == list(before) and set(trained.best) == set(before)
    assert trained.logs[0].layers == (2, 4)
    for name in names:
        weight, bias = _written_out(kind, name, inside, rank, alpha)
        for state in (after, trained.best):
            torch.testing.assert_close(state[f"{name}.weight"], weight, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(state[f"{name}.bias"], bias, rtol=1e-5, atol=1e-6)
        assert not torch.equal(weight, before[f"{name}.weight"])
    others = [key for key in before if key.rpartition(".")[0] not in names]
    assert all(torch.equal(after[key].view(torch.uint8), before[key].view(torch.uint8)) for key in others)
    assert not any("peft" in type(module).__module__ for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


@NEEDS_PEFT
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_starts_as_it_was_bit_for_bit(kind):
    model = _model()
    plan = PeftFineTuning(kind, choice=LayerChoice(layers=[2, 3, 5], every=0)).plan(_context(model))
    with torch.no_grad():
        truth = model(X)
        with plan.prepare(model, as_seed(0)):
            assert torch.equal(model(X), truth)
            trains = [name for name, p in model.named_parameters() if p.requires_grad]
        assert torch.equal(model(X), truth)
    assert trains and all(".default" in name for name in trains)


@NEEDS_PEFT
def test_without_a_scale_lora_is_its_start_bit_for_bit():
    model = _model()
    before = copy.deepcopy(model.state_dict())
    trained = _harden(model, "peft", alpha=0)
    for state in (model.state_dict(), trained.best):
        assert all(torch.equal(state[key], before[key]) for key in before)


def _context(model):
    from semirobust.data.base.given import given_images
    from semirobust.methods import Context

    return Context(sr.layer_map(model, X), given_images((X, Y)), ATTACK)


@NEEDS_PEFT
def test_all_linear_layers_but_the_classifier_have_adapters_unless_some_are_chosen():
    model = _model()
    layers = sr.layer_map(model, X)
    assert _harden(model, "peft").logs[0].layers == tuple(range(2, len(layers)))
    # 8 of 24 x 72 and 24 x 24, and so on.
    sizes = [8 * sum(model.get_parameter(f"{layers.at(i).name}.weight").shape) for i in range(2, len(layers))]
    assert _harden(model, "peft").logs[0].trained_parameters == sum(sizes)


@NEEDS_PEFT
@pytest.mark.parametrize(
    "choice",
    [
        {"criterion": "sharpness", "k": 2},
        {"criterion": "criticality", "k": 1},
        {"selection": "random", "k": 3},
        {"selection": "knapsack", "share": 0.3, "criterion": "gradient-norm"},
    ],
)
def test_layers_are_chosen_by_any_measure_among_the_linear_ones(choice):
    model = _model()
    layers = sr.layer_map(model, X)
    before = copy.deepcopy(model.state_dict())
    trained = _harden(model, "peft", **choice)
    chosen = trained.logs[0].layers
    assert chosen and set(chosen) <= set(range(2, len(layers))) and len(chosen) <= choice.get("k", 8)
    moved = {key for key, t in model.state_dict().items() if not torch.equal(t, before[key])}
    assert moved == {f"{layers.at(i).name}.weight" for i in chosen}
    # Equal seeds choose and train alike.
    again = _model()
    assert _harden(again, "peft", **choice).logs[0].layers == chosen
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


@NEEDS_PEFT
def test_a_name_that_another_one_ends_in_has_no_adapter():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, 6)
            self.deep = nn.ModuleDict({"fc": nn.Linear(6, 6)})
            self.head = nn.Linear(6, 10)

        def forward(self, x):
            return self.head(self.deep["fc"](self.fc(x.flatten(1)).relu()).relu())

    model = Net()
    before = copy.deepcopy(model.state_dict())
    _harden(model, "peft", layers=[1])
    moved = {key for key, t in model.state_dict().items() if not torch.equal(t, before[key])}
    assert moved == {"fc.weight"}


def test_what_is_refused(monkeypatch):
    model = _model()
    for options, sentence in [
        ({"kind": "oft"}, "input should be 'lora', 'dora', 'loha', 'lokr' or 'ia3'; got 'oft'"),
        ({"rank": 0}, "rank, alpha and dropout: expected at least 1"),
        ({"dropout": 1.0}, "rank, alpha and dropout"),
        ({"layers": [1]}, "layer network.patches: expected a plain linear layer, got Conv2d"),
        ({"every": 3}, "every: expected 0"),
        ({"trains": "biases"}, "trains: expected layer"),
    ]:
        with pytest.raises(InputError, match=sentence):
            _harden(model, "peft", **options)
    with pytest.raises(InputError, match="expected linear layers before the classifier, .* found none; lora"):
        sr.harden(
            sr.build_model("resnet8", 10, 0.25, in_channels=1, image_size=8), (X, Y), "peft", attack=ATTACK
        )
    assert "peft" in METHODS.names()
    with pytest.raises(InputError, match="kind: expected lora, dora, loha, lokr or ia3, got 'oft'"):
        PeftFineTuning("oft")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        InputError, match=r"method: expected the package peft, found none; pip install 'semi"
    ) as e:
        _harden(model, "peft")
    assert "semirobust[peft]" in str(e.value) and "\n" not in str(e.value)
    assert all(parameter.requires_grad for parameter in model.parameters())


@NEEDS_PEFT
@pytest.mark.parametrize("name", ["timm-deit", "timm-swin-v2", "transformers-vit", "torchvision-vit"])
def test_adapters_go_into_linear_layers_of_any_maker_that_are_called(name):
    from tests.oracle.test_transformers import TOKENS, _made

    model = _made(name)
    layers = sr.layer_map(model, X)
    before = copy.deepcopy(model.state_dict())
    chosen = _harden(model, "peft").logs[0].layers
    moved = {key for key, t in model.state_dict().items() if not torch.equal(t, before[key])}
    assert moved == {f"{layers.at(i).name}.weight" for i in chosen} and not moved & TOKENS.get(name, set())
    expected = {"timm-deit": 8, "timm-swin-v2": 3 * 3 + 1, "transformers-vit": 12, "torchvision-vit": 4}
    assert len(chosen) == expected[name] and not set(chosen) & set(layers.classifier)

"""Layer maps, features, splits and freezing against what is known of the networks."""

import copy
import math

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from tests.helpers import SmallResidual, untouched

COUNTS = {
    "resnet18": 18,
    "resnet34": 34,
    "resnet50": 50,
    "preact_resnet18": 18,
    "wrn_34_10": 32,
    "wrn_28_10": 26,
    "vgg19": 19,
    "densenet121": 121,
    "mlp_300_100_100": 4,
    "capacity_cnn": 4,
    "resnet20": 20,
    "vit_small": 50,
}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_published_layer_counts(name, count):
    model = sr.build_model(name, num_classes=7, width=0.1)
    x = torch.rand(2, 3, 32, 32)
    with untouched(model):
        layers = sr.layer_map(model, x)
    assert [layer.index for layer in layers] == list(range(1, count + 1))
    assert layers[-1].feature_shape == (7,)
    owned = [name for layer in layers for name in layer.parameters]
    assert sorted(owned) == sorted(name for name, _ in model.named_parameters())


def test_parameter_counts_of_the_full_networks():
    """Published: 11.17 M (ResNet-18), 23.5 M (ResNet-50), 46.16 M (WRN-34-10), 266,610 (300-100 MLP with a
    second 100).
    """
    count = lambda name, **k: sum(p.numel() for p in sr.build_model(name, **k).parameters())  # noqa: E731
    assert count("resnet18") == 11_173_962
    assert count("resnet50") == 23_520_842
    assert count("wrn_34_10") == 46_160_474
    assert (
        count("mlp_300_100_100", in_channels=1, image_size=28) == 785 * 300 + 301 * 100 + 101 * 100 + 101 * 10
    )


def test_a_projection_belongs_to_the_layer_it_is_added_to_in_whatever_order_it_runs():
    model = SmallResidual().eval()
    layers = sr.layer_map(model, torch.rand(1, 3, 6, 6))
    assert [layer.name for layer in layers] == ["conv1", "block.conv2", "block.conv3", "linear"]
    assert "block.shortcut.0.weight" in layers[2].parameters
    assert [layer.feature_shape for layer in layers] == [(4, 6, 6), (6, 6, 6), (6,), (3,)]
    counted = sr.layer_map(model, torch.rand(1, 3, 6, 6), count_projections=True)
    assert [layer.name for layer in counted] == [
        "conv1",
        "block.shortcut.0",
        "block.conv2",
        "block.conv3",
        "linear",
    ]


def test_a_projection_that_is_counted_stays_with_its_layer():
    """A ResNet-18 has 18 layers and three projections: the authors' suffixes of 4, 8, 12 and 16 of 21."""
    layers = sr.layer_map(sr.build_model("resnet18", width=0.05), torch.rand(1, 3, 32, 32))
    own = {layer.index: layer.projections for layer in layers if layer.projections}
    assert list(own) == [7, 11, 15] and all(len(names) == 1 for names in own.values())
    sizes = {4: 3, 5: 4, 8: 7, 12: 10, 16: 13, 17: 14, 21: 18, 99: 18}
    assert {size: layers.without_projections(size) for size in sizes} == sizes
    plain = sr.layer_map(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), torch.rand(1, 4))
    assert [plain.without_projections(size) for size in (0, 1, 2)] == [0, 1, 2]


def test_execution_order_counts_not_registration():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(5, 2), nn.Linear(4, 5)
            self.never = nn.Linear(3, 3)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))

    layers = sr.layer_map(Backwards(), torch.rand(2, 4))
    assert [layer.name for layer in layers] == ["first", "last"]
    assert layers.unassigned == ("never.weight", "never.bias")


def test_attention_of_torch_is_one_layer_and_owns_its_output_projection():
    model = nn.Sequential(
        nn.Linear(4, 8),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        nn.Flatten(),
        nn.Linear(24, 2),
    )
    layers = sr.layer_map(model.eval(), torch.rand(2, 3, 4))
    assert [layer.kind for layer in layers] == ["Linear", "MultiheadAttention", "Linear", "Linear", "Linear"]
    assert "1.self_attn.out_proj.weight" in layers[1].parameters


def test_block_ends():
    layers = sr.layer_map(sr.build_model("resnet18", width=0.1), torch.rand(1, 3, 32, 32))
    assert layers.block_ends == (1, 3, 5, 7, 9, 11, 13, 15, 17, 18)


def test_features_are_the_inputs_of_the_next_layer():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.Tanh())
    x = torch.tensor([[0.5, 0.25]])
    layers = sr.layer_map(model, x)
    with untouched(model), torch.no_grad(), sr.features(model, layers) as tape:
        logits = model(x)
        torch.testing.assert_close(tape[1], torch.relu(model[0](x)))
        torch.testing.assert_close(tape[2], logits)
        with sr.features(model, layers, at="conv") as raw:
            model(x)
    torch.testing.assert_close(raw[1], model[0](x))
    torch.testing.assert_close(raw[2], model[2](torch.relu(model[0](x))))


def test_raw_outputs_survive_an_activation_in_place():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 2))
    x = torch.tensor([[0.5, 0.25]])
    with torch.no_grad(), sr.features(model, sr.layer_map(model, x), at="conv") as tape:
        model(x)
    torch.testing.assert_close(tape[1], model[0](x))


def test_forward_to_stops_where_the_next_layer_would_begin():
    ran = []
    model = sr.build_model("resnet18", width=0.05)
    x = torch.rand(2, 3, 16, 16)
    layers = sr.layer_map(model, x)
    for layer in layers:
        model.get_submodule(layer.name).register_forward_hook(lambda m, a, o, i=layer.index: ran.append(i))
    found = sr.forward_to(model, layers, x, [2, 6])
    assert ran == [1, 2, 3, 4, 5, 6]
    with sr.features(model, layers) as tape:
        model(x)
    torch.testing.assert_close(found[6], tape[6])
    torch.testing.assert_close(found[2], tape[2])


def test_hooks_are_gone_after_an_error():
    model = SmallResidual().eval()
    layers = sr.layer_map(model, torch.rand(1, 3, 6, 6))
    with untouched(model), pytest.raises(RuntimeError), sr.features(model, layers):
        model(torch.zeros(1, 5, 6, 6))


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "densenet121", "vit_small", "vgg19"])
def test_suffix_of_prefix_is_the_model(name):
    model = sr.build_model(name, width=0.05)
    x = torch.rand(3, 3, 32, 32)
    layers = sr.layer_map(model, x)
    with untouched(model), torch.no_grad():
        logits = model(x)
        for j in (1, 2, len(layers) // 2, len(layers) - 1):
            prefix, suffix = sr.split(model, layers, j)
            cut = prefix(x)
            assert cut.feature.shape[1:] == layers[j - 1].feature_shape
            assert torch.equal(suffix(cut), logits)
            assert torch.equal(suffix(cut), logits)  # a cut serves many times


def test_a_suffix_runs_only_its_own_layers_and_passes_gradients():
    model = sr.build_model("resnet18", width=0.05)
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    layers = sr.layer_map(model, x.detach())
    prefix, suffix = sr.split(model, layers, 10)
    cut = prefix(x)
    ran = []
    for layer in layers:
        inner = model.get_submodule(layer.name)
        original = inner.forward
        inner.forward = lambda z, i=layer.index, f=original: (ran.append(i), f(z))[1]
    logits = suffix(cut)
    assert ran == list(range(11, 19))
    (slope,) = torch.autograd.grad(logits.sum(), x)
    assert torch.isfinite(slope).all() and float(slope.abs().sum()) > 0


def test_freezing_survives_train_and_covers_statistics():
    torch.manual_seed(0)
    model = SmallResidual().train()
    x, y = torch.rand(8, 3, 6, 6), torch.randint(0, 3, (8,))
    layers = sr.layer_map(model, x)
    before = copy.deepcopy(model.state_dict())
    with sr.frozen(model, layers, [1, 3]):
        model.train()
        assert not model.bn1.training and not model.block.bn3.training and model.block.bn2.training
        assert not model.block.shortcut[1].training
        assert copy.deepcopy(model).train().bn1.training is False
        optimiser = torch.optim.SGD(
            [p for p in model.parameters() if p.requires_grad], 0.5, momentum=0.9, weight_decay=0.1
        )
        for _ in range(3):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
    owned = {
        name
        for name in before
        if name.startswith(("conv1", "bn1", "block.conv3", "block.bn3", "block.shortcut"))
    }
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name in owned), name
    model.train()
    assert model.bn1.training and all(p.requires_grad for p in model.parameters())


def test_unknown_layers_are_refused():
    model = SmallResidual().eval()
    layers = sr.layer_map(model, torch.rand(1, 3, 6, 6))
    with pytest.raises(InputError, match="from 1 to 4, got 9"):
        sr.forward_to(model, layers, torch.rand(1, 3, 6, 6), 9)
    with pytest.raises(InputError, match="convolution or linear"):
        sr.layer_map(nn.Flatten(), torch.rand(1, 3))
    assert math.prod(layers[0].feature_shape) == layers[0].features


def test_a_cut_behind_a_function_is_found_again_where_the_network_is_guarded():
    """What protects the caller's batch calls functions too, in the first pass alone."""
    from semirobust.layers.quiet import quiet
    from semirobust.layers.split import split

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3)

        def forward(self, x):
            return self.two(self.one(x).relu()).mean((2, 3))

    torch.manual_seed(0)
    model, x = Functional().eval(), torch.rand(2, 3, 6, 6)
    prefix, suffix = split(model, sr.layer_map(model, x), 1)
    other = torch.rand(2, 4, 6, 6)
    wanted = model.two(other).mean((2, 3))
    outside = prefix(x)
    with quiet(model):
        inside = prefix(x)
        for cut in (outside, inside):
            torch.testing.assert_close(suffix(cut, other), wanted)
    torch.testing.assert_close(suffix(inside, other), wanted)

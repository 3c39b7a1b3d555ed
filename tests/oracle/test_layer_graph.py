"""Layers that run beside each other, feed one another by other ways than modules, or reach nothing: each number
depends on its layer, or is not given."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.layers.graph import graph_of
from semirobust.layers.macs import macs_by_module
from semirobust.layers.noise import dependence_by_noise
from semirobust.layers.trace import traced
from semirobust.measures.semirobustness import Headed
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.clat import CriticalFineTuning
from tests.helpers import untouched


class Meeting(nn.Module):
    """Two convolutions of one image that are concatenated, then a block whose projection takes what was not
    padded."""

    def __init__(self):
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.first, self.second = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.side, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        h = torch.cat([self.narrow(x), self.wide(x)], 1).relu()
        main = self.second(self.first(F.pad(h, (1, 1, 1, 1))).relu())
        return self.head((main + self.side(h)).relu().mean((2, 3)))


class Separable(nn.Module):
    """Query, key and value are three layers; the mean of tokens goes into two heads that are averaged."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.out, self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x):
        t = self.embed(x).flatten(2).transpose(1, 2)
        weights = (self.query(t) @ self.key(t).transpose(1, 2) / 8**0.5).softmax(-1)
        t = (t + self.out(weights @ self.value(t))).mean(1)
        return (self.one(t) + self.two(t)) / 2


class Excited(nn.Module):
    """A depthwise convolution scaled by squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.point, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        h = self.depthwise(self.stem(x).relu()).relu()
        h = h * self.excite(self.squeeze(h.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.head(self.point(h).relu().mean((2, 3)))


class Functional(nn.Module):
    """A convolution by a raw parameter, a linear module of which only the weight is used, and a weight that is
    computed."""

    def __init__(self):
        super().__init__()
        self.kernel, self.scale = nn.Parameter(torch.randn(6, 3, 3, 3) / 5), nn.Parameter(torch.ones(6, 1))
        self.inner, self.last = nn.Linear(6, 6), nn.Parameter(torch.randn(6, 4))

    def forward(self, x):
        h = F.conv2d(x, self.kernel, padding=1).relu().mean((2, 3))
        h = F.linear(h, self.inner.weight * self.scale, self.inner.bias).relu()
        return h @ self.last


class Constant(nn.Module):
    """A table of positions goes through a layer of its own; another layer's result is dropped."""

    def __init__(self):
        super().__init__()
        self.conv, self.position = nn.Conv2d(3, 8, 4, 4), nn.Linear(2, 8)
        self.dropped, self.head = nn.Linear(8, 5), nn.Linear(8, 4)
        self.register_buffer("table", torch.rand(4, 2))

    def forward(self, x):
        h = self.conv(x).flatten(2).transpose(1, 2)
        self.seen = self.dropped(h).detach()
        return self.head((h + self.position(self.table)).relu().mean(1))


class Recomputed(nn.Module):
    """A part whose activations are not kept, so that autograd does not see its layers."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        with warnings.catch_warnings():  # without a gradient there is nothing to recompute
            warnings.simplefilter("ignore")
            return self.head(checkpoint(self.inner, self.stem(x).relu(), use_reentrant=True))


class Dead(nn.Module):
    """A branch behind a norm of weight 0."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.norm = nn.BatchNorm2d(4)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x):
        h = self.stem(x).relu()
        return self.head((h + self.norm(self.inner(h))).mean((2, 3)))


NETWORKS = {
    "meeting": (Meeting, (3, 8, 8)),
    "separable": (Separable, (3, 8, 8)),
    "excited": (Excited, (3, 8, 8)),
    "functional": (Functional, (3, 8, 8)),
    "constant": (Constant, (3, 8, 8)),
    "recomputed": (Recomputed, (6,)),
}


def made(name):
    kind, shape = NETWORKS[name]
    torch.manual_seed(3)
    model = kind().eval()
    return model, torch.rand(6, *shape)


def names(layers):
    return [layer.name for layer in layers]


@pytest.mark.parametrize("name", NETWORKS)
def test_each_number_depends_on_its_layer(name):
    model, x = made(name)
    x_adv = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    layers, y = sr.layer_map(model, x), torch.zeros(len(x), dtype=torch.long)
    with untouched(model):
        before = sr.criticality(model, x, y, x_adv=x_adv, layers=layers)
    for layer in layers:
        assert layer.weights
        for parameter in layer.weights:
            weight = model.get_parameter(parameter)
            old = weight.detach().clone()
            with torch.no_grad():
                weight.copy_(3 * torch.randn_like(weight))
            after = sr.criticality(model, x, y, x_adv=x_adv, layers=layers)
            with torch.no_grad():
                weight.copy_(old)
            assert before.weakness[layer.index - 1] != after.weakness[layer.index - 1], parameter


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "recomputed"])
def test_autograd_and_noise_find_the_same_graph(name):
    model, x = made(name)
    run = traced(model, x[:1])
    found = dependence_by_noise(model, x[:1], run)
    graph = graph_of(model, x[:1], run)
    assert (graph.arguments, graph.inputs, graph.logits) == (found.arguments, found.inputs, found.logits)


def test_branches_share_the_place_where_they_meet():
    model, x = made("meeting")
    layers = sr.layer_map(model, x)
    assert names(layers) == ["narrow", "wide", "first", "second", "head"]
    assert "side.weight" in layers[3].parameters
    assert [layer.feature_at for layer in layers] == [3, 3, 4, 5, 6]
    assert [layer.before for layer in layers] == [0, 0, 2, 3, 4]
    assert layers[0].feature_shape == layers[1].feature_shape == (8, 10, 10)
    with sr.features(model, layers) as tape, torch.no_grad():
        model(x)
    assert torch.equal(tape[1], tape[2])
    counted = sr.layer_map(model, x, count_projections=True)
    assert names(counted) == ["narrow", "wide", "first", "second", "side", "head"]


def test_attention_of_three_layers_and_two_heads_side_by_side():
    model, x = made("separable")
    layers = sr.layer_map(model, x)
    assert names(layers) == ["embed", "query", "key", "value", "out", "one", "two"]
    assert [layer.feature_at for layer in layers] == [2, 5, 5, 5, 6, 8, 8]
    assert layers[5].feature_shape == layers[6].feature_shape == (4,)


def test_a_gate_belongs_to_what_it_scales():
    model, x = made("excited")
    layers = sr.layer_map(model, x)
    assert names(layers) == ["stem", "depthwise", "point", "head"]
    assert layers[1].feature_shape == (8, 8, 8)
    assert {"squeeze.weight", "excite.bias"} <= set(layers[1].parameters)
    # Also on one pixel, where the gate is as large as what it scales.
    assert names(sr.layer_map(model, x[..., :1, :1])) == ["stem", "depthwise", "point", "head"]


def test_functions_of_parameters_are_layers():
    model, x = made("functional")
    layers = sr.layer_map(model, x)
    assert names(layers) == ["kernel", "inner", "last"]
    assert [layer.kind for layer in layers] == ["conv2d", "Linear", "matmul"]
    assert layers[1].parameters == ("inner.weight", "scale", "inner.bias")
    assert layers.unassigned == ()
    with torch.no_grad(), sr.features(model, layers) as tape, sr.features(model, layers, at="conv") as raw:
        logits = model(x)
    expected = F.conv2d(x, model.kernel, padding=1)
    torch.testing.assert_close(raw[1], expected)
    torch.testing.assert_close(tape[1], expected.relu().mean((2, 3)))
    assert torch.equal(tape[3], logits)
    with sr.only_trainable(model, layers, [1]):
        assert [name for name, p in model.named_parameters() if p.requires_grad] == ["kernel"]


def test_what_no_image_reaches_or_leads_nowhere_is_left_out_and_said():
    model, x = made("constant")
    layers = sr.layer_map(model, x)
    assert names(layers) == ["conv", "head"]
    assert {entry.name: entry.reason for entry in layers.left_out} == {
        "position": "the input does not depend on the image",
        "dropped": "the output does not reach the logits",
    }
    lost = sum(p.numel() for module in (model.position, model.dropped) for p in module.parameters())
    assert f"{lost} of" in layers.notes[-1] and "belong to no layer" in str(layers)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cut_is_exact_wherever_there_is_one(name):
    model, x = made(name)
    layers = sr.layer_map(model, x)
    with torch.no_grad():
        logits = model(x)
        for layer in layers:
            if layer.feature_at > len(layers):
                with pytest.raises(InputError, match="the logits"):
                    sr.split(model, layers, layer.index)
                continue
            prefix, suffix = sr.split(model, layers, layer.index)
            cut = prefix(x)
            assert cut.feature.shape[1:] == layer.feature_shape
            assert torch.equal(suffix(cut), logits)
            assert not torch.equal(suffix(cut, torch.randn_like(cut.feature)), logits)
            found = sr.forward_to(model, layers, x, layer.index)
            assert torch.equal(found[layer.index], cut.feature)


def test_another_feature_also_goes_into_a_shortcut_in_the_same_function():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.inner, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

        def forward(self, x):
            h = self.stem(x * 2 - 1).relu() + 0.5
            return self.head((h + self.inner(h).relu()).mean((2, 3)))

    torch.manual_seed(0)
    model, x, other = Flat().eval(), torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    prefix, suffix = sr.split(model, sr.layer_map(model, x), 1)
    with torch.no_grad():
        assert torch.equal(suffix(prefix(x), prefix(other).feature), model(other))


def test_another_feature_also_goes_into_a_projection_that_ran_before():
    class Early(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.side, self.norm = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)
            self.one, self.two, self.head = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, 1, 1), nn.Linear(6, 3)

        def forward(self, x):
            h = self.stem(x).relu()
            shortcut = self.norm(self.side(h) * 1.5)
            return self.head((self.two(self.one(h).relu()) + shortcut).relu().mean((2, 3)))

    torch.manual_seed(0)
    model, x, other = Early().eval(), torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    layers = sr.layer_map(model, x)
    assert names(layers) == ["stem", "one", "two", "head"]
    with torch.no_grad():
        for index in (1, 2):
            prefix, suffix = sr.split(model, layers, index)
            assert torch.equal(suffix(prefix(x)), model(x))
        prefix, suffix = sr.split(model, layers, 1)
        assert torch.equal(suffix(prefix(x), prefix(other).feature), model(other))


def test_a_branch_behind_a_weight_of_zero_has_no_number_and_is_not_chosen():
    torch.manual_seed(0)
    model, x = Dead().eval(), torch.rand(8, 3, 4, 4)
    y = torch.zeros(8, dtype=torch.long)
    result = sr.criticality(model, x, y, x_adv=(x + 0.1).clamp(0, 1))
    assert [math.isnan(value) for value in result.values] == [False, True, False]
    assert "in layer 2, because with the weights of now" in result.notes[0]
    assert result.ranking()[-1] == 2


@pytest.mark.parametrize("selection", ["top", "bottom", "random"])
def test_clat_trains_no_layer_that_its_term_has_no_gradient_in(selection):
    torch.manual_seed(0)
    x, y = torch.rand(16, 3, 4, 4), torch.arange(16) % 3
    choice = LayerChoice(selection=selection, k=1, criterion="gradient-norm")
    hardened = sr.harden(
        Dead().eval(), sr.images_from_tensors(x, y), CriticalFineTuning(choice), threat=sr.Linf(0.1), epochs=1
    )
    assert hardened.logs[0].layers == (1,)


def test_a_layer_whose_parameters_take_no_gradient_is_not_selected():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    model[0].requires_grad_(False)
    images = sr.images_from_tensors(torch.rand(16, 4), torch.arange(16) % 3)
    for selection in ("top", "bottom"):
        method = CriticalFineTuning(LayerChoice(selection=selection, k=1))
        hardened = sr.harden(model, images, method, threat=sr.Linf(0.1), epochs=1)
        assert hardened.logs[0].layers == (2,)


def test_a_query_of_one_key_has_no_number():
    class OneKey(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key, self.value = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            q, k, v = (layer(x)[:, None, None] for layer in (self.query, self.key, self.value))
            return self.head((F.scaled_dot_product_attention(q, k, v)[:, 0, 0] * x.sin()).relu())

    torch.manual_seed(0)
    model, x = OneKey().eval(), torch.rand(8, 6)
    found = sr.criticality(model, x, torch.zeros(8, dtype=torch.long), x_adv=(x + 0.1).clamp(0, 1))
    assert [math.isnan(value) for value in found.values] == [True, True, False, False]


def test_connectivity_is_with_the_layer_before_in_the_graph():
    model, x = made("separable")
    y = torch.arange(6) % 2
    found = sr.connectivity(model, x.repeat(4, 1, 1, 1), y.repeat(4), dependence=sr.CKA(permutations=0))
    assert dict(zip(found.indices, found.before, strict=True)) == {2: 1, 3: 1, 4: 1, 5: 4, 6: 5, 7: 5}


def test_which_layers_are_numbered_and_how_they_are_called():
    model, x = made("separable")
    layers = sr.layer_map(model, x, filter="^(embed|out|one)$", rename=str.upper)
    assert names(layers) == ["embed", "out", "one"] and layers[0].label == "EMBED"
    assert layers[0].feature_at == 2 and layers[1].before == 1
    assert {entry.reason for entry in layers.left_out} == {"the filter leaves it out"}
    assert "EMBED" in str(layers)
    with pytest.raises(InputError, match="the filter leaves it out"):
        sr.layer_map(model, x, filter="nothing like it")


def test_a_feature_whose_rows_are_not_examples_is_left_out():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rows, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(12, 3)

        def forward(self, x):
            h = self.first(x).view(len(x), 2, 3).repeat(1, 1, 2)
            h = self.rows(h.transpose(0, 1).reshape(-1, 6))  # the rows of an example lie apart
            return self.head(h.view(2, len(x), 6).transpose(0, 1).flatten(1))

    torch.manual_seed(0)
    layers = sr.layer_map(Mixing(), torch.rand(4, 6))
    assert names(layers) == ["head"]
    assert [entry.reason for entry in layers.left_out] == ["the feature cannot be divided into examples"] * 2


def test_a_part_of_a_concatenation_is_told_from_the_whole():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
            self.left, self.right, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(8, 3)

        def forward(self, x):
            left, right = torch.cat([self.one(x), self.two(x)], 1).relu().split(4, 1)
            return self.head(torch.cat([self.left(left), self.right(right)], 1).mean((2, 3)))

    torch.manual_seed(0)
    layers = sr.layer_map(Mixed().eval(), torch.rand(2, 3, 4, 4))
    assert names(layers) == ["one", "two", "left", "right", "head"]
    assert [layer.feature_at for layer in layers] == [3, 4, 5, 5, 6]


def test_a_low_rank_update_is_no_projection():
    class Updated(nn.Module):
        def __init__(self):
            super().__init__()
            self.base, self.down, self.up = nn.Linear(6, 6), nn.Linear(6, 2), nn.Linear(2, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            return self.head((self.base(x) + self.up(self.down(x))).relu())

    torch.manual_seed(0)
    assert names(sr.layer_map(Updated(), torch.rand(2, 6))) == ["base", "down", "up", "head"]


def test_a_network_of_reentrant_checkpoints_is_attacked_and_trained():
    model, x = made("recomputed")
    y = torch.arange(6) % 3
    attack = sr.PGD(sr.Linf(0.1), steps=3)
    plain = copy.deepcopy(model)
    plain.forward = lambda z: plain.head(plain.inner(plain.stem(z).relu()))
    assert torch.equal(attack(model, x, y), attack(plain, x, y))
    hardened = sr.harden(model, sr.images_from_tensors(x, y), "adversarial", threat=sr.Linf(0.1), epochs=1)
    assert math.isfinite(hardened.logs[0].loss)


def test_windows_that_count_as_examples_are_pooled_for_each_image():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            h = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).reshape(-1, 16, 3)
            h = self.second(self.first(h).relu()).relu()  # (4 N, 16, 8)
            return self.head(h.reshape(len(x), -1, 8).mean(1))

    torch.manual_seed(0)
    model, x = Windows().eval(), torch.rand(16, 3, 8, 8)
    layers = sr.layer_map(model, x)
    head = Headed(model, layers, 1, 2)
    with torch.no_grad():
        expected = model.first(x.permute(0, 2, 3, 1)).relu().mean((1, 2))
        torch.testing.assert_close(head.feature(x), expected)


def test_a_buffer_that_a_forward_pass_writes_is_put_back():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.head(self.first(x).relu())

    torch.manual_seed(0)
    model, x = Counting().eval(), torch.rand(8, 4)
    with untouched(model):
        sr.criticality(model, x, torch.zeros(8, dtype=torch.long), threat=sr.Linf(0.1))


def test_a_buffer_that_a_forward_pass_replaces_is_put_back():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
            self.register_buffer("places", torch.zeros(1), persistent=False)

        def forward(self, x):
            if self.places.shape[0] != x.shape[1]:
                self.places = torch.linspace(0, 1, x.shape[1])
            return self.head((self.first(x) + self.places).relu())

    torch.manual_seed(0)
    model, x, y = Positions().eval(), torch.rand(8, 4), torch.arange(8) % 2
    with untouched(model):
        sr.criticality(model, x, y, threat=sr.Linf(0.1))
        sr.evaluate(model, x, y, sr.PGD(sr.Linf(0.1), steps=2))
    assert model.places.shape == (1,)


def test_a_table_that_a_network_keeps_in_eval_mode_is_not_kept_from_pass_to_pass():
    class Tabled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head, self.table = nn.Linear(4, 4), nn.Linear(4, 2), nn.Parameter(torch.rand(4))
            self.kept, self.last = {}, None

        def forward(self, x):
            if self.training or "table" not in self.kept:
                self.kept["table"] = self.table.exp()  # what follows it has the graph of this pass
            self.last = self.first(x) * self.kept["table"]
            return self.head(self.last.relu())

    torch.manual_seed(0)
    model, x, y = Tabled().eval(), torch.rand(8, 4), torch.arange(8) % 2
    sr.criticality(model, x, y, threat=sr.Linf(0.1))
    assert model.kept == {} and model.last is None
    sr.evaluate(model, x, y, sr.PGD(sr.Linf(0.1), steps=2))
    for method in ("clat", "adversarial"):
        hardened = sr.harden(model, sr.images_from_tensors(x, y), method, threat=sr.Linf(0.1), epochs=2)
        assert math.isfinite(hardened.logs[-1].loss)


def test_recurrent_layers_own_their_weights():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn, self.head = (
                nn.Conv2d(1, 3, 1),
                nn.LSTM(15, 4, batch_first=True),
                nn.Linear(4, 3),
            )

        def forward(self, x):
            h = self.conv(x).permute(0, 2, 1, 3).flatten(2)
            return self.head(self.rnn(h)[0][:, -1])

    torch.manual_seed(0)
    layers = sr.layer_map(Rows(), torch.rand(2, 1, 5, 5))
    assert [layer.kind for layer in layers] == ["Conv2d", "LSTM", "Linear"]
    assert "rnn.weight_hh_l0" in layers[1].parameters


def test_macs_of_modules_that_are_called_by_keyword():
    class ByKeyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.head = nn.ConvTranspose2d(3, 4, 2, 2), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(input=self.up(input=x).mean((2, 3)))

    torch.manual_seed(0)
    found = macs_by_module(ByKeyword(), torch.rand(2, 3, 5, 5))
    assert found == {"up": 75 * 4 * 4, "head": 12}


def test_the_last_linear_layer_of_several_heads_does_not_give_the_logits():
    model, x = made("separable")
    with pytest.raises(InputError, match="that gives the logits|a linear layer at its end"):
        sr.usefulness(model, x, torch.zeros(len(x), dtype=torch.long))


def test_a_model_that_draws_numbers_gives_equal_verdicts_for_equal_seeds():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(6, 32), nn.Linear(32, 2)

        def forward(self, x):
            return self.head(F.dropout(self.first(x).relu(), 0.5, training=True))

    torch.manual_seed(0)
    model, x = Noisy().eval(), torch.rand(64, 6)
    y = model(x).argmax(1)
    attack = sr.PGD(sr.Linf(0.1), steps=3)
    state = torch.get_rng_state()
    one, two = (sr.evaluate(model, x, y, attack, seed=1) for _ in range(2))
    assert torch.equal(one.worst, two.worst) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(attack(model, x, y, seed=1), attack(model, x, y, seed=1))
    assert len(sr.layer_map(model, x)) == 2

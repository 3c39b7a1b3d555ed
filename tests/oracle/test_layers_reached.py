"""Layers whose output is changed in place, whose input is a constant at first or has no gradient, and matrices of
functions that are known as no layer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.errors import InputError
from tests.helpers import untouched


class Tokens(nn.Module):
    """Layers on tokens (N, P, C), whose outputs are views, with a step of each kind behind them; in place or
    not."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.patch, self.attention = nn.Linear(12, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.wide, self.narrow, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)
        self.free = nn.Parameter(torch.randn(8, 8) / 3)
        self.position = nn.Parameter(torch.randn(1, 9, 8))

    def forward(self, x):
        t = self.patch(F.unfold(x, 2, stride=2).mT)
        t = t.add_(self.position) if self.in_place else t + self.position
        t = self._plus(self.attention(t, t, t)[0], t)
        t = self._times(F.linear(t, self.free), 0.5)
        t = self._plus(self.narrow(F.relu(self.wide(t), inplace=self.in_place)), t)
        return self.head(t.mean(1))

    def _plus(self, t, u):
        if self.in_place:
            t += u
            return t
        return t + u

    def _times(self, t, factor):
        return t.mul_(factor) if self.in_place else t * factor


def _pair():
    made = []
    for in_place in (False, True):
        torch.manual_seed(0)
        made.append(Tokens(in_place).eval())
    return made, torch.rand(24, 3, 6, 6), torch.arange(24) % 3


def test_what_is_done_in_place_behind_a_view_changes_nothing_in_the_map():
    (plain, in_place), x, _ = _pair()
    with untouched(in_place):
        found = sr.layer_map(in_place, x)
    assert [layer.name for layer in found] == ["patch", "attention", "free", "wide", "narrow", "head"]
    assert found.layers == sr.layer_map(plain, x).layers and not found.left_out and not found.notes


@pytest.mark.parametrize("at", ["input", "conv"])
def test_nor_in_the_numbers(at):
    (plain, in_place), x, y = _pair()
    layers = sr.layer_map(in_place, x)
    with torch.no_grad():
        for index in layers.indices:
            features = [sr.forward_to(model, layers, x, index, at=at)[index] for model in (plain, in_place)]
            assert torch.equal(*features)
    x_adv = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    one, two = (sr.criticality(model, x, y, x_adv=x_adv, at=at) for model in (plain, in_place))
    assert (one.values == two.values).all()
    one, two = (
        sr.connectivity(model, x, y, dependence=sr.CKA(), x_adv=x_adv, at=at) for model in (plain, in_place)
    )
    assert [e.value for e in one.estimates] == [e.value for e in two.estimates]


class Steps(nn.Module):
    """A state that starts as zeros is updated by the columns of an image; in ``without`` steps without a
    gradient at first."""

    def __init__(self, without=0):
        super().__init__()
        self.without = without
        self.column, self.given, self.state = nn.Conv2d(3, 5, 1), nn.Linear(20, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        columns = self.column(x).flatten(1, 2)
        h = x.new_zeros(len(x), 6)
        for k in range(4):
            with torch.set_grad_enabled(k >= self.without and torch.is_grad_enabled()):
                h = torch.tanh(self.given(columns[:, :, k]) + self.state(h))
        return self.head(h)


@pytest.mark.parametrize("without", [0, 3])
def test_a_layer_that_first_gets_a_constant_is_a_layer(without):
    torch.manual_seed(0)
    model, x, y = Steps(without).eval(), torch.rand(24, 3, 4, 4), torch.arange(24) % 3
    with untouched(model):
        layers = sr.layer_map(model, x)
    assert [layer.name for layer in layers] == ["column", "given", "state", "head"] and not layers.notes
    # Both summands meet at the head, and come from the columns.
    assert [layer.feature_at for layer in layers] == [2, 4, 4, 5]
    assert [layer.before for layer in layers] == [0, 1, 1, 3]
    x_adv = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    values = sr.criticality(model, x, y, x_adv=x_adv).values
    first, last = (
        sr.forward_to(model, layers, x_adv, i)[i] - sr.forward_to(model, layers, x, i)[i] for i in (1, 3)
    )
    weakness = [float(t.detach().flatten(1).norm(dim=1).mean()) / t[0].numel() for t in (first, last)]
    assert values[2] == values[1] == pytest.approx(weakness[1] / weakness[0], rel=1e-5)
    # What it gives at its first call is its bias, and no number is made of that.
    found = sr.connectivity(model, x, torch.zeros_like(y), dependence=sr.CKA(), layers=layers)
    assert 3 not in found.indices and any("the same for all images" in note for note in found.notes)


def test_what_has_no_gradient_of_the_image_is_a_layer_and_what_gives_none_to_the_logits_is_said():
    class Stopped(nn.Module):
        def __init__(self, at_end):
            super().__init__()
            self.at_end, self.stem = at_end, nn.Conv2d(3, 4, 1)
            self.side, self.deep, self.main = (nn.Conv2d(4, 4, 1) for _ in range(3))
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            h = self.stem(x).relu()
            side = self.deep(self.side(h.detach()).relu()).relu()
            side = side.detach() if self.at_end else side
            return self.head(torch.cat([self.main(h).relu(), side], 1).mean((2, 3)))

    torch.manual_seed(0)
    model, x = Stopped(False).eval(), torch.rand(6, 3, 4, 4)
    layers = sr.layer_map(model, x)
    assert [layer.name for layer in layers] == ["stem", "side", "deep", "main", "head"] and not layers.notes
    assert [layer.before for layer in layers] == [0, 1, 2, 1, 4]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    data = sr.images_from_tensors(x, torch.arange(6) % 3)
    sr.harden(model, data, "selected", layers=[2], threat=sr.Linf(0.03), epochs=1, learning_rate=0.1)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"side.weight", "side.bias"}
    y = torch.arange(6) % 3
    with pytest.raises(InputError, match="layer 2 has no gradient in the image"):
        sr.criticality(model, x, y, x_adv=x.flip(0), form="curvature")

    layers = sr.layer_map(Stopped(True).eval(), x)
    assert [layer.name for layer in layers] == ["stem", "main", "head"]
    assert {entry.name: entry.reason for entry in layers.left_out} == dict.fromkeys(
        ("side", "deep"), "no gradient of the logits reaches it"
    )


class Products(nn.Module):
    """Three products under names of their own, then the distance to prototypes."""

    def __init__(self, names=True):
        super().__init__()
        self.names, self.stem = names, nn.Conv2d(3, 4, 1)
        self.one, self.two, self.three = (nn.Parameter(torch.randn(4, 4)) for _ in range(3))
        self.prototypes, self.place = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(1, 3, 4))

    def forward(self, x):
        h = self.stem(x).relu().mean((2, 3))
        h = (torch.inner(h, self.one) if self.names else h @ self.one.T).relu()
        h = (torch.linalg.matmul(h, self.two) if self.names else h @ self.two).relu()
        h = torch.linalg.vecdot(h[:, None], self.three) if self.names else h @ self.three.T
        return -torch.cdist(h[:, None] + self.place, self.prototypes).mean(1)


def test_products_of_other_names_are_layers():
    torch.manual_seed(0)
    model, x = Products().eval(), torch.rand(5, 3, 4, 4)
    layers = sr.layer_map(model, x)
    assert [layer.name for layer in layers] == ["stem", "one", "two", "three"]
    assert [layer.kind for layer in layers] == ["Conv2d", "inner", "matmul", "vecdot"]
    plain = Products(names=False).eval()
    plain.load_state_dict(model.state_dict())
    other = sr.layer_map(plain, x)
    for one, two in zip(layers, other, strict=True):
        assert (one.weights, one.parameters, one.feature_at, one.before, one.macs) == (
            two.weights,
            two.parameters,
            two.feature_at,
            two.before,
            two.macs,
        )
        with torch.no_grad():
            features = [sr.forward_to(m, layers, x, one.index)[one.index] for m in (model, plain)]
        torch.testing.assert_close(*(feature.flatten() for feature in features))


def test_a_matrix_that_no_layer_computes_with_is_said():
    model, x = Products().eval(), torch.rand(5, 3, 4, 4)
    layers = sr.layer_map(model, x)
    (owner,) = [layer.index for layer in layers if "prototypes" in layer.parameters]
    assert layers.beside == {"prototypes": "cdist"}
    assert layers.notes == (
        f"layer map: no layer computes with 1 matrix, which goes with a layer beside (prototypes of cdist with"
        f" layer {owner})",
    )


def test_tables_that_are_added_and_norms_are_no_matrices_of_another():
    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 4, 1), nn.LayerNorm((4, 4, 4))
            self.table, self.heads = nn.Parameter(torch.randn(16, 16)), nn.Linear(4, 12)
            self.token, self.head = nn.Parameter(torch.randn(2, 4)), nn.Linear(4, 3)

        def forward(self, x):
            t = self.norm(self.stem(x)).flatten(2).mT
            q, k, v = self.heads(t).chunk(3, -1)
            t = t + F.scaled_dot_product_attention(q, k, v, attn_mask=self.table)
            t = t + ((q @ k.mT) + self.table).softmax(-1) @ v
            return self.head(torch.cat([self.token.expand(len(x), -1, -1), t], 1).mean(1))

    layers = sr.layer_map(Added().eval(), torch.rand(2, 3, 4, 4))
    assert not layers.beside and not layers.notes

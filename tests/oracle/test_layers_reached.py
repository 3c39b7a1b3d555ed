"""Layers whose output is changed in place, or whose input is a constant at first or has no gradient."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
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

"""Checkpointing (``torch.utils.checkpoint``) of a network that is changed for one pass."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import semirobust as sr
from semirobust.adapters.twin_norm import split_batches, twin_norms
from semirobust.errors import InputError

X, Y = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
SENTENCE = "a part again .torch.utils.checkpoint.; turn checkpointing off"


class _Block(nn.Module):
    def __init__(self, norm=True):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()

    def forward(self, x):
        return x + self.two(self.norm(self.one(x)).relu())


class _Checkpointed(nn.Module):
    """A stem, then a block with a norm and one without, of which some are computed again."""

    def __init__(self, again):
        super().__init__()
        torch.manual_seed(1)
        self.again, self.stem, self.head = again, nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)
        self.blocks = nn.ModuleList([_Block(), _Block(norm=False)])

    def forward(self, x):
        x = self.stem(x).relu()
        for number, block in enumerate(self.blocks):
            x = checkpoint(block, x, use_reentrant=False) if number in self.again else block(x)
        return self.head(x.mean((2, 3)))


def _gradient(again, after):
    model = _Checkpointed(again).eval()
    prefix, suffix = sr.split(model, sr.layer_map(model, X), after)
    x = X.clone().requires_grad_()
    return torch.autograd.grad(suffix(prefix(x)).square().sum(), x)[0]


def test_a_cut_behind_which_all_is_computed_again_has_its_gradient():
    x = X.clone().requires_grad_()
    (whole,) = torch.autograd.grad(_Checkpointed(()).eval()(x).square().sum(), x)
    for again, after in (((0, 1), 1), ((1,), 2), ((1,), 3)):
        torch.testing.assert_close(_gradient(again, after), whole)


@pytest.mark.parametrize(("again", "after"), [((0,), 2), ((1,), 4), ((0, 1), 4)])
def test_a_cut_in_a_part_that_is_computed_again_is_refused(again, after):
    with pytest.raises(InputError, match=SENTENCE):
        _gradient(again, after)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("autolora", {"automatic_rate": False}),
        ("autolora-ours", {}),
        ("twins", {}),
        ("twins-ours", {}),
        ("lat", {"layers": [2], "steps": 1}),
    ],
)
def test_methods_that_change_the_network_for_one_pass_refuse_it(method, settings):
    attack = sr.PGD(sr.Linf(0.05), steps=1)
    with pytest.raises(InputError, match=SENTENCE):
        sr.harden(_Checkpointed((0,)), (X, Y), method, attack=attack, epochs=1, fast="off", **settings)


def test_what_twins_leave_as_it_is_may_be_computed_again():
    weights = []
    for again in ((), (1,)):
        model = _Checkpointed(again)
        with twin_norms(model, own_affine=True), split_batches(model):
            nn.functional.cross_entropy(model(X), Y).backward()
        weights.append([copy.deepcopy(p.grad) for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))

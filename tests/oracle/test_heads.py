"""Networks that return several heads in train mode: the one of eval mode trains."""

import copy

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError

BALL = sr.Linf(0.03)
X, Y = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


class Deep(nn.Module):
    """An early head and a main one; ``order`` gives what train mode returns of (early, main)."""

    def __init__(self, order=(0, 1), *, shared=False, drops=False, early=3):
        super().__init__()
        self.order, self.drops = order, drops
        self.a, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.b = nn.Conv2d(4, 4, 3)
        self.main = nn.Linear(4, 3)
        self.early = self.main if shared else nn.Linear(4, early)

    def forward(self, x):
        a = self.norm(self.a(x)).relu()
        if self.training and self.drops:
            a = a * (torch.rand(()) + 0.5)
        b = self.b(a).relu()
        main = self.main(b.mean((2, 3)))
        if not self.training:
            return main
        heads = (self.early(a.mean((2, 3))), main)
        return [heads[i] for i in self.order]


def _made(*order, **options):
    torch.manual_seed(0)
    return Deep(order, **options).eval()


def _images():
    return sr.images_from_tensors(X, Y)


def _trained(model, method="adversarial", **options):
    trained = sr.harden(model, _images(), method, threat=BALL, epochs=1, batch_size=6, **options)
    return model.state_dict(), trained


CASES = [{}, {"shared": True}, {"drops": True}, {"shared": True, "drops": True}, {"early": 5}]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_head_of_eval_mode_trains_wherever_it_is(options):
    """As where the user says by ``as_classifier`` which one it is."""
    for order in ((0, 1), (1, 0), (1, 0, 0)):
        expected, _ = _trained(sr.as_classifier(_made(*order, **options), output=order.index(1)))
        model = _made(*order, **options)
        before = copy.deepcopy(model.state_dict())
        state, trained = _trained(model)
        assert all(torch.equal(value, expected[name]) for name, value in state.items())
        assert not torch.equal(state["b.weight"], before["b.weight"])
        if order[0] == 0:
            assert any("index 1, which eval mode returns" in note for note in trained.notes)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("selected", {"layers": [3]}),
        ("suffix", {"layers": 1}),
        ("safer", {"k": 1}),
        ("clat", {"layers": [2]}),
    ],
)
def test_methods_by_layer_train_layers_that_the_early_head_has_not(method, options):
    model = _made(0, 1)
    before = copy.deepcopy(model.state_dict())
    state, _ = _trained(model, method, **options)
    assert any(not torch.equal(state[n], before[n]) for n in ("b.weight", "main.weight"))
    assert torch.equal(state["early.weight"], before["early.weight"])


def test_a_footprint_counts_the_pass_of_the_main_head():
    first, last = (
        sr.footprint(_made(*order), X, 4, objective=sr.Adversarial(), layers=[3])
        for order in ((1, 0), (0, 1))
    )
    assert first == last


class Mean(Deep):
    """Eval mode returns the mean of what train mode returns, as a distilled transformer does."""

    def forward(self, x):
        a = self.norm(self.a(x)).relu()
        heads = self.early(a.mean((2, 3))), self.main(self.b(a).relu().mean((2, 3)))
        return heads if self.training else sum(heads) / 2


def test_where_eval_mode_returns_no_single_head_the_user_says_which_one_counts():
    model = Mean().eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="none of them alone is what eval mode returns.*output=1"):
        _trained(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    state, _ = _trained(sr.as_classifier(model, output=1))
    assert torch.equal(state["early.weight"], before["early.weight"])
    assert not torch.equal(state["main.weight"], before["main.weight"])


def test_two_heads_that_nothing_tells_apart_are_refused():
    class Twice(Deep):
        def forward(self, x):
            def once():
                a = self.norm(self.a(x)).relu() * (torch.rand(()) + 0.5 if self.training else 1)
                return self.main(self.b(a).relu().mean((2, 3)))

            return (once(), once()) if self.training else once()

    with pytest.raises(InputError, match="expected one tensor of logits in train mode"):
        _trained(Twice().eval())

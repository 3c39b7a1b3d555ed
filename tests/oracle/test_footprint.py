"""Memory that is counted without computing, against what PyTorch's allocator was asked for."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.layers.quiet import quiet
from tests.helpers import untouched


def _allocated(work) -> int:
    """The most that was held at once, by PyTorch's profiler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile:
            work()
    events = sorted(
        (e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"),
        key=lambda e: e.start_ns(),
    )
    return int(torch.tensor([0, *(e.nbytes() for e in events)]).cumsum(0).max())


@pytest.mark.parametrize(
    ("name", "width", "batch"), [("resnet20", 0.5, 16), ("vgg19", 0.25, 16), ("vit_small", 0.25, 16)]
)
def test_within_a_fifth_of_what_is_allocated(name, width, batch):
    torch.manual_seed(0)
    model, x = sr.build_model(name, 10, width), torch.rand(batch, 3, 32, 32)
    y, weights = torch.arange(batch) % 10, 4 * sum(p.numel() for p in model.parameters())

    def attack():
        here = x.clone().requires_grad_()
        with quiet(model):
            (slope,) = torch.autograd.grad(F.cross_entropy(model(here), y), here)
            return here + slope.sign()

    def train():
        model.zero_grad()
        x_adv = attack()
        model.train()
        F.cross_entropy(model(x_adv), y).backward()

    train()  # what is made once
    with untouched(model):
        counted = sr.footprint(model, x[:1], batch)
        trained = sr.footprint(model, x[:1], batch, objective=sr.Adversarial())
    model.zero_grad()
    assert counted == pytest.approx(weights + _allocated(attack), rel=0.2)
    assert trained == pytest.approx(3 * weights + _allocated(train), rel=0.2)


def test_by_hand():
    """The step up the slope is the peak: weights, labels, and the image, its start, its slope, the sign of
    that, their sum.
    """
    model = nn.Sequential(nn.Flatten(), nn.Linear(100, 10, bias=False))
    least = 4 * (1000 + 5 * 50 * 100) + 8 * 50
    assert (
        least <= sr.footprint(model, torch.rand(1, 1, 10, 10), 50) <= least + 4 * 50 * 10
    )  # and some logits


def test_the_largest_batch_fits_and_one_more_does_not():
    model, x = sr.build_model("resnet8", 10, 0.25).eval(), torch.rand(1, 3, 32, 32)
    given = {"objective": sr.TRADES(6), "layers": [7]}
    batch = sr.largest_batch(model, x, 2e7, **given)
    assert sr.footprint(model, x, batch, **given) <= 2e7 < sr.footprint(model, x, batch + 1, **given)
    assert sr.largest_batch(model, x, 1000) == 0
    with pytest.raises(InputError, match="limit: expected a number of bytes"):
        sr.largest_batch(model, x, float("inf"))
    with pytest.raises(InputError, match="layer: expected an index"):
        sr.footprint(model, x, 4, layers=[99])


def test_weights_count_once():
    """However they are used: seen from the side, tied, in a network far larger than its images."""
    linear = nn.Linear(500, 500, bias=False)
    model, x = nn.Sequential(nn.Flatten(), linear, nn.ReLU(), linear), torch.rand(1, 5, 10, 10)
    weights = 4 * 500 * 500
    assert sr.footprint(model, x, 2) == pytest.approx(weights, rel=0.05)
    tied = (
        weights + 2 * weights + weights + weights
    )  # themselves, of the best epoch by both names, momentum, gradient
    assert (
        tied <= sr.footprint(model, x, 2, objective=sr.Adversarial()) <= tied + 2.1 * weights
    )  # a gradient of each use, and their sum


class _Asks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 2)

    def forward(self, x):
        return self.linear(x.flatten(1)) * (2 if float(x.detach().max()) > 0.5 else 1)


def test_what_cannot_be_counted_is_one_sentence():
    with pytest.raises(
        InputError, match="footprint: expected a network and an objective that work without values"
    ):
        sr.footprint(_Asks(), torch.rand(1, 3, 2, 2), 4)
    with pytest.raises(InputError, match="batch: expected a whole number from 1 on"):
        sr.footprint(_Asks(), torch.rand(1, 3, 2, 2), 0)

"""Verdicts against closed forms, and the numbers made of them against other libraries."""

import copy
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.core.errors import InputError
from semirobust.core.interval import mean_interval, proportion_interval
from semirobust.evaluation.proportion import Proportion
from tests.helpers import SmallResidual, untouched


def test_robust_accuracy_of_a_linear_classifier_is_known(linear):
    """Two classes: robust where the margin exceeds epsilon times the l1 norm of the weights' difference."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    with torch.no_grad():
        model[1].weight.copy_(linear[1].weight[:2])
        model[1].bias.copy_(-model[1].weight.sum(1) / 2)  # half of all inputs on either side
    x = 0.2 + 0.6 * torch.rand(300, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    logits = model(x).detach()
    y = logits.argmax(1)
    y[:30] = 1 - y[:30]
    w = (model[1].weight[0] - model[1].weight[1]).detach()
    truth = (logits[:, 0] - logits[:, 1]).abs() > 0.05 * float(w.abs().sum())
    truth[:30] = False
    with untouched(model):
        result = sr.evaluate(
            model, x, y, [sr.FGSM(sr.Linf(0.05)), sr.PGD(sr.Linf(0.05), steps=20)], batch_size=64
        )
    assert result.clean.tolist() == [False] * 30 + [True] * 270
    assert torch.equal(result.robust["fgsm"], truth) and torch.equal(result.robust["pgd-20"], truth)
    assert torch.equal(result.worst, truth)
    assert 0.1 < float(truth.float().mean()) < 0.8


def test_names_find_verdicts(linear, images):
    attacks = [sr.PGD(sr.Linf(0.01), steps=3), sr.PGD(sr.Linf(0.02), steps=3), sr.FGSM(sr.Linf(0.01))]
    result = sr.evaluate(linear, *images, attacks)
    assert list(result.robust) == ["pgd-3", "pgd-3'", "fgsm"]
    assert torch.equal(result.robust["FGSM"], result.robust["fgsm"])
    assert torch.equal(result.robust[sr.FGSM(sr.Linf(0.01))], result.robust["fgsm"])
    with pytest.raises(KeyError, match="there are pgd-3, pgd-3', fgsm"):
        result.robust["square"]
    with pytest.raises(KeyError, match="means pgd-3 and pgd-3'"):
        result.robust["pgd"]
    named = sr.evaluate(linear, *images, {"mine": sr.FGSM(sr.Linf(0.01))})
    assert "mine" in named.summary() and "clean" in str(named.summary())


@dataclass(frozen=True)
class _Cheat(AbstractBallAttack):
    """Leaves the ball."""

    @property
    def name(self) -> str:
        return "cheat"

    def search(self, goal, x, seed):
        return torch.rand(x.shape, generator=seed.generator())


def test_what_leaves_the_ball_is_not_counted(linear, images):
    x, _ = images
    y = linear(x).argmax(1).detach()
    result = sr.evaluate(linear, x, y, [_Cheat(sr.Linf(0.001))])
    fooling = result.undecided["cheat"]
    assert result.rejected["cheat"] == fooling.sum() > 0  # what it might have found inside, nobody knows
    assert torch.equal(result.robust["cheat"], ~fooling) and "not decided" in str(result.summary())


def test_a_network_that_draws_numbers_gets_them_from_the_seed():
    """Dropout that is always on: verdicts do not depend on what was drawn before, and nothing is drawn from the
    caller's generator.
    """

    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.end = nn.Linear(12, 32), nn.Linear(32, 3)

        def forward(self, x):
            return self.end(nn.functional.dropout(self.hidden(x.flatten(1)).relu(), 0.5, training=True))

    torch.manual_seed(0)
    model, x, y = Dropping().eval(), torch.rand(40, 3, 2, 2), torch.arange(40) % 3
    found = []
    for before in (1, 2):
        state = torch.manual_seed(before).get_state()
        result = sr.evaluate(model, x, y, sr.PGD(sr.Linf(0.05), steps=3), seed=0)
        assert torch.equal(torch.get_rng_state(), state)
        found.append(torch.stack([result.clean, result.worst]))
    assert torch.equal(*found) and 0 < int(found[0].sum()) < found[0].numel()


def test_batches_and_seeds():
    torch.manual_seed(0)
    model = SmallResidual().eval()
    x, y = torch.rand(31, 3, 6, 6), torch.randint(0, 3, (31,))
    first = sr.evaluate(model, x, y, [sr.PGD(sr.Linf(0.05), steps=4)], seed=1)
    again = sr.evaluate(model, x, y, [sr.PGD(sr.Linf(0.05), steps=4)], seed=1)
    small = sr.evaluate(model, x, y, [sr.PGD(sr.Linf(0.05), steps=4)], seed=1, batch_size=7)
    assert torch.equal(first.robust["pgd-4"], again.robust["pgd-4"])
    assert torch.equal(first.clean, small.clean)
    assert (first.robust["pgd-4"] <= first.clean).all()


def test_bad_input_is_one_sentence(linear, images):
    x, y = images
    with pytest.raises(InputError, match="attacks: expected one such as PGD"):
        sr.evaluate(linear, x, y, ["pgd"])
    with pytest.raises(InputError, match="pixels in"):
        sr.evaluate(linear, 2 + x, y)
    with pytest.raises(InputError, match="labels from 0 to 2, got 0 to 9"):
        sr.evaluate(linear, x, torch.full((17,), 9).index_fill(0, torch.tensor([0]), 0))
    with pytest.raises(InputError, match="eval mode"):
        sr.evaluate(SmallResidual().train(), x, y)
    with pytest.raises(InputError, match="finite logits"):
        sr.evaluate(nn.Sequential(linear, _Nan()), x, y)


class _Nan(nn.Module):
    def forward(self, x):
        return x * float("nan")


def test_exact_binomial_interval():
    """Clopper and Pearson from the beta distribution; 0 of n has the closed form 1 - (alpha/2)^(1/n)."""
    from scipy.stats import beta

    low, high = proportion_interval(37, 50)
    assert low == pytest.approx(beta.ppf(0.025, 37, 14)) and high == pytest.approx(beta.ppf(0.975, 38, 13))
    assert proportion_interval(0, 20) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    share = Proportion.of(torch.tensor([True, True, False, True]))
    assert share == 0.75 and share.n == 4 and share.low < 0.75 < share.high and str(share).startswith("75.0%")
    assert copy.deepcopy(share).n == 4 and f"{share:.1%}" == "75.0%"
    with pytest.raises(AttributeError, match="cannot be changed"):
        share.n = 5


def test_interval_of_a_mean():
    from scipy.stats import ttest_1samp

    values = [0.31, 0.35, 0.28, 0.4]
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((expected.low, expected.high))
    assert mean_interval([0.3]) == (-math.inf, math.inf)

"""What is 0/0 or x/0 is no number: it is left out with a reason, and never 1, -1 or the first of a ranking."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.dependence import DEPENDENCES
from semirobust.errors import InputError
from semirobust.measures import MEASURES, MeasureContext
from tests.kinds import kind

UNBIASED = [
    ("cka", {"debiased": True}),
    ("hsic", {"normalized": True}),
    ("distance-correlation", {"unbiased": True}),
]
PUSH = 0.125


def _rotation(n):
    generator = torch.Generator().manual_seed(2)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]


def _unshared(n=32):
    """No two examples share a feature: as it is, turned and moved, in single and in double precision."""
    turned = torch.eye(n, dtype=torch.float64) @ _rotation(n)
    return [torch.eye(n, n + 5), turned, turned.float(), (turned + 3).float(), -7 * torch.eye(n)]


@kind(
    "debiased CKA (or another unbiased ratio) of features that no two examples share",
    "it is refused, since the unbiased estimate is 0 there and the ratio would be rounding",
    about="measures",
)
@pytest.mark.parametrize(("name", "settings"), UNBIASED)
def test_unbiased_ratios_of_nothing(name, settings):
    measure = DEPENDENCES.make(name, {**settings, "permutations": 3})
    other = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    for x in _unshared():
        for pair in ((x, x.clone()), (x, other), (other, x)):
            with pytest.raises(InputError, match="0 but for rounding"):
                measure(*pair)
    assert measure(other, other.clone()).value == pytest.approx(1)


@kind(
    "features of which a single example has any",
    "unbiased ratios are refused; biased ones have no standard error, since one example decides",
    about="measures",
)
def test_one_example_that_differs():
    x = torch.zeros(90, 3)
    x[17] = 2.5
    for name, settings in UNBIASED:
        with pytest.raises(InputError, match="x/0 says nothing"):
            DEPENDENCES.make(name, settings)(x, x.clone())
    found = sr.CKA(permutations=0)(x, x.clone())
    assert found.value == pytest.approx(1) and math.isnan(found.error)


@kind(
    "features that are equal for all examples but for the last digit",
    "nothing depends on a constant: every measure of dependence refuses them",
    about="measures",
)
@pytest.mark.parametrize("name", DEPENDENCES.names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_but_for_rounding(name, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.full((64, 3), 0.3, dtype=dtype)
    x = torch.where(torch.rand(64, 3, generator=generator) < 0.5, x, torch.nextafter(x, x + 1))
    with pytest.raises(InputError, match="alike"):
        DEPENDENCES.make(name)(x, torch.randn(64, 2, generator=generator, dtype=dtype))


@kind(
    "a feature that no permutation changes",
    "the permutation test says so, where rounding alone used to make the estimate larger than all",
    about="measures",
)
def test_permutations_that_change_nothing():
    y = torch.randn(50, 2, generator=torch.Generator().manual_seed(3))
    found = sr.CKA()(_rotation(50), y)
    assert found.p_value == 1 and found.verdict == "indistinguishable from independence"


@kind(
    "mutual information (KSG) of features with few values",
    "the ceiling is what such features can tell, their entropy, and not the logarithm of the number of examples",
    about="measures",
)
@pytest.mark.parametrize(("values", "width"), [(2, 1), (4, 2), (4, 9)])
def test_the_ceiling_of_tied_examples(values, width):
    x = (torch.arange(240.0) % values)[:, None].expand(-1, width)
    found = sr.KSG(permutations=20)(x, x.clone())
    assert found.ceiling == pytest.approx(math.log2(values), abs=0.12)
    assert found.ceiling - 0.2 < found.value <= found.ceiling


def test_the_ceiling_without_ties_is_the_closed_form():
    from scipy.special import digamma

    x = torch.randn(80, 2, generator=torch.Generator().manual_seed(0))
    whole = torch.arange(80.0)[torch.randperm(80, generator=torch.Generator().manual_seed(1))]
    for side in (x, whole, torch.eye(80)):
        found = sr.KSG(permutations=0)(side, side.clone())
        assert found.ceiling == pytest.approx((digamma(80) - digamma(3)) / math.log(2))


class _Branch(nn.Module):
    """The second layer gets the image's sign, which no small step changes."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = self.first((x.flatten(1) > 0.5).to(x.dtype) + 1e-9 * x.flatten(1))
        return self.last(self.second(h).relu())


def _context(model, n=24):
    generator = torch.Generator().manual_seed(5)
    x, y = torch.rand(n, 1, 2, 2, generator=generator), torch.arange(n) % 3
    x_adv = (x + PUSH * torch.where(x > 0.5, 1, -1)).clamp(0, 1)
    layers = sr.layer_map(model, x[:1])
    return MeasureContext(model, layers, x, y, x_adv, sr.PGD(sr.Linf(PUSH), steps=2), sr.Seed(("u",)))


@kind(
    "a feature that the attack moves by rounding alone",
    "the layer behind it has no criticality, with a note, and no method chooses it",
    about="measures",
)
def test_a_feature_that_moves_by_rounding_alone():
    torch.manual_seed(0)
    found = sr.criticality(_Branch().eval(), *_given(), x_adv=_given(moved=True))
    assert np.isnan(found.values[1:]).all() and "does not move the feature before" in found.notes[0]


def _given(*, moved=False):
    context = _context(_Branch().eval())
    return context.x_adv if moved else (context.x, context.y)


@kind(
    "a feature that is 0 on all images, measured relative to itself",
    "no number, where it used to be about 1e300 and first",
    about="measures",
)
def test_relative_to_a_feature_that_is_0():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(4) - 3 * torch.eye(4).roll(1, 0))
    x, y = torch.full((6, 1, 2, 2), 0.5), torch.arange(6) % 3
    x_adv = x + torch.tensor([0.4, -0.4, 0.4, -0.4]).view(1, 1, 2, 2)
    found = sr.criticality(model, x, y, x_adv=x_adv, scale="relative")
    assert not np.isfinite(found.values).any() and "0 or not finite" in " ".join(found.notes)


@kind(
    "a layer whose weights are all 0",
    "relative measures of its weights have no number there, with the reason, and it ranks last",
    about="measures",
)
@pytest.mark.parametrize("name", ["gradient-norm", "weight-criticality"])
def test_weights_that_are_all_0(name):
    torch.manual_seed(0)
    model = _Branch().eval()
    nn.init.zeros_(model.second.weight)
    (found,) = MEASURES.make(name).scores(_context(model))
    assert math.isnan(found.by_index()[2]) and found.ranking()[-1] == 2 and len(found.measured()) == 2
    assert "layer 2" in found.notes[0]


@kind(
    "usefulness on images of one class",
    "it is refused in a sentence, since the features are normalised to mean 0 on them",
    about="measures",
)
def test_usefulness_of_one_class():
    torch.manual_seed(0)
    model, x = _Branch().eval(), torch.rand(12, 1, 2, 2)
    with pytest.raises(InputError, match="at least two classes"):
        sr.usefulness(model, x, torch.ones(12, dtype=torch.long))


def test_a_feature_that_is_constant_but_for_rounding_is_useless():
    torch.manual_seed(0)
    model, x, y = _Branch().eval(), torch.rand(30, 1, 2, 2), torch.arange(30) % 3
    with torch.no_grad():
        model.second.weight[0] = 0
        model.second.weight[0, 0], model.second.bias[0] = 3e-8, 0.7
    assert sr.usefulness(model, x, y).original[0] == 0


@kind(
    "stability of a ranking over attacks, with a single attack",
    "how far attacks agree is not known, and is not 100 %",
    about="measures",
)
def test_the_agreement_of_one_attack():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)).eval()
    x, y = torch.rand(20, 1, 2, 2), torch.arange(20) % 3
    found = sr.stability(model, x, y, threat=sr.Linf(0.1), batches=(5,), draws=4, k=1, attacks=1)
    assert math.isnan(found.between_seeds) and "not known" in found.sentences()[1]

"""Heads of prefixes and linear read-outs, against NumPy, scikit-learn and closed forms."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.measures import MeasureContext
from semirobust.measures.base.head import HeadProblem
from semirobust.measures.readout import ReadoutMeasure, pseudoinverse_readout, ridge_readout
from semirobust.measures.semirobustness import Headed, Semirobustness
from tests.helpers import SmallResidual, untouched


def _points(n=400):
    """Two classes in the plane; the first coordinate tells them apart by little, the second by much, both in
    [0, 1].
    """
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = torch.stack([0.5 + (y - 0.5) * 0.04, 0.5 + (y - 0.5) * 0.4], 1) + torch.randn(
        n, 2, generator=g
    ) * torch.tensor([0.005, 0.1])
    return x.clamp(0, 1), y


def _identity():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    return model


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.1])
def test_the_head_solves_the_min_max_problem(epsilon):
    """Of a linear head the worst point of a box is known, so its best worst-case loss is a convex problem for
    SciPy.
    """
    x, y = _points()
    model, decay = _identity(), 1e-3
    layers = sr.layer_map(model, x)
    measure = Semirobustness(layers=[1], rounds=8, decays=[decay])
    attack = sr.PGD(sr.Linf(epsilon), steps=10) if epsilon else sr.FGSM(sr.Linf(0.0))
    head = Headed(model, layers, 1, 2).eval()
    measure._train(head, x, y, attack(model, x, y), attack, as_seed(0))
    signs, points, std = (2 * y - 1).numpy(), x.numpy().astype(float), x.numpy().std(0, ddof=1)

    def worst(w, b):  # without the clamp to [0, 1], which a few points feel
        return np.logaddexp(0, -(signs * (points @ w + b) - epsilon * np.abs(w).sum())).mean()

    best = minimize(
        lambda p: worst(p[:2], p[2]) + decay / 4 * ((p[:2] * std) ** 2).sum(),
        np.zeros(3),
        method="Nelder-Mead",
        options={"maxiter": 5000, "xatol": 1e-8, "fatol": 1e-10},
    )
    difference = (head.weight[:, 1] - head.weight[:, 0]).double().numpy()
    mine = worst(difference, float(head.bias[1] - head.bias[0]))
    assert mine <= worst(best.x[:2], best.x[2]) + 0.02


def test_gamma_of_a_prefix_with_a_robust_feature_is_higher():
    """One prefix keeps only the fragile coordinate, which tells the classes apart as well, the other keeps
    both.
    """
    x, y = _points()
    fragile, both = _identity(), _identity()
    with torch.no_grad():
        fragile[0].weight[1] = 0
    found = {
        name: sr.semirobustness(m, x, y, threat=sr.Linf(0.05), layers=[1])
        for name, m in (("fragile", fragile), ("both", both))
    }
    assert found["fragile"].values[0] < 0.1 < 0.4 < found["both"].values[0]
    for scores in found.values():
        assert scores.low[0] <= scores.values[0] <= scores.high[0]
    assert found["both"].details["clean_accuracy"][0] > 0.95


def test_gamma_falls_with_the_radius_and_is_the_clean_margin_at_none():
    x, y = _points()
    model = _identity()
    with untouched(model):
        gammas = [
            sr.semirobustness(model, x, y, threat=sr.Linf(e), layers=[1]).values[0] for e in (0.0, 0.05, 0.15)
        ]
    assert gammas[0] > gammas[1] > gammas[2]
    layers, x_adv = sr.layer_map(model, x), x
    attack = sr.PGD(sr.Linf(0.0), steps=1)
    worst, right, clean = Semirobustness(layers=[1]).scores(
        MeasureContext(model, layers, x, y, x_adv, attack, as_seed(0))
    )
    assert worst.values[0] == pytest.approx(clean.values[0], abs=1e-6)
    assert right.values[0] == worst.details["accuracy"][0] > 0.9


def test_a_head_that_knows_nothing_has_no_negative_gamma():
    """Labels that no feature tells: the scale of the fit has a margin below 0, the chosen one is 0."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(200, 2, generator=g), torch.randint(0, 2, (200,), generator=g)
    plain, chosen = (_parts(_identity(), x, y, 0.05, rescale=rescale) for rescale in (False, True))
    assert plain[""].values[0] < -0.001 and chosen[""].values[0] == chosen[""].low[0] == 0
    assert chosen["accuracy"].values[0] == plain["accuracy"].values[0] > 0


def test_the_scale_changes_no_decision_and_is_the_best_on_a_quarter_of_the_fit():
    x, y = _points()
    flipped = torch.where(torch.arange(400) % 5 == 0, 1 - y, y)  # what the head cannot know
    found = {}
    for labels, name in ((y, "clean"), (flipped, "flipped")):
        plain, chosen = (_parts(_identity(), x, labels, 0.05, rescale=rescale) for rescale in (False, True))
        for part in ("accuracy",):
            np.testing.assert_array_equal(plain[part].values, chosen[part].values)
        assert chosen[""].details == plain[""].details
        found[name] = chosen[""].values[0] - plain[""].values[0]
    # A head that is certain and right on more than half of the examples gains by certainty.
    assert found["clean"] > 0.02 and found["flipped"] > 0.05
    z = torch.randn(1, 40, 3, generator=torch.Generator().manual_seed(1))
    labels = z[0].argmax(1)
    problem = HeadProblem(z, labels, 3)
    start = torch.zeros(3, 3), torch.zeros(3)
    scale = problem.best_scale(*start, 1.0)
    fitted = torch.arange(40) % 4 != 3
    w, b = HeadProblem(z[:, fitted], labels[fitted], 3).solved(*start, 1.0)

    def kept(s):
        p = (s * (z[0, ~fitted].double() @ w + b)).softmax(1)
        own = p[torch.arange(10), labels[~fitted]]
        rest = torch.stack([p[i, [c for c in range(3) if c != labels[~fitted][i]]].max() for i in range(10)])
        return float((own - rest).mean())

    assert kept(scale) == pytest.approx(max(kept(s) for s in (0, *(2 ** (k / 2) for k in range(-12, 13)))))
    assert HeadProblem(z[:, :3], labels[:3], 3).best_scale(*start, 1.0) == 1.0  # none is there to choose


def _parts(model, x, y, epsilon, **options):
    attack, layers = sr.PGD(sr.Linf(epsilon), steps=3), sr.layer_map(model, x)
    context = MeasureContext(model, layers, x, y, attack(model, x, y, seed=as_seed(0)), attack, as_seed(1))
    return {found.part: found for found in Semirobustness(layers=[1], **options).scores(context)}


def test_every_layer_of_a_residual_network_has_a_gamma():
    torch.manual_seed(0)
    model, x, y = SmallResidual().eval(), torch.rand(40, 3, 5, 5), torch.arange(40) % 3
    with untouched(model):
        found = sr.semirobustness(model, x, y, attack=sr.PGD(sr.Linf(0.02), steps=2))
    assert found.indices == (1, 2, 3, 4) and found.examples == 20
    assert ((found.values >= -1) & (found.values <= 1)).all()
    with pytest.raises(InputError, match="got both"):
        sr.semirobustness(model, x, y, attack=sr.PGD(sr.Linf(0.02)), threat=sr.Linf(0.1))


def _network():
    torch.manual_seed(0)
    model = SmallResidual().double().eval()
    x = torch.rand(90, 3, 5, 5).double()
    return model, sr.layer_map(model, x), x


def test_the_papers_readout_is_numpys_pseudoinverse_batch_by_batch():
    model, layers, x = _network()
    with untouched(model):
        found = pseudoinverse_readout(model, layers, 3, x, batch_size=30)
    with torch.no_grad(), sr.features(model, layers, [1, 2, 3], at="conv") as tape:
        logits = model(x).numpy()
        a = np.concatenate([tape[i].flatten(1).numpy() for i in (1, 2, 3)], 1)
    expected = np.mean([np.linalg.pinv(a[i : i + 30]) @ logits[i : i + 30] for i in (0, 30, 60)], axis=0)
    np.testing.assert_allclose(found.weight.numpy(), expected, atol=1e-7 * np.abs(expected).max() + 1e-10)
    with torch.no_grad():
        np.testing.assert_allclose(found(x).numpy(), a @ expected, atol=1e-6)


def test_the_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    model, layers, x = _network()
    found = ridge_readout(model, layers, 2, x, width=16, batch_size=10, seed=as_seed(0))
    with torch.no_grad():
        parts, logits = found.outputs(x)
        a, mine = torch.cat(parts, 1).numpy(), found(x).numpy()
    scaled = StandardScaler().fit_transform(a)
    fits = [Ridge(alpha=len(x) * 10.0**e).fit(scaled, logits.numpy()).predict(scaled) for e in range(-4, 5)]
    assert min(np.abs(mine - fit).max() for fit in fits) < 1e-8


def test_a_network_that_is_linear_in_its_prefix_is_read_out_exactly():
    """Theorem 3's premise met: the head reads the last prefix layer linearly, so the ridge finds it and
    generalises.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Identity(), nn.Linear(8, 3)).double().eval()
    x = torch.rand(600, 6).double()
    layers = sr.layer_map(model, x)
    found = ridge_readout(model, layers, 1, x[:300], width=16, batch_size=20, seed=as_seed(0))
    with torch.no_grad():
        assert (found(x[300:]).argmax(1) == model(x[300:]).argmax(1)).double().mean() > 0.98


def test_the_readout_measure_scores_both_forms_and_the_controls():
    model, layers, x = _network()
    x = x.float()
    model = model.float()
    y = model(x).argmax(1)
    attack = sr.PGD(sr.Linf(0.02), steps=2)
    with untouched(model):
        x_adv = attack(model, x, y)
        found = ReadoutMeasure(prefixes=[2, 3], batch_size=15).scores(
            MeasureContext(model, layers, x, y, x_adv, attack, as_seed(0))
        )
    by_name = {score.name: score for score in found}
    assert set(by_name) == {f"readout{s}" for s in ("", ".attacked", ".random", ".paper", ".network")}
    assert by_name["readout"].indices == (2, 3) and by_name["readout.paper"].examples == 90
    assert all(((s.low <= s.values) & (s.values <= s.high)).all() for s in found)
    with pytest.raises(InputError, match="to fit a ridge to"):
        ridge_readout(model, layers, 2, x[:3], batch_size=10, seed=as_seed(0))


def test_a_channel_that_wakes_only_under_attack_does_not_blind_the_head():
    """It is 0 on every clean input, so its spread must be taken from what the attack found."""
    x, y = _points()

    class Waking(nn.Module):
        def forward(self, z):
            return torch.cat([z, torch.relu(z[:, :1] - 0.56) * 1e-3], 1)

    model = nn.Sequential(nn.Linear(2, 2), Waking(), nn.Linear(3, 2)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.zero_()
    found = sr.semirobustness(model, x, y, threat=sr.Linf(0.05), layers=[1])
    assert found.values[0] > 0.4


def test_channels_last_features_are_pooled_over_positions():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.second(torch.relu(self.first(x.permute(0, 2, 3, 1)))).mean((1, 2))

    model, x = Last().eval(), torch.rand(5, 3, 4, 4)
    head = Headed(model, sr.layer_map(model, x), 1, 2)
    with torch.no_grad():
        expected = torch.relu(model.first(x.permute(0, 2, 3, 1))).mean((1, 2))
        torch.testing.assert_close(head.feature(x), expected)


def test_the_ridge_takes_the_strength_that_predicts_best():
    """Pure noise as the target's rest: a strong ridge; an exact linear map: a weak one."""
    from semirobust.measures.readout import _Normal

    g = torch.Generator().manual_seed(0)
    a = torch.randn(60, 40, generator=g, dtype=torch.float64)
    weight = torch.randn(40, 3, generator=g, dtype=torch.float64)
    for target, weak in ((a @ weight, True), (torch.randn(60, 3, generator=g, dtype=torch.float64), False)):
        fit, check = _Normal(), _Normal()
        fit.see(a[:45], target[:45])
        check.see(a[45:], target[45:])
        errors = [check.error(*fit.solved(10.0**e)) for e in range(-4, 5)]
        direct = [
            float((a[45:] @ w + b - target[45:]).square().sum()) / 15
            for w, b in (fit.solved(10.0**e) for e in range(-4, 5))
        ]
        assert errors == pytest.approx(direct, rel=1e-6)
        assert (int(np.argmin(errors)) < 2) == weak

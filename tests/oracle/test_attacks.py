"""Attacks against closed forms on linear classifiers, brute force and foolbox."""

import math
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import semirobust as sr
from tests.helpers import SmallResidual


def _two_class(linear: nn.Module) -> nn.Module:
    """Only classes 0 and 1, so that the cross entropy falls with the margin alone."""
    layer = nn.Linear(12, 2)
    with torch.no_grad():
        layer.weight.copy_(linear[1].weight[:2])
        layer.bias.copy_(linear[1].bias[:2])
    return nn.Sequential(nn.Flatten(), layer)


def _margin(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits = model(x)
    return logits.gather(1, y[:, None])[:, 0] - logits.gather(1, 1 - y[:, None])[:, 0]


def _long_pgd(threat):
    return sr.PGD(threat, steps=80, step_size=0.05)


def _restarted_pgd(threat):
    return sr.PGD(threat, steps=80, step_size=0.05, restarts=3)


@pytest.mark.parametrize("make", [sr.FGSM, _long_pgd, _restarted_pgd])
@pytest.mark.parametrize("threat", [sr.Linf(0.05), sr.L2(0.1)])
def test_margin_of_a_linear_classifier_falls_by_epsilon_times_the_dual_norm(linear, images, make, threat):
    model = _two_class(linear)
    x, y = images[0], images[1] % 2
    w = model[1].weight[0] - model[1].weight[1]
    dual = w.abs().sum() if isinstance(threat, sr.Linf) else w.norm()
    with torch.no_grad():
        x_adv = make(threat)(model, x, y, seed=1)
        fall = _margin(model, x, y) - _margin(model, x_adv, y)
    torch.testing.assert_close(fall, (threat.epsilon * dual).expand_as(fall), rtol=1e-4, atol=1e-5)


def test_clamping_to_the_pixel_range_is_part_of_the_worst_case(linear):
    """At a corner of [0, 1] only the directions that lead inwards count."""
    model = _two_class(linear)
    x, y = torch.zeros(1, 3, 2, 2), torch.tensor([0])
    w = (model[1].weight[1] - model[1].weight[0]).detach()
    with torch.no_grad():
        gain = _margin(model, x, y) - _margin(model, sr.PGD(sr.Linf(0.1), steps=20)(model, x, y), y)
    assert float(gain) == pytest.approx(0.1 * float(w.clamp_min(0).sum()), rel=1e-4)


@pytest.mark.parametrize("threat", [sr.Linf(0.03), sr.L2(0.2)])
def test_pgd_equals_foolbox_at_equal_settings(threat):
    foolbox = _foolbox()
    torch.manual_seed(0)
    model = SmallResidual().eval()
    x, y = torch.rand(8, 3, 8, 8), torch.randint(0, 3, (8,))
    family = foolbox.attacks.LinfPGD if isinstance(threat, sr.Linf) else foolbox.attacks.L2PGD
    theirs = family(abs_stepsize=threat.epsilon / 4, steps=7, random_start=False)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    _, expected, _ = theirs(wrapped, x, y, epsilons=threat.epsilon)
    ours = sr.PGD(threat, steps=7, step_size=threat.epsilon / 4, random_start=False)(model, x, y)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_robust_accuracy_equals_foolbox_with_random_starts():
    foolbox = _foolbox()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Tanh(), nn.Linear(32, 3)).eval()
    x = torch.rand(200, 3, 8, 8)
    y = model(x).argmax(1).detach()
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    _, _, fooled = foolbox.attacks.LinfPGD(abs_stepsize=0.005, steps=20)(wrapped, x, y, epsilons=0.02)
    theirs = float((~fooled).float().mean())
    ours = sr.evaluate(model, x, y, [sr.PGD(sr.Linf(0.02), steps=20, step_size=0.005)]).robust["pgd"]
    assert 0.05 < theirs < 0.95
    assert abs(float(ours.float().mean()) - theirs) <= 0.01


def test_a_feature_distance_can_be_attacked():
    """max ||W delta||_2 over the l2 ball is epsilon times the largest singular value."""
    torch.manual_seed(2)
    w = torch.randn(5, 12)
    x = torch.full((4, 12), 0.5)
    threat = sr.L2(0.1)
    attack = sr.PGD(threat, steps=300, step_size=0.05)
    x_adv = attack.maximise(lambda z: torch.linalg.vector_norm((z - x) @ w.T, dim=1), x, seed=0)
    reached = torch.linalg.vector_norm((x_adv - x) @ w.T, dim=1)
    torch.testing.assert_close(reached, (0.1 * torch.linalg.svdvals(w)[0]).expand(4), rtol=1e-3, atol=0)


def test_restarts_keep_the_best_and_never_lose_a_success(linear, images):
    x, y = images
    one = [sr.PGD(sr.Linf(0.08), steps=1, step_size=0.02)(linear, x, y, seed=s) for s in range(2)]
    many = sr.PGD(sr.Linf(0.08), steps=1, step_size=0.02, restarts=20)(linear, x, y)
    loss = [F.cross_entropy(linear(z), y, reduction="none").mean() for z in (*one, many)]
    assert loss[2] > max(loss[0], loss[1])


def test_uniform_points_of_the_ball():
    """||u||^D of a uniform point of the l2 ball, and |u| of the l-infinity ball, are uniform on [0, 1]."""
    from scipy.stats import kstest

    from semirobust.core.seed import Seed

    x = torch.zeros(4000, 3, 2, 1)
    length = sr.L2(2.0).sample(x, Seed(("a",))).flatten(1).norm(dim=1) / 2
    assert kstest((length**6).numpy(), "uniform").pvalue > 0.01
    inside = sr.Linf(2.0, insist=True).sample(x, Seed(("a",))).flatten() / 4 + 0.5
    assert kstest(inside.numpy(), "uniform").pvalue > 0.01


def test_l2_steepest_direction_survives_tiny_gradients():
    slope = torch.full((2, 4), 1e-30)
    torch.testing.assert_close(sr.L2(1.0).steepest(slope), torch.full((2, 4), 0.5))


def test_epsilon_prints_as_people_write_it():
    assert str(sr.Linf(8 / 255)) == "Linf 8/255"
    assert str(sr.L2(0.5)) == "L2 0.5"
    assert math.isclose(sr.Linf(0).epsilon, 0)


def _foolbox():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("foolbox")

"""What every registered objective must do, and its limits."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.layers.quiet import quiet
from semirobust.objectives import OBJECTIVES, Step
from tests.helpers import SmallResidual

EVERY = pytest.mark.parametrize("name", OBJECTIVES.names())


def _step(model: nn.Module | None = None, n: int = 6, selected: tuple[int, ...] = (1, 2)) -> Step:
    torch.manual_seed(0)
    model = model or SmallResidual().double().eval()
    x, y = torch.rand(n, 3, 5, 5).double(), torch.randint(0, 3, (n,))
    return Step(model, sr.layer_map(model, x), x, y, selected)


@EVERY
def test_without_a_perturbation_the_outer_loss_is_the_cross_entropy(name):
    step = _step()
    # Without what is not about the perturbation, and SCORE's loss is another one altogether.
    free = {
        "dependent": {"weight": 0.0},
        "latent": {"epsilon": 0.0},
        "mart": {"margin": False},
        "score": {"beta": 0.0},
    }.get(name, {})
    outer = OBJECTIVES.make(name, free).outer(step, step.x)
    if name == "score":
        torch.testing.assert_close(
            outer, (step.model(step.x).softmax(1) - F.one_hot(step.y, 3)).square().sum(1).mean()
        )
        return
    halves = 2 if name == "twins" else 1  # it adds up two means over half a batch
    torch.testing.assert_close(outer, halves * F.cross_entropy(step.model(step.x), step.y))


def test_clat_by_hand():
    """CE on clean inputs plus weight times the mean of the summed distances, divided by the reference."""
    step = _step()
    x_adv = (step.x + 0.1).clamp(0, 1)
    with torch.no_grad(), sr.features(step.model, step.layers) as tape:
        logits = step.model(step.x)
        clean = dict(tape)
        step.model(x_adv)
        distance = sum((tape[i] - clean[i]).flatten(1).norm(dim=1) for i in (1, 2)).mean()
    expected = F.cross_entropy(logits, step.y) + 0.7 * distance
    torch.testing.assert_close(sr.CLAT(0.7, scale_free=False).outer(step, x_adv), expected)
    assert sr.CLAT(0.7).reference(step, x_adv) == pytest.approx(float(distance))
    free = Step(step.model, step.layers, step.x, step.y, (1, 2), reference=float(distance))
    torch.testing.assert_close(sr.CLAT(0.7).outer(free, x_adv), F.cross_entropy(logits, step.y) + 0.7)
    both = sr.CLAT(0.0, cross_entropy="both").outer(step, x_adv)
    mean = (F.cross_entropy(logits, step.y) + F.cross_entropy(step.model(x_adv), step.y)) / 2
    torch.testing.assert_close(both, mean)


def test_clat_attacks_by_a_pass_that_stops_at_the_deepest_selected_layer():
    step = _step(selected=(2,))
    ran = []
    step.model.block.conv3.register_forward_hook(lambda *a: ran.append(1))
    with quiet(step.model):
        inner = sr.CLAT().inner(step)
        inner(step.x + 0.01)
    assert not ran


def _both(step):
    """Probabilities and logits at x and at another point, the latter given."""
    x_adv = step.x + 0.05 * torch.randn(step.x.shape, generator=torch.Generator().manual_seed(1)).double()
    return x_adv, step.model(step.x), step.model(x_adv)


def test_trades_smooths_labels_by_hand():
    """The target is 0.9 + 0.1 / 3 for the label and 0.1 / 3 for the two others."""
    step = _step()
    x_adv, clean, _ = _both(step)
    target = torch.full((len(step.y), 3), 0.1 / 3).double().scatter(1, step.y[:, None], 0.9 + 0.1 / 3)
    smoothed, plain = sr.TRADES(6.0, 0.1).outer(step, x_adv), sr.TRADES(6.0).outer(step, x_adv)
    difference = -(target * clean.log_softmax(1)).sum(1).mean() - F.cross_entropy(clean, step.y)
    torch.testing.assert_close(smoothed - plain, difference)
    with pytest.raises(InputError, match="smoothing: expected from 0 to below 1"):
        sr.TRADES(smoothing=1.0)


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_trades_is_what_its_authors_compute(beta):
    """Their form: KLDivLoss(sum) of log-softmax and softmax, over the batch size."""
    step = _step()
    x_adv, clean, moved = _both(step)
    natural = F.cross_entropy(clean, step.y)
    robust = nn.KLDivLoss(reduction="sum")(F.log_softmax(moved, dim=1), F.softmax(clean, dim=1)) / len(step.x)
    torch.testing.assert_close(
        OBJECTIVES.make("trades", {"beta": beta}).outer(step, x_adv), natural + beta * robust
    )


def test_trades_stays_a_number_where_probabilities_underflow():
    step = _step()
    with torch.no_grad():
        step.model.linear.weight.mul_(1e4)
    step = Step(step.model.float(), step.layers, step.x.float(), step.y, step.selected)
    loss = OBJECTIVES.make("trades").outer(step, step.x + 0.1)
    loss.backward()
    assert torch.isfinite(loss.detach()) and torch.isfinite(step.model.linear.weight.grad).all()


@pytest.mark.parametrize("beta", [0.0, 5.0])
def test_mart_is_what_its_authors_compute(beta):
    """Written from the authors' constants: two sorted probabilities, 1.0001, 1e-12 and 1.0000001."""
    step = _step()
    x_adv, clean, moved = _both(step)
    p_adv, p = moved.softmax(1), clean.softmax(1)
    top = torch.argsort(p_adv, dim=1)[:, -2:]
    rival = torch.where(top[:, -1] == step.y, top[:, -2], top[:, -1])
    boosted = F.cross_entropy(moved, step.y) + F.nll_loss(torch.log(1.0001 - p_adv + 1e-12), rival)
    true = p.gather(1, step.y[:, None]).squeeze(1)
    kl = nn.KLDivLoss(reduction="none")(torch.log(p_adv + 1e-12), p).sum(1)
    expected = boosted + beta * (kl * (1.0000001 - true)).mean()
    torch.testing.assert_close(
        OBJECTIVES.make("mart", {"beta": beta}).outer(step, x_adv), expected, rtol=1e-6, atol=1e-6
    )


def test_limits():
    """beta = 0: TRADES is standard training; MART without its margin is PGD-AT."""
    step = _step()
    x_adv, _, _ = _both(step)
    for name, options, other in (
        ("trades", {"beta": 0.0}, "standard"),
        ("mart", {"beta": 0.0, "margin": False}, "adversarial"),
    ):
        mine, theirs = (
            OBJECTIVES.make(name, options).outer(step, x_adv),
            OBJECTIVES.make(other).outer(step, x_adv),
        )
        torch.testing.assert_close(mine, theirs)


def test_score_with_smoothing_and_clip():
    """Against the authors' form for ten classes, (1 - 10 s / 9) onehot + s / 9."""
    torch.manual_seed(0)
    model = SmallResidual(10).double().eval()
    x, y = torch.rand(6, 3, 5, 5).double(), torch.randint(0, 10, (6,))
    step = Step(model, sr.layer_map(model, x), x, y, (1,))
    x_adv, clean, moved = _both(step)
    target = F.one_hot(y, 10) * (1 - 10 * 0.1 / 9) + 0.1 / 9
    p, q = clean.softmax(1), moved.softmax(1)
    expected = ((p - target) ** 2).sum(1).mean() + 3.0 * F.relu(((q - p) ** 2).sum(1) - 1e-5).mean()
    found = OBJECTIVES.make("score", {"beta": 3.0, "smoothing": 0.1, "clip": 1e-5}).outer(step, x_adv)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["trades", "mart", "score"])
def test_a_negative_weight_is_refused(name):
    with pytest.raises(InputError, match="beta"):
        OBJECTIVES.make(name, {"beta": -1.0})

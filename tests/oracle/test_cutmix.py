"""CutMix: which pixel is whose, the shares of labels, and what objectives make of them."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.augment import augmentation
from semirobust.augment.cutmix import CutMix
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.objectives import OBJECTIVES, Step
from semirobust.objectives.adversarial import Adversarial
from semirobust.objectives.trades import TRADES
from semirobust.training.training import Training
from tests.helpers import SmallResidual

SEED = Seed(("cutmix",))


def _mixed(number, n=7, h=12, w=20, area=None):
    """Images whose pixels are their own number from 1, mixed; of 3 classes."""
    x = torch.arange(1.0, n + 1)[:, None, None, None].expand(n, 2, h, w)
    shares = torch.eye(3)[torch.arange(n) % 3]
    return CutMix(area).mixed(x, shares, SEED / number)


def test_one_rectangle_of_a_permuted_batch_and_shares_by_its_pixels():
    areas = []
    for number in range(150):
        out, shares = _mixed(number, h=60, w=100)
        own = np.arange(1, 8)
        foreign = (out[:, 0].numpy() != own[:, None, None]).any(0)  # where one may stay with itself
        areas.append(foreign.mean())
        assert torch.equal(out[:, 0], out[:, 1])
        partner = np.arange(7)
        if foreign.any():
            rows, columns = (np.flatnonzero(foreign.any(axis)) for axis in (1, 0))
            assert foreign.sum() == len(rows) * len(columns), "one rectangle"
            assert all(b == a + 1 for line in (rows, columns) for a, b in pairwise(line))
            inside = out[:, 0].numpy()[:, rows][:, :, columns]
            assert (inside == inside[:, :1, :1]).all()
            partner = inside[:, 0, 0].astype(int) - 1
        assert sorted(partner) == list(range(7)), "each image is put into one other"
        whole = np.eye(3)[np.arange(7) % 3]
        expected = (1 - foreign.mean()) * whole + foreign.mean() * whole[partner]
        np.testing.assert_allclose(shares.numpy(), expected, atol=1e-6)
    # A side s has s - s^2 / 4 inside on average, and its square is uniform: 1/2 - 2/5 / 2 + 1/3 / 16.
    assert np.mean(areas) == pytest.approx(0.32, abs=0.04) and max(areas) > 0.6


@pytest.mark.parametrize(("area", "sides"), [(0.0, (0, 0)), (0.25, (6, 10)), (0.3, (6, 10)), (1.0, (12, 20))])
def test_the_sides_of_a_rectangle(area, sides):
    """Of 12 x 20: each side times the root of the area, down to an even number; less where it sticks out."""
    found = {(0, 0)}
    for number in range(60):
        out, _ = _mixed(number, area=area)
        foreign = (out[:, 0] != torch.arange(1.0, 8)[:, None, None]).any(0)
        found.add((int(foreign.any(1).sum()), int(foreign.any(0).sum())))
    assert tuple(max(side) for side in zip(*found, strict=True)) == sides


def test_shares_follow_the_images_through_a_chain():
    """Two mixtures in a row, and what does not mix leaves the shares alone."""
    x, whole = torch.rand(6, 1, 8, 8), torch.eye(3)[torch.arange(6) % 3]
    twice = augmentation("crop+cutmix-alone+erase+cutmix-alone")
    out, shares = twice.mixed(x, whole, SEED)
    assert twice.mixes and not twice.only_moves and torch.equal(out, twice(x, SEED))
    _, first = CutMix().mixed(x, whole, SEED / 1)
    assert torch.equal(shares, CutMix().mixed(x, first, SEED / 3)[1])
    assert not augmentation("crop+erase").mixes
    with pytest.raises(InputError, match="augment: expected one of none, .*; got 'cutmax'"):
        augmentation("crop+cutmax")
    with pytest.raises(InputError, match="area"):
        CutMix(1.5)


def _log_softmax(logits):
    logits = logits.detach().double().numpy()
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def _step():
    torch.manual_seed(0)
    model = SmallResidual().double().eval()
    x, y = torch.rand(6, 3, 5, 5).double(), torch.arange(6) % 3
    shares = 0.7 * torch.eye(3)[y] + 0.3 * torch.eye(3)[y.roll(1)]
    return Step(model, sr.layer_map(model, x), x, y, (1, 2), shares=shares.double())


def test_trades_and_adversarial_training_by_hand():
    """After Rebuffi et al.: the attack leads away from the shares, and the clean loss is theirs."""
    step = _step()
    x_adv, shares = step.x + 0.03, step.shares.numpy()
    clean, perturbed = (_log_softmax(step.model(x)) for x in (step.x, x_adv))
    to_shares = -(shares * perturbed).sum(1)
    for objective in (TRADES(), Adversarial()):
        np.testing.assert_allclose(objective.inner(step)(x_adv).detach().numpy(), to_shares)
    np.testing.assert_allclose(Adversarial().outer(step, x_adv).item(), to_shares.mean())
    divergence = (np.exp(clean) * (clean - perturbed)).sum(1).mean()
    smooth = 0.9 * shares + 0.1 / 3
    for smoothing, target in ((0.0, shares), (0.1, smooth)):
        expected = -(target * clean).sum(1).mean() + 5 * divergence
        np.testing.assert_allclose(TRADES(5.0, smoothing).outer(step, x_adv).item(), expected)


def test_a_network_with_more_outputs_than_classes_and_low_precision():
    step = _step()
    head = nn.Linear(6, 9).double()
    step.model.linear = head
    expected = -(step.shares.numpy() * _log_softmax(step.model(step.x))[:, :3]).sum(1).mean()
    np.testing.assert_allclose(Adversarial().outer(step, step.x).item(), expected)
    coarse = replace(step, model=step.model.float(), x=step.x.float(), shares=step.shares.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert Adversarial().outer(coarse, coarse.x).item() == pytest.approx(expected, rel=0.05)


@dataclass(frozen=True)
class _Seen(Adversarial):
    """Notes what it trains on, and goes by shares."""

    needs_one_label = ""

    def outer(self, step, x_adv):
        assert step.shares is not None
        torch.testing.assert_close(step.shares.sum(1), torch.ones(len(step.y)))
        # An image is as bright as its class is, so the mixture is as bright as its shares.
        brightness = (step.shares * torch.tensor([0.2, 0.5, 0.8])).sum(1)
        torch.testing.assert_close(step.x.mean((1, 2, 3)), brightness)
        return super().outer(step, x_adv)


@dataclass(frozen=True)
class _Other(Adversarial):
    """Has another loss, and says nothing of shares."""

    def outer(self, step, x_adv):
        return super().outer(step, x_adv)


def test_training_gives_the_shares_to_the_objective():
    y = torch.arange(24) % 3
    x = torch.tensor([0.2, 0.5, 0.8])[y][:, None, None, None].expand(24, 3, 8, 8)
    model = sr.build_model("resnet8", 3, 0.125, image_size=8)
    attack = sr.PGD(sr.Linf(0.01), steps=1)
    training = Training(objective=_Seen(), attack=attack, epochs=2, batch_size=7, augment="cutmix-alone")
    first, last = (log.loss for log in training(model, (x.contiguous(), y)).logs)
    assert last < first


_BY_SHARES = {
    "adversarial", "at-lr", "clat", "latent", "mixed", "score", "standard", "trades", "twins", "twins-ours",
}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_objectives_take_shares_or_say_why_not(name):
    objective = OBJECTIVES.make(name)
    given = {"objective": objective, "attack": sr.PGD(sr.Linf(0.01)), "augment": "cutmix"}
    if name in _BY_SHARES:
        assert Training(**given).augment == "cutmix"
        return
    said = f"mixes no images beside {type(objective).__name__}, since {objective.needs_one_label}; got cutmix"
    with pytest.raises(InputError, match=said):
        Training(**given)


def test_what_an_objective_says_is_not_inherited_by_other_losses():
    with pytest.raises(InputError, match="beside _Other, since its losses are of one label"):
        Training(objective=_Other(), attack=sr.PGD(sr.Linf(0.01)), augment="cutmix")

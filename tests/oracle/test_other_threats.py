"""Flow, rearranged pixels, and attacks of other libraries."""

import random
import sys
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import nn

import semirobust as sr
from semirobust.attacks.base.goals import Maximise
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from tests.helpers import SmallResidual, untouched


@pytest.fixture(scope="module")
def trained():
    """A small convolutional network on digits, and 100 test images with labels."""
    splits = sr.load_data("digits")
    model = sr.build_model("resnet8", width=0.5, in_channels=1, image_size=8, seed=1)
    training = sr.Training(
        objective=sr.Adversarial(), attack=sr.PGD(sr.Linf(0.1), steps=2), epochs=2, batch_size=64
    )
    training(model, splits.train.first(800), seed=0)
    return model, *splits.test.first(100).all()


def test_warp_is_bilinear_interpolation():
    """Against SciPy, whose border mode ``nearest`` goes on with the border as well."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 6, 5, generator=generator, dtype=torch.float64)
    flow = 2 * torch.rand(2, 2, 6, 5, generator=generator, dtype=torch.float64) - 1
    ours = sr.Flow(1.0).warp(x, flow)
    rows, columns = np.mgrid[0:6, 0:5]
    for i in range(2):
        at = [rows + flow[i, 1].numpy(), columns + flow[i, 0].numpy()]
        for k in range(3):
            expected = map_coordinates(x[i, k].numpy(), at, order=1, mode="nearest")
            np.testing.assert_allclose(ours[i, k].numpy(), expected, atol=1e-12)
    assert sr.Flow(1.0).contains(x, ours).all()


def test_what_no_flow_can_do_is_not_contained():
    x = torch.full((1, 1, 6, 6), 0.5)
    x[0, 0, :, 3:] = 0.9
    other = x.clone()
    other[0, 0, 0, 0] = 0.9  # three pixels from the edge
    assert not sr.Flow(1.0).contains(x, other).any() and sr.Flow(3.0).contains(x, other).all()
    assert sr.Flow(0).contains(x, x).all() and not sr.Flow(0).contains(x, x.flip(3)).any()
    with pytest.raises(InputError, match="limit: expected"):
        sr.Flow(-1)
    assert str(sr.Flow(0.5)) == "flow of 0.5 pixels"


def test_stadv_finds_the_worst_flow_of_a_ramp():
    """x = slope * column and z_1 - z_0 = sum x - c: the whole ramp moves by the limit, so each value rises by
    slope * limit.
    """
    ramp = 0.02 * torch.arange(20.0).expand(1, 1, 20, 20) + 0.2
    model = nn.Sequential(nn.Flatten(), nn.Linear(400, 2)).eval()
    with torch.no_grad():
        model[1].weight[0], model[1].weight[1] = 0.0, 1.0
        model[1].bias.copy_(torch.tensor([float(ramp.sum()) + 100, 0.0]))
    x_adv = sr.StAdv(limit=0.5, steps=60)(model, ramp, torch.tensor([0]))
    rise = (x_adv - ramp)[0, 0, :, 1:-1]
    torch.testing.assert_close(rise, torch.full_like(rise, 0.01), rtol=1e-3, atol=1e-5)


def test_stadv_succeeds_example_by_example_and_keeps_smooth_flows(trained):
    model, x, y = trained
    with untouched(model):
        attack = sr.StAdv(limit=0.15, steps=60)
        x_adv = attack(model, x, y)
    with torch.no_grad():
        clean, after = model(x).argmax(1) == y, model(x_adv).argmax(1) == y
    assert 0.05 < float(after.float().mean()) < float(clean.float().mean()) - 0.2
    assert attack.threat.contains(x, x_adv).all()
    few = attack(
        model, x[:6], y[:6]
    )  # nothing is shared within a batch but the random start, which comes first to last
    torch.testing.assert_close(few, x_adv[:6], rtol=0, atol=2e-2)
    first = attack.fool(model, x, y)  # the first success, not yet made smooth
    both = ~after & (model(first).argmax(1) != y)
    change = lambda z: (z - x).abs().flatten(1).sum(1)[both].mean()  # noqa: E731
    assert float(change(x_adv)) < float(change(first))


def test_more_flow_misleads_more(trained):
    model, x, y = trained
    shares = [
        float(sr.evaluate(model, x, y, {"a": sr.StAdv(limit=limit, steps=40)}).robust["a"].float().mean())
        for limit in (0, 0.2, 0.6)
    ]
    assert shares == sorted(shares, reverse=True) and shares[0] == float(
        (model(x).argmax(1) == y).float().mean()
    )


def test_pixle_only_moves_pixels(trained):
    model, x, y = trained
    attack = sr.Pixle(rounds=6, tries=6, largest=4)
    with untouched(model):
        x_adv = attack(model, x, y, seed=3)
    for before, after in zip(x, x_adv, strict=True):  # each pixel is one of the same image
        assert set(after.flatten().tolist()) <= set(before.flatten().tolist())
    loss = nn.CrossEntropyLoss(reduction="none")
    with torch.no_grad():
        assert (loss(model(x_adv), y) >= loss(model(x), y)).all()
    result = sr.evaluate(model, x, y, {"pixle": attack})
    assert (
        float(result.robust["pixle"].float().mean()) < float(result.clean.float().mean()) - 0.2
        and result.rejected["pixle"] == 0
    )
    assert not sr.Rearrangement().contains(x[:1], x[:1] * 0.99).any()


def test_pixle_of_colour_images_keeps_colours_together():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 7, 9)
    x_adv = sr.Pixle(rounds=2, tries=3)(SmallResidual().eval(), x, torch.tensor([0, 1]))
    for before, after in zip(x, x_adv, strict=True):
        own = {tuple(colour) for colour in before.flatten(1).T.tolist()}
        assert {tuple(colour) for colour in after.flatten(1).T.tolist()} <= own


@pytest.mark.parametrize("attack", [sr.Pixle(), sr.StAdv()], ids=["pixle", "stadv"])
def test_images_only(attack):
    with pytest.raises(InputError, match="expected images"):
        attack(nn.Linear(4, 2).eval(), torch.rand(2, 4), torch.tensor([0, 1]))


def test_bad_settings_are_one_sentence():
    for make in (
        lambda: sr.Pixle(rounds=0),
        lambda: sr.Pixle(smallest=5, largest=4),
        lambda: sr.StAdv(steps=0),
        lambda: sr.StAdv(rate=0),
    ):
        with pytest.raises(InputError, match="expected at least"):
            make()
    with pytest.raises(InputError, match="cannot raise other losses"):
        sr.Pixle().search(Maximise(lambda x: x.sum((1, 2, 3))), torch.rand(1, 1, 4, 4), Seed(("a",)))


def test_foolbox_attacks_can_be_used(trained):
    foolbox = pytest.importorskip("foolbox")
    model, x, y = trained
    threat = sr.Linf(0.1)
    theirs = sr.adapt(foolbox.attacks.LinfPGD(rel_stepsize=0.1, steps=20), threat)
    with untouched(model):
        result = sr.evaluate(model, x, y, [theirs, sr.PGD(threat, steps=20, step_size=0.01)])
    assert theirs.name == "foolbox-LinfProjectedGradientDescentAttack" and result.rejected[theirs.name] == 0
    assert abs(float(result.summary()[theirs.name]) - float(result.summary()["pgd-20"])) <= 0.08
    free = sr.adapt(foolbox.attacks.LinfPGD(), sr.Flow(1.0))
    with pytest.raises(InputError, match="a norm ball, whose epsilon"):
        free(model, x, y)


def test_torchattacks_attacks_can_be_used(trained):
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = trained
    threat, other = sr.Linf(0.1), sr.build_model("resnet8", width=0.5, in_channels=1, image_size=8)
    made_for_another = torchattacks.PGD(other.eval(), eps=0.1, alpha=0.01, steps=20)
    theirs = sr.adapt(made_for_another, threat)
    with untouched(model):
        result = sr.evaluate(model, x, y, [theirs, sr.PGD(threat, steps=20, step_size=0.01)])
    assert made_for_another.model is other
    assert abs(float(result.summary()["torchattacks-PGD"]) - float(result.summary()["pgd-20"])) <= 0.08


def test_what_is_bound_to_a_model_is_used_on_the_one_evaluated(trained, monkeypatch):
    """An object of the form that torchattacks has."""
    module = types.ModuleType("torchattacks.fake")
    monkeypatch.setitem(sys.modules, "torchattacks.fake", module)

    class Fake:
        def __init__(self, model):
            self.model, self.used = model, []

        def __call__(self, x, y):
            self.used.append(1)
            noise = torch.rand_like(x) + random.random() * 0 + float(np.random.rand()) * 0  # noqa: NPY002
            return (x + 0.05 * self.model(x).sum() * 0 + 0.05 * noise).clamp(0, 1)

    Fake.__module__ = "torchattacks.fake"
    model, x, y = trained
    original = Fake(nn.Linear(3, 3))
    attack = sr.adapt(original, sr.Linf(0.05), name="fake")
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = attack(model, x, y, seed=4)
    assert torch.equal(first, attack(model, x, y, seed=4)) and not torch.equal(
        first, attack(model, x, y, seed=5)
    )
    assert original.used == [] and isinstance(original.model, nn.Linear)
    assert torch.equal(torch.get_rng_state(), state[0]) and random.getstate() == state[2]
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002


def test_any_function_is_an_attack_and_what_it_breaks_is_not_counted(trained):
    model, x, y = trained
    everything_black = sr.adapt(lambda model, x, y: torch.zeros_like(x), sr.Linf(0.01), name="black")
    result = sr.evaluate(model, x, y, everything_black)
    undecided = result.undecided["black"]  # what it might have done inside the ball, nobody knows
    assert torch.equal(result.standing("black"), result.clean)
    assert result.rejected["black"] == undecided.sum() > 0
    wrong = sr.adapt(lambda model, x, y: x[:1], sr.Linf(0.01))
    with pytest.raises(InputError, match="expected examples of shape"):
        wrong(model, x, y)
    with pytest.raises(InputError, match="attack: expected an attack object"):
        sr.adapt(3, sr.Linf(0.1))
    with pytest.raises(InputError, match="attack: expected an attack object"):
        sr.adapt(Dummy, sr.Linf(0.1))
    with pytest.raises(InputError, match="threat: expected one such as Linf"):
        sr.adapt(print, 0.1)


@dataclass
class Dummy:
    """A class is no attack; an object of it might be."""

    def __call__(self, model, x, y):
        return x


def test_ours_run_from_code_that_calls_attack_model_x_y(trained):
    model, x, y = trained
    assert sr.adapt(sr.PGD(sr.Linf(0.1), steps=3), sr.Linf(0.1), name="ours")(model, x, y).shape == x.shape

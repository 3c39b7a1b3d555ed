"""TWINS: two branches of batch norm, against two plain networks; and our earlier form of it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.adapters.twin_norm import TwinNorm, split_batches, twin_norms
from semirobust.errors import InputError
from semirobust.fast.copy import Faster
from semirobust.objectives.base.objective import Step
from semirobust.objectives.twins import TWINS
from semirobust.objectives.twins_ours import OurTWINS
from tests.helpers import SmallResidual


def _model():
    torch.manual_seed(0)
    model = SmallResidual().eval()
    model.drop.p = 0.0
    model.train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.rand(16, 3, 8, 8))
    return model.eval()


def test_our_earlier_form_is_that_of_two_networks():
    """One with frozen statistics, one in train mode, sharing weights; gradients add up."""
    model, x, y = _model(), torch.rand(8, 3, 8, 8), torch.arange(8) % 3
    frozen, adaptive = copy.deepcopy(model).eval(), copy.deepcopy(model).train()
    theirs = (2.0 * F.cross_entropy(frozen(x[:4]), y[:4]) + F.cross_entropy(adaptive(x[4:]), y[4:])) / 3
    theirs.backward()
    with twin_norms(model):
        model.train()
        loss = OurTWINS(2.0).outer(Step(model, sr.layer_map(model, x), x, y, (1,)), x)
        loss.backward()
    torch.testing.assert_close(loss, theirs)
    for name, parameter in model.named_parameters():
        both = dict(frozen.named_parameters())[name].grad + dict(adaptive.named_parameters())[name].grad
        torch.testing.assert_close(parameter.grad, both, rtol=1e-4, atol=1e-6)
    for name, buffer in model.named_buffers():  # the statistics moved by the second half alone
        torch.testing.assert_close(buffer, dict(adaptive.named_buffers())[name])


def _affine(model):
    return {n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}


def test_loss_and_gradients_are_those_of_the_authors():
    """Two networks share all but batch norm: one in eval mode whose norms train, one in train mode; a sum."""
    model, x, y = _model(), torch.rand(8, 3, 8, 8), torch.arange(8) % 3
    frozen, adaptive = copy.deepcopy(model).eval(), copy.deepcopy(model).train()
    with twin_norms(model, own_affine=True):
        for name in _affine(frozen):  # the two have moved apart since the start
            with torch.no_grad():
                frozen.get_submodule(name).weight.add_(0.3), frozen.get_submodule(name).bias.sub_(0.2)
                model.get_submodule(name).frozen_weight.add_(0.3)
                model.get_submodule(name).frozen_bias.sub_(0.2)
        theirs = 2.0 * F.cross_entropy(frozen(x[:4]), y[:4]) + F.cross_entropy(adaptive(x[4:]), y[4:])
        theirs.backward()
        model.train()
        step = Step(model, sr.layer_map(model, x), x, y, (1,))
        loss = TWINS(2.0).outer(step, x)
        loss.backward()
        torch.testing.assert_close(loss, theirs)
        for name, parameter in model.named_parameters():
            module, _, part = name.rpartition(".")
            one, other = (dict(net.named_parameters()) for net in (frozen, adaptive))
            if part.startswith("frozen_"):
                expected = one[f"{module}.{part.removeprefix('frozen_')}"].grad
            elif module in _affine(frozen):
                expected = other[name].grad
            else:
                expected = one[name].grad + other[name].grad
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)
        for name, buffer in adaptive.named_buffers():
            torch.testing.assert_close(model.get_buffer(name), buffer)
        # The attack goes through the adaptive branch alone, each image for itself.
        model.eval(), adaptive.eval()
        inner = TWINS(2.0).inner(step)(x)
        torch.testing.assert_close(inner, F.cross_entropy(adaptive(x), y, reduction="none"))


def test_without_weight_the_second_half_is_under_pgd_at():
    model, x, y = _model(), torch.rand(8, 3, 8, 8), torch.arange(8) % 3
    plain = copy.deepcopy(model).train()
    F.cross_entropy(plain(x[4:]), y[4:]).backward()
    with twin_norms(model, own_affine=True):
        model.train()
        step = Step(model, sr.layer_map(model, x), x, y, (1,))
        TWINS(0.0).outer(step, x).backward()
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(model.get_parameter(name).grad, parameter.grad, rtol=1e-4, atol=1e-7)
        single = Step(model, step.layers, x[:1], y[:1], (1,))
        assert torch.equal(TWINS().outer(single, x[:1]), F.cross_entropy(model(x[:1]), y[:1]))


def test_outside_all_is_as_before():
    model, x = _model(), torch.rand(6, 3, 8, 8)
    keys, before = list(model.state_dict()), model(x)
    with twin_norms(model):
        assert list(model.state_dict()) == keys and any(isinstance(m, TwinNorm) for m in model.modules())
        torch.testing.assert_close(model(x), before)
        model.bn1.running_mean += 1.0
        with split_batches(model):
            split = model(x)
        torch.testing.assert_close(split[:3], before[:3])  # the first half does not see it
        assert not torch.allclose(split[3:], before[3:])
        fast = Faster(model, x, torch.float32)
        with split_batches(fast.network):
            torch.testing.assert_close(fast.network(x), split, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(m, TwinNorm) for m in model.modules())
    assert {type(m) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {nn.BatchNorm2d}


def test_a_fast_copy_folds_the_adaptive_branch_and_follows_it():
    """It is attacked alone, so its batch norms need not stand on their own."""
    model, x = _model(), torch.rand(8, 3, 8, 8)
    plain = Faster(model, x, torch.float32)
    with twin_norms(model, own_affine=True):
        fast = Faster(model, x, torch.float32)
        assert "folded" in fast.description and fast.description == plain.description
        assert not any(isinstance(m, TwinNorm) for m in fast.network.modules())
        assert fast.follows(x)
        with torch.no_grad():
            model.bn1.running_mean += 1.0
            model.bn1.frozen_bias += 3.0
            model.bn1.weight *= 1.5
        fast.refresh()
        torch.testing.assert_close(fast.network(x), model(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["twins", "twins-ours"])
def test_hardening_by_twins(name):
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)
    model = sr.build_model("resnet8", 3, 0.25, image_size=8)
    keys, before = list(model.state_dict()), copy.deepcopy(model.state_dict())
    trained = sr.harden(model, images, name, threat=sr.Linf(4 / 255), epochs=2, batch_size=20)
    assert len(trained.logs) == 2 and list(trained.best) == keys and list(model.state_dict()) == keys
    assert all(not torch.equal(before[key], trained.best[key]) for key, _ in model.named_parameters())
    norms = sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    own = norms if name == "twins" else 0
    assert trained.logs[0].trained_parameters == sum(p.numel() for p in model.parameters()) + own


class _Own(nn.BatchNorm2d):
    """A batch norm of somebody else's class."""


def _normed(*norms):
    blocks = [part for norm in norms for part in (nn.Conv2d(3, 3, 3, padding=1), norm, nn.ReLU())]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))


@pytest.mark.parametrize("name", ["twins", "twins-ours"])
@pytest.mark.parametrize(
    ("norm", "found"),
    [(_Own(3), "_Own"), (nn.SyncBatchNorm(3), "SyncBatchNorm"), (nn.GroupNorm(1, 3), "no batch norm")],
)
def test_a_network_of_which_no_norm_would_have_two_branches_is_refused(name, norm, found):
    x, y = torch.rand(8, 3, 8, 8), torch.arange(8) % 3
    with pytest.raises(InputError, match=f"expected nn.BatchNorm2d with statistics, .* found {found};"):
        sr.harden(_normed(norm), (x, y), name, threat=sr.Linf(0.05), epochs=1)


@pytest.mark.parametrize("name", ["twins", "twins-ours"])
def test_norms_that_have_one_branch_alone_are_told(name):
    x, y = torch.rand(8, 3, 8, 8), torch.arange(8) % 3
    told = [
        sr.harden(_normed(*norms), (x, y), name, attack=sr.PGD(sr.Linf(0.05), steps=1), epochs=1).notes
        for norms in ((nn.BatchNorm2d(3), _Own(3)), (nn.BatchNorm2d(3), nn.GroupNorm(1, 3)))
    ]
    assert "twins: 1 of 2 batch norms have one branch alone (_Own)" in told[0]
    assert not any("branch" in note for note in told[1])

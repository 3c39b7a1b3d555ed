"""TWINS: two branches of batch norm over shared weights, against two plain networks."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.adapters.twin_norm import TwinNorm, split_batches, twin_norms
from semirobust.fast.copy import Faster
from semirobust.objectives.base.objective import Step
from semirobust.objectives.twins import TWINS
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


def test_the_loss_is_that_of_two_networks():
    """One with frozen statistics, one in train mode, sharing weights; gradients add up."""
    model, x, y = _model(), torch.rand(8, 3, 8, 8), torch.arange(8) % 3
    frozen, adaptive = copy.deepcopy(model).eval(), copy.deepcopy(model).train()
    theirs = (2.0 * F.cross_entropy(frozen(x[:4]), y[:4]) + F.cross_entropy(adaptive(x[4:]), y[4:])) / 3
    theirs.backward()
    with twin_norms(model):
        model.train()
        loss = TWINS(2.0).outer(Step(model, sr.layer_map(model, x), x, y, (1,)), x)
        loss.backward()
    torch.testing.assert_close(loss, theirs)
    for name, parameter in model.named_parameters():
        both = dict(frozen.named_parameters())[name].grad + dict(adaptive.named_parameters())[name].grad
        torch.testing.assert_close(parameter.grad, both, rtol=1e-4, atol=1e-6)
    for name, buffer in model.named_buffers():  # the statistics moved by the second half alone
        torch.testing.assert_close(buffer, dict(adaptive.named_buffers())[name])


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


def test_hardening_by_twins():
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)
    model = sr.build_model("resnet8", 3, 0.25, image_size=8)
    keys = list(model.state_dict())
    trained = sr.harden(model, images, "twins", threat=sr.Linf(4 / 255), epochs=2, batch_size=20)
    assert len(trained.logs) == 2 and list(trained.best) == keys and list(model.state_dict()) == keys

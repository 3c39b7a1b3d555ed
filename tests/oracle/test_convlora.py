"""ConvLoRA and AdaBN: the update written out, what it leaves alone, and statistics as other training gives."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.adapters.conv_low_rank import conv_low_rank
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.methods.adversarial import ContinuedAdversarial
from semirobust.methods.convlora import ConvLoRA
from semirobust.testing.base.network import small_images
from tests.helpers import SmallResidual

THREAT, SEED = sr.Linf(8 / 255), Seed(("convlora",))


class _Convolutions(nn.Module):
    """Of 3 x 3 taps with a bias, of 1 x 3, and of two groups with a stride."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 6, (1, 3))
        self.three = nn.Conv2d(6, 8, 3, stride=2, groups=2, bias=False)

    def forward(self, x):
        return self.three(torch.relu(self.two(torch.relu(self.one(x))))).mean((2, 3))


def test_the_update_written_out():
    """up down, reshaped to the weight, times the scale; its size is r k x r k between outputs and inputs."""
    model = _Convolutions()
    before, x = copy.deepcopy(model), torch.rand(2, 3, 9, 9)
    shapes = {"one": (12, 9, 6), "two": (6, 12, 6), "three": (12, 18, 6)}  # rows, columns, rank
    with conv_low_rank(model, shapes, 2, 1.5, SEED):
        assert torch.equal(model(x), before(x)), "up is 0"
        torch.manual_seed(0)
        weights = {}
        for name, (rows, columns, rank) in shapes.items():
            module = model.get_submodule(name)
            assert module.up.shape == (rows, rank) and module.down.shape == (rank, columns)
            assert not module.up.any() and not module.weight.requires_grad
            bound = 1 / math.sqrt(columns)
            assert 0.7 * bound < float(module.down.detach().abs().max()) <= bound
            assert abs(float(module.down.detach().mean())) < 0.35 * bound
            nn.init.normal_(module.up)
            product = torch.einsum("ir,rj->ij", module.up, module.down).detach()
            weights[name] = before.get_submodule(name).weight + 1.5 * product.reshape(module.weight.shape)
        assert {n for n, p in model.named_parameters() if p.requires_grad} == {
            f"{name}.{part}" for name in shapes for part in ("up", "down")
        }
        h = torch.relu(F.conv2d(x, weights["one"], before.one.bias, padding=1))
        h = torch.relu(F.conv2d(h, weights["two"], before.two.bias))
        expected = F.conv2d(h, weights["three"], stride=2, groups=2).mean((2, 3))
        torch.testing.assert_close(model(x), expected)
    assert type(model.one) is nn.Conv2d and all(p.requires_grad for p in model.parameters())
    for name, weight in weights.items():
        torch.testing.assert_close(model.get_submodule(name).weight, weight)
    torch.testing.assert_close(model(x), expected)


def test_the_first_gradient_by_hand():
    """Of ``up`` it is scale * G down^T, where G is that of the weight; of ``down`` it is 0, since ``up`` is."""
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), torch.rand(2, 3, 5, 5)
    plain = copy.deepcopy(model)
    plain(x).square().sum().backward()
    with conv_low_rank(model, ["0"], 2, 0.5, SEED):
        model(x).square().sum().backward()
        gradient = 0.5 * plain[0].weight.grad.reshape(12, 9) @ model[0].down.T
        torch.testing.assert_close(model[0].up.grad, gradient)
        assert not model[0].down.grad.any()


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("adapts", [False, True])
def test_what_batch_norm_does(adapts, affine):
    model = SmallResidual()
    start = copy.deepcopy(model.state_dict())
    with conv_low_rank(model, ["conv1"], 2, 1.0, SEED, adapts=adapts, affine=affine):
        model.train()(torch.rand(4, 3, 5, 5))
        trains = {n for n, p in model.named_parameters() if p.requires_grad} - {"conv1.up", "conv1.down"}
        norms = {n for n, _ in model.named_parameters() if "bn" in n or n.startswith("block.shortcut.1")}
        assert trains == (norms if affine else set())
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, start[n])}
    statistics = {n for n in start if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert moved == (statistics if adapts else set())


def _hardened(method, **settings):
    model = sr.build_model("resnet8", 3, 0.25, image_size=8, seed=2)
    given = {"threat": THREAT, "epochs": 2, "batch_size": 20, "seed": 3, "learning_rate": 0.05, **settings}
    return sr.harden(model, small_images(), method, **given), sr.build_model(
        "resnet8", 3, 0.25, image_size=8, seed=2
    )


def test_rank_0_is_adabn_alone():
    """Every weight stays as it was, bit for bit, and the statistics are those of PGD-AT that learns nothing."""
    trained, start = _hardened(ConvLoRA(rank=0))
    nothing, _ = _hardened(ContinuedAdversarial(), learning_rate=1e-30)
    parameters = {name for name, _ in start.named_parameters()}
    before = start.state_dict()
    for name, tensor in trained.best.items():
        torch.testing.assert_close(tensor, nothing.best[name], rtol=0, atol=1e-20, msg=name)
        assert torch.equal(tensor, before[name]) == (name in parameters or "normalise" in name), name
    assert trained.logs[0].trained_parameters == 0


def test_without_adabn_no_statistic_moves_and_one_step_is_that_of_up():
    trained, start = _hardened(ConvLoRA(adabn=False))
    before = start.state_dict()
    convolutions = {f"{n}.weight" for n, m in start.named_modules() if isinstance(m, nn.Conv2d)}
    moved = {name for name, tensor in trained.best.items() if not torch.equal(tensor, before[name])}
    assert moved == convolutions and trained.best.keys() == before.keys()
    for name in convolutions:  # of rank r k between outputs and inputs x k
        difference = (trained.best[name] - before[name]).double()
        o, i, k, _ = difference.shape
        assert torch.linalg.matrix_rank(difference.reshape(o * k, i * k), rtol=1e-4) <= 2 * k


def test_what_cannot_be_is_one_sentence():
    for method, message in (
        (ConvLoRA(rank=-1), "rank and alpha"),
        (ConvLoRA(alpha=0), "rank and alpha"),
        (ConvLoRA(rank=0, adabn=False), "where batch norm does not adapt"),
    ):
        with pytest.raises(InputError, match=message):
            _hardened(method)
    model = sr.build_model("mlp_300_100_100", 3, 0.25, image_size=8)
    with pytest.raises(InputError, match="expected convolutions, which convlora updates, found none"):
        sr.harden(model, small_images(), "convlora", threat=THREAT, epochs=1)

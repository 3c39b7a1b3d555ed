"""The simulated device is as strict as a real one: it mixes nothing, moves nothing, and counts what waits."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.seed import as_seed
from semirobust.testing import SmallResidual
from semirobust.testing.base.network import examples, network
from tests.accelerator.device import NAME, counting, simulated, to_host


def test_a_network_there_gives_the_numbers_of_the_cpu(device):
    model, (x, y) = network().requires_grad_(), examples(6)
    there = copy.deepcopy(model).to(device)
    with as_seed(0).globally():
        here_loss = F.cross_entropy(model.train()(x), y)
    with as_seed(0).globally():
        loss = F.cross_entropy(there.train()(x.to(device)), y.to(device))
    for value in (here_loss, loss):
        value.backward()
    assert loss.device == device == next(there.parameters()).device
    assert torch.equal(to_host(loss), here_loss.detach())
    for one, other in zip(model.parameters(), there.parameters(), strict=True):
        assert other.grad.device == device
        assert torch.equal(one.grad, to_host(other.grad))


MIXTURES = {
    "a sum": lambda a, b: a + b,
    "a sum the other way": lambda a, b: b + a,
    "a product of matrices": lambda a, b: a @ b,
    "an index": lambda a, b: a[b[0].long()],
    "an index of the host": lambda a, b: b[a[0].long()],
    "a list": lambda a, b: torch.cat([a, b]),
    "a part that is overwritten": lambda a, b: b.add_(a),
    "a choice": lambda a, b: torch.where(a > 0, a, b),
    "a gather by a number": lambda a, b: torch.cat([a, b[0, :1][0][None]]),
}


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_mixing_fails(device, mixture):
    with pytest.raises(RuntimeError, match="same device"):
        mixture(torch.ones(2, 2, device=device), torch.ones(2, 2))


def test_a_number_of_the_host_may_join(device):
    a = torch.ones(2, device=device)
    assert to_host(a * torch.tensor(2.0) + 1).tolist() == [3.0, 3.0]


def test_a_generator_belongs_to_a_device(device):
    there, here = as_seed(1).generator(device), as_seed(1).generator()
    assert there.device.type == NAME
    one, other = torch.rand(3, generator=there, device=device), torch.rand(3, generator=here)
    assert torch.equal(to_host(one), other)
    for generator, place in ((there, "cpu"), (here, device)):
        with pytest.raises(RuntimeError, match="for generator"):
            torch.rand(3, generator=generator, device=place)
        with pytest.raises(RuntimeError, match="for generator"):
            torch.zeros(3, device=place).uniform_(generator=generator)


def test_its_global_generator_is_left_alone(device):
    """Code without a generator, such as dropout, draws by the seed and moves nothing of the user's."""
    there, here = torch.rand(2, device=device), torch.rand(2)
    torch.manual_seed(5)
    before = to_host(torch.rand(3, device=device))
    torch.manual_seed(5)
    with as_seed(1).globally():
        drawn = to_host(torch.rand(3, device=device))
    assert torch.equal(to_host(torch.rand(3, device=device)), before)
    with as_seed(1).globally():
        assert torch.equal(drawn, torch.rand(3))
    assert there.device == device != here.device


def test_nothing_leaves_it_by_itself(device):
    a = torch.ones(2, device=device)
    with pytest.raises(TypeError, match="Tensor.cpu"):
        a.numpy()
    assert a.cpu().device.type == "cpu" and a.tolist() == [1.0, 1.0]


# What is done -> waits, uploads, launches.
COSTS = {
    "nothing": (lambda a: a.view(4)[1:].detach(), (0, 0, 0)),
    "an operation": (lambda a: a + 1, (0, 0, 1)),
    "a number": (lambda a: a.sum().item(), (1, 0, 1)),
    "a truth": (lambda a: bool((a > 0).all()), (1, 0, 2)),
    "a list": (lambda a: a.tolist(), (1, 0, 0)),
    "a copy to the host": (lambda a: a.cpu(), (1, 0, 0)),
    "a copy from the host": (lambda a: torch.ones(3).to(a.device), (0, 1, 1)),
    "a list from the host": (lambda a: torch.tensor([1, 2], device=a.device), (0, 1, 1)),
    "which are marked": (lambda a: (a > 0).nonzero(), (1, 0, 2)),
    "rows by a mask": (lambda a: a[a[:, 0] > 0], (1, 0, 2)),
    "rows by number": (lambda a: a[torch.arange(2, device=a.device)], (0, 0, 2)),
    "a number at a mask": (lambda a: a.masked_fill_(a > 0, 0.0), (0, 0, 2)),
    "values at a mask": (lambda a: a.__setitem__(a > 0, torch.ones(4, device=a.device)), (1, 0, 3)),
    "different values": (lambda a: a.unique(), (1, 0, 1)),
    "a comparison": (lambda a: torch.equal(a, a), (1, 0, 1)),
}


@pytest.mark.parametrize(("act", "cost"), COSTS.values(), ids=COSTS)
def test_what_waits_is_counted(device, act, cost):
    a = torch.ones(2, 2, device=device)
    with counting() as counts:
        act(a)
    assert (counts.waits, counts.uploads, counts.launches) == cost


def test_it_is_there_inside_alone():
    real = torch.Generator
    with simulated() as device:
        assert torch.Generator(device=device).device == device
    assert torch.Generator is real


def test_layouts_are_those_of_the_cpu(device):
    x = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    there = x.to(device)
    conv = nn.Conv2d(3, 4, 3)
    for one, other in ((x, there), (conv(x), copy.deepcopy(conv).to(device)(there))):
        assert one.stride() == other.stride()
    assert there.is_contiguous(memory_format=torch.channels_last) and not there.is_contiguous()


MISPLACED = {
    "the images": (True, False, False),
    "the labels": (True, True, False),
    "the network": (False, True, True),
}


@pytest.mark.parametrize("places", MISPLACED.values(), ids=MISPLACED)
@pytest.mark.parametrize("call", ["attack", "fool", "towards"])
def test_an_attack_moves_nothing(device, places, call):
    """One sentence says what is where; model and data stay where they are."""
    if call == "towards" and places == (True, True, False):
        return  # a class, not labels
    model, x, y = (
        value.to(device) if there else value
        for value, there in zip((SmallResidual().eval(), *examples(4)), places, strict=True)
    )
    attack = sr.PGD(sr.Linf(0.05), steps=2)
    with pytest.raises(sr.InputError, match=r"expected .* on .*, got .* on .*; give [xy]\.to") as caught:
        {"attack": attack, "fool": attack.fool, "towards": attack.towards}[call](
            model, x, *([0] if call == "towards" else [y])
        )
    assert "\n" not in str(caught.value)
    kinds = [NAME if there else "cpu" for there in places]
    assert [next(model.parameters()).device.type, x.device.type, y.device.type] == kinds


def test_images_there_are_read_there(device):
    """A batch of bytes is indexed and turned into floats on the device; the labels go with the pixels."""
    x = (torch.rand(20, 3, 4, 4) * 255).byte()
    here = sr.images_from_tensors(x, torch.arange(20) % 4)
    there, rows = here.on(device), torch.tensor([3, 1, 7])
    assert there.pixels.device == there.y.device == device and there.pixels.dtype == torch.uint8
    with counting() as counts:
        found = there.batch(rows, device)
    assert (counts.waits, counts.uploads) == (0, 0)
    for one, other in zip(here.batch(rows), found, strict=True):
        assert other.device == device and torch.equal(one, to_host(other))
    for part in (
        lambda images: images.first(5),
        lambda images: images.subset(rows),
        lambda images: images.hold_out(0.5, as_seed(1))[0],
        lambda images: images.of_classes([2, 0]),
    ):
        one, other = part(here).all(), part(there).all(device)
        assert torch.equal(one[0], to_host(other[0])) and torch.equal(one[1], to_host(other[1]))


_ATTACK = sr.PGD(sr.Linf(0.05), steps=1)
_CALLS = {
    "layer_map": lambda model, x, y: sr.layer_map(model, x),
    "criticality": lambda model, x, y: sr.criticality(model, x, y, threat=sr.Linf(0.05)),
    "usefulness": lambda model, x, y: sr.usefulness(model, x, y, threat=sr.Linf(0.05)),
    "connectivity": sr.connectivity,
    "stability": lambda model, x, y: sr.stability(model, x, y, attack=_ATTACK),
    "sanity_checks": lambda model, x, y: sr.sanity_checks(model, x, y, sr.Linf(0.05)),
}


@pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS)
@pytest.mark.parametrize("model_is_there", [True, False])
def test_nothing_measured_is_moved(device, call, model_is_there):
    model, (x, y) = network(), examples(6)
    moved = [model.to(device), x, y] if model_is_there else [model, x.to(device), y.to(device)]
    with pytest.raises(
        sr.InputError, match=r"^x: expected a tensor on .*, got one on .*; give x\.to"
    ) as caught:
        call(*moved)
    assert "\n" not in str(caught.value)
    assert (next(model.parameters()).device == device) == model_is_there


def test_both_sides_of_an_estimate_lie_together(device):
    x, _ = examples(12)
    with pytest.raises(sr.InputError, match="y: expected rows on simulated:0 as x has, got some on cpu"):
        sr.HSIC()(x.to(device), x)


def test_an_evaluation_brings_batches_to_the_network(device):
    """Which is said of it: the verdicts are those of the CPU, wherever the images lie."""
    model, (x, y) = network(), examples(20)
    here = sr.evaluate(model, x, y, _ATTACK)
    there = copy.deepcopy(model).to(device)
    for images, labels in ((x, y), (x.to(device), y.to(device))):
        found = sr.evaluate(there, images, labels, _ATTACK)
        assert str(found) == str(here)
    assert x.device.type == "cpu" and next(there.parameters()).device == device


def test_training_stays_where_the_network_is(device):
    """Also without a Fabric, to the weights of the CPU."""
    weights = []
    for place in (torch.device("cpu"), device):
        model, (x, y) = network().requires_grad_().to(place), examples(6)
        images = sr.images_from_tensors(x, y)
        trained = sr.harden(model, images, "adversarial", attack=_ATTACK, epochs=1, fast="off")
        assert next(model.parameters()).device == place and images.pixels.device.type == "cpu"
        weights.append([to_host(tensor) for tensor in trained.model.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))

"""Low-rank updates: merged equals unmerged, nothing else moves, and the network keeps its build."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.adapters.low_rank import branch, low_rank, merged, on_branch, without_branch
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.fast.copy import Faster
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.lora import LoRA
from semirobust.objectives.autolora import AutoLoRA
from semirobust.objectives.base.objective import Step
from tests.helpers import SmallResidual


def _names(model):
    return [layer.name for layer in sr.layer_map(model, torch.rand(1, 3, 8, 8))]


def test_merged_is_unmerged():
    torch.manual_seed(0)
    model, x = SmallResidual().eval(), torch.rand(4, 3, 8, 8)
    before, state = model(x).detach(), copy.deepcopy(model.state_dict())
    with low_rank(model, _names(model), 2, 0.5, as_seed(0)):
        torch.testing.assert_close(model(x), before)  # the update starts at 0
        for module in model.modules():
            if hasattr(module, "up"):
                nn.init.normal_(module.up, std=0.1)
        unmerged, inside = model(x).detach(), copy.deepcopy(model.state_dict())
        assert not torch.allclose(unmerged, before, atol=1e-3)
        conv = model.block.conv2  # written out: two thin maps beside the frozen one
        h = torch.rand(2, 4, 5, 5)
        thin = F.conv2d(h, conv.down.view(2, 4, 3, 3), padding=1)
        whole = F.conv2d(h, conv.weight, conv.bias, padding=1) + 0.5 * F.conv2d(
            thin, conv.up.view(6, 2, 1, 1)
        )
        torch.testing.assert_close(conv(h), whole)
        faster = Faster(model, x, torch.float32)
        assert faster.follows(x)
        torch.testing.assert_close(faster.network(x), unmerged, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model(x), unmerged)
    assert {type(m) for m in model.modules() if hasattr(m, "weight")} <= {
        nn.Conv2d,
        nn.Linear,
        nn.BatchNorm2d,
    }
    assert merged(inside, 0.5).keys() == state.keys()
    for name, tensor in merged(inside, 0.5).items():
        torch.testing.assert_close(tensor, model.state_dict()[name])


def test_only_the_updates_train():
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)
    model = sr.build_model("resnet8", 3, 0.25, image_size=8)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = sr.harden(
        model, images, "lora", rank=1, threat=sr.Linf(4 / 255), epochs=2, learning_rate=0.1, batch_size=20
    )
    assert [parameter.requires_grad for parameter in model.parameters()] == flags and not any(
        "up" in n for n in trained.best
    )
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, start[name])}
    layers = sr.layer_map(model, x[:1])
    assert moved == {f"{layer.name}.weight" for layer in layers}
    for name in moved:
        difference = (model.state_dict()[name] - start[name]).flatten(1)
        assert int(torch.linalg.matrix_rank(difference, rtol=1e-3)) == 1
    expected = sum(len(model.get_parameter(n)) + model.get_parameter(n)[0].numel() for n in moved)
    assert trained.logs[0].trained_parameters == expected
    for name, tensor in trained.best.items():  # without validation the last epoch is the best
        torch.testing.assert_close(tensor, model.state_dict()[name])


def test_updates_of_chosen_layers():
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, torch.arange(40) % 3)
    model = sr.build_model("resnet8", 3, 0.25, image_size=8)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sr.harden(
        model,
        images,
        LoRA(rank=2, choice=LayerChoice(layers=[3, 5])),
        threat=sr.Linf(4 / 255),
        epochs=1,
        batch_size=20,
    )
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, start[name])}
    layers = sr.layer_map(model, x[:1])
    assert moved == {f"{layers.at(i).name}.weight" for i in (3, 5)}
    chosen = sr.harden(
        copy.deepcopy(model),
        images,
        LoRA(choice=LayerChoice(k=2, every=0, examples=20)),
        threat=sr.Linf(4 / 255),
        epochs=1,
        batch_size=20,
    )
    assert len(chosen.logs[0].layers) == 2


def test_an_interrupted_run_goes_on(tmp_path):
    from semirobust.attacks.pgd import PGD
    from semirobust.procedures.harden import carry_out, planned

    x = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images, start = (
        sr.images_from_tensors(x, torch.arange(30) % 3),
        sr.build_model("resnet8", 3, 0.25, image_size=8),
    )
    losses = []
    for parts in ((3,), (1, 3)):
        for epochs in parts:
            model = copy.deepcopy(start)
            attack = PGD(sr.Linf(4 / 255), steps=2)
            base = sr.Training(attack=attack, epochs=epochs, batch_size=10, schedule="constant")
            training, plan = planned(model, images, LoRA(rank=1), base)
            file = tmp_path / f"{len(parts)}.safetensors"
            trained = carry_out(training, plan, model, images, seed=0, state_file=file)
        losses.append([log.loss for log in trained.logs])
    assert losses[0] == losses[1] and len(losses[0]) == 3


def test_what_lora_refuses():
    model = SmallResidual()
    with (
        pytest.raises(InputError, match="rank: expected at least 1"),
        low_rank(model, [], 0, 1.0, as_seed(0)),
    ):
        pass
    with (
        pytest.raises(InputError, match="expected a plain convolution or linear"),
        low_rank(model, ["bn1"], 1, 1.0, as_seed(0)),
    ):
        pass
    images = sr.images_from_tensors(torch.rand(6, 3, 8, 8), torch.arange(6) % 3)
    for method in (LoRA(rank=0), LoRA(scale=0.0), LoRA(choice=LayerChoice(every=2))):
        with pytest.raises(InputError):
            sr.harden(model, images, method, threat=sr.Linf(0.1), epochs=1)


def test_the_branch_trains_on_clean_images_and_the_network_on_adversarial_ones():
    """AutoLoRA against its loss written out, with the gradient of each part masked as its code does."""
    torch.manual_seed(0)
    model, x, y = SmallResidual().eval(), torch.rand(6, 3, 8, 8), torch.arange(6) % 3
    x_adv = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    names, layers, keys = _names(model), sr.layer_map(model, x), list(model.state_dict())
    before = model(x).detach()
    with branch(model, names[:-1], 2, as_seed(0)):
        for module in model.modules():
            if hasattr(module, "up"):
                nn.init.normal_(module.up, std=0.1)
        torch.testing.assert_close(model(x), before)  # the branch is off
        with on_branch(model):
            nat = model(x)
        assert not torch.allclose(nat, before, atol=1e-3)
        model.zero_grad()
        AutoLoRA(3.0).outer(Step(model, layers, x, y, (1,)), x_adv).backward()
        found = {name: p.grad.clone() for name, p in model.named_parameters()}
        plain = copy.deepcopy(model)
        p = float((nat.argmax(1) == y).float().mean())
        parts = {}
        for part in ("nat", "adv"):  # the gradient of the whole loss through one of the two passes
            plain.zero_grad()
            with on_branch(plain):
                clean = plain(x) if part == "nat" else nat.detach()
            moved = plain(x_adv) if part == "adv" else model(x_adv).detach()
            kl = (clean.softmax(1) * (clean.log_softmax(1) - moved.log_softmax(1))).sum(1).mean()
            ((1 - p) * F.cross_entropy(clean, y) + p * F.cross_entropy(moved, y) + 3.0 * p * kl).backward()
            parts[part] = {name: q.grad for name, q in plain.named_parameters() if q.grad is not None}
            parts[part] = {name: slope.clone() for name, slope in parts[part].items()}
        for name, slope in found.items():
            masked = [part[name] for key, part in parts.items() if name in part]
            torch.testing.assert_close(slope, sum(masked), rtol=1e-4, atol=1e-6)
        for name in (f"{n}.weight" for n in names[:-1]):  # no clean image moves a weight that has an update
            assert name not in parts["nat"] or not parts["nat"][name].any()
            assert not parts["adv"].get(name.replace("weight", "up"), torch.zeros(1)).any()
        assert list(without_branch(model.state_dict())) == keys
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(model(x), before)


def test_hardening_by_autolora():
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)
    model = sr.build_model("resnet8", 3, 0.25, image_size=8)
    keys = list(model.state_dict())
    trained = sr.harden(model, images, "autolora", rank=2, threat=sr.Linf(4 / 255), epochs=2, batch_size=20)
    assert len(trained.logs) == 2 and list(trained.best) == keys == list(model.state_dict())

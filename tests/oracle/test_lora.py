"""Low-rank updates: merged equals unmerged, nothing else moves, and the network keeps its build."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.adapters.low_rank import low_rank, merged
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.fast.copy import Faster
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.lora import LoRA
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

"""Chosen layers of which the weight matrices alone train: the counts of the CLAT paper, and what moves."""

import pytest
import torch

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.clat import CriticalFineTuning
from semirobust.methods.lora import LoRA


@pytest.mark.parametrize(
    ("name", "layers", "weights", "share"),
    [
        # Table 9: 590K of 11.2M (5.2 %), and 823K of 23.7M (3.4 %).
        ("resnet18", [11], 589_824, 0.053),
        ("resnet50", [3, 34, 41], 823_296, 0.035),
        # Table 8's own layers, which table 9 says are 3.4, 3.1 and 2.7 %.
        ("resnet50", [34, 41, 48], 3_145_728, 0.134),
        ("densenet121", [39, 14, 1, 3, 88], 726_720, 0.104),
        ("wrn_34_10", [26, 1], 3_686_832, 0.080),
    ],
)
def test_counts_of_tables_8_and_9(name, layers, weights, share):
    model = sr.build_model(name, 10)
    with sr.only_trainable(model, sr.layer_map(model, torch.rand(1, 3, 32, 32)), layers, part="weights"):
        found = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert found == weights
    assert found / sum(p.numel() for p in model.parameters()) == pytest.approx(share, abs=5e-4)
    assert all(p.requires_grad for p in model.parameters())


def _images():
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)


def _validate(model, seed):
    return {"clean": 0.5, "robust": 0.5}


@pytest.mark.parametrize("method", ["clat", "selected", "rift"])
def test_nothing_but_the_weight_moves(method):
    """Layer 5 of a ResNet-8 has a norm and the projection of a shortcut beside its weight."""
    for trains in ("layer", "weights"):
        model = sr.build_model("resnet8", 3, 0.25, image_size=8)
        layer = sr.layer_map(model, torch.rand(1, 3, 8, 8)).at(5)
        start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        trained = sr.harden(
            model, _images(), method, layers=[5], trains=trains, threat=sr.Linf(4 / 255), epochs=2,
            learning_rate=0.1, batch_size=20, validate=_validate,
        )  # fmt: skip
        moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, start[name])}
        if trains == "weights":
            assert moved == {f"{layer.name}.weight"} == set(layer.weights)
            assert trained.logs[0].trained_parameters == model.get_parameter(*moved).numel()
        else:
            assert moved > {f"{layer.name}.weight"} and any("running_mean" in name for name in moved)
            assert len(layer.parameters) == 6


def test_a_layer_whose_weight_cannot_train_is_passed():
    model = sr.build_model("resnet8", 3, 0.25, image_size=8)
    layers = sr.layer_map(model, torch.rand(1, 3, 8, 8))
    for layer in (layer for layer in layers[:-1] if layer.index != 3):
        model.get_parameter(f"{layer.name}.weight").requires_grad_(False)
    trained = sr.harden(
        model, _images(), CriticalFineTuning(LayerChoice(k=1, examples=20, trains="weights")),
        threat=sr.Linf(4 / 255), epochs=1, batch_size=20,
    )  # fmt: skip
    assert trained.logs[0].layers == (3,)


def test_what_is_refused():
    model, given = sr.build_model("resnet8", 3, 0.25, image_size=8), {"threat": sr.Linf(0.1), "epochs": 1}
    with pytest.raises(InputError, match="trains: expected layer, since an update is of weights"):
        sr.harden(model, _images(), LoRA(choice=LayerChoice(layers=[2], trains="weights")), **given)
    with pytest.raises(InputError, match="trains: expected layer, .* weights or biases, got 'norms'"):
        sr.harden(model, _images(), CriticalFineTuning(LayerChoice(layers=[2], trains="norms")), **given)

"""What stays still where layers are frozen, against batch statistics taken by hand."""

import pytest
import torch
from torch import nn

import semirobust as sr


class Block(nn.Module):
    """A container with a buffer of its own around a convolution and its norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, momentum=0.5)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("scale", torch.tensor(2.0))
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        return self.drop(self.norm(self.conv(x * self.scale)).relu())


class Buffered(nn.Module):
    """A root with a buffer, which belongs to the first layer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))
        self.stem, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.5)
        self.block, self.head = Block(), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.block(self.norm(self.stem(x - self.mean)).relu()).mean((2, 3)))


def _made():
    torch.manual_seed(0)
    model, x = Buffered().eval(), torch.rand(8, 3, 5, 5)
    layers = sr.layer_map(model, x)
    model.block.modes.clear()
    return model, x, layers


def test_a_frozen_container_lets_its_chosen_layer_train():
    """With momentum 1/2 the mean of a norm is half way from 0 to that of its input in this batch."""
    model, x, layers = _made()
    assert "" in layers.at(1).modules and "block" in layers.at(2).modules
    with torch.no_grad():
        given = model.block.conv(2 * model.norm(model.stem(x - 0.5)).relu())
    with sr.only_trainable(model, layers, [2]):
        model.train()
        model(x)
        assert not model.training and not model.norm.training and model.block.drop.training
        assert torch.equal(model.norm.running_mean, torch.zeros(4))
        model.eval()
        assert not any(module.training for module in model.modules())
    torch.testing.assert_close(model.block.norm.running_mean, given.mean((0, 2, 3)) / 2)
    assert "train" not in model.__dict__ and model.train().training


def test_a_frozen_container_itself_stays_in_eval_also_where_freezing_is_nested():
    model, x, layers = _made()
    with sr.frozen(model, layers, [2]), sr.only_trainable(model, layers, [1]):
        model.train()
        model(x)
        assert model.training and model.norm.training
        assert not model.block.norm.training and model.block.drop.training
    assert model.block.modes == [False]
    assert torch.equal(model.block.norm.running_mean, torch.zeros(4))
    assert not torch.equal(model.norm.running_mean, torch.zeros(4))


def test_a_train_method_of_a_container_is_still_called():
    model, _, layers = _made()
    own = type(model).train
    try:
        type(model).train = lambda self, mode=True: (nn.Module.train(self, mode), self.block.eval())[0]
        with sr.only_trainable(model, layers, [2, 3]):
            model.train()
            assert model.head.training and not model.block.norm.training
    finally:
        type(model).train = own


@pytest.mark.parametrize("part", ["layer", "weights"])
def test_statistics_of_a_chosen_layer_move_with_it_alone(part):
    model, x, _ = _made()
    images = sr.images_from_tensors(x, torch.arange(8) % 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sr.harden(model, images, "selected", layers=[2], trains=part, threat=sr.Linf(0.03), epochs=1)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    statistics = {f"block.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert {name for name in moved if "running" in name or "num" in name} == (
        statistics if part == "layer" else set()
    )
    assert all(name.startswith("block.") for name in moved)

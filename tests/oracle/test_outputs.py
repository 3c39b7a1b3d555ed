"""Networks that return something else than one tensor of logits."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.outputs import logits_of, notes, noting


class Heads(NamedTuple):
    logits: Tensor
    aux: Tensor | None


@dataclass
class Answer:
    loss: None
    logits: Tensor


class Fields(OrderedDict):
    """Entries that are attributes too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


Z, OTHER, FEATURE = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 7)


@pytest.mark.parametrize(
    "output",
    [
        Z,
        {"logits": Z, "hidden": FEATURE},
        Fields(loss=None, logits=Z),
        Answer(None, Z),
        Heads(Z, None),
        Heads(Z, OTHER),
        (Z, torch.rand(4, 3, 8, 8)),
        (torch.rand(4, 3, 8, 8), Z),
        [Z, FEATURE],
        (Z, Z.softmax(1)),
        (Fields(logits=Z), torch.rand(4, 3, 8, 8)),
    ],
    ids=lambda output: type(output).__name__,
)
def test_logits_are_found(output):
    assert logits_of(output) is Z


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"score": Z, "deep": FEATURE}, r"dict with score \(4, 3\), deep \(4, 7\).*output='score'\)"),
        ((Z, OTHER), r"tuple with 0 \(4, 3\), 1 \(4, 3\).*output=0\) or output=1"),
        ([Z, OTHER, FEATURE.double(), OTHER], "output=0.* or output=3"),
        (None, "got NoneType"),
        ((), r"got tuple.*as_classifier\(model"),
        ("logits", "got str"),
    ],
)
def test_what_cannot_be_told_is_refused_with_a_remedy(output, said):
    with pytest.raises(InputError, match=said):
        logits_of(output)


def test_heads_of_train_mode_are_noted_once():
    with noting():
        for _ in range(2):
            assert logits_of((Z, OTHER), training=True) is Z
            assert logits_of(Heads(Z, OTHER)) is Z
        (first, second) = notes()
    assert "main head" in first and "aux are left out" in second
    assert notes() == ()


class Auxiliary(nn.Module):
    """A second head that runs while the network trains."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.aux = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.aux_head = nn.Linear(4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = self.stem(x)
        logits = self.head(h.mean((2, 3)))
        return Heads(logits, self.aux_head(self.aux(h))) if self.training else logits


def test_statistics_that_belong_to_no_layer_stay_while_some_layers_train():
    net, x = Auxiliary().eval(), torch.rand(4, 3, 8, 8)
    layers, before = sr.layer_map(net, x), net.aux[1].running_mean.clone()
    with sr.only_trainable(net, layers, [1]):
        net.train()
        net(x)
        assert net.stem[1].training
    assert torch.equal(net.aux[1].running_mean, before)
    assert not torch.equal(net.stem[1].running_mean, torch.zeros(4))

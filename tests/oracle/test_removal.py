"""Channels are removed from networks of any structure: what is left computes what zeros in their place would,
layers that must keep their widths are named, and nothing else is touched.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.layers.macs import macs_by_module
from semirobust.pruning.channels import Channels
from semirobust.pruning.resize import resized
from tests.helpers import untouched

pytest.importorskip("torch_pruning")


class _Wrapped(nn.Module):
    """A stem, a body of the same width, and a classifier."""

    def __init__(self, body, width=16, out=16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = body
        self.head = nn.Linear(out, 4)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class _Shuffle(nn.Module):
    """Halves of the channels, one of which goes through convolutions; then the halves take turns."""

    def __init__(self, width=16):
        super().__init__()
        half = width // 2
        self.a, self.n1 = nn.Conv2d(half, 24, 1), nn.BatchNorm2d(24)
        self.b, self.n2 = nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.BatchNorm2d(24)
        self.c = nn.Conv2d(24, half, 1)

    def forward(self, x):
        left, right = x.chunk(2, 1)
        right = self.c(self.n2(self.b(F.relu(self.n1(self.a(right))))))
        y = torch.cat([left, right], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class _Gated(nn.Module):
    """A gated linear unit: one convolution makes values and gates."""

    def __init__(self, width=16):
        super().__init__()
        self.both, self.out = nn.Conv2d(width, 48, 1), nn.Conv2d(24, width, 3, padding=1)

    def forward(self, x):
        value, gate = self.both(x).chunk(2, 1)
        return x + self.out(value * torch.sigmoid(gate))


class _Squeeze(nn.Module):
    """Squeeze and excite."""

    def __init__(self, width=16):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.down, self.up = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1)
        self.out = nn.Conv2d(24, width, 1)

    def forward(self, x):
        y = F.relu(self.norm(self.conv(x)))
        scale = torch.sigmoid(self.up(F.relu(self.down(y.mean((2, 3), keepdim=True)))))
        return x + self.out(y * scale)


class _Dense(nn.Module):
    """Two convolutions whose outputs stand beside their inputs."""

    def __init__(self, width=16):
        super().__init__()
        self.n1, self.a = nn.BatchNorm2d(width), nn.Conv2d(width, 8, 3, padding=1)
        self.n2, self.b = nn.BatchNorm2d(width + 8), nn.Conv2d(width + 8, 8, 3, padding=1)
        self.last = nn.Conv2d(width + 16, 16, 1)

    def forward(self, x):
        x = torch.cat([x, self.a(F.relu(self.n1(x)))], 1)
        return self.last(torch.cat([x, self.b(F.relu(self.n2(x)))], 1))


class _Grouped(nn.Module):
    """A grouped convolution and a group norm."""

    def __init__(self, width=16):
        super().__init__()
        self.a, self.n1 = nn.Conv2d(width, 32, 1), nn.GroupNorm(4, 32)
        self.b, self.n2 = nn.Conv2d(32, 32, 3, padding=1, groups=4), nn.GroupNorm(8, 32)
        self.c = nn.Conv2d(32, width, 1)

    def forward(self, x):
        return x + self.c(F.relu(self.n2(self.b(F.relu(self.n1(self.a(x)))))))


class _Up(nn.Module):
    """A transposed convolution between two others."""

    def __init__(self, width=16):
        super().__init__()
        self.a, self.up, self.b = (
            nn.Conv2d(width, 32, 3, padding=1),
            nn.ConvTranspose2d(32, 12, 2, stride=2),
            nn.Conv2d(12, 16, 3, padding=1),
        )

    def forward(self, x):
        return self.b(F.relu(self.up(F.relu(self.a(x)))))


class _Attention(nn.Module):
    """A block of a vision transformer on patches."""

    def __init__(self, size=16, heads=2):
        super().__init__()
        self.heads, self.size = heads, size
        self.norm1, self.qkv, self.proj = nn.LayerNorm(size), nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(size), nn.Linear(size, 128), nn.Linear(128, size)

    def forward(self, x):
        n, c, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)
        q, k, v = (
            self.qkv(self.norm1(x))
            .reshape(n, -1, 3, self.heads, self.size // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1, self.size)
        x = x + self.proj(y)
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return x.transpose(1, 2).reshape(n, c, h, w)


class _View(nn.Module):
    """A network that flattens to a number of features that it was told."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Conv2d(16, 8, 3),
        )
        self.head, self.width = nn.Linear(8, 4), 8

    def forward(self, x):
        x = F.relu(self.c(F.relu(self.b(F.relu(self.a(x))))))
        return self.head(F.avg_pool2d(x, 6).view(-1, self.width))


class _Recurrent(nn.Module):
    """Rows of features of convolutions, read one after the other."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.lstm, self.head = nn.LSTM(16, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, x):
        x = F.relu(self.b(F.relu(self.a(x)))).mean(3).transpose(1, 2)
        return self.head(self.lstm(x)[0][:, -1])


# Network, MACs to leave, and the layers that must keep their widths.
_NETWORKS = {
    "shuffle": (lambda: _Wrapped(_Shuffle()), 0.6, {"body.c"}),
    "gate": (lambda: _Wrapped(_Gated()), 0.5, set()),
    "squeeze": (lambda: _Wrapped(_Squeeze()), 0.5, set()),
    "dense": (lambda: _Wrapped(_Dense()), 0.5, set()),
    "groups": (lambda: _Wrapped(_Grouped()), 0.5, set()),
    "transposed": (lambda: _Wrapped(_Up()), 0.5, {"body.up"}),
    "attention": (lambda: _Wrapped(_Attention()), 0.6, {"body.qkv"}),
    "view": (_View, 0.5, {"c"}),
    "recurrent": (_Recurrent, 0.5, set()),
}


def _lively(make):
    """The network in eval mode, with norms that do something."""
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


def _images():
    x = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, torch.arange(8) % 4)


def _macs(model, x):
    return sum(macs_by_module(model, x[:1]).values())


@pytest.mark.parametrize("name", _NETWORKS)
def test_networks_of_any_structure_become_smaller_and_say_which_layers_did_not(name):
    make, macs, fixed = _NETWORKS[name]
    model, images, kept = _lively(make), _images(), {}
    x = images.all()[0]
    with untouched(model):
        small = Channels(macs=macs, steps=12)(model, images, on_kept=kept.update)
    assert _macs(small, x) <= macs * _macs(model, x)
    assert set(kept) == fixed and all(kept.values())
    back = resized(_lively(make), small.state_dict()).eval()
    assert torch.equal(back(x), small(x))
    F.cross_entropy(small.train()(x), images.all()[1]).backward()


@pytest.mark.parametrize("name", sorted(_NETWORKS.keys() - {"groups", "attention"}))
def test_the_logits_are_those_of_zeros_in_place_of_what_went(name):
    """A weight that is still there is known by its value; norms over channels see fewer, so these are left out."""
    make, macs, _ = _NETWORKS[name]
    model, images = _lively(make), _images()
    small = Channels(macs=macs, steps=12)(model, images)
    left = dict(small.named_parameters())
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter *= torch.isin(parameter, left[key])
    x = images.all()[0]
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)


def test_hidden_units_that_do_nothing_go_first_behind_norms_too():
    model, images = _lively(lambda: _Wrapped(_Attention())), _images()
    x = images.all()[0]
    with torch.no_grad():
        for parameter in (model.body.fc1.weight, model.body.fc1.bias):
            parameter[32:] = 0
        model.body.fc2.weight[:, 32:] = 0
    small = Channels(macs=0.75, steps=100)(model, images)
    assert small.body.fc1.out_features < 128
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)


def test_frozen_networks_lose_channels_and_stay_frozen():
    model = _lively(lambda: _Wrapped(_Squeeze())).requires_grad_(False)
    model.head.weight.requires_grad_(True)
    small = Channels(macs=0.5, steps=12)(model, _images())
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in model.parameters()]


class _WithSecondHead(nn.Module):
    """A classifier in the middle, which only training asks."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 24, 3)
        self.middle, self.head = nn.Linear(16, 4), nn.Linear(24, 4)

    def forward(self, x):
        x = F.relu(self.b(F.relu(self.a(x))))
        logits = self.head(F.relu(self.c(x)).mean((2, 3)))
        return (logits, self.middle(x.mean((2, 3)))) if self.training else logits


def test_a_second_head_of_training_loses_the_inputs_that_went():
    model = _lively(_WithSecondHead)
    with torch.no_grad():
        model.b.weight[:8] *= 0.001
    small = Channels(macs=0.7, steps=12)(model, _images())
    assert small.middle.in_features == small.b.out_channels < 16 and small.middle.out_features == 4
    assert [len(logits[0]) for logits in small.train()(_images().all()[0])] == [4, 4]


def test_weights_that_are_shared_or_computed_stay_as_they_are_and_others_go():
    def make():
        a, b, c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        d, e = nn.Conv2d(16, 24, 1), nn.utils.parametrizations.weight_norm(nn.Conv2d(24, 16, 1))
        f, g = nn.Conv2d(16, 24, 1), nn.Conv2d(24, 8, 1)
        c.weight = b.weight
        parts = [m for layer in (a, b, c, d, e, f, g) for m in (layer, nn.ReLU())]
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

    torch.manual_seed(0)
    model, kept = make().eval(), {}
    small = Channels(macs=0.93, steps=12)(model, _images(), on_kept=kept.update)
    assert {"2.weight and 4.weight are one tensor", "8.weight is no parameter of its own"} <= set(
        kept.values()
    )
    assert small[2].weight is small[4].weight and small[10].out_channels < 24


def test_what_cannot_be_removed_is_said_in_one_sentence_with_the_way_out():
    model = _lively(lambda: _Wrapped(_Up()))
    with pytest.raises(
        InputError, match=r"cannot be reached; \d+% are left .*body\.up .*transposed.*single weights"
    ):
        Channels(macs=0.02, steps=4)(model, _images())

    class Told(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 8), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.conv(x).view(-1, 8))

    with pytest.raises(
        InputError, match=r"cannot be removed \(conv \(.*fewer channels.*single weights"
    ) as raised:
        Channels()(_lively(Told), _images())
    assert "\n" not in str(raised.value)

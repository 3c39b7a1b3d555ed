"""Networks that send images to different parts."""

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.errors import InputError

X = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.1
SENTENCE = "expected a feature of each of the 8 examples, got {} rows"


class _Experts(nn.Module):
    """Bright images go to one expert and the others to another, beside a shortcut."""

    def __init__(self, threshold=0.5):
        super().__init__()
        self.threshold = threshold
        torch.manual_seed(1)
        self.stem, self.head = nn.Conv2d(3, 4, 2, 2), nn.Linear(4, 3)
        self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x):
        h = self.stem(x).relu().mean((2, 3))
        chosen = (x.mean((1, 2, 3)) > self.threshold).long()
        out = h.clone()
        for number, expert in enumerate(self.experts):
            rows = chosen == number
            if rows.any():
                out[rows] = h[rows] + expert(h[rows])
        return self.head(out.relu())


def _bright(*rows):
    x = X.clone()
    x[list(rows)] += 0.8
    return x


@pytest.mark.parametrize("bright", [(4, 5, 6, 7), (3, 4, 5, 6, 7)])
def test_features_of_some_of_the_images_are_refused(bright):
    model, x, y = _Experts().eval(), _bright(*bright), torch.arange(8) % 3
    layers = sr.layer_map(model, X + 0.8)  # both of its examples go to one expert
    assert [layer.name for layer in layers] == ["stem", "experts.1", "head"]
    match = SENTENCE.format(len(bright))
    attack = {"threat": sr.Linf(0.02), "layers": layers}
    with pytest.raises(InputError, match=match):
        sr.forward_to(model, layers, x, 1)
    with pytest.raises(InputError, match=match):
        sr.forward_to(model, layers, x, 2, at="conv")
    with pytest.raises(InputError, match=match):
        sr.criticality(model, x, y, **attack)
    prefix, _ = sr.split(model, layers, 1)
    with pytest.raises(InputError, match=match):
        prefix(x)


def test_where_all_images_take_one_way_features_are_those_by_hand():
    model = _Experts().eval()
    layers = sr.layer_map(model, X + 0.8)
    x = _bright(*range(8))
    h = model.stem(x).relu().mean((2, 3))
    found = sr.forward_to(model, layers, x, (1, 2))
    torch.testing.assert_close(found[1], h)
    torch.testing.assert_close(found[2], (h + model.experts[1](h)).relu())


def test_without_the_experts_the_map_has_true_features():
    model, x, y = _Experts().eval(), _bright(4, 5, 6), torch.arange(8) % 3
    layers = sr.layer_map(model, x, filter="stem|head")
    seen = []
    handle = model.head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(x)
    handle.remove()
    torch.testing.assert_close(sr.forward_to(model, layers, x, 1)[1], seen[0])
    assert sr.criticality(model, x, y, threat=sr.Linf(0.02), layers=layers).weakness.shape == (2,)


def test_two_examples_that_take_different_ways_tell_the_map():
    """The second example of a layer map is the first one, paler: 0.35 becomes 0.425."""
    layers = sr.layer_map(_Experts(threshold=0.4).eval(), torch.full((1, 3, 8, 8), 0.35))
    assert "experts.0" not in [layer.name for layer in layers]
    assert any("divided into examples" in note and "experts.0" in note for note in layers.notes)

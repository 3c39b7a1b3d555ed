"""Updates of weights that act at more than one place."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.errors import InputError
from semirobust.testing.base.network import small_images

THREAT = sr.Linf(0.05)


class _Twice(nn.Module):
    """Two linear layers in the middle: apart, tied by their weight, or one under two names."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 6, 2, 2)
        self.middle = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.head = nn.Linear(6, 3)
        self.how = how
        if how == "tied":
            self.middle[1].weight = self.middle[0].weight
        if how == "names":
            self.middle[1] = self.middle[0]

    def forward(self, x):
        h = self.stem(x).mean((2, 3))
        h = self.middle[0](h.relu())
        if self.how == "function":
            return self.head(F.linear(h.relu(), self.middle[0].weight))
        return self.head(self.middle[1](h.relu()))


def _trained(how, method, **settings):
    """The network that is left, its best weights, and the logits of the one that was validated last."""
    pytest.importorskip("peft") if method == "peft" else None
    (x, y), seen = small_images(16, 3).all(), []
    model = _Twice(how).eval()

    def validate(network, *args, **more):
        with torch.no_grad():
            seen.append(network(x).clone())
        return {"clean": 0.0, "robust": float(len(seen))}

    run = sr.harden(
        model, (x, y), method, threat=THREAT, epochs=3, learning_rate=0.5, validate=validate, **settings
    )
    return model.eval(), run.best, seen[-1], x


METHODS = [("lora", {"rank": 2, "scale": 2.0}), ("peft", {"rank": 2, "alpha": 8.0})]


@pytest.mark.parametrize(("method", "settings"), METHODS)
@pytest.mark.parametrize("how", ["apart", "names"])
def test_the_network_that_was_trained_is_left(method, settings, how):
    model, best, logits, x = _trained(how, method, **settings)
    torch.testing.assert_close(model(x), logits, rtol=0, atol=1e-6)
    model.load_state_dict(best)
    torch.testing.assert_close(model(x), logits, rtol=0, atol=1e-6)
    start = _Twice(how).state_dict()
    moved = {name for name, tensor in best.items() if not torch.equal(tensor, start[name])}
    assert {"middle.0.weight", "middle.1.weight"} <= moved and "head.bias" not in moved


@pytest.mark.parametrize(("method", "settings"), [*METHODS, ("autolora", {"automatic_rate": False})])
@pytest.mark.parametrize("how", ["tied", "function"])
def test_an_update_that_would_not_act_everywhere_is_refused(method, settings, how):
    if method == "peft":
        settings = {**settings, "layers": [2]}
    with pytest.raises(InputError, match="middle.0: expected a weight that acts in its own module alone"):
        _trained(how, method, **settings)


class _Functional(nn.Module):
    """The weight of a convolution, which a function takes."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(F.conv2d(x, self.first.weight, self.first.bias).relu().mean((2, 3)))


def test_convlora_refuses_a_convolution_whose_weight_a_function_takes():
    with pytest.raises(InputError, match="first: expected a weight that acts in its own module alone"):
        sr.harden(_Functional(), small_images(), "convlora", threat=THREAT, epochs=1)

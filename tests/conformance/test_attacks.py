"""What every registered attack must do, on odd batch sizes and for every norm."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.attacks import ATTACKS
from semirobust.core.errors import InputError
from semirobust.threats import NORMS, AbstractBall
from semirobust.threats.base.ball import per_example
from tests.helpers import SmallResidual

EVERY = pytest.mark.parametrize("name", ATTACKS.names())
EVERY_NORM = pytest.mark.parametrize("norm", NORMS.names())


QUICK = {
    "stadv": {"steps": 20},
    "pixle": {"rounds": 3, "tries": 4, "largest": 3},
    "apgd": {"steps": 20},
    "fab": {"steps": 10, "targets": 2},
    "square": {"queries": 60},
    "autoattack": {"steps": 5, "queries": 30},
    "latent": {"rounds": 2, "steps": 8, "feature_steps": 5, "step_size": 0.02},
}
MINIMISERS = {"fab", "autoattack"}  # they give back x where they cannot fool
FREE = {"stadv", "pixle"}  # bound by no norm


def _attack(name, norm, epsilon=0.05):
    return ATTACKS.make(name, QUICK.get(name), threat=NORMS.make(norm, {"epsilon": epsilon}))


def _model() -> nn.Module:
    torch.manual_seed(1)
    model = SmallResidual().eval()
    for p in model.parameters():
        p.requires_grad_(p.dim() > 1)  # a mixture that must come back
    return model


@EVERY
@EVERY_NORM
def test_raises_the_loss_of_most_examples(name, norm):
    if name in MINIMISERS:
        return
    if name == "pixle" and norm != "linf":
        return
    torch.manual_seed(4)
    model = _model()
    x = torch.rand(40, 3, 5, 5)
    y = model(x).argmax(1).detach()
    loss = nn.CrossEntropyLoss(reduction="none")
    x_adv = _attack(name, norm, 0.1)(model, x, y)
    assert float((loss(model(x_adv), y) > loss(model(x), y)).float().mean()) > 0.9


BAD = {
    "pixels above 1": (lambda x, y: (x * 255, y), r"x: expected pixels in \[0, 1\], got values from"),
    "nan": (lambda x, y: (x * float("nan"), y), "x: expected finite values"),
    "bytes": (lambda x, y: ((x * 255).byte(), y), "x: expected floating-point"),
    "no batch": (lambda x, y: (x[:0], y[:0]), "x: expected a batch"),
    "float labels": (lambda x, y: (x, y.float()), "y: expected integer labels"),
    "too few labels": (lambda x, y: (x, y[:2]), "y: expected 3 labels"),
    "negative labels": (lambda x, y: (x, y - 1), "y: expected labels from 0"),
    "labels too high": (lambda x, y: (x, y + 9), "y: expected labels from 0 to 2"),
    "not a tensor": (lambda x, y: (x.tolist(), y), "x: expected a torch.Tensor, got list"),
}


@EVERY
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(name, case):
    spoil, message = BAD[case]
    x, y = spoil(torch.rand(3, 3, 5, 5), torch.tensor([0, 1, 2]))
    with pytest.raises(InputError, match=message) as caught:
        _attack(name, "linf")(_model(), x, y)
    assert "\n" not in str(caught.value)


@EVERY
def test_bad_models_are_one_sentence(name):
    x, y = torch.rand(3, 3, 5, 5), torch.tensor([0, 1, 2])
    attack = _attack(name, "linf")
    with pytest.raises(InputError, match=r"eval mode, but bn1 \(BatchNorm2d\) is in train mode"):
        attack(_model().train(), x, y)
    with pytest.raises(InputError, match="got probabilities"):
        attack(nn.Sequential(_model(), nn.Softmax(1)).eval(), x, y)
    with pytest.raises(InputError, match="expected logits of shape"):
        attack(nn.Flatten(0), x, y)


@dataclass(frozen=True)
class _Ellipsoid(AbstractBall):
    """A norm that no attack knows: ||delta / axes||_2, the first channel counting double."""

    @property
    def norm(self):
        return "ellipsoid"

    def _axes(self, like):
        axes = torch.ones_like(like)
        axes[:, 0] = 0.5
        return axes

    def size(self, delta):
        return (delta / self._axes(delta)).flatten(1).norm(dim=1)

    def dual(self, gradient):
        return (gradient * self._axes(gradient)).flatten(1).norm(dim=1)

    def project_ball(self, delta):  # towards the centre, which is enough here
        return delta * per_example((self.epsilon / self.size(delta).clamp_min(1e-12)).clamp_max(1), delta)

    def steepest(self, gradient):
        axes = self._axes(gradient)
        return gradient * axes**2 / per_example(self.dual(gradient).clamp_min(1e-12), gradient)

    def to_hyperplane(self, t, w, c):
        return self.steepest(w) * per_example(c / self.dual(w).clamp_min(1e-12), w)

    def sample(self, x, seed):
        noise = torch.randn(x.shape, generator=seed.generator(x.device))
        return self.project_ball(noise)


@EVERY
def test_a_ball_of_another_norm_is_attacked_as_it_says_or_refused(name):
    """Never taken for one of the norms there are: squares are made for these alone."""
    if name in FREE:
        return
    threat, x, y = _Ellipsoid(0.5), torch.rand(9, 3, 5, 5), torch.arange(9) % 3
    if name in ("square", "autoattack"):
        with pytest.raises(InputError, match="threat: expected a ball of the l-infinity, l2 or l1 norm"):
            ATTACKS.make(name, QUICK.get(name), threat=threat)
        return
    attack = ATTACKS.make(name, QUICK.get(name), threat=threat)
    model = _model()
    x_adv = attack(model, x, y)
    assert threat.contains(x, x_adv).all()
    assert name in MINIMISERS or not torch.equal(x_adv, x)


@EVERY_NORM
def test_the_whole_ball_allows_everything(norm):
    x, other = torch.zeros(2, 3, 5, 5), torch.ones(2, 3, 5, 5)
    ball = NORMS.make(norm, {"epsilon": 0.1})
    radius = ball.whole(x)
    assert ball.resized(radius).contains(x, other).all()
    assert not ball.resized(0.99 * radius).contains(x, other).any()


def test_bad_settings_are_one_sentence():
    with pytest.raises(InputError, match="epsilon: expected a finite number"):
        sr.Linf(-1)
    with pytest.raises(InputError, match="steps and restarts"):
        sr.PGD(sr.Linf(0.1), steps=0)
    with pytest.raises(InputError, match="step_size"):
        sr.PGD(sr.Linf(0.1), step_size=0)
    with pytest.raises(InputError, match="restarts"):
        sr.PGD(sr.Linf(0.1), restarts=2, random_start=False)
    with pytest.raises(InputError, match="attack: expected one of .*; got 'nope'"):
        ATTACKS.make("nope", threat=sr.Linf(0.1))
    with pytest.raises(InputError, match="unknown option 'size'"):
        ATTACKS.make("pgd", {"size": 3}, threat=sr.Linf(0.1))
    with pytest.raises(InputError, match="option 'steps'"):
        ATTACKS.make("pgd", {"steps": "many"}, threat=sr.Linf(0.1))
    assert ATTACKS.make("pgd-20x3", threat=sr.Linf(0.1)) == sr.PGD(sr.Linf(0.1), steps=20, restarts=3)

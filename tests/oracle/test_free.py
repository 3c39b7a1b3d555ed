"""Free adversarial training and Fast-AT's attack, against plain implementations of the papers' algorithms."""

import copy

import pytest
import torch
from torch.nn import functional as F

import semirobust as sr
from semirobust.attacks.fgsm_rs import RandomFGSM
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.objectives.adversarial import Adversarial
from semirobust.objectives.clat import CLAT
from semirobust.objectives.score import SCORE
from semirobust.objectives.trades import TRADES
from semirobust.training.hooks.free import Free
from semirobust.training.trainable import Fixed
from semirobust.training.training import Training


def _plain_free(model, batches, epsilon, replays, rate):
    """Shafahi et al. 2019, algorithm 1: a noise buffer, replays, one backward pass for weights and noise."""
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    noise = torch.zeros_like(batches[0][0])
    model.train()
    losses = []
    for x, y in batches:
        for _ in range(replays):
            delta = noise[: len(x)].clone().requires_grad_()
            loss = F.cross_entropy(model((x + delta).clamp(0, 1)), y)
            optimiser.zero_grad()
            loss.backward()
            noise[: len(x)] = (noise[: len(x)] + epsilon * delta.grad.sign()).clamp(-epsilon, epsilon)
            optimiser.step()
        losses.append(float(loss.detach()) * len(x))
    return sum(losses) / sum(len(x) for x, _ in batches)


def test_free_training_is_its_authors():
    x = 0.2 + 0.6 * torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)
    model = sr.build_model("resnet8", 3, 0.25, image_size=8)
    theirs = copy.deepcopy(model)
    attack = sr.PGD(sr.Linf(8 / 255), steps=1)  # its radius alone matters
    training = Training(
        objective=Adversarial(),
        attack=attack,
        epochs=1,
        batch_size=20,
        learning_rate=0.05,
        schedule="constant",
        hooks=(Free(replays=4),),
    )
    loss = training(model, images, seed=2).logs[0].loss
    order = list(images.batches(20, seed=as_seed(2) / "epoch" / 0 / "order"))
    other = _plain_free(theirs, [images.batch(rows) for rows in order], 8 / 255, 4, 0.05)
    assert loss == pytest.approx(other, rel=1e-3)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-2, atol=1e-3)


def test_free_training_goes_on_where_it_was(tmp_path):
    x = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, torch.arange(30) % 3)
    options = {
        "objective": Adversarial(),
        "attack": sr.PGD(sr.Linf(8 / 255)),
        "batch_size": 10,
        "hooks": (Free(replays=2),),
    }
    whole = Training(epochs=3, schedule="constant", **options)(
        sr.build_model("resnet8", 3, 0.125, image_size=8), images
    )
    part = Training(epochs=1, schedule="constant", **options)
    part(sr.build_model("resnet8", 3, 0.125, image_size=8), images, state_file=tmp_path / "s.safetensors")
    rest = Training(epochs=3, schedule="constant", **options)
    resumed = rest(
        sr.build_model("resnet8", 3, 0.125, image_size=8), images, state_file=tmp_path / "s.safetensors"
    )
    assert [log.loss for log in resumed.logs] == [log.loss for log in whole.logs]


def test_fast_training_steps_one_and_a_quarter_radii_from_a_random_point():
    """Wong et al. 2020, algorithm 3, written out."""
    torch.manual_seed(0)
    model = sr.build_model("resnet8", 3, 0.25, image_size=8)
    x, y, epsilon = torch.rand(6, 3, 8, 8), torch.arange(6) % 3, 8 / 255
    seed, threat = as_seed(4), sr.Linf(epsilon)
    start = threat.restrict(x, x + threat.sample(x, seed / 0)).requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(start), y, reduction="sum"), start)
    theirs = (start + 1.25 * epsilon * slope.sign()).detach()
    theirs = torch.minimum(torch.maximum(theirs, x - epsilon), x + epsilon).clamp(0, 1)
    torch.testing.assert_close(RandomFGSM(threat)(model, x, y, seed=4), theirs, rtol=0, atol=1e-6)


def test_what_free_training_refuses():
    with pytest.raises(InputError, match="free: expected an attack within a norm ball"):
        Training(objective=Adversarial(), hooks=(Free(),))
    with pytest.raises(InputError, match="replays: expected at least 1"):
        Training(objective=Adversarial(), attack=sr.PGD(sr.Linf(8 / 255)), hooks=(Free(replays=0),))
    with pytest.raises(InputError, match="factor: expected a positive number"):
        RandomFGSM(sr.Linf(8 / 255), factor=0)


@pytest.mark.parametrize("objective", [TRADES(), SCORE(), CLAT()])
def test_losses_that_are_flat_at_the_image_start_elsewhere(objective):
    x = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, torch.arange(20) % 3)
    seen = []

    class Watched(type(objective)):
        def outer(self, step, x_adv):
            seen.append(float((x_adv - step.x).detach().abs().max()))
            return super().outer(step, x_adv)

    options = {} if not isinstance(objective, CLAT) else {"trainable": Fixed((3,))}
    training = Training(
        objective=Watched(),
        attack=sr.PGD(sr.Linf(8 / 255)),
        epochs=2,
        batch_size=10,
        learning_rate=0.01,
        hooks=(Free(replays=2),),
        **options,
    )
    training(sr.build_model("resnet8", 3, 0.25, image_size=8), images)
    assert len(seen) == 8 and min(seen) > 0.5 * 8 / 255 and max(seen) <= 8 / 255 + 1e-6

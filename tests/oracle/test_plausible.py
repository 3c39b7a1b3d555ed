"""Clean accuracy that is not what a network is capable of is said, with the number and what mends it."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.evaluation.plausible import plausibility
from semirobust.models.normalisations import NORMALISATIONS
from tests.helpers import fingerprint
from tests.kinds import kind


class Nearest(nn.Module):
    """Answers with the class whose picture is nearest."""

    def __init__(self, pictures):
        super().__init__()
        self.pictures = nn.Parameter(pictures.flatten(1))

    def forward(self, x):
        return -(torch.cdist(x.flatten(1), self.pictures) ** 2)


def _images(n=120, classes=6, channels=3):
    """Pictures of each class in other colours, which noise leaves apart."""
    g = torch.Generator().manual_seed(0)
    means = (
        torch.rand(classes, channels, 4, 4, generator=g) * 0.3
        + torch.rand(classes, channels, 1, 1, generator=g) * 0.6
    )
    y = torch.arange(n) % classes
    x = (means[y] + 0.05 * torch.randn(n, channels, 4, 4, generator=g)).clamp(0, 1)
    return means, x, y


def _of_numpy():
    return np.random.get_state()[1].copy()  # noqa: NPY002


def _shaped(values):
    return torch.tensor(values).view(1, -1, 1, 1)


@pytest.fixture
def images():
    return _images()


@kind(
    "a network without the usual normalisation that it was trained behind",
    "`evaluate` says its clean accuracy as given and with it, and the flag that mends it",
    about="classes",
)
@pytest.mark.parametrize("name", ["imagenet", "cifar10", "cifar100", "half", "bytes"])
def test_a_forgotten_normalisation_is_found(name, images):
    means, x, y = images
    mean, std = NORMALISATIONS[name].on(3)
    network = Nearest((means - _shaped(mean)) / _shaped(std)).eval()
    (said,) = plausibility(network, x, y)
    before = float(sr.evaluate(network, x, y).clean.float().mean())
    assert f"clean accuracy is {before:.1%}, and 100.0% with" in said
    assert NORMALISATIONS[name].title in said and "--normalisation" in said
    assert said in sr.evaluate(network, x, y, sr.FGSM(sr.Linf(0.01))).notes
    assert plausibility(sr.Normalised(network, mean, std), x, y) == ()


@kind("the numbers of MNIST left out for grey images", "they are found", about="classes")
def test_a_forgotten_normalisation_of_grey_images():
    means, x, y = _images(channels=1)
    mean, std = NORMALISATIONS["mnist"].on(1)
    (said,) = plausibility(Nearest((means - mean[0]) / std[0]).eval(), x, y)
    assert "100.0% with" in said and "MNIST" in said


@kind(
    "a network that normalises otherwise than it was trained",
    "the right numbers in place of its own",
    about="classes",
)
def test_a_wrong_normalisation_is_replaced_and_not_put_on_top(images):
    means, x, y = images
    mean, std = NORMALISATIONS["half"].on(3)
    network = Nearest((means - _shaped(mean)) / _shaped(std)).eval()
    for wrong in (
        sr.Normalised(network, [3.0] * 3, [0.1] * 3),
        sr.as_classifier(network, mean=[3.0] * 3, std=[0.1] * 3),
    ):
        (said,) = plausibility(wrong.eval(), x, y)
        assert "100.0% with" in said and "mean 0.5 and deviation 0.5" in said
    (said,) = plausibility(sr.Normalised(Nearest(means), [3.0] * 3, [0.1] * 3).eval(), x, y)
    assert "with no normalisation" in said and "--normalisation none" in said


@kind("a network that takes blue, green, red", "said, with `--bgr`", about="classes")
def test_another_order_of_channels_is_found(images):
    means, x, y = images
    (said,) = plausibility(Nearest(means.flip(1)).eval(), x, y)
    assert "100.0% with blue, green, red" in said and "--bgr" in said


@kind(
    "labels in another order than the outputs",
    "said, with which label is which output; judged on other images than it was found on",
    about="classes",
)
def test_another_order_of_classes_is_found(images):
    means, x, y = images
    names = ["ant", "bee", "cow", "doe", "elk", "fox"]
    network = Nearest(means[[1, 0, 2, 3, 5, 4]]).eval()
    (said,) = plausibility(network, x, y, names)
    assert "and 100.0% with another order of the classes" in said
    assert (
        "ant as output 1, bee as output 0, elk as output 5, fox as output 4;" in said and "--classes" in said
    )
    shifted = Nearest(torch.cat([torch.full_like(means[:1], 5.0), means])).eval()
    assert "0 as output 1, 1 as output 2" in plausibility(shifted, x, y)[0]


@kind(
    "ten classes of a network of many outputs, numbered from 0",
    "said, with the outputs that it answers",
    about="classes",
)
def test_few_labels_that_are_other_outputs(images):
    means, x, y = images
    g = torch.Generator().manual_seed(1)
    network = Nearest(torch.cat([2 + torch.rand(40, 3, 4, 4, generator=g), means])).eval()
    assert "0 as output 40" in plausibility(network, x, y)[0]


@kind("random weights", "clean accuracy is said to be near chance", about="classes")
def test_near_chance(images):
    _, x, y = images
    torch.manual_seed(3)
    network = Nearest(torch.rand(6, 3, 4, 4)).eval()
    y = torch.randint(0, 6, y.shape, generator=torch.Generator().manual_seed(5))
    (said,) = plausibility(network, x, y)
    assert "near chance (16.7%)" in said


@kind(
    "a network that gives every image one answer, on images that are mostly of that class",
    "said",
    about="classes",
)
def test_one_answer_to_all(images):
    _, x, _ = images
    y = (torch.arange(len(x)) % 10 == 0).long()
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    nn.init.zeros_(network[1].weight)
    network[1].bias.data = torch.tensor([1.0, 0.0])
    (said,) = plausibility(network.eval(), x, y)
    assert "all 120 images get one answer" in said


@kind("a handful of images, most of them wrong", "nothing is said of chance", about="classes")
def test_few_images_cry_no_wolf(images):
    _, x, y = images
    torch.manual_seed(0)
    network = Nearest(torch.rand(6, 3, 4, 4)).eval()
    for n in (1, 2, 3, 4, 5):
        for start in range(0, 40, 5):
            assert plausibility(network, x[start : start + n], y[start : start + n]) == ()


def test_a_network_that_is_right_and_one_class_alone_say_nothing(images):
    means, x, y = images
    network = Nearest(means).eval()
    assert plausibility(network, x, y) == ()
    assert plausibility(network, x[y == 3], y[y == 3]) == ()
    noisy = (x + 0.6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert 0.3 < float(sr.evaluate(network, noisy, y).clean.float().mean()) < 0.95
    assert plausibility(network, noisy, y) == ()


def test_signals_and_a_network_that_refuses_other_pixels(images):
    _, x, y = images

    class Strict(nn.Module):
        def forward(self, x):
            if x.min() < 0 or x.max() > 1:
                raise ValueError("pixels in [0, 1]")
            return x.flatten(1)[:, :6]

    plausibility(Strict().eval(), x, y)
    assert plausibility(nn.Linear(48, 6).eval(), x.flatten(1), y)
    assert plausibility(nn.Sequential(nn.Flatten(), nn.Linear(48, 6)).eval(), x.flatten(2), y)


@kind(
    "any evaluation",
    "the look at clean accuracy changes no number, no image, no weight and no random state",
    about="classes",
)
def test_looking_changes_nothing(images, monkeypatch):
    _, x, y = images
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 6)).eval()
    before, kept = fingerprint(network), x.clone()
    states = torch.get_rng_state(), random.getstate(), _of_numpy()
    plausibility(network, x, y)
    assert fingerprint(network) == before and torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert (_of_numpy() == states[2]).all()

    class Chance(nn.Module):
        def forward(self, x):
            return network(x) + 0.1 * torch.randn(len(x), 6)

    attack = sr.PGD(sr.Linf(0.1), steps=3)
    found = sr.evaluate(Chance().eval(), x, y, attack, seed=1)
    monkeypatch.setattr("semirobust.evaluation.plausible.plausibility", lambda *_: ())
    without = sr.evaluate(Chance().eval(), x, y, attack, seed=1)
    assert torch.equal(found.clean, without.clean) and torch.equal(found.worst, without.worst)


def test_only_what_the_user_calls_looks(images, monkeypatch):
    means, x, y = images
    looked = []
    monkeypatch.setattr("semirobust.evaluation.plausible.plausibility", lambda *_: looked.append(1) or ())
    network, attack = Nearest(means).eval(), sr.FGSM(sr.Linf(0.01))
    sr.sanity_checks(network, x[:20], y[:20], sr.Linf(0.01))
    assert not looked, "its evaluations are its own"
    sr.sweep(network, x[:20], y[:20], attack, [0.01])
    assert len(looked) == 1, "and those inside it do not look again"
    sr.evaluate(network, x, y)
    assert len(looked) == 2
    sr.transfer({"one": network, "other": Nearest(means).eval()}, x[:20], y[:20], attack)
    assert len(looked) == 4, "once for each network"

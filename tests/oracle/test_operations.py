"""Operations that are counted, against counts by hand."""

import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.cost import Operations


def _network():
    """3 channels of 8 x 8 pixels to 5, then 10 classes."""
    return nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 8 * 8, 10))


CONV, LINEAR = 2 * 5 * 3 * 9 * 8 * 8, 2 * 5 * 8 * 8 * 10  # of one image, forward


def test_a_pass_and_its_gradients_are_those_counted_by_hand():
    model, x = _network(), torch.rand(4, 3, 8, 8)
    with Operations() as forward, torch.no_grad():
        model(x)
    assert forward.total == 4 * (CONV + LINEAR)
    # The gradient in the weights takes as many again, and that in the features in front of the classifier.
    with Operations() as trained:
        F.cross_entropy(model(x), torch.arange(4)).backward()
    assert trained.total == 4 * (2 * CONV + 3 * LINEAR)
    # That in the images alone leaves the weights out.
    model.requires_grad_(False)
    x.requires_grad_()
    with Operations() as attacked:
        F.cross_entropy(model(x), torch.arange(4)).backward()
    assert attacked.total == 4 * (2 * CONV + 2 * LINEAR)
    assert forward.total == 4 * (CONV + LINEAR), "what runs behind a block is not counted in it"


def test_an_epoch_of_adversarial_training_takes_its_steps():
    x, y = torch.rand(8, 3, 8, 8), torch.arange(8)
    data, attack = sr.images_from_tensors(x, y, list("01234567")), sr.PGD(sr.Linf(0.1), steps=3)
    with Operations() as counted:
        # Without a faster copy, whose choice takes some passes more.
        sr.harden(
            _network(),
            data,
            "adversarial",
            attack=attack,
            epochs=2,
            fast="off",
            callbacks=[counted],
        )
    # In front of the first one the layers are looked for.
    by_hand = 8 * (attack.steps * (2 * CONV + 2 * LINEAR) + 2 * CONV + 3 * LINEAR)
    assert counted.epochs[1] == by_hand < counted.epochs[0]

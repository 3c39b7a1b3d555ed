"""Slips of the hand: what is given in place of what was meant, and the sentence that says so."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.data.base.dataset import images_from_dataset
from semirobust.models.checkpoint import save_model
from tests.kinds import kind

_X = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(0))
_Y = torch.arange(20) % 4
_ALL = TensorDataset(_X, _Y)


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).eval()


def _relabelled(items):
    return torch.stack([x for x, _ in items]), torch.tensor([3 - int(y) for _, y in items])


def _as_they_are(items):
    return torch.stack([x for x, _ in items]), torch.tensor([int(y) for _, y in items])


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (DataLoader(_ALL, sampler=SequentialSampler(range(5))), "SequentialSampler says"),
        (
            DataLoader(_ALL, batch_sampler=BatchSampler(SequentialSampler(range(5)), 2, drop_last=False)),
            "SequentialSampler says",
        ),
        (DataLoader(_ALL, batch_sampler=[[0, 1], [2]]), "list says"),
        (DataLoader(_ALL, 4, collate_fn=_relabelled), "collate_fn gives others"),
    ],
)
@kind(
    "a DataLoader that leaves images out by its batches, or changes labels when it puts them together",
    "refused; what to hand over is said",
    about="data",
)
def test_a_loader_of_other_examples_than_its_data_set(loader, message):
    with pytest.raises(InputError, match=message):
        images_from_dataset(loader)


def test_a_loader_of_all_examples():
    for loader in (
        DataLoader(_ALL, 7, shuffle=True),
        DataLoader(_ALL, 4, collate_fn=_as_they_are),
        DataLoader(_ALL, batch_sampler=BatchSampler(RandomSampler(_ALL), 4, drop_last=False)),
    ):
        assert torch.equal(images_from_dataset(loader).all()[0], _X)


@kind(
    "images that were divided by 255 twice, or bytes of 0 and 1, in any container",
    "refused; one dark image among others is taken",
    about="data",
)
def test_how_bright_all_images_are():
    bits = (_X > 0.5).to(torch.uint8)
    for given in (
        lambda: images_from_dataset(TensorDataset(bits, _Y)),
        lambda: images_from_dataset(list(zip(bits.numpy(), _Y, strict=True))),
        lambda: sr.images_from_tensors(bits, _Y),
        lambda: images_from_dataset(TensorDataset(_X / 255, _Y)),
        lambda: sr.images_from_tensors(_X / 255, _Y),
    ):
        with pytest.raises(InputError, match="read as black|divided by 255 twice"):
            given()
    mixed = (_X * 255).to(torch.uint8)
    mixed[3] = 0
    mixed[3, 0, 0, 0] = 1
    assert len(images_from_dataset(list(zip(mixed.numpy(), _Y, strict=True)))) == 20
    assert len(sr.images_from_tensors(torch.zeros_like(_X), _Y)) == 20


def test_numbers_of_numpy_and_fractions():
    ball = sr.Linf(Fraction(8, 255))
    assert ball == sr.Linf(8 / 255) and isinstance(ball.epsilon, float)
    assert sr.PGD(ball, steps=np.int64(3)) == sr.PGD(ball, steps=3)
    assert isinstance(sr.PGD(ball, steps=np.int64(3)).steps, int)
    big_endian = sr.evaluate(_network(), _X.numpy().astype(">f4"), _Y.numpy().astype(">i8"))
    assert torch.equal(big_endian.clean, sr.evaluate(_network(), _X, _Y).clean)
    assert sr.images_from_tensors(_X, _Y.to(torch.uint16)).y.tolist() == _Y.tolist()
    longer = sr.images_from_tensors(_X.numpy().astype(np.longdouble), _Y)
    torch.testing.assert_close(longer.all()[0], _X)


_BALL = sr.Linf(0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: sr.evaluate(m.state_dict(), _X, _Y), "mapping to Tensor, as a state dict holds"),
        (lambda m: sr.evaluate(m, _X, _Y, sr.PGD), "attacks: .* got PGD"),
        (lambda m: sr.evaluate(m, _X, _Y, None), "attacks: .* got None"),
        (lambda m: sr.evaluate(m, _X, _Y, batch_size="8"), "batch_size: expected a whole number"),
        (lambda m: sr.evaluate(m, _X, _Y, batch_size=2.5), "batch_size: expected a whole number"),
        (lambda m: sr.evaluate(m, _X, _Y, seed=None), "seed: expected a whole number"),
        (lambda m: sr.evaluate(m, _X, _Y, seed=1.5), "seed: expected a whole number"),
        (lambda m: sr.evaluate(m, _X.to_sparse(), _Y), "expected a dense tensor"),
        (lambda m: sr.evaluate(m.to("meta"), _X, _Y), "logits as a dense tensor"),
        (lambda m: sr.evaluate(nn.Sequential(nn.Flatten(), nn.LazyLinear(4)).eval(), _X, _Y), "lazy"),
        (lambda m: sr.evaluate(nn.Sequential(m, _Complex()).eval(), _X, _Y), "real numbers"),
        (lambda m: sr.harden(m, (_X, _Y), None, threat=_BALL), "method: .* got None"),
        (lambda m: sr.harden(m, (_X, _Y), sr.CLAT, threat=_BALL), "method: .* got CLAT"),
        (lambda m: sr.harden(m, (_X, _Y), attack=sr.PGD), "attack: .* got PGD"),
        (lambda m: sr.harden(m, (_X, _Y), "clat", threat=_BALL), "expected at least one to choose"),
        (lambda m: sr.as_classifier(m, mean=0.1, std=0.9), "mean: expected a tuple with each item a number"),
        (lambda m: sr.load_checkpoint(m, m.state_dict()), "name of a file or folder, got OrderedDict"),
        (lambda m: sr.load_data("digits", image_size="8"), "image_size: expected a whole number"),
        (lambda m: save_model(m.state_dict(), "x"), "torch.nn.Module, got OrderedDict"),
        (lambda m: save_model(nn.LazyLinear(3), "x"), "lazy"),
        (lambda m: images_from_dataset([(_X[0], torch.tensor(1.0).bfloat16())]), "integer labels"),
        (lambda m: images_from_dataset([(_X[0], torch.tensor(1.0, requires_grad=True))]), "integer labels"),
    ],
)
@kind(
    "a class in place of an object, a state dict in place of a network, text in place of a number",
    "refused in one sentence with the name of the argument",
    about="runs",
)
def test_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call(_network())


class _Complex(nn.Module):
    def forward(self, x):
        return torch.complex(x, x)


def test_another_default_device_is_refused():
    torch.set_default_device("meta")  # as some set "cuda"
    try:
        for call in (lambda: sr.evaluate(_network(), _X, _Y), lambda: sr.load_data("digits")):
            with pytest.raises(InputError, match=r"with torch\.device\('cpu'\)"):
                call()
    finally:
        torch.set_default_device(None)


def test_usefulness_inside_autocast():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).eval()
    with torch.autocast("cpu", torch.bfloat16):
        found = sr.usefulness(network, _X, _Y, threat=_BALL)
    assert torch.isfinite(torch.as_tensor(found.robust)).all()


class _Behind(nn.Module):
    def __init__(self, network, last):
        super().__init__()
        self.network, self.last = network, last

    def forward(self, x):
        return self.last(self.network(x))


@kind(
    "a network that ends in a sigmoid or tanh, or divides its logits",
    "a note says that attacks by cross entropy find less",
    about="attacks",
)
def test_confined_logits():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).eval()
    with torch.no_grad():
        network[1].weight *= 8
    y, attack = network(_X).argmax(1), sr.PGD(_BALL, steps=3)
    assert not any("tanh" in note for note in sr.evaluate(network, _X, y, attack).notes)
    for last in (torch.sigmoid, torch.tanh, lambda z: z / 1000):
        notes = sr.evaluate(_Behind(network, last).eval(), _X, y, attack).notes
        assert sum("behind a sigmoid, a tanh or a temperature" in note for note in notes) == 1
    ensemble = sr.AutoAttack(_BALL, steps=2, queries=2)
    notes = sr.evaluate(_Behind(network, torch.tanh).eval(), _X, y, ensemble).notes
    assert not any("temperature" in note for note in notes)


def test_a_note_on_an_epoch_is_not_one_on_the_network_that_training_gives():
    """After its first epoch a network has small logits, as one behind a sigmoid has."""
    seen = []

    def validate(model, seed):
        scale = 1 if seen else 1e-3  # of the logits: the first epoch is not yet sure
        result = sr.evaluate(_Behind(model, lambda z: scale * z).eval(), _X, model(_X).argmax(1), attack)
        seen.append(any("temperature" in note for note in result.notes))
        return {"clean": 0.5, "robust": 0.1 * len(seen)}

    torch.manual_seed(0)
    network, attack = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), sr.PGD(_BALL, steps=3)
    with torch.no_grad():
        network[1].weight *= 8
    y = network(_X).argmax(1)
    trained = sr.Training(attack=attack, epochs=2, learning_rate=1e-4)(network, (_X, y), validate=validate)
    assert seen == [True, False] and trained.best_epoch == 2
    assert not any("temperature" in note for note in trained.notes)

"""The layers that a method singles out: in the log, the records and the report; and their terms on mixed labels."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import semirobust as sr
from semirobust.experiments.build import log_records
from semirobust.experiments.comparison import controls_of
from semirobust.methods import METHODS
from semirobust.objectives.at_lr import LayerRegularised
from semirobust.objectives.latent import Latent
from semirobust.records import About, Quantity
from semirobust.records.schema import Origin
from semirobust.reports import Source
from semirobust.reports.training_curve import training_curve_chart
from semirobust.training.log import TrainingLog
from tests.helpers import SmallResidual
from tests.oracle.test_layer_wise import _chain, _images, _step

_AT = Origin(config="0" * 12, version="0", device="cpu", seed="0")


def _hardened(name, **options):
    torch.manual_seed(3)
    method = METHODS.make(name, options)
    return sr.harden(SmallResidual(), _images(), method, threat=sr.Linf(0.03), epochs=2, seed=1)


@pytest.mark.parametrize(
    ("name", "options", "marked"),
    [
        ("at-lr", {"layers": [1, 3]}, (1, 3)),
        ("lat", {"layers": [2]}, (2,)),
        ("latter", {"share": 0.5}, (2, 3)),
        ("latter", {"gamma": 0.0, "factor": 0.5, "share": 0.3}, (3,)),
        ("latter", {"gamma": 0.0}, ()),
        ("lap", {}, ()),
    ],
)
def test_which_layers_were_singled_out_is_in_the_log_and_in_the_records(name, options, marked):
    trained = _hardened(name, **options)
    assert [(log.layers, log.marked) for log in trained.logs] == [(None, marked)] * 2
    records = log_records(trained, _AT, 10, About(arm=name))
    told = [(n.about.epoch, n.about.layer) for n in records if n.quantity == Quantity.MARKED_LAYER]
    assert told == [(epoch, layer) for epoch in (1, 2) for layer in marked]
    assert not any(n.quantity == Quantity.TRAINED_LAYER for n in records)
    again = TrainingLog.of_numbers([n for n in records if n.kind == "number"], 2)
    assert [log.marked for log in again.logs] == [marked] * 2
    said = again.table().column("layers")[0]
    assert said == ("all, layers 1, 3 singled out" if marked == (1, 3) else said)
    chart = training_curve_chart(Source(numbers=[n for n in records if n.kind == "number"], findings=[]))
    if not marked:
        assert chart is None
        return
    assert (
        "held still, attacked or regularised" in chart.says and "layers that trained, the" not in chart.says
    )
    assert [row[:2] for row in chart.rows] == [(name, "1"), (name, "2")]
    assert all(row[2] == "–" and str(marked[-1]) in row[3] for row in chart.rows)


def test_there_is_no_control_of_the_same_layers_where_all_train():
    for name, same in (("at-lr", 0), ("lat", 0), ("safer", 1), ("selected", 1)):
        arms = controls_of(name, METHODS.make(name))
        assert [arm.name for arm in arms][:2] == [name, "PGD-AT continued"]
        assert [arm.same_as for arm in arms].count(name) == same and arms[-1].name == f"{name}, random layers"


def test_layers_that_train_alone_are_not_said_twice():
    trained = _hardened("safer", layers=[2])
    assert [(log.layers, log.marked) for log in trained.logs] == [((2,), ())] * 2


def _mixed(y, classes=3):
    """Seven tenths of each image are of its class, the rest of the next."""
    whole = F.one_hot(y, classes).double()
    return 0.7 * whole + 0.3 * whole.roll(1, 1)


def _by_shares(logits, y):
    logs = logits.log_softmax(1)
    rows = torch.arange(len(y))
    return -(0.7 * logs[rows, y] + 0.3 * logs[rows, (y + 1) % 3]).mean()


def _same_gradients(model, other):
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-12, msg=name)


def test_the_terms_of_at_lr_go_by_shares_of_labels():
    model, x, x_adv, y = _chain()
    other = copy.deepcopy(model)
    step = replace(_step(model, x, y, (1,)), shares=_mixed(y))
    found = LayerRegularised(0.7).outer(step, x_adv)
    clean, perturbed = other.one(x).relu(), other.one(x_adv).relu()
    wanted = _by_shares(other(x_adv), y) + 0.7 * (clean - perturbed).norm() / clean.norm()
    found.backward()
    wanted.backward()
    torch.testing.assert_close(found, wanted)
    _same_gradients(model, other)
    inner = LayerRegularised(0.7).inner(step)(x_adv)
    torch.testing.assert_close(inner.mean(), _by_shares(other(x_adv), y))


def test_the_latent_term_goes_by_shares_of_labels_and_so_does_its_attack():
    model, x, x_adv, y = _chain()
    other = copy.deepcopy(model)
    step = replace(_step(model, x, y, (1,)), shares=_mixed(y))
    found = Latent(0.3, epsilon=0.1, step_size=0.04, steps=3).outer(step, x_adv)
    clean = other.one(x).relu().detach()
    low, high = clean.amin((0, 2, 3), keepdim=True), clean.amax((0, 2, 3), keepdim=True)
    point, width = clean.clone(), high - low
    for _ in range(3):
        point.requires_grad_()
        (g,) = torch.autograd.grad(_by_shares(other.after(point), y), point)
        point = (point.detach() + 0.04 * width * g.sign()).clamp(clean - 0.1 * width, clean + 0.1 * width)
        point = torch.minimum(torch.maximum(point, low), high)
    wanted = 0.7 * _by_shares(other(x_adv), y) + 0.3 * _by_shares(other.after(point), y)
    found.backward()
    wanted.backward()
    torch.testing.assert_close(found, wanted)
    _same_gradients(model, other)

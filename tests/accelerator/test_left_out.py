"""Work that is left out, and runs that end early, on the simulated device: points and audits of the CPU."""

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.attacks import AbstractAttack
from semirobust.attacks.base import ending
from semirobust.attacks.base.active import Best
from semirobust.attacks.base.ending import LevelledOff
from semirobust.attacks.base.sight import Tally, watched
from semirobust.core.seed import as_seed
from semirobust.fast.model import FastModel
from tests.accelerator.device import to_host

_N = 24


def _subject() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Six classes, of which some are near, and images that it has right."""
    with as_seed(7).globally():
        model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(200, 6)).eval()
    x = torch.rand(_N, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    return model, x, model(x).argmax(1)


def _found(attack: AbstractAttack, device: torch.device) -> tuple[torch.Tensor, Tally, torch.Tensor]:
    """The points, what was left out, and who is fooled."""
    model, x, y = (part.to(device) for part in _subject())
    form = FastModel(model, model, "as it is", 0.0, torch.contiguous_format)
    with watched(_N) as sight:
        x_adv = attack.fool(model, x, y, seed=3, form=form)
    fooled = model(x_adv).argmax(1) != y
    return to_host(x_adv), sight.tally, to_host(fooled)


def _apgd(epsilon: float) -> AbstractAttack:
    return sr.APGD(sr.Linf(epsilon), 50, loss="dlr-targeted", targets=3)


CASES = {
    "square": sr.Square(sr.Linf(0.006), queries=120),
    "apgd-t": _apgd(0.002),
    "apgd-t, of more radius": _apgd(0.01),
    "fab-t": sr.FAB(sr.Linf(0.004), 20, targets=3),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_left_out_is_that_of_the_cpu(device, monkeypatch, name):
    monkeypatch.setattr(ending, "_QUERIES", 100)  # the rule of 1,000, by parts of the queries as it is
    here, tally, fooled = _found(CASES[name], torch.device("cpu"))
    there, other, too = _found(CASES[name], device)
    runs = tally.of_runs if name == "square" else tally
    assert runs.left_out > 0 and runs.audited > 0, "some runs ended early, and some were audited"
    assert 0 < int(fooled.sum()) < _N
    assert tally == other and torch.equal(fooled, too)
    assert torch.equal(here, there)


def test_runs_that_should_not_have_ended_start_again_there(device, monkeypatch):
    """None is audited, so that all start again, and none was left out."""
    monkeypatch.setattr(ending, "_AUDITED", 0.0)
    monkeypatch.setattr(ending, "_LEAST", 0)
    again, seen = LevelledOff.again, []
    monkeypatch.setattr(
        LevelledOff, "again", lambda self, done: (seen.append(again(self, done)), seen[-1])[1]
    )
    here, tally, fooled = _found(_apgd(0.002), torch.device("cpu"))
    there, other, too = _found(_apgd(0.002), device)
    rows, those = (result[0] for result in seen)
    assert len(rows) > _N and torch.equal(rows, to_host(those))
    assert tally == other and tally.left_out == 0
    assert torch.equal(fooled, too) and torch.equal(here, there)


def test_the_best_of_rows_that_share_an_example_is_kept_there(device):
    """Points of three runs are handed over at once; whichever is written last, the best stays."""
    generator = torch.Generator().manual_seed(0)
    kept = {place: Best(torch.zeros(8, 2).to(place), shared=True) for place in ("cpu", device)}
    for _ in range(6):
        rows = torch.randperm(24, generator=generator)[:17]
        points = torch.rand(17, 2, generator=generator)
        loss = torch.randint(5, (17,), generator=generator).float()
        reached, among = torch.rand(2, 17, generator=generator) > torch.tensor([[0.8], [0.3]])
        for place, best in kept.items():
            best.keep(*(part.to(place) for part in (rows, points, loss, reached, among)))
        here, there = kept.values()
        for name in ("x_adv", "loss", "reached"):
            assert torch.equal(getattr(here, name), to_host(getattr(there, name))), name
    assert bool(here.reached.any()) and not bool(here.reached.all())

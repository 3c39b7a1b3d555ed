"""Every registered attack on the simulated device: the points are those of the CPU to the last digit."""

import copy

import pytest
import torch
from torch import Tensor

from semirobust.attacks import ATTACKS, AbstractAttack
from semirobust.core.errors import InputError
from semirobust.testing.base.network import examples, network
from semirobust.threats import NORMS
from tests.accelerator.device import to_host

# Small numbers for the settings that make attacks long, whatever the attack.
_FEW = {"steps": 4, "queries": 12, "rounds": 2, "tries": 3, "targets": 2, "largest": 3}


def quick(name: str, norm: str, epsilon: float = 0.05) -> AbstractAttack | None:
    """A short form of a registered attack; None where it does not take the norm."""
    fields = ATTACKS.member(name).__dataclass_fields__
    options = {key: value for key, value in _FEW.items() if key in fields}
    try:
        return ATTACKS.make(name, options, threat=NORMS.make(norm, {"epsilon": epsilon}))
    except InputError:
        return None


def _both(attack: AbstractAttack, call: str, device: torch.device) -> tuple[Tensor, Tensor]:
    model, (x, _) = network(), examples(7)
    y = model(x).argmax(1)  # all of them are right, so that every attack has to search
    there = copy.deepcopy(model).to(device)
    here = getattr(attack, call)(model, x, y, seed=3)
    found = getattr(attack, call)(there, x.to(device), y.to(device), seed=3)
    assert found.device == device and {p.device for p in there.parameters()} == {device}
    return here, to_host(found)


@pytest.mark.parametrize("name", ATTACKS.names())
@pytest.mark.parametrize("norm", NORMS.names())
@pytest.mark.parametrize("call", ["__call__", "fool"])
def test_the_points_are_those_of_the_cpu(device, name, norm, call):
    if (attack := quick(name, norm)) is None:
        return
    here, there = _both(attack, call, device)
    assert torch.equal(here, there)

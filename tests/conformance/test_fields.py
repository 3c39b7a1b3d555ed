"""Each field of each member is held against its annotation, whoever builds the member."""

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import semirobust as sr
from semirobust.core.settings import FAMILIES
from semirobust.errors import InputError
from tests.kinds import kind

_NOT = ("2/255", "abc", None, float("nan"), [1, 2], True, {}, print, object(), sr.PGD)
_GIVEN = {"threat": sr.Linf(0.03), "epsilon": 0.03, "limit": 0.1, "attack": sr.PGD(sr.Linf(0.03))}


def _members() -> Iterator[Any]:
    yield from (sr.Training, sr.Lottery, sr.Recovery)
    for family in FAMILIES.values():
        for name in family.names():
            member = family.member(name)
            if inspect.isclass(member) and dataclasses.is_dataclass(member):
                yield member


def _built(member: Any, **field: Any) -> Any:
    needed = {f.name for f in dataclasses.fields(member) if f.init} & _GIVEN.keys()
    return member(**{name: _GIVEN[name] for name in needed} | field)


@kind(
    'a value of another type than a setting has, such as `"2/255"`, None or a class, in Python',
    "one sentence that names the setting and says what was expected",
    about="runs",
)
@pytest.mark.parametrize("member", dict.fromkeys(_members()), ids=lambda member: member.__name__)
def test_no_value_of_another_kind_gives_a_traceback(member):
    for field in dataclasses.fields(member):
        for value in _NOT if field.init else ():
            try:
                _built(member, **{field.name: value})
            except InputError as error:
                assert "expected" in str(error)


@pytest.mark.parametrize(
    ("member", "field", "words"),
    [
        (
            sr.PGD,
            {"step_size": "2/255"},
            "step_size: expected a number or None, .*; give 2/255 without quotes",
        ),
        (sr.PGD, {"steps": 2.5}, "steps: expected a whole number, got 2.5"),
        (sr.PGD, {"threat": 0.03}, "threat: expected one such as Linf"),
        (sr.PGD, {"threat": sr.Linf}, "threat: .*got Linf; give Linf"),
        (sr.PGD, {"random_start": "no"}, "random_start: expected True or False, got 'no'"),
        (sr.APGD, {"loss": "CE"}, "loss: expected ce, dlr or dlr-targeted, got 'CE'"),
        (sr.TRADES, {"beta": None}, "beta: expected a number, got None"),
        (sr.TRADES, {"beta": float("nan")}, "beta: expected a number, got nan"),
        (sr.EDGE, {"gamma": (1, "2")}, "gamma: expected a number or a tuple of such"),
        (sr.Training, {"hooks": [print]}, "hooks: expected a tuple with each item one such as EMA"),
        (sr.Training, {"schedule": 3}, "schedule: expected text, got 3"),
    ],
)
def test_the_sentence_says_what_to_give(member, field, words):
    with pytest.raises(InputError, match=words):
        _built(member, **field)


def test_numbers_of_numpy_and_whole_ones_for_others_are_numbers():
    assert sr.PGD(sr.Linf(np.float32(0.03)), steps=np.int64(3), random_start=np.bool_(False)).name == "pgd-3"
    assert sr.TRADES(beta=6).beta == 6
    assert sr.EDGE(gamma=np.array([1.0, 2.0])).gamma is not None


_X, _Y = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


def _network():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: sr.evaluate(m, _X, _Y, "pgd-10"), "attacks: expected one such as PGD.*or a tuple of such"),
        (lambda m: sr.criticality(m, _X, _Y, threat=0.03), "threat: expected one such as Linf"),
        (lambda m: sr.sweep(m, _X, _Y, sr.PGD(sr.Linf(0.1)), [0.1, None]), "epsilons: expected a tuple"),
        (
            lambda m: sr.forward_to(m, sr.layer_map(m, _X), [_X[0]], 1),
            "x: expected a torch.Tensor, got list; put",
        ),
        (lambda m: sr.split(m, _X, 1), "layers: expected one such as sr.layer_map.*got Tensor"),
        (lambda m: sr.layer_map(m, _X, filter=3), "filter: expected a function or text or None, got 3"),
        (lambda m: sr.connectivity(m, _X, _Y, progress=[1]), "progress: expected a function"),
        (
            lambda m: sr.transplant(m, None, sr.layer_map(m, _X), [1]),
            "donor: expected a torch.nn.Module, got None",
        ),
        (lambda m: sr.Normalised(3, [0.5], [0.5]), "model: expected a torch.nn.Module, got 3"),
        (lambda m: sr.build_model(3), "name: expected text, got 3"),
        (
            lambda m: sr.build_model("resnet18", num_classes=2.5),
            "num_classes: expected a whole number, got 2.5",
        ),
        (
            lambda m: sr.build_model("resnet18", in_channels=-1),
            "in_channels: expected a whole number from 1 on",
        ),
        (
            lambda m: sr.save_model(m, "m.safetensors", metadata=3),
            "metadata: expected a dictionary or None, got 3",
        ),
        (lambda m: sr.images_from_tensors(_X, _Y, 3), "classes: expected a tuple with each item text"),
        (lambda m: sr.largest_batch(m, _X, "8"), "limit: expected a number, got '8'; give 8 without quotes"),
    ],
)
def test_arguments_of_functions_are_held_to_their_annotations(call, words):
    with pytest.raises(InputError, match=words):
        call(_network())


def test_a_member_of_a_plug_in_is_held_to_its_annotations_too():
    @dataclasses.dataclass(frozen=True)
    class Own(sr.TRADES):
        times: int = 1

    with pytest.raises(InputError, match="times: expected a whole number, got 'often'"):
        Own(times="often")
    assert dataclasses.replace(Own(6.0, times=2), times=3).beta == 6.0

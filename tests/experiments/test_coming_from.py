"""What users of other libraries type first, and what they are told; and targeted attacks, which others have too."""

import copy
import inspect
import pickle
import re

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.attacks import AbstractAttack
from semirobust.core.foreign_calls import FOREIGN_METHODS, FOREIGN_NAMES


def _model(classes=4):
    torch.manual_seed(0)
    last = nn.Linear(16, classes)
    nn.init.normal_(last.weight)
    return nn.Sequential(nn.Flatten(), last).eval()


X = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(20) % 4
MODEL = _model()

CALLS = [
    # what is typed, and the call that the answer shows
    ("sr.PGD(eps=8/255)", "sr.PGD(sr.Linf(8/255))"),
    ("sr.PGD(model, 8/255, 2/255, 10)", "sr.PGD(sr.Linf(8/255), steps=10, step_size=2/255)"),
    ("sr.PGD(model, eps=8/255, alpha=2/255, steps=10)", "sr.PGD(sr.Linf(8/255), steps=10, step_size=2/255)"),
    ("sr.PGD(model, eps=0.5, norm='L2', random_start=False)", "sr.PGD(sr.L2(0.5), random_start=False)"),
    (
        "sr.PGD(estimator=model, eps=0.3, eps_step=0.1, max_iter=40)",
        "sr.PGD(sr.Linf(0.3), steps=40, step_size=0.1)",
    ),
    ("sr.PGD(epsilon=0.2)", "sr.PGD(sr.Linf(0.2))"),
    ("sr.FGSM(model, eps=4/255)", "sr.FGSM(sr.Linf(4/255))"),
    (
        "sr.APGD(model, norm='Linf', eps=8/255, steps=50, n_restarts=2)",
        "sr.APGD(sr.Linf(8/255), steps=50, restarts=2)",
    ),
    ("sr.AutoAttack(model, norm='Linf', eps=8/255, version='standard')", "sr.AutoAttack(sr.Linf(8/255))"),
    ("sr.AutoAttack(model, norm='L2', eps=0.5, version='rand')", "sr.AutoAttack(sr.L2(0.5), preset='rand')"),
    ("sr.Square(model, norm='Linf', eps=8/255, n_queries=1000)", "sr.Square(sr.Linf(8/255))"),
    ("sr.Linf(eps=8/255)", "sr.Linf(8/255)"),
    ("sr.L2(eps=0.5)", "sr.L2(0.5)"),
    ("sr.TRADES(model, eps=8/255, alpha=2/255, steps=10)", "threat=sr.Linf(8/255), objective=sr.TRADES()"),
]


@pytest.mark.parametrize(("typed", "call"), CALLS, ids=lambda text: text)
def test_a_call_of_another_library_is_answered_with_the_call_here(typed, call):
    names = {"sr": sr, "model": MODEL}
    with pytest.raises(TypeError, match=re.escape(call)) as caught:
        eval(typed, names)
    assert "takes no" in str(caught.value) or "does not take the model" in str(caught.value)
    shown = re.search(r"attack = (sr\..*?), and then", str(caught.value))
    if shown is not None:
        assert isinstance(eval(shown[1], names), AbstractAttack), "what is shown can be called"


@pytest.mark.parametrize("name", FOREIGN_NAMES)
def test_a_name_of_another_library_is_answered_with_the_call_here(name):
    with pytest.raises(AttributeError, match=re.escape(FOREIGN_NAMES[name])):
        getattr(sr, name)
    assert not hasattr(sr, name) and name not in dir(sr)
    for used in re.findall(r"sr\.(\w+)", FOREIGN_NAMES[name]):
        assert used in sr.__all__, "what is shown is there"


@pytest.mark.parametrize("name", FOREIGN_METHODS)
def test_a_method_of_another_library_is_answered_with_the_call_here(name):
    attack = sr.AutoAttack(sr.Linf(8 / 255))
    with pytest.raises(AttributeError, match=re.escape(FOREIGN_METHODS[name])):
        getattr(attack, name)
    for used in re.findall(r"sr\.(\w+)", FOREIGN_METHODS[name]):
        assert used in sr.__all__


def test_an_attack_without_its_model_is_told_how_it_is_called():
    attack = sr.PGD(sr.Linf(0.1))
    for call in (lambda: attack(X, Y), lambda: attack(MODEL, X, Y, epsilons=[0.1])):
        with pytest.raises(TypeError, match=r"the call is attack\(model, x, y, seed=0\)"):
            call()


def test_attacks_are_otherwise_as_they_were():
    attack = sr.PGD(sr.Linf(0.1), steps=3)
    assert str(inspect.signature(sr.PGD)).startswith("(threat: ") and "step_size" in str(
        inspect.signature(sr.PGD)
    )
    assert copy.deepcopy(attack) == attack == pickle.loads(pickle.dumps(attack)) == copy.copy(attack)
    with pytest.raises(AttributeError, match="'PGD' object has no attribute 'nope'$"):
        _ = attack.nope
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        sr.PGD()
    with pytest.raises(sr.InputError, match=r"such as Linf\(8/255\)"):
        sr.PGD(8 / 255)
    with pytest.raises(sr.InputError, match="steps"):
        sr.PGD(sr.Linf(0.1), steps=0)


BALL = sr.Linf(0.5)


@pytest.mark.parametrize(
    "attack", [sr.PGD(BALL, steps=20), sr.PGD(BALL, steps=20, restarts=2), sr.APGD(BALL, steps=20)]
)
def test_a_targeted_attack_reaches_its_class(attack):
    target = (Y + 1) % 4
    x_adv = attack.towards(MODEL, X, target)
    assert BALL.contains(X, x_adv).all() and x_adv.min() >= 0 and x_adv.max() <= 1
    reached = (MODEL(x_adv).argmax(1) == target).float().mean()
    plain = (MODEL(attack(MODEL, X, Y)).argmax(1) == target).float().mean()
    assert reached > 0.8 > plain
    assert torch.equal(attack.towards(MODEL, X, 2), attack.towards(MODEL, X, torch.full((20,), 2)))


@pytest.mark.parametrize("target", ["least-likely", "runner-up", "random", lambda model, x, y: (y + 2) % 4])
def test_targets_are_never_the_true_class_and_are_reached(target):
    attack = sr.Targeted(sr.PGD(BALL, steps=20), target)
    wanted = attack.targets(MODEL, X, Y)
    assert bool((wanted != Y).all())
    logits = MODEL(X).detach()
    wrong = logits.scatter(1, Y[:, None], -torch.inf)
    if target == "least-likely":
        assert torch.equal(wanted, logits.scatter(1, Y[:, None], torch.inf).argmin(1))
    if target == "runner-up":
        assert torch.equal(wanted, wrong.argmax(1))
    if target != "random":  # which each call draws from its own seed
        assert (MODEL(attack(MODEL, X, Y)).argmax(1) == wanted).float().mean() > 0.6


def test_a_targeted_attack_is_evaluated_like_any_other():
    attacks = [sr.Targeted(sr.PGD(BALL, steps=20)), sr.PGD(BALL, steps=20)]
    found = sr.evaluate(MODEL, X, MODEL(X).argmax(1), attacks)
    summary = found.summary()
    assert list(summary)[1] == "pgd-20 to least-likely"
    assert summary["clean"] == 1 and summary["pgd-20 to least-likely"] < 0.5
    assert sr.evaluate(MODEL, X, MODEL(X).argmax(1), attacks[0], fast="off").clean.all()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (4, "classes from 0 to 3, got 4"),
        (-1, "from 0 to 3"),
        (0, r"other classes than the true ones, got these for 5 of 20"),
        (torch.zeros(3, dtype=torch.long), "a class for each of 20 examples"),
        (torch.zeros(20), "a class for each"),
    ],
)
def test_targets_that_make_no_sense_are_refused(target, said):
    with pytest.raises(sr.InputError, match=said):
        sr.Targeted(sr.FGSM(BALL), target)(MODEL, X, Y)


def test_what_cannot_be_targeted_is_refused():
    with pytest.raises(sr.InputError, match="target: expected least-likely"):
        sr.Targeted(sr.FGSM(BALL), "nearest")
    with pytest.raises(sr.InputError, match="attack: expected one such as PGD"):
        sr.Targeted("pgd")
    with pytest.raises(sr.InputError, match="cannot raise other losses"):
        sr.Square(BALL, queries=5).towards(MODEL, X, 1)
    with pytest.raises(sr.InputError, match="labels from 0 to 3"):
        sr.PGD(BALL).towards(MODEL, X, 9)

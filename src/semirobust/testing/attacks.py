"""What every attack must do."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.errors import InputError
from semirobust.testing.base.check import Subject, demanded, refused, require
from semirobust.testing.base.network import examples, network, untouched
from semirobust.threats import NORMS, AbstractBall

__all__: list[str] = []

_SIZES = (1, 3, 17)  # odd ones, since what is written for one batch size breaks there
_Spoil = Callable[[Tensor, Tensor], tuple[object, object]]
_SPOILT: dict[str, _Spoil] = {
    "images with pixels above 1": lambda x, y: (x * 255, y),
    "images with NaN": lambda x, y: (x * float("nan"), y),
    "images of bytes": lambda x, y: ((x * 255).byte(), y),
    "a batch of no image": lambda x, y: (x[:0], y[:0]),
    "labels in floating point": lambda x, y: (x, y.float()),
    "too few labels": lambda x, y: (x, y[:2]),
    "negative labels": lambda x, y: (x, y - 1),
    "labels above the outputs": lambda x, y: (x, y + 9),
    "a list in place of a tensor": lambda x, y: (x.tolist(), y),
}


def _under_each_norm(subject: Subject, epsilon: float = 0.05) -> Iterator[AbstractAttack]:
    """The attack in a ball of each norm that it takes."""
    taken = 0
    for norm in NORMS.names():
        threat = NORMS.make(norm, {"epsilon": epsilon})
        try:
            attack: AbstractAttack = subject.make(threat=threat)
        except InputError:  # its right, as long as it takes one
            continue
        taken += 1
        yield attack
    require(taken, f"{subject.name} takes none of the norms {', '.join(NORMS.names())}")


def _attack(subject: Subject, epsilon: float = 0.05) -> AbstractAttack:
    return next(_under_each_norm(subject, epsilon))


@demanded("attacks")
def stays_inside_and_leaves_all_alone(subject: Subject) -> None:
    """Stay in the threat model to the last digit; leave the model, the images and the random state alone."""
    model = network()
    for attack in _under_each_norm(subject):
        for n in _SIZES:
            x, y = examples(n)
            kept, where = x.clone(), f"under {attack.threat} with {n} images"
            with untouched(model):
                x_adv, fooling = attack(model, x, y, seed=5), attack.fool(model, x, y, seed=5)
            require(torch.equal(x, kept), f"the images that were given have changed {where}")
            same = x_adv.shape == x.shape and x_adv.dtype == x.dtype
            require(same, f"{where} it gives {tuple(x_adv.shape)} {x_adv.dtype}, not the form of the images")
            require(x_adv.is_contiguous(), f"what it gives is not contiguous {where}")
            require(not x_adv.requires_grad, f"what it gives requires a gradient {where}")
            for found in (x_adv, fooling):
                require(attack.threat.contains(x, found).all(), f"an example is outside {where}")


@demanded("attacks")
def equal_seeds_give_equal_examples(subject: Subject) -> None:
    """Give equal examples for equal seeds, whatever was drawn before."""
    model, (x, y) = network(), examples(4)
    attack = _attack(subject)
    first = attack(model, x, y, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.rand(10, generator=torch.default_generator)
        require(torch.equal(first, attack(model, x, y, seed=1)), "equal seeds give different examples")


@demanded("attacks")
def no_room_means_no_change(subject: Subject) -> None:
    """Change nothing in a ball of radius 0."""
    model, (x, y) = network(), examples(3)
    for attack in _under_each_norm(subject, 0):
        if isinstance(attack.threat, AbstractBall):
            require(torch.equal(attack(model, x, y), x), f"something moves under {attack.threat}")


@demanded("attacks")
def other_precisions_and_layouts(subject: Subject) -> None:
    """Take double and half precision, and images that are not contiguous."""
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        x, y = examples(3)
        x = x.permute(0, 2, 3, 1).contiguous().to(dtype).permute(0, 3, 1, 2)
        for attack in _under_each_norm(subject):
            x_adv = attack(network().to(dtype), x, y)
            require(x_adv.dtype == dtype, f"images of {dtype} come back as {x_adv.dtype}")
            require(attack.threat.contains(x, x_adv).all(), f"an example is outside in {dtype}")


@demanded("attacks")
def stopping_early_keeps_the_verdict(subject: Subject) -> None:
    """Fool with ``fool``, which stops early, whoever ends up fooled by a call."""
    model, (x, _) = network(), examples(60)
    with torch.no_grad():
        y = model(x).argmax(1)
    attack = _attack(subject, 0.1)
    with torch.no_grad():
        full = model(attack(model, x, y, seed=2)).argmax(1) != y
        quick = model(attack.fool(model, x, y, seed=2)).argmax(1) != y
    require((quick | ~full).all(), "fool leaves an image alone that a call misleads the model with")


@demanded("attacks")
def wrong_examples_are_refused(subject: Subject) -> None:
    """Refuse images and labels that are none, each in one sentence."""
    model, attack = network(), _attack(subject)
    for what, spoil in _SPOILT.items():
        x, y = spoil(*examples(3))
        refused(lambda x=x, y=y: attack(model, x, y), what)  # type: ignore[misc]


@demanded("attacks")
def wrong_models_are_refused(subject: Subject) -> None:
    """Refuse a model in train mode, one that gives probabilities, and one that gives no logits."""
    attack, (x, y) = _attack(subject), examples(3)
    refused(lambda: attack(network().train(), x, y), "a model in train mode")
    refused(lambda: attack(nn.Sequential(network(), nn.Softmax(1)).eval(), x, y), "a model of probabilities")
    refused(lambda: attack(nn.Flatten(0), x, y), "a model without logits")


@demanded("attacks")
def has_a_name(subject: Subject) -> None:
    """Have a name for tables, and a cost in passes through the model of at least 1."""
    attack = _attack(subject)
    require(attack.name and attack.name.isprintable(), f"its name {attack.name!r} cannot be printed")
    require(attack.cost >= 1, f"its cost is {attack.cost}, and must be a number of passes from 1 on")

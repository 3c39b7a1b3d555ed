"""A small use of any registered member on a device, so that a new member is tried by being registered."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import Accelerator
from lightning_fabric.strategies import SingleDeviceStrategy
from torch import nn

import semirobust as sr
from semirobust.attacks import ATTACKS, AbstractAttack
from semirobust.augment import AUGMENTATIONS
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed, as_seed
from semirobust.data.base.images import Images
from semirobust.dependence import DEPENDENCES
from semirobust.experiments.families import FAMILIES
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import device_of, quiet
from semirobust.measures import MEASURES, MeasureContext
from semirobust.methods import METHODS
from semirobust.models.base.build import build_model
from semirobust.objectives import OBJECTIVES, Step
from semirobust.procedures.harden import harden
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.testing.base.network import examples, network, small_images
from semirobust.threats import NORMS
from semirobust.training.hooks import HOOKS
from semirobust.training.training import Training
from tests.accelerator.device import NAME

__all__ = ["ELSEWHERE", "RUNS", "fabric_on", "names", "quick_attack"]

# Small numbers for the settings that make members long, whatever the member.
_FEW = {
    "steps": 3,
    "queries": 8,
    "rounds": 2,
    "tries": 3,
    "targets": 2,
    "largest": 3,
    "permutations": 2,
    "decays": [0.1],
    "resamples": 20,
}
_OF_MEMBER = {
    "semirobustness": {"layers": [2], "rounds": 1},
    "stability": {"batches": [10, 20]},
    "suffix": {"layers": 1},
}
_THREAT = sr.Linf(8 / 255)


def names(family: str) -> list[str]:
    """The members of a family; of one name with numbers, one of them."""
    return [name.replace("D_K", "10_1") for name in FAMILIES[family][1].names()]


def few(registry: Any, name: str, **given: Any) -> Any:
    """A short form of a member."""
    options = {option.name for option in registry.options_of(name)}
    small = {key: value for key, value in _FEW.items() if key in options}
    return registry.make(name, small | _OF_MEMBER.get(name, {}), **given)


def quick_attack(name: str, norm: str, epsilon: float = 0.05) -> AbstractAttack | None:
    """A short form of a registered attack; None where it does not take the norm."""
    fields = ATTACKS.member(name).__dataclass_fields__
    options = {key: value for key, value in _FEW.items() if key in fields}
    try:
        return ATTACKS.make(name, options, threat=NORMS.make(norm, {"epsilon": epsilon}))
    except InputError:
        return None


class _Accelerator(Accelerator):
    """What Lightning asks of a kind of device."""

    def setup_device(self, device: torch.device) -> None: ...
    def teardown(self) -> None: ...

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> Any:
        return [torch.device(NAME, 0)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


def fabric_on(device: torch.device) -> Fabric | None:
    """One process on the device; None for the CPU, where training makes its own."""
    if device.type == "cpu":
        return None
    return Fabric(accelerator=_Accelerator(), strategy=SingleDeviceStrategy(device=device))


def _norm(name: str, device: torch.device) -> list[Any]:
    ball, (x, _) = NORMS.make(name, {"epsilon": 0.05}), examples(6)
    slope, offset = (
        torch.randn(shape, generator=as_seed(0).generator()).to(device) for shape in (x.shape, (6,))
    )
    x = x.to(device)
    far = x + slope / 10
    found = [ball.project(x, far), ball.restrict(x, far), ball.tightened(x, far), ball.contains(x, far)]
    found += [ball.steepest(slope), ball.ascent(slope), ball.size(slope), ball.dual(slope)]
    return [
        *found,
        ball.project_ball(slope),
        ball.to_hyperplane(x, slope, offset),
        ball.sample(x, as_seed(1)),
    ]


def _attack(name: str, device: torch.device) -> list[Any]:
    model, (x, _) = network(), examples(5)
    y = model(x).argmax(1)  # all of them are right, so that every attack has to search
    model, x, y = model.to(device), x.to(device), y.to(device)
    found = []
    for norm in NORMS.names():
        if (attack := quick_attack(name, norm)) is not None:
            found += [attack(model, x, y, seed=3), attack.fool(model, x, y, seed=3)]
    assert device_of(model, x.device) == device
    return found


def _augmentation(name: str, device: torch.device) -> list[Any]:
    return [AUGMENTATIONS.make(name)(examples(6, size=12)[0].to(device), as_seed(1))]


def _objective(name: str, device: torch.device) -> list[Any]:
    model, (x, y) = network().requires_grad_().to(device), examples(6)
    x, y = x.to(device), y.to(device)
    step, objective = Step(model, layer_map(model, x), x, y, (1, 2)), OBJECTIVES.make(name)
    loss = objective.outer(step, x + 0.01)
    loss.backward()
    with quiet(model):
        inner, reference = objective.inner(step), objective.reference(step, x + 0.01)
        raised = None if inner is None else inner(x + 0.01).detach()
    return [loss.detach(), model.get_parameter("block.conv2.weight").grad, raised, reference]


def _dependence(name: str, device: torch.device) -> list[Any]:
    generator = as_seed(0).generator()
    x = torch.randn(90, 9, generator=generator)
    y = x[:, :5] + 0.3 * torch.randn(90, 5, generator=generator)
    given = (torch.arange(90) % 2).to(device)
    found = []
    for labels in (None, given):
        e = few(DEPENDENCES, name)(x.to(device), y.to(device), given=labels, seed=1)
        found += [e.value, e.error, *e.null, e.ceiling]
    return found


def _measure(name: str, device: torch.device) -> list[Any]:
    model, (x, y) = build_model("resnet8", 3, 0.125, image_size=8).to(device), small_images(60).all(device)
    attack = sr.PGD(_THREAT, steps=2)
    x_adv = attack.in_batches(model, x, y, seed=Seed(("attack",)))
    context = MeasureContext(model, layer_map(model, x), x, y, x_adv, attack, Seed(("measure",)))
    return [part for s in few(MEASURES, name).scores(context) for part in (s.values, s.low, s.high)]


def _saliency(name: str, device: torch.device) -> list[Any]:
    model = network().requires_grad_().to(device)
    weights = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    return [*SALIENCIES.make(name)(model, weights, small_images(), sr.FGSM(_THREAT), as_seed(3)).values()]


def _model(name: str, device: torch.device) -> list[Any]:
    model, (x, _) = build_model(name, 3, 0.125, image_size=16).to(device), examples(3, size=16)
    x = x.to(device).requires_grad_()
    logits = model(x)
    return [logits.detach(), *torch.autograd.grad(logits.logsumexp(1).sum(), x)]


def _validate(model: nn.Module, seed: Seed) -> dict[str, float]:
    x, y = small_images(12, 6).all(device_of(model, torch.device("cpu")))
    moved = sr.PGD(_THREAT, steps=1)(model, x, y, seed=seed)
    with torch.no_grad():
        return {
            name: float((model(part).argmax(1) == y).float().mean())
            for name, part in {"clean": x, "robust": moved}.items()
        }


def _outcome(trained: Any) -> list[Any]:
    logs = [(log.loss, *log.metrics.values()) for log in trained.logs]
    return [*trained.best.values(), *logs, trained.stopped]


def _hook(name: str, device: torch.device) -> list[Any]:
    training = Training(
        objective=OBJECTIVES.make("adversarial"),
        attack=sr.PGD(_THREAT, steps=2),
        hooks=(HOOKS.make(name),),
        epochs=2,
        batch_size=10,
        augment="none",
        fast="off",
    )
    model = network().requires_grad_().to(device)
    trained = training(model, small_images(20, 6), seed=1, validate=_validate, fabric=fabric_on(device))
    assert device_of(model, torch.device("cpu")) == device
    return _outcome(trained)


def _method(name: str, device: torch.device) -> list[Any]:
    model = network()
    if package := getattr(METHODS.member(name), "package", ""):  # it trains linear layers alone
        pytest.importorskip(package)
        model = build_model("vit_small", 3, 0.125, image_size=6, patch=3, depth=2)
    model.requires_grad_().to(device)
    given: dict[str, Any] = {"attack": sr.PGD(_THREAT, steps=2), "epochs": 2, "batch_size": 10, "fast": "off"}
    images: Images = small_images(20, 6)
    trained = harden(
        model, images, few(METHODS, name), seed=3, validate=_validate, fabric=fabric_on(device), **given
    )
    assert device_of(model, torch.device("cpu")) == device
    return _outcome(trained)


RUNS: dict[str, Callable[[str, torch.device], list[Any]]] = {
    "norms": _norm,
    "attacks": _attack,
    "augmentations": _augmentation,
    "objectives": _objective,
    "dependences": _dependence,
    "measures": _measure,
    "saliencies": _saliency,
    "models": _model,
    "hooks": _hook,
    "methods": _method,
}
"""Family -> what it gives on a device for one of its members, by name."""

ELSEWHERE = {
    "threats": "each belongs to one attack, which runs on the device",
    "selections": "they choose from numbers, not from tensors",
    "networks": "they are brought to a device by their user, as any network is",
    "data": "images are read on the host, and batches brought to the device",
}
"""Family -> why none of its members computes on a device."""

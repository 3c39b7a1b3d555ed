"""What every method of hardening must do."""

from typing import Any

import torch
from torch import nn

from semirobust.attacks.pgd import PGD
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.map import layer_map
from semirobust.methods import METHODS
from semirobust.models.base.build import build_model
from semirobust.procedures.harden import harden
from semirobust.testing.base.check import Subject, demanded, require
from semirobust.testing.base.network import small_images
from semirobust.threats.linf import Linf

__all__: list[str] = []

_THREAT = Linf(8 / 255)


def _validate(model: nn.Module, seed: Seed) -> dict[str, float]:
    """Accuracies by which methods choose how far they go."""
    x, y = small_images().all()
    moved = PGD(_THREAT, steps=1)(model, x, y, seed=seed)
    with torch.no_grad():
        right = {name: model(images).argmax(1) == y for name, images in {"clean": x, "robust": moved}.items()}
    return {name: float(found.float().mean()) for name, found in right.items()}


def _hardened(subject: Subject, model: nn.Module, *, epochs: int = 2, seed: int = 3) -> Any:
    # Three outcomes: trained weights, logs of what trained, and a reason where it stopped.
    return harden(
        model,
        small_images(),
        subject.make(),
        threat=_THREAT,
        validate=_validate,
        epochs=epochs,
        learning_rate=0.05,
        batch_size=20,
        seed=seed,
    )


def _model(name: str = "resnet8") -> nn.Module:
    return build_model(name, 3, 0.125, image_size=8)


def _taken(subject: Subject) -> tuple[str, nn.Module, Any]:
    """A convolutional network that was hardened, or a transformer where the method refuses the other.

    Returns:
        Its architecture, itself, and what came of it.
    """
    try:
        return "resnet8", (model := _model()), _hardened(subject, model)
    except InputError:
        return "vit_small", (model := _model("vit_small")), _hardened(subject, model)


@demanded("methods")
def the_model_stays_what_it_is(subject: Subject) -> None:
    """Keep modules, names and ``requires_grad``; train something, and move no layer that did not train."""
    name, model, trained = _taken(subject)
    start = _model(name)
    kinds, before = [type(m) for m in start.modules()], start.state_dict()
    require(trained.model is model, "another model comes back")
    require([type(m) for m in model.modules()] == kinds, "a module has been replaced for good")
    require(before.keys() == model.state_dict().keys(), "the weights have other names")
    finite = all(torch.isfinite(t).all() for t in trained.best.values() if t.is_floating_point())
    require(finite, "a weight is not finite")
    moved = [key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])]
    require(moved, "nothing has trained")
    require(all(p.requires_grad for p in model.parameters()), "a parameter no longer requires a gradient")
    if any(log.layers is None for log in trained.logs):
        return
    layers = layer_map(model, small_images().all()[0][:1])
    trains = layers.modules(sorted({i for log in trained.logs for i in log.layers or ()}))
    strays = [key for key in moved if not any(key.startswith(f"{module}.") for module in trains)]
    require(not strays, f"layers that did not train have moved: {', '.join(strays[:3])}")


@demanded("methods")
def equal_seeds_give_equal_weights(subject: Subject) -> None:
    """Give the same weights again for equal seeds."""
    name, _, one = _taken(subject)
    other = _hardened(subject, _model(name))
    require(all(torch.equal(one.best[k], other.best[k]) for k in one.best), "equal seeds, other weights")
    another = _hardened(subject, _model(name), seed=4).model.state_dict()
    differs = any(not torch.equal(tensor, another[k]) for k, tensor in one.model.state_dict().items())
    require(differs, "all seeds end with the same weights")


@demanded("methods")
def a_transformer_can_be_hardened(subject: Subject) -> None:
    """Work on a vision transformer too, or stop and say why; refuse it where it needs batch norm."""
    if METHODS.make(subject.name, subject.options).needs_batch_norm:
        try:
            _hardened(subject, _model("vit_small"), epochs=1)
        except InputError as error:
            require("batch norm" in str(error), f"refused, but not for want of batch norm: {error}")
        else:
            require(False, "a network without batch norm is not refused")
        return
    trained = _hardened(subject, _model("vit_small"), epochs=1)
    require(trained.logs or trained.stopped, "neither trained nor stopped")

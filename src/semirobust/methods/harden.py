"""Hardening a model in one call."""

import dataclasses
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.pgd import PGD
from semirobust.data.images import Images
from semirobust.errors import InputError
from semirobust.layers.map import layer_map
from semirobust.methods import METHODS, AbstractMethod, Context
from semirobust.seed import Seed
from semirobust.threats import AbstractBall
from semirobust.training.loop import Trained, Training, Validate

__all__ = ["harden", "hardening"]


def hardening(model: nn.Module, images: Images, method: AbstractMethod, attack: AbstractAttack, **options: Any) -> Training:
    """The training that ``method`` makes of ``model``: its plan, with ``options`` as fields of :class:`Training`."""
    device = next(model.parameters()).device
    x, _ = images.batch(images.y.new_tensor([0]), device)
    plan = method.plan(Context(layer_map(model, x), images, attack, options.get("search", "auto")))
    training = Training(
        objective=plan.objective, attack=attack, trainable=plan.trainable, **{"collapse": plan.collapse, **options}
    )
    prefix = getattr(method, "prefix_epochs", 0)
    if 0 < training.epochs <= prefix:
        raise InputError(f"prefix_epochs: expected fewer than the {training.epochs} epochs there are, got {prefix}")
    return training


def harden(
    model: nn.Module,
    images: Images,
    method: str | AbstractMethod = "clat",
    *,
    threat: AbstractBall | None = None,
    attack: AbstractAttack | None = None,
    epochs: int = 10,
    learning_rate: float = 0.01,
    seed: int | Seed = 0,
    validate: Validate | None = None,
    fabric: Fabric | None = None,
    **options: Any,
) -> Trained:
    """Train ``model`` in place by ``method``.

    Args:
        model: gives logits (N, C) for pixels in [0, 1].
        images: the training images.
        method: a name of ``semirobust.methods.METHODS`` or a method object.
        threat: what to be robust against; PGD-10 looks for it.
        attack: another attack for the inner maximisation, in place of ``threat``.
        epochs, learning_rate: the budget.
        seed, validate, fabric: as in :class:`Training`.
        options: further fields of the method (``k=2``) where it is named, and of :class:`Training` (``batch_size=64``).
    """
    if attack is None:
        if threat is None:
            raise InputError("threat: expected a threat model such as Linf(8/255), or an attack; got neither")
        attack = PGD(threat, steps=10)
    if isinstance(method, str):
        own = {f.name for f in dataclasses.fields(METHODS.make(method))}
        chosen = METHODS.make(method, {key: options.pop(key) for key in list(options) if key in own})
    else:
        chosen = method
    known = {f.name for f in dataclasses.fields(Training)}
    if unknown := sorted(options.keys() - known):
        raise InputError(f"harden: unknown option {unknown[0]!r} for the method {method!r}")
    training = hardening(model, images, chosen, attack, epochs=epochs, learning_rate=learning_rate, **options)
    return training(model, images, seed=seed, validate=validate, fabric=fabric)

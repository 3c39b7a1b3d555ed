"""Hardening a model in one call."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.pgd import PGD
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.seed import Seed, as_seed
from semirobust.data.base.given import given_images
from semirobust.data.base.images import Images
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import device_of
from semirobust.methods import METHODS, AbstractMethod, Context, Plan
from semirobust.threats import AbstractBall
from semirobust.training.callbacks import Listener
from semirobust.training.state import snapshot
from semirobust.training.training import Trained, Training, Validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["carry_out", "harden", "hardening", "planned"]


@anywhere
@on_classifiers("model", layers=True)
def planned(
    model: nn.Module, images: Images, method: AbstractMethod, training: Training
) -> tuple[Training, Plan]:
    """What ``method`` makes of a training of ``model``, and its plan.

    Args:
        model, images: what is trained, and on which images.
        method: which gives the objective and the layers that train.
        training: which gives the attack and everything else.

    Returns:
        the training to run, and what the method does before and after it.
    """
    if training.attack is None:
        raise InputError("attack: expected the attack of training, got none")
    images, device = images.fitting(model), device_of(model, torch.device("cpu"))
    x, _ = images.batch(images.y.new_tensor([0]), device)
    plan = method.plan(Context(layer_map(model, x), images, training.attack, training.fast))
    training = replace(
        training,
        objective=plan.objective,
        trainable=plan.trainable,
        collapse=training.collapse or plan.collapse,
        hooks=(*training.hooks, *plan.hooks),
        schedule=plan.schedule or training.schedule,
    )
    if 0 < training.epochs <= plan.prefix_epochs:
        raise InputError(
            f"prefix_epochs: expected fewer than the {training.epochs} epochs there are, got"
            f" {plan.prefix_epochs}"
        )
    return training, plan


def hardening(model: nn.Module, images: Images, method: AbstractMethod, training: Training) -> Training:
    """The training alone."""
    return planned(model, images, method, training)[0]


def carry_out(
    training: Training,
    plan: Plan,
    model: nn.Module,
    images: Images,
    *,
    seed: int | Seed,
    validate: Validate | None = None,
    **call: Any,
) -> Trained:
    """Train ``model`` in place, and do with the weights what the method does after training; ``call`` goes to
    the training.
    """
    start = snapshot(model) if plan.after is not None else {}
    seed = as_seed(seed)
    with plan.prepare(model, seed / "prepare") if plan.prepare is not None else nullcontext():
        trained = training(model, images, seed=seed, validate=validate, **call)
    if plan.as_before is not None:
        trained = plan.as_before(trained)
    return trained if plan.after is None else plan.after(trained, start, validate, seed / "after")


@anywhere
@on_classifiers("model", layers=True)
def harden(
    model: nn.Module,
    images: Images | Any,
    method: str | AbstractMethod = "clat",
    *,
    threat: AbstractBall | None = None,
    attack: AbstractAttack | None = None,
    epochs: int = 10,
    learning_rate: float = 0.01,
    seed: int | Seed = 0,
    validate: Validate | None = None,
    fabric: "Fabric | None" = None,
    callbacks: Sequence[Listener] = (),
    **options: Any,
) -> Trained:
    """Train ``model`` in place by ``method``.

    Args:
        model: gives logits (N, C) for pixels in [0, 1].
        images: the training images: those of :func:`semirobust.load_data`, a pair (x, y), or a data set of
            PyTorch, torchvision or Hugging Face.
        method: a name of ``semirobust.methods.METHODS`` or a method object.
        threat: what to be robust against; PGD-10 looks for it.
        attack: another attack for the inner maximisation, in place of ``threat``.
        epochs, learning_rate: the budget.
        seed, validate, fabric, callbacks: as in :class:`Training`; ``callbacks=[print]`` shows every epoch.
        options: further fields of the method (``k=2``) where it is named, and of :class:`Training`
            (``batch_size=64``).
    """
    if attack is None:
        if threat is None:
            raise InputError("threat: expected a threat model such as Linf(8/255), or an attack; got neither")
        attack = PGD(threat, steps=10)
    images = given_images(images)
    if isinstance(method, str):
        names = {option.name for option in METHODS.options_of(method)}
        chosen = METHODS.make(method, {key: options.pop(key) for key in list(options) if key in names})
    else:
        chosen = method
    known = {f.name for f in fields(Training)}
    if unknown := sorted(options.keys() - known):
        raise InputError(f"harden: unknown option {unknown[0]!r} for the method {method!r}")
    base = Training(attack=attack, epochs=epochs, learning_rate=learning_rate, **options)
    training, plan = planned(model, images, chosen, base)
    training = replace(training, collapse=options.get("collapse", training.collapse))  # 0 turns it off
    return carry_out(
        training, plan, model, images, seed=seed, validate=validate, fabric=fabric, callbacks=callbacks
    )

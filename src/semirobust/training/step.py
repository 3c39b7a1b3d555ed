"""One step of training: the inner maximisation, the outer loss and the optimiser."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.fast.layout import in_layout
from semirobust.layers.features import took_no_part
from semirobust.layers.quiet import quiet
from semirobust.objectives import Step
from semirobust.training.diagnose import cause_of_nan
from semirobust.training.optimiser import prepare_optimiser
from semirobust.training.run import Batch, Move, Run
from semirobust.training.schedules import schedule

__all__ = ["read", "take_step"]


def take_step(run: Run, rows: Tensor, number: int, seed: Seed) -> float:
    """Train on the images ``rows``, as often in a row as a hook asks for; gives the last outer loss.

    Sets ``run.state.stopped`` where that is NaN or infinite.
    """
    batch = _augmented(run, rows, number, seed)
    training, optimiser = run.training, prepare_optimiser(run)
    whole = training.epochs_before + training.epochs + training.epochs_after
    progress = (training.epochs_before + (run.state.epoch + number / run.steps)) / whole
    factor = math.prod(hook.rate for hook in run.hooks)
    for group in optimiser.param_groups:
        group["lr"] = group["share"] * factor * training.learning_rate * schedule(training.schedule)(progress)
    value = 0.0
    for replay in range(max((hook.replays for hook in run.hooks), default=1)):
        value = _update(run, batch, seed / "replay" / replay if replay else seed)
        if run.state.stopped:
            break
    return value


def read(run: Run, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The images ``rows`` and their labels, as the augmentation takes them."""
    whole = run.augment is not None and run.augment.takes_whole
    return (run.images.whole if whole else run.images.batch)(rows, run.fabric.device)


def _augmented(run: Run, rows: Tensor, number: int, seed: Seed) -> Batch:
    x, y = read(run, rows)
    augment, drawn = run.augment, seed / "augment"
    move: Move = (lambda t: t) if augment is None else (lambda t: augment(t, drawn))
    if augment is None or not augment.mixes:
        return Batch(number, rows, move, in_layout(move(x), run.layout), y)
    whole = F.one_hot(y, len(run.images.classes)).to(torch.promote_types(x.dtype, torch.float32))
    x, shares = augment.mixed(x, whole, drawn)
    return Batch(number, rows, move, in_layout(x, run.layout), y, shares)


def _update(run: Run, batch: Batch, seed: Seed) -> float:
    """One perturbation of the images and one step of the optimiser."""
    optimiser = prepare_optimiser(run)
    run.model.train()
    with run.fabric.autocast(), (seed / "dropout").globally():
        step, x_adv = _perturb(run, batch, seed / "attack")

        def outer() -> Tensor:
            loss = run.training.objective.outer(step, x_adv)
            if not loss.requires_grad:
                raise took_no_part(run.layers, _training(run))
            return loss

        for hook in run.hooks:
            hook.before_loss(outer)
        torch.clear_autocast_cache()  # a hook may have moved weights whose casts are kept there
        loss = outer()
    optimiser.zero_grad(set_to_none=True)
    run.fabric.backward(loss)
    mean_loss = loss.detach().clone().reshape(1)
    gradients = [p.grad for p in run.model.parameters() if p.grad is not None]
    run.processes.mean_([*gradients, mean_loss])
    value = float(mean_loss)
    if not math.isfinite(value):
        where = f"epoch {run.state.epoch + 1}, step {batch.number + 1}"
        run.state.stopped = f"stopped at {where}: the loss is {value}; {cause_of_nan(run.model, batch.x)}"
        return value
    optimiser.step()
    for hook in run.hooks:
        hook.after_optimiser()
    for hook in run.hooks:
        hook.after_step(batch, x_adv)
    return value


def _training(run: Run) -> Sequence[int]:
    """The layers with a parameter that trains, be it of an adapter."""
    names = [name for name, parameter in run.model.named_parameters() if parameter.requires_grad]
    found = [x.index for x in run.layers if any(name.startswith(f"{x.name}.") for name in names)]
    return found or run.selected


def _perturb(run: Run, batch: Batch, seed: Seed) -> tuple[Step, Tensor]:
    """The step as the objective sees it, and the images on which the network trains."""
    measured = None if run.state.underway is None else run.state.underway.measured
    reference = run.state.reference or 1.0
    step = Step(run.model, run.layers, batch.x, batch.y, run.marked, reference, measured, shares=batch.shares)
    given = (hook.perturbed(batch, seed) for hook in run.hooks)
    x_adv = next((points for points in given if points is not None), None)
    if x_adv is not None:
        step = _with_reference(run, step, x_adv)
    else:
        step, x_adv = _attack(run, step, batch, seed)
    for hook in run.hooks:
        hook.after_attack(batch, x_adv)
    return step, x_adv


def _attack(run: Run, step: Step, batch: Batch, seed: Seed) -> tuple[Step, Tensor]:
    """What the attack finds; the images themselves for an objective without an inner maximisation."""
    network = run.fast.network()
    # A copy has the precision it needs in each layer; autocast would lower the first one too.
    precision = nullcontext() if network is run.model else torch.autocast(batch.x.device.type, enabled=False)
    try:
        with quiet(run.model), precision:
            x_adv = _found(run, replace(step, model=network), batch, seed)
    except Exception as error:
        if network is run.model:
            raise
        run.fast.give_up(error)
        return _attack(run, step, batch, seed)
    with precision:
        return (step, batch.x) if x_adv is None else (_with_reference(run, step, x_adv), x_adv)


def _found(run: Run, step: Step, batch: Batch, seed: Seed) -> Tensor | None:
    """What the attack finds on the step's network; None for an objective without an inner maximisation."""
    objective, attack = run.training.objective, run.training.attack
    inner = objective.inner(step)
    if inner is None:
        return None
    if attack is None:
        raise InputError(f"attack: {type(objective).__name__} needs one for its inner maximisation, got none")
    starts = (hook.start(batch) for hook in run.hooks)
    start = next((points for points in starts if points is not None), None)
    if start is None:
        return attack.maximise(inner, batch.x, seed=seed)
    return attack.continue_from(inner, batch.x, start)


def _with_reference(run: Run, step: Step, x_adv: Tensor) -> Step:
    """The step with the objective's reference, which the first batch after a choice of layers sets."""
    if run.state.reference is None:
        with quiet(run.model):
            reference = run.training.objective.reference(step, x_adv)
        mean = torch.tensor([reference], device=x_adv.device)
        run.processes.mean_([mean])
        run.state.reference = reference if run.processes.count == 1 else float(mean)
    return replace(step, reference=run.state.reference)

"""The training loop: epochs of steps, and what is validated, kept and resumed. Only it and what it calls
write parameters.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.augment import augmentation
from semirobust.core.checks import check_images, probe
from semirobust.core.errors import InputError
from semirobust.core.outputs import counting, noted_apart
from semirobust.core.progress import Progress
from semirobust.core.seed import Seed
from semirobust.core.state import load_state
from semirobust.data.base.images import Images
from semirobust.fast.layout import in_layout, safe_layouts, suited
from semirobust.fast.policy import FastFollower
from semirobust.layers.freeze import only_trainable
from semirobust.layers.heads import main_head
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import guarded, quiet
from semirobust.objectives import Step
from semirobust.records.conditions import Conditions
from semirobust.training.alone import Alone
from semirobust.training.diagnose import cause_of_nan
from semirobust.training.optimiser import momentum_by_name, prepare_optimiser
from semirobust.training.run import Run
from semirobust.training.state import EpochLog, EpochProgress, TrainState, snapshot
from semirobust.training.state_file import read_state
from semirobust.training.step import read, take_step
from semirobust.training.validation import Validate, ValidationScores, as_scores

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from semirobust.training.training import Training

__all__ = ["Callbacks", "begin", "resume", "run_epoch", "tensors"]

_PRECISIONS = ("32-true", "bf16-mixed")
_COMPARED = 32
"""Training images on which the fast copy's gradients are compared with the network's."""


@dataclass(frozen=True)
class Callbacks:
    """What the loop calls while an epoch lasts.

    Attributes:
        on_step: told of every step.
        save: writes the run's state.
        save_every: seconds after which a single process saves within an epoch.
    """

    on_step: Progress
    save: Callable[[Run], None]
    save_every: float


def begin(
    training: "Training",
    model: nn.Module,
    images: Images,
    seed: Seed,
    fabric: "Fabric | Alone",
    code: str = "",
) -> Run:
    """A new run, with the state of every hook; ``code`` is the hash of the user's own that it runs."""
    _check_precision(fabric)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(
            "model: expected parameters that can train, found none with requires_grad; call"
            " model.requires_grad_() or hand over the network before it was quantised"
        )
    model = model.to(fabric.device)
    images = images.on(fabric.device).fitting(model)
    x, _ = images.batch(torch.arange(min(2, len(images))), fabric.device)
    with quiet(model):
        probe(model, x, images.y.to(fabric.device))
    if (augment := augmentation(training.augment)) is not None:
        check_images(x, "augment", "; others train with none")
    if training.attack is not None:
        training.attack.check_shape(x)
    head = main_head(model, x)
    with fabric.autocast(), counting(head):
        layout = suited(model, x, train=True)
    run = Run(
        training=training,
        model=model,
        layers=layer_map(model, x[:1]),
        images=images,
        seed=seed,
        fabric=fabric,
        augment=augment and augment.sized(images.shape[-1]),
        steps=math.ceil(images.epoch_size / training.batch_size),
        fast=FastFollower(model, training.fast),
        layout=layout,
        state=TrainState(),
        best=snapshot(model),
        head=head,
        conditions=Conditions.now(fabric.device, code),
    )
    run.hooks = tuple(hook.begin(run) for hook in training.hooks)
    return run


def _check_precision(fabric: "Fabric | Alone") -> None:
    """Raises ``InputError`` for a precision whose gradients are scaled, or which needs another network:
    steps, norms of gradients and weight perturbations would be of the wrong size without a word.
    """
    own = fabric if isinstance(fabric, Alone) else fabric.strategy.precision
    precision = getattr(own, "precision", "32-true")
    if precision not in _PRECISIONS:
        remedy = {
            "16-mixed": "its gradients are scaled, which nothing here undoes; bf16-mixed needs no scaling",
            "64-true": "give model.double() and a fabric of 32-true, which leaves the network as it is",
        }
        half = "give the network in its own precision and a fabric of 32-true, or take bf16-mixed"
        raise InputError(
            f"precision: expected a fabric of {' or '.join(_PRECISIONS)}, got {precision};"
            f" {remedy.get(str(precision), half)}"
        )


def resume(run: Run, path: Path, key: str) -> str:
    """Continue from the state file at ``path``; gives a sentence where its last state is damaged."""
    run.state, groups, note = read_state(path, key)
    with torch.no_grad():
        load_state(run.model, groups["model"])
    run.best, run.momentum = groups["best"], groups["momentum"]
    for hook, state in zip(run.training.hooks, run.hooks, strict=True):
        state.load(groups.get(hook.name, {}))
    return note


def tensors(run: Run) -> dict[str, Mapping[str, Tensor]]:
    """All tensors that a resumed run needs, by group; each hook has a group of its own name."""
    groups = {"model": run.model.state_dict(), "best": run.best, "momentum": momentum_by_name(run)}
    return groups | {
        hook.name: state.tensors() for hook, state in zip(run.training.hooks, run.hooks, strict=True)
    }


def run_epoch(run: Run, validate: Validate | None, callbacks: Callbacks) -> EpochLog | None:
    """One epoch, or the rest of one; None where it could not be finished."""
    seed, state = run.seed / "epoch" / run.state.epoch, run.state
    under = state.underway = state.underway or _begin_epoch(run, seed)
    if run.conditions not in under.conditions[-1:]:
        under.conditions = (*under.conditions, run.conditions)
    trains = only_trainable(run.model, run.layers, state.layers, part=run.training.trainable.part)
    with trains, guarded(run.model), safe_layouts(run.model), counting(run.head):
        optimiser = prepare_optimiser(run)
        started = time.perf_counter() - under.seconds
        _choose_form(run, seed / "search", under)
        _take_steps(run, seed, under, started, callbacks)
        for hook in run.hooks:
            hook.after_epoch()
        run.processes.mean_(buffer for buffer in run.model.buffers() if buffer.is_floating_point())
        seconds = time.perf_counter() - started
    state.underway = None
    run.model.eval()
    _stop_if_not_finite(run)
    if state.stopped:
        load_state(run.model, run.best)
        return None
    networks = (hook.network(seed) for hook in run.hooks)
    network = next((other for other in networks if other is not None), run.model)
    with noted_apart() as said:
        scores = ValidationScores({}) if validate is None else as_scores(validate(network, seed / "validate"))
    run.said[state.epoch + 1] = tuple(said)
    groups = optimiser.param_groups
    log = EpochLog(
        epoch=state.epoch + 1,
        loss=under.loss / max(under.seen, 1),
        learning_rate=max(float(group["lr"]) for group in groups),
        seconds=seconds,
        layers=state.layers,
        selected=under.selected,
        trained_parameters=sum(p.numel() for group in groups for p in group["params"]),
        metrics=scores.metrics,
        by_layer=scores.by_layer,
        conditions=under.conditions,
        marked=run.singled_out,
    )
    _end_epoch(run, log, network)
    return log


def _begin_epoch(run: Run, seed: Seed) -> EpochProgress:
    """A new epoch, with the layers that it trains."""
    choice = run.training.trainable(run.state.epoch, run.model, seed / "layers")
    if choice is not None:
        run.momentum, run.optimiser = momentum_by_name(run), None
        run.state.layers, run.state.marked, run.state.reference = choice.layers, choice.marked, None
    selected = choice is not None and choice.layers is not None
    return EpochProgress(selected=selected, measured=_measured(run, seed / "measure"))


def _measured(run: Run, seed: Seed) -> float | None:
    """What the objective measures of the network before an epoch."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for number, rows in enumerate(run.images.batches(run.training.batch_size, seed=seed / "order")):
            x, y = read(run, rows)
            yield in_layout(x if run.augment is None else run.augment(x, seed / number), run.layout), y

    with quiet(run.model), run.fabric.autocast():
        return run.training.objective.measure(run.model, batches())


def _choose_form(run: Run, seed: Seed, under: EpochProgress) -> None:
    """The form of the network to attack in this epoch."""
    attack, rows = run.training.attack, torch.arange(min(_COMPARED, len(run.images)))
    if not isinstance(attack, AbstractBallAttack) or any(hook.replaces_attack for hook in run.hooks):
        return
    x, y = run.images.batch(rows, run.fabric.device)
    x = in_layout(x, run.layout)
    if under.step:
        run.fast.resume(under.form, x)
        return
    step = Step(run.model, run.layers, x, y, run.marked, run.state.reference or 1.0)
    inner = run.training.objective.inner
    run.fast.choose(lambda network: inner(replace(step, model=network)), x, attack.threat, seed)
    under.form = run.fast.form


def _take_steps(run: Run, seed: Seed, under: EpochProgress, started: float, callbacks: Callbacks) -> None:
    """The steps of an epoch that are not done; each has a seed of its own, so none needs those before it."""
    rank, world, saved = run.processes.rank, run.processes.count, time.monotonic()
    batches = enumerate(run.images.batches(run.training.batch_size, seed=seed / "order"))
    for number, rows in islice(batches, under.step, None):
        mine = rows[rank::world] if len(rows) >= world else rows
        loss = take_step(run, mine, number, seed / number / rank if world > 1 else seed / number)
        if run.state.stopped:
            break
        under.loss += loss * len(rows)
        under.seen += len(rows)
        under.step = number + 1
        under.seconds = time.perf_counter() - started
        done, total = run.state.epoch * run.steps + under.step, run.training.epochs * run.steps
        callbacks.on_step("train", done, total)
        # Several processes have batch statistics of their own until the epoch ends.
        due = time.monotonic() - saved >= callbacks.save_every
        if world == 1 and under.step < run.steps and due:
            callbacks.save(run)
            saved = time.monotonic()


def _stop_if_not_finite(run: Run) -> None:
    """Stop where a weight or a statistic is NaN or infinite, though every loss was finite."""
    named = (*run.model.parameters(), *run.model.buffers())
    if not run.state.stopped and not all(bool(torch.isfinite(t).all()) for t in named):
        x, _ = run.images.batch(torch.tensor([0]), run.fabric.device)
        run.state.stopped = f"stopped after epoch {run.state.epoch + 1}: {cause_of_nan(run.model, x)}"


def _end_epoch(run: Run, log: EpochLog, network: nn.Module) -> None:
    """Keep the weights if the epoch is the best; stop on collapse."""
    state, training = run.state, run.training
    state.epoch += 1
    state.logs.append(log)
    if training.best_by is not None and training.best_by not in log.metrics:
        raise InputError(f"best_by: expected one of {', '.join(log.metrics)}; got {training.best_by!r}")
    score = log.metrics.get(training.best_by or training.objective.best_by, float(log.epoch))
    if score > state.best:
        state.best, state.best_epoch, run.best = score, log.epoch, snapshot(network)
    back = [hook.after_validation(score) for hook in run.hooks]
    if any(back):
        load_state(run.model, run.best)
    highest = max((entry.metrics.get("clean", 0.0) for entry in state.logs), default=0.0)
    if log.metrics.get("clean", 1.0) < training.collapse * highest:
        state.stopped = (
            f"stopped at epoch {log.epoch}: validation accuracy collapsed from {highest:.1%} to"
            f" {log.metrics['clean']:.1%}; the best epoch was kept"
        )

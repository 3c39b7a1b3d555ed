"""One run of the training loop: the only code that writes parameters."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.augment import augmentation
from semirobust.core.checks import probe
from semirobust.core.errors import InputError
from semirobust.core.progress import Progress
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.fast.layout import safe_layouts
from semirobust.fast.policy import FastFollower
from semirobust.layers.freeze import only_trainable
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import quiet
from semirobust.objectives import Step
from semirobust.training.diagnose import cause_of_nan
from semirobust.training.hooks.averaging import Average
from semirobust.training.hooks.awp import AWP
from semirobust.training.hooks.free_at import Free
from semirobust.training.hooks.warm_start import Move, Stored
from semirobust.training.schedules import schedule
from semirobust.training.state import EpochLog, TrainState, Underway, restore, snapshot

if TYPE_CHECKING:
    from semirobust.training.training import Training

__all__ = ["Run", "Validate"]

Validate = Callable[[nn.Module, Seed], Mapping[str, float]]
"""Scores of a model on held-out images, by name; higher is better."""


_LOOKED_AT = 32


class Run:
    """One run of a :class:`Training`: its model, optimiser and state.

    ``keep`` is called after a step where ``keep_every`` seconds have passed since the epoch began or it was
    last called."""

    def __init__(
        self,
        training: "Training",
        model: nn.Module,
        images: Images,
        seed: Seed,
        fabric: Fabric,
        on_step: Progress,
        keep: Callable[["Run"], None],
        keep_every: float,
    ) -> None:
        self.training, self.seed, self.fabric, self.on_step = training, seed, fabric, on_step
        self.keep, self.keep_every, self._kept_at = keep, keep_every, 0.0
        self.images = images.on(fabric.device)
        self.model: nn.Module = model.to(fabric.device)
        x, _ = images.batch(torch.tensor([0]), fabric.device)
        with quiet(self.model):
            probe(self.model, x, images.y.to(fabric.device))
        self.layers: LayerMap = layer_map(self.model, x)
        self.state = TrainState()
        self.best: Mapping[str, Tensor] = snapshot(self.model)
        self.momentum: dict[str, Tensor] = {}
        self.optimiser: torch.optim.SGD | None = None
        self.augment = augmentation(training.augment)
        self.steps = math.ceil(images.epoch_size / training.batch_size)
        self.awp = AWP(training.awp, training.awp_warm_up)
        self.average: Average | None = None
        if training.average != "none":
            self.average = Average(self.model, training.average_decay if training.average == "ema" else None)
        self.fast = FastFollower(self.model, training.fast)
        self.stored: Stored | None = None
        self.free: Free | None = None
        if training.start == "free" and isinstance(training.attack, AbstractBallAttack):
            self.free = Free(training.attack.threat, zero=not training.objective.flat_at_start)
        if training.start == "stored" and isinstance(training.attack, AbstractBallAttack):
            self.stored = Stored(len(images), tuple(x.shape[1:]), training.attack.threat.epsilon)

    def resume(self, path: Path, key: str) -> str:
        """Take up the state at ``path``; gives a sentence where its last one is damaged."""
        self.state, groups, note = restore(path, key)
        with torch.no_grad():
            self.model.load_state_dict(groups["model"])
        self.best, self.momentum = groups["best"], groups["momentum"]
        if self.stored is not None:
            self.stored.codes = groups["stored"]["codes"]
            self.stored.fresh = groups["stored"].get("fresh", self.stored.fresh)
        if self.free is not None and groups.get("free") and self.fabric.world_size == 1:
            self.free.delta = groups["free"]["delta"].to(self.fabric.device)
        if self.average is not None:
            self.average.load(groups["average"])
        return note

    def groups(self) -> dict[str, Mapping[str, Tensor]]:
        """All tensors that a run needs to go on."""
        groups = {"model": self.model.state_dict(), "best": self.best, "momentum": self.momentum_by_name()}
        if self.stored is not None:
            fresh = {} if self.state.underway is None else {"fresh": self.stored.fresh}
            groups["stored"] = {"codes": self.stored.codes, **fresh}
        if self.free is not None and self.free.delta is not None:
            groups["free"] = {"delta": self.free.delta}
        if self.average is not None:
            groups["average"] = self.average.tensors()
        return groups

    def epoch(self, validate: Validate | None) -> EpochLog | None:
        """One epoch, or the rest of one; None where it could not be finished."""
        seed, self._kept_at = self.seed / "epoch" / self.state.epoch, time.monotonic()
        under = self.state.underway = self.state.underway or self._begun(seed / "layers")
        with only_trainable(self.model, self.layers, self.state.layers), safe_layouts(self.model):
            self._prepare_optimiser()
            started = time.perf_counter() - under.seconds
            self._choose_form(seed / "search", under)
            self._steps(seed, under, started)
            if self.stored is not None:
                self.stored.turn(self.fabric)
            self._average(buffer for buffer in self.model.buffers() if buffer.is_floating_point())
            seconds = time.perf_counter() - started
        self.state.underway = None
        self.model.eval()
        tensors = (*self.model.parameters(), *self.model.buffers())
        if not self.state.stopped and not all(bool(torch.isfinite(t).all()) for t in tensors):
            x, _ = self.images.batch(torch.tensor([0]), self.fabric.device)
            self.state.stopped = f"stopped after epoch {self.state.epoch + 1}: {cause_of_nan(self.model, x)}"
        if self.state.stopped:
            self.model.load_state_dict(self.best)
            return None
        judged = self._judged(seed)
        metrics = dict(validate(judged, seed / "validate")) if validate is not None else {}
        assert self.optimiser is not None
        group = self.optimiser.param_groups[0]
        log = EpochLog(
            epoch=self.state.epoch + 1,
            loss=under.loss / max(under.seen, 1),
            learning_rate=float(group["lr"]),
            seconds=seconds,
            layers=self.state.layers,
            selected=under.selected,
            trained_parameters=sum(p.numel() for p in group["params"]),
            metrics=metrics,
        )
        self._judge(log, judged)
        return log

    def _begun(self, seed: Seed) -> Underway:
        """A new epoch, with the layers that it trains."""
        choice = self.training.trainable(self.state.epoch, self.model, seed)
        if choice is not None:
            self.momentum, self.optimiser = self.momentum_by_name(), None
            self.state.layers, self.state.reference = choice.layers, None
        return Underway(selected=choice is not None and choice.layers is not None)

    def _choose_form(self, seed: Seed, under: Underway) -> None:
        """The form of the network to attack in this epoch."""
        attack, rows = self.training.attack, torch.arange(min(_LOOKED_AT, len(self.images)))
        if not isinstance(attack, AbstractBallAttack) or self.free is not None:
            return
        x, y = self.images.batch(rows, self.fabric.device)
        x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
        if under.step:
            self.fast.resume(under.form, x)
            return
        layers = self.layers.indices if self.state.layers is None else self.state.layers
        step = Step(self.model, self.layers, x, y, layers, self.state.reference or 1.0)
        inner = self.training.objective.inner
        self.fast.choose(lambda network: inner(replace(step, model=network)), x, attack.threat, seed)
        under.form = self.fast.form

    def _judged(self, seed: Seed) -> nn.Module:
        """The network of this epoch: itself, or the average of its weights."""
        average, t = self.average, self.training
        began = (self.state.epoch + 1) > t.average_from * t.epochs
        if average is None or not began:
            return self.model
        if not average.by_step:
            average.update(self.model)
        trained = set(
            self.layers.modules(self.layers.indices if self.state.layers is None else self.state.layers)
        )
        keep = {name for name, _ in self.model.named_buffers() if name.rpartition(".")[0] not in trained}
        rows = self.images.batches(t.batch_size, seed=seed / "statistics")
        return average.refreshed(
            self.model, (self.images.batch(r, self.fabric.device)[0] for r in rows), keep
        )

    def _judge(self, log: EpochLog, judged: nn.Module) -> None:
        """Keep the best epoch; stop on collapse."""
        state, training = self.state, self.training
        state.epoch += 1
        state.logs.append(log)
        if training.best_by is not None and training.best_by not in log.metrics:
            raise InputError(f"best_by: expected one of {', '.join(log.metrics)}; got {training.best_by!r}")
        score = log.metrics.get(training.best_by or training.objective.best_by, float(log.epoch))
        if score > state.best:
            state.best, state.best_epoch, self.best = score, log.epoch, snapshot(judged)
        highest = max((entry.metrics.get("clean", 0.0) for entry in state.logs), default=0.0)
        if log.metrics.get("clean", 1.0) < training.collapse * highest:
            state.stopped = (
                f"stopped at epoch {log.epoch}: validation accuracy collapsed from {highest:.1%} to"
                f" {log.metrics['clean']:.1%}; the best epoch was kept"
            )

    def _prepare_optimiser(self) -> None:
        """A fresh optimiser for what trains now; a parameter that trained before keeps its momentum."""
        if self.optimiser is not None:
            return
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        if not named:
            raise InputError(
                "layers: expected some with parameters to train, but none of the chosen ones has any"
            )
        t = self.training
        self.optimiser = torch.optim.SGD(
            named.values(),
            t.learning_rate,
            momentum=t.momentum,
            weight_decay=t.weight_decay,
            nesterov=t.nesterov,
        )
        for name, parameter in named.items():
            if name in self.momentum:
                self.optimiser.state[parameter]["momentum_buffer"] = self.momentum[name].to(parameter.device)

    def momentum_by_name(self) -> dict[str, Tensor]:
        if self.optimiser is None:
            return self.momentum
        buffers = (
            (name, self.optimiser.state.get(p, {}).get("momentum_buffer"))
            for name, p in self.model.named_parameters()
        )
        return {name: buffer for name, buffer in buffers if buffer is not None}

    def _steps(self, seed: Seed, under: Underway, started: float) -> None:
        """The steps of an epoch that are not done; each has a seed of its own, so none needs those before
        it.
        """
        rank, world = self.fabric.global_rank, self.fabric.world_size
        batches = enumerate(self.images.batches(self.training.batch_size, seed=seed / "order"))
        for number, rows in islice(batches, under.step, None):
            own = rows[rank::world] if len(rows) >= world else rows
            loss = self._step(own, number, seed / number / rank if world > 1 else seed / number)
            if self.state.stopped:
                break
            under.loss, under.seen, under.step = (
                under.loss + loss * len(rows),
                under.seen + len(rows),
                number + 1,
            )
            under.seconds = time.perf_counter() - started
            self.on_step(
                "train", self.state.epoch * self.steps + under.step, self.training.epochs * self.steps
            )
            # Several processes have batch statistics of their own until the epoch ends.
            if world == 1 and under.step < self.steps and time.monotonic() - self._kept_at >= self.keep_every:
                self.keep(self)
                self._kept_at = time.monotonic()

    def _step(self, rows: Tensor, number: int, seed: Seed) -> float:
        assert self.optimiser is not None
        x, y = self.images.batch(rows, self.fabric.device)
        augment = self.augment
        move: Move = (lambda t: t) if augment is None else (lambda t: augment(t, seed / "augment"))
        x = move(x)
        if x.dim() == 4:  # convolutions on a CPU are about 1.4 times faster so
            x = x.contiguous(memory_format=torch.channels_last)
        progress = (self.state.epoch + number / self.steps) / self.training.epochs
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate * schedule(self.training.schedule)(progress)
        value = 0.0
        for replay in range(self.training.replays):
            value = self._update(x, y, rows, move, number, seed / "replay" / replay if replay else seed)
            if self.state.stopped:
                break
        return value

    def _update(self, x: Tensor, y: Tensor, rows: Tensor, move: Move, number: int, seed: Seed) -> float:
        """One inner maximisation and one step of the optimiser."""
        assert self.optimiser is not None
        self.model.train()
        with self.fabric.autocast(), (seed / "dropout").globally():
            step, x_adv = self._perturb(x, y, seed / "attack", rows, move)
            outer = self.training.objective.outer
            active = self.awp.gamma > 0 and self.state.epoch >= self.awp.warm_up
            offsets = self.awp.offsets(self.model, lambda: outer(step, x_adv)) if active else {}
            self._average(offsets.values())
            self._shift(offsets, 1)
            torch.clear_autocast_cache()  # or the outer loss would see the casts of the weights before
            loss = outer(step, x_adv)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        told = loss.detach().clone().reshape(1)
        self._average([*(p.grad for p in self.model.parameters() if p.grad is not None), told])
        value = float(told)
        if not math.isfinite(value):
            where = f"epoch {self.state.epoch + 1}, step {number + 1}"
            self.state.stopped = f"stopped at {where}: the loss is {value}; {cause_of_nan(self.model, x)}"
            return value
        self.optimiser.step()
        self._shift(offsets, -1)
        if self.free is not None:
            self.free.rise(x_adv)
        if self.average is not None and self.average.by_step:
            self.average.update(self.model)
        return value

    def _shift(self, offsets: Mapping[str, Tensor], sign: int) -> None:
        """Perturb the weights, or take the perturbation back."""
        if offsets:
            named = dict(self.model.named_parameters())
            with torch.no_grad():
                for name, offset in offsets.items():
                    named[name].add_(offset, alpha=sign)

    def _perturb(self, x: Tensor, y: Tensor, seed: Seed, rows: Tensor, move: Move) -> tuple[Step, Tensor]:
        layers = self.layers.indices if self.state.layers is None else self.state.layers
        step = Step(self.model, self.layers, x, y, layers, self.state.reference or 1.0)
        objective, attack = self.training.objective, self.training.attack
        if self.free is not None:
            return self._referenced(step, self.free.start(x, seed))
        network = self.fast.network()
        # A copy has the precision it needs in each layer; autocast would lower the first one too.
        precision = nullcontext() if network is self.model else torch.autocast(x.device.type, enabled=False)
        with quiet(self.model), precision:
            inner = objective.inner(replace(step, model=network))
            if inner is None:
                return step, x
            if attack is None:
                raise InputError(
                    f"attack: {type(objective).__name__} needs one for its inner maximisation, got none"
                )
            if self.stored is not None and self.state.epoch:
                x_adv = attack.go_on(inner, x, x + self.stored.of(rows, move, x.device).to(x))
            else:
                x_adv = attack.maximise(inner, x, seed=seed)
            if self.stored is not None:
                self.stored.keep(rows, x_adv - x, move)
            return self._referenced(step, x_adv)

    def _referenced(self, step: Step, x_adv: Tensor) -> tuple[Step, Tensor]:
        """The step with the objective's reference, which the first batch after a selection sets."""
        if self.state.reference is None:
            with quiet(self.model):
                self.state.reference = self.training.objective.reference(step, x_adv)
            if self.fabric.world_size > 1:
                self._average([scale := torch.tensor([self.state.reference], device=x_adv.device)])
                self.state.reference = float(scale)
        return replace(step, reference=self.state.reference), x_adv

    def _average(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over all processes into each tensor: gradients of what trains, and batch
        statistics.
        """
        every = list(tensors)
        if self.fabric.world_size == 1 or not every:
            return
        # In one piece: each call waits for all processes.
        mean = self.fabric.all_reduce(
            torch.cat([tensor.detach().reshape(-1) for tensor in every]), reduce_op="mean"
        )
        assert isinstance(mean, Tensor)
        with torch.no_grad():
            for tensor, part in zip(every, mean.split([tensor.numel() for tensor in every]), strict=True):
                tensor.copy_(part.view_as(tensor))

"""The lowest and the highest that each feature in front of the classifier can be brought to."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from semirobust.core.allocator import keep_freed_memory
from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed
from semirobust.fast.policy import fast_copy
from semirobust.layers.features import features, forward_to
from semirobust.layers.map import LayerMap
from semirobust.threats import AbstractBall

__all__ = ["FeatureAttack", "Head", "extremes"]

_BATCH, _LOOKED_AT, _AGREE = 256, 32, 1e-5


@dataclass(frozen=True)
class FeatureAttack:
    """Looks for the point of the ball at which one feature is lowest, or highest: plain steps along its own
    gradient.

    Source: "Lighter robust model", section IV: 3 steps of 0.01 with radius 0.3, which are the defaults;
    ``steps=40`` with ``step_size=None`` is the converged attack to compare with. The lowest (highest) value
    on the way counts, the start's included, so a feature is never called more robust than it was seen to be
    (ours).

    Where features are the ReLU of what a layer gives, ``lift`` climbs what the layer gives. The feature
    itself has no slope where it is 0, so that an attack along it never raises it, and it looks more robust
    than it is (ours; the paper climbs the feature).

    Args:
        threat: the perturbations allowed.
        steps: gradient steps.
        step_size: in pixel units; None for 2.5 * epsilon / steps.
        random_start: start at a uniform point of the ball.
        lift: climb in front of the ReLU; False for the paper's attack.
        rows: pairs of an image and a feature that go through the model at once.
    """

    threat: AbstractBall
    steps: int = 3
    step_size: float | None = 0.01
    random_start: bool = False
    lift: bool = True
    rows: int = 512

    def __post_init__(self) -> None:
        check_counts(1, steps=self.steps, rows=self.rows)
        if self.step_size is not None and not self.step_size > 0:
            raise InputError(f"step_size: expected a positive length in pixel units, got {self.step_size}")

    @property
    def step(self) -> float:
        """The length of a step."""
        return 2.5 * self.threat.epsilon / self.steps if self.step_size is None else self.step_size

    @property
    def words(self) -> str:
        """What it does, for a table."""
        return f"{self.steps} steps of {self.step:g}{'' if self.lift else ' behind the ReLU'}, {self.threat}"


@dataclass(frozen=True)
class Head:
    """The model up to its last linear layer, and that layer's weights.

    Attributes:
        index: the layer whose feature the classifier takes.
        weight: (C, d) of normalised features, each class against the mean of the others.
        mean, deviation: (d,) of the features.
    """

    model: nn.Module = field(repr=False)
    layers: LayerMap = field(repr=False)
    index: int
    weight: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)
    deviation: Tensor = field(repr=False)

    @classmethod
    def of(cls, model: nn.Module, layers: LayerMap, reference: Tensor) -> "Head":
        last = model.get_submodule(layers.at(len(layers)).name)
        if not isinstance(last, nn.Linear) or len(layers) < 2:
            raise InputError(
                f"model: expected a linear layer at its end, behind others; got {type(last).__name__}"
            )
        if last.out_features < 2:
            raise InputError("model: expected two logits or more, got one")
        plain = cls(model, layers, len(layers) - 1, torch.empty(0), torch.empty(0), torch.empty(0))
        f = plain.features(reference).double()
        if f.shape[1] != last.in_features:
            raise InputError(
                f"model: expected its last layer to take the {f.shape[1]} features of the layer before it,"
                " and no others"
            )
        deviation = f.std(0, correction=0)
        deviation = torch.where(
            deviation > 0, deviation, torch.inf
        )  # what never moves is worth nothing: 0, with weight 0
        classes = last.out_features
        rows = last.weight.detach().double()
        against = (rows - rows.mean(0)) * classes / (classes - 1)  # a class less the mean of the others
        weight = against * torch.where(deviation.isfinite(), deviation, 0.0)
        return cls(model, layers, len(layers) - 1, weight.cpu(), f.mean(0).cpu(), deviation.cpu())

    def faster(self, x: Tensor) -> "Head":
        """The same in a faster copy of the model, where that gives the same features."""
        if x.dim() != 4 or not any(isinstance(module, nn.Conv2d) for module in self.model.modules()):
            return self
        if (copy := fast_copy(self.model, x[:1])) is None:
            return self
        fast = replace(self, model=copy.network)
        mine, theirs = self.features(x[:_LOOKED_AT]), fast.features(x[:_LOOKED_AT])
        close = (mine - theirs).abs().amax() <= _AGREE * mine.abs().amax()
        return fast if close else self

    def features(self, x: Tensor) -> Tensor:
        """(N, d)."""
        with torch.no_grad():
            return torch.cat([self(part) for part in x.split(_BATCH)])

    def __call__(self, x: Tensor, *, raw: bool = False) -> Tensor:
        """(N, d); with ``raw`` what the layer gives, in front of what follows it."""
        return forward_to(self.model, self.layers, x, self.index, at="conv" if raw else "input")[
            self.index
        ].flatten(1)

    def gated(self, x: Tensor) -> bool:
        """Whether the features are the ReLU of what the layer gives: then one that is 0 has no slope."""
        with torch.no_grad(), features(self.model, self.layers, [self.index], at="conv") as tape:
            self.model(x)
            return torch.equal(tape[self.index].flatten(1).relu(), self(x))


def extremes(
    head: Head,
    x: Tensor,
    f: Tensor,
    lower: Tensor,
    upper: Tensor,
    attack: FeatureAttack,
    seed: Seed,
    progress: Progress = silent,
) -> tuple[Tensor, Tensor]:
    """(N, d) lowest and highest value found of each feature; f itself where ``lower`` (``upper``) does not
    ask for it.

    All pairs of an image and a feature go through the model side by side, and a pair leaves as soon as its
    feature is as low as
    a ReLU gets or has no slope left: no later step would change what is found, which is what a loop over
    features finds."""
    keep_freed_memory()
    found, gated, parts = (f.clone(), f.clone()), head.gated(x[:1]), []
    for side, (sign, wanted) in enumerate(((-1.0, lower), (1.0, upper))):
        pairs = wanted.nonzero()
        if gated and (
            side == 0 or not (attack.lift or attack.random_start)
        ):  # no lower than 0, and no slope there
            pairs = pairs[f.cpu()[pairs[:, 0], pairs[:, 1]] != 0]
        parts += [
            (side, sign, number, part) for number, part in enumerate(pairs.split(attack.rows)) if len(part)
        ]

    for done, (side, sign, number, part) in enumerate(parts, 1):
        n, i = part.to(x.device).unbind(1)
        reached = _climb(head, x[n], i, sign, attack, gated, seed / side / number)
        if gated and attack.lift:
            reached = sign * (sign * reached).relu()
        found[side][n, i] = sign * torch.maximum(sign * f[n, i], reached)
        progress("usefulness", done, len(parts))
    return found


def _climb(
    head: Head, x: Tensor, i: Tensor, sign: float, attack: FeatureAttack, gated: bool, seed: Seed
) -> Tensor:
    """The highest ``sign`` * feature i on the way from each x."""
    threat, step, lifted = attack.threat, attack.step, gated and attack.lift
    frame, now = (
        threat.frame(x),
        threat.restrict(x, x + threat.sample(x, seed)) if attack.random_start else x.clone(),
    )
    best, here = (
        torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device),
        torch.arange(len(x), device=x.device),
    )
    for number in range(attack.steps + 1):
        last = number == attack.steps
        with torch.set_grad_enabled(not last):
            now.requires_grad_(not last)
            values = sign * head(now, raw=lifted).gather(1, i[here, None])[:, 0]
        best[here] = torch.maximum(best[here], values.detach())
        if last:
            break
        (slope,) = torch.autograd.grad(values.sum(), now)
        if lifted and sign < 0:  # below 0 the feature is 0, and no lower
            alive = values.detach() < 0
        else:
            alive = values.detach() != 0 if gated and not lifted else slope.flatten(1).any(1)
        moving = alive.nonzero().flatten()
        now = now.detach()
        if len(moving) < len(here):
            here, now, slope, frame = (
                here[moving],
                now[moving],
                slope[moving],
                tuple(part[moving] for part in frame),
            )
            if len(here) == 0:
                break
        before, now = now, threat.restrict_in(frame, threat.ascent(slope).mul_(step).add_(now))
        moved = (
            (now != before).flatten(1).any(1).nonzero().flatten()
        )  # what stands still would do so for ever
        if len(moved) < len(here):
            here, now, frame = here[moved], now[moved], tuple(part[moved] for part in frame)
            if len(here) == 0:
                break
    return best

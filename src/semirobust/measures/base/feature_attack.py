"""The minimum and the maximum that each input of the classifier can be brought to."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from semirobust.core.allocator import keep_freed_memory
from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed
from semirobust.fast.layout import like
from semirobust.fast.policy import fast_copy
from semirobust.layers.features import features, forward_to
from semirobust.layers.map import LayerMap
from semirobust.threats import AbstractBall

__all__ = ["FeatureAttack", "Head", "extremes"]

_BATCH = 256
_COMPARED, _TOLERANCE = 32, 1e-5  # images on which a fast copy must agree, and how closely


@dataclass(frozen=True)
class FeatureAttack:
    """The attack that minimises or maximises one feature within the ball, by plain steps along its gradient.

    Source: "Lighter robust model", section IV: 3 steps of 0.01 with radius 0.3, which are the defaults.
    ``steps=40`` with ``step_size=None`` is a converged attack to compare with. The minimum (maximum) over all
    points on the way counts, the start included (ours; it can only lower the robustness).

    Where features are the ReLU of a layer's output, ``lift`` ascends the output in front of the ReLU (ours;
    the paper ascends the feature). The gradient of the feature is 0 where the feature is 0, so an attack
    along it never raises such a feature, which then looks more robust than it is.

    Args:
        threat: the perturbations allowed.
        steps: gradient steps.
        step_size: in pixel units; None for 2.5 * epsilon / steps.
        random_start: start at a uniform point of the ball.
        lift: ascend in front of the ReLU; False for the paper's attack.
        rows: pairs of an image and a feature in a forward pass.
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
        """The attack in words, for a table."""
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
        end = layers.at(len(layers))
        last = None if end.functional else model.get_submodule(end.name)
        alone = end.before and layers.at(end.before).feature_at == end.index
        if not isinstance(last, nn.Linear) or not alone:
            raise InputError(f"model: expected a linear layer at its end, behind others; got {end.kind}")
        if last.out_features < 2:
            raise InputError("model: expected two logits or more, got one")
        plain = cls(model, layers, end.before, torch.empty(0), torch.empty(0), torch.empty(0))
        f = plain.features(reference).double()
        if f.shape[1] != last.in_features:
            raise InputError(
                f"model: expected its last layer to take the {f.shape[1]} features of the layer before it,"
                " and no others"
            )
        if not _gives_the_logits(model, last, reference):
            raise InputError(
                f"model: expected a linear layer that gives the logits, but what {end.name} gives is"
                " not what the network returns, as where several heads or networks are averaged"
            )
        deviation = f.std(0, correction=0)
        # A constant feature is useless: normalised it is 0, with weight 0.
        least = torch.finfo(reference.dtype).eps * 16 * f.abs().amax(0)  # rounding is no deviation
        deviation = torch.where(deviation > least, deviation, torch.inf)
        classes = last.out_features
        rows = last.weight.detach().double()
        against = (rows - rows.mean(0)) * classes / (classes - 1)  # a class minus the mean of the others
        weight = against * torch.where(deviation.isfinite(), deviation, 0.0)
        return cls(model, layers, end.before, weight.cpu(), f.mean(0).cpu(), deviation.cpu())

    def faster(self, x: Tensor) -> "Head":
        """The same head on a fast copy of the model, where that gives the same features."""
        if x.dim() != 4 or not any(isinstance(module, nn.Conv2d) for module in self.model.modules()):
            return self
        if (copy := fast_copy(self.model, x[:1])) is None:
            return self
        fast = replace(self, model=copy.network)
        exact, quick = self.features(x[:_COMPARED]), fast.features(x[:_COMPARED])
        close = (exact - quick).abs().amax() <= _TOLERANCE * exact.abs().amax()
        return fast if close else self

    def features(self, x: Tensor) -> Tensor:
        """(N, d) features, batch by batch."""
        with torch.no_grad():
            return torch.cat([self(part) for part in x.split(_BATCH)])

    def __call__(self, x: Tensor, *, raw: bool = False) -> Tensor:
        """(N, d) features; with ``raw`` the output of the layer itself, in front of a ReLU behind it."""
        return forward_to(self.model, self.layers, x, self.index, at="conv" if raw else "input")[
            self.index
        ].flatten(1)

    def gated(self, x: Tensor) -> bool:
        """Whether the features are the ReLU of the layer's output, so that the gradient of one at 0 is 0."""
        with torch.no_grad(), features(self.model, self.layers, [self.index], at="conv") as tape:
            self.model(x)
            return torch.equal(tape[self.index].flatten(1).relu(), self(x))


def _gives_the_logits(model: nn.Module, last: nn.Linear, x: Tensor) -> bool:
    """Whether the outputs of this layer are the logits, but for what is common to all classes, such as the
    denominator of a softmax.
    """
    outputs: list[Tensor] = []
    handle = last.register_forward_hook(lambda module, args, output: outputs.append(output.detach().clone()))
    try:
        with torch.no_grad():
            logits = model(x[:_COMPARED]).double()
    finally:
        handle.remove()
    own = outputs[-1].double() if outputs else logits.new_empty(0)
    if own.shape != logits.shape:
        return False
    own, logits = (z - z.mean(1, keepdim=True) for z in (own, logits))
    return bool((own - logits).abs().amax() <= 1e-3 * logits.abs().amax())


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
    """(N, d) minimum and maximum of each feature under the attack.

    Pairs of an image and a feature go through the model side by side. A pair is done as soon as its feature
    is at the minimum of a ReLU, or its gradient is 0: no later step would change the result, which is that of
    a loop over features.

    Args:
        head: gives the features.
        x: (N, ...) images.
        f: (N, d) their features.
        lower, upper: (N, d) for which the minimum (maximum) is wanted; the others stay at f.
        attack: the attack.
        seed: of random starts.
        progress: told after each batch of pairs.
    """
    keep_freed_memory()
    results, gated, parts = (f.clone(), f.clone()), head.gated(x[:1]), []
    for side, (sign, wanted) in enumerate(((-1.0, lower), (1.0, upper))):
        pairs = wanted.nonzero()
        # A ReLU at 0 cannot get lower, and its gradient there is 0.
        if gated and (side == 0 or not (attack.lift or attack.random_start)):
            pairs = pairs[f.cpu()[pairs[:, 0], pairs[:, 1]] != 0]
        parts += [
            (side, sign, number, part) for number, part in enumerate(pairs.split(attack.rows)) if len(part)
        ]

    for done, (side, sign, number, part) in enumerate(parts, 1):
        n, i = part.to(x.device).unbind(1)
        reached = _ascend(head, x[n], i, sign, attack, gated, seed / side / number)
        if gated and attack.lift:
            reached = sign * (sign * reached).relu()
        found = sign * torch.maximum(sign * f[n, i], reached)
        results[side][n, i] = found.to(results[side].dtype)  # autocast computes in less than it keeps
        progress("usefulness", done, len(parts))
    return results


def _ascend(
    head: Head, x: Tensor, i: Tensor, sign: float, attack: FeatureAttack, gated: bool, seed: Seed
) -> Tensor:
    """(n,) maximum over the steps from each x of ``sign`` * feature i."""
    threat, step, lifted = attack.threat, attack.step, gated and attack.lift
    frame = threat.frame(x)
    x_adv = threat.restrict(x, x + threat.sample(x, seed)) if attack.random_start else x.clone()
    best = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
    rows = torch.arange(len(x), device=x.device)  # of the pairs that are not done
    for number in range(attack.steps + 1):
        last = number == attack.steps
        with torch.set_grad_enabled(not last):
            x_adv.requires_grad_(not last)
            values = sign * head(x_adv, raw=lifted).gather(1, i[rows, None])[:, 0]
        best[rows] = torch.maximum(best[rows], values.detach())
        if last:
            break
        gradient = like(torch.autograd.grad(values.sum(), x_adv)[0], x_adv)
        if lifted and sign < 0:  # below 0 the feature is 0 and cannot get lower
            going = values.detach() < 0
        else:
            going = values.detach() != 0 if gated and not lifted else gradient.flatten(1).any(1)
        chosen = going.nonzero().flatten()
        x_adv = x_adv.detach()
        if len(chosen) < len(rows):
            rows, x_adv, gradient = rows[chosen], x_adv[chosen], gradient[chosen]
            frame = tuple(part[chosen] for part in frame)
            if len(rows) == 0:
                break
        before, x_adv = x_adv, threat.restrict_in(frame, threat.ascent(gradient).mul_(step).add_(x_adv))
        # A pair that a step did not change would not change later either.
        chosen = (x_adv != before).flatten(1).any(1).nonzero().flatten()
        if len(chosen) < len(rows):
            rows, x_adv = rows[chosen], x_adv[chosen]
            frame = tuple(part[chosen] for part in frame)
            if len(rows) == 0:
                break
    return best

"""What of an audit fits into a given time."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.gradients import input_gradient
from semirobust.core.checks import probe
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed
from semirobust.evaluation.accuracy import evaluate
from semirobust.evaluation.passes import allowed
from semirobust.layers.quiet import device_of, quiet
from semirobust.threats.base.ball import AbstractBall

__all__ = ["MOST", "Plan", "plan_audit", "took"]

MOST = 1000  # images under the attacks
_QUICK, _STRONG, _PROFILE = 0.15, 0.55, 0.2  # of the time; the sanity checks take a fifth of the second
_CHAINS = (("pgd-20",), ("autoattack",), ("apgd-50", "square-500"), ("apgd-10", "square-50"))
"""A quick attack, then the strong ones that are tried, the strongest first."""
_WITHOUT_GRADIENT = (("square-100",), ("square",), ("square-500",))
_FEWEST = 50  # images under the strong attack, where there are so many
_STEPS = (1, 2, 5)  # numbers of images begin with one of these
_TIMED = 64  # images of a timed step
_CHECKED, _PROFILED, _CHECK_COST, _PROFILE_COST = 100, 512, 500, 60  # images, and passes for each


@dataclass(frozen=True)
class Plan:
    """What an audit does within its time.

    Attributes:
        pace: seconds of one pass of one image, forward or backward, as measured.
        outputs: of the network.
        attacks: the names of a quick one, and of the strong ones behind it.
        examples: images under both attacks.
        checked: images of the sanity checks at most, which take no more than a fifth of the attacks' passes.
        profiled: images of the layer profile.
        seconds: what each part is expected to take at most, in seconds.
        why: a clause where the strongest attack did not fit in, or not on all images.
    """

    pace: float
    outputs: int
    attacks: tuple[str, ...]
    examples: int
    checked: int
    profiled: int
    seconds: dict[str, float]
    why: str = ""

    def __str__(self) -> str:
        said = [
            f"{' and '.join(self.attacks)} on {self.examples} images, {took(self.seconds['attacks'])}",
            f"sanity checks on up to {self.checked}, {took(self.seconds['checks'])}",
            f"layer profile on {self.profiled}, {took(self.seconds['profile'])}",
        ]
        return "; ".join(said) + (f". {self.why}" if self.why else "")


def plan_audit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: AbstractBall,
    minutes: float,
    *,
    seed: Seed,
    progress: Progress = silent,
) -> Plan:
    """What fits into the time: passes are timed, and a quick attack on some of the images tells how many are
    left for the strong one.

    Raises:
        InputError: the network cannot run on these images.
    """
    pace, outputs, has_gradient = _measured(model, x, y)
    budget, available, wanted = 60 * minutes, len(x), min(len(x), _FEWEST)
    quick, *tried = _CHAINS if has_gradient else _WITHOUT_GRADIENT
    named = {name: ATTACKS.make(name, threat=threat) for chain in (quick, *tried) for name in chain}
    first = named[quick[0]]
    n = max(1, min(available, MOST, int(_QUICK * budget / (pace * first.cost))))
    looked = evaluate(model, x[:n], y[:n], first, seed=seed / "quick", progress=progress)
    share = max(float(looked.unbroken.float().mean()), 1 / _FEWEST)
    for strong in tried:
        passes = first.cost + share * sum(named[name].cost for name in strong)
        fits = _STRONG * budget / (pace * passes)
        examples = max(1, min(available, MOST, _round(fits)))
        if examples >= wanted:
            break
    why = ""
    if strong is not tried[0]:
        time = f"{minutes:g} minute{'s' * (minutes != 1)}"
        why = f"{tried[0][0]} on {wanted} images does not fit into {time}; with more it is taken"
    elif examples < min(available, MOST):
        why = f"with more minutes, more of the {available:,} test images are taken"
    checked = min(available, _CHECKED)
    profiled = max(
        min(2, available), min(available, _PROFILED, int(_PROFILE * budget / (pace * _PROFILE_COST)))
    )
    seconds = {
        "attacks": pace * examples * passes,
        "checks": pace * min(checked * _CHECK_COST, allowed(int(examples * passes))),
        "profile": pace * profiled * _PROFILE_COST,
    }
    return Plan(pace, outputs, (*quick, *strong), examples, checked, profiled, seconds, why)


def _measured(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, int, bool]:
    """Seconds of one pass of one image, a third of a gradient step, the best of three; how many outputs there
    are, and whether they have a gradient.
    """
    device = device_of(model, x.device)
    images, labels = x[:_TIMED].to(device), y[:_TIMED].to(device)
    best = math.inf
    with quiet(model), torch.enable_grad():
        probe(model, images[:1], labels[:1])
        for turn in range(4):  # the first also allocates
            began = time.perf_counter()
            z = images.clone().requires_grad_()
            logits = model(z)
            if logits.requires_grad:
                input_gradient(F.cross_entropy(logits.float(), labels), z)
            float(logits.detach().flatten()[0])  # waits for a GPU
            if turn:
                best = min(best, time.perf_counter() - began)
    return max(best, 1e-9) / 3 / len(images), logits.shape[1], logits.requires_grad


def _round(count: float) -> int:
    """The largest number up to ``count`` that begins with 1, 2 or 5 and goes on with zeros."""
    if count < 1:
        return 1
    power = 10 ** int(math.log10(count))
    return int(max(step * power for step in _STEPS if step * power <= count))


def took(seconds: float) -> str:
    """A time as it is said."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {round(seconds / 3600)} hours"

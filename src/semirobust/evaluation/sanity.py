"""Checks that the field asks for before a robust accuracy is believed: signs that it is too high."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.attacks.base.gradients import input_gradient
from semirobust.attacks.pgd import PGD
from semirobust.attacks.square import Square
from semirobust.core.checks import check_examples, check_mode, probe
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table
from semirobust.evaluation.accuracy import evaluate
from semirobust.layers.quiet import quiet
from semirobust.threats import AbstractBall

__all__ = ["Check", "Checks", "sanity_checks"]

_DRIFT = 1e-4  # of logits between passes on equal inputs, which kernels may add up in another order
_PASSES = 5
_QUERIES = 300
_NO_GRADIENT = "the logits have no gradient at all, so attacks with gradients cannot run; use Square"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was looked for.
        passed: whether there is no sign of a fault.
        text: one sentence with the numbers.
    """

    name: str
    passed: bool
    text: str


class Checks(AbstractResult, list[Check]):
    """The checks in the order in which they ran."""

    def table(self) -> Table:
        failed = [check.name for check in self if not check.passed]
        said = f"{len(self) - len(failed)} of {len(self)} passed" + (
            f"; failed: {', '.join(failed)}" if failed else ""
        )
        rows = [(check.name, check.passed, check.text) for check in self]
        return Table(said, {"check": "text", "passed": "flag", "found": "text"}, rows)


@anywhere
@on_classifiers("model")
def sanity_checks(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: AbstractBall,
    *,
    seed: int | Seed = 0,
    progress: Progress = silent,
) -> Checks:
    """Five checks on a few examples (Carlini et al. 2019, section 4; Croce & Hein 2020): about 200 gradient
    steps each.

    - ``randomised``: equal inputs give equal logits.
    - ``gradients``: the cross entropy has a gradient at the examples.
    - ``growing``: robust accuracy does not rise with epsilon.
    - ``unbounded``: with all pixels free to change, (nearly) every example is fooled.
    - ``black-box``: random search without gradients fools no example that PGD did not. It needs images, so
      other examples go without this check.

    Train mode, probabilities in place of logits and pixels outside [0, 1] are refused outright.

    Args:
        model: gives logits (N, C); in eval mode. It is left as it was.
        x, y: (N, ...) pixels in [0, 1] and (N,) labels; a hundred examples are enough.
        threat: the threat model of the evaluation.
        seed: the source of all randomness.
        progress: told after each check.
    """
    check_examples(x, y)
    check_mode(model)
    seed = as_seed(seed)
    with quiet(model):
        probe(model, x, y)
    checks: list[Callable[[], Check]] = [
        lambda: _randomised(model, x),
        lambda: _gradients(model, x, y),
        lambda: _growing(model, x, y, threat, seed / "growing"),
        lambda: _unbounded(model, x, y, threat, seed / "unbounded"),
    ]
    if x.dim() == 4:  # random search moves squares of pixels
        checks.append(lambda: _black_box(model, x, y, threat, seed / "black-box"))
    results = Checks()
    for number, check in enumerate(checks, 1):
        results.append(check())
        progress("sanity checks", number, len(checks))
        if results[-1].text == _NO_GRADIENT:
            break  # the other checks compare attacks that need one
    return results


def _randomised(model: nn.Module, x: Tensor) -> Check:
    with quiet(model), torch.no_grad():
        first = model(x)
        drift = max(float((model(x) - first).abs().max()) for _ in range(_PASSES - 1))
    passed = drift <= _DRIFT
    said = (
        "equal inputs give equal logits"
        if passed
        else "the model answers at random; use the preset rand of AutoAttack"
    )
    return Check("randomised", passed, f"{said} (largest difference over {_PASSES} passes {drift:.1e})")


def _gradients(model: nn.Module, x: Tensor, y: Tensor) -> Check:
    with quiet(model):
        z = x.detach().requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(model(z), y, reduction="sum")
            try:
                gradient = input_gradient(loss, z)
            except InputError:
                return Check("gradients", False, _NO_GRADIENT)
    flat = gradient.flatten(1)
    zero, bad = int((flat.abs().amax(1) == 0).sum()), int((~torch.isfinite(flat)).any(1).sum())
    passed = zero + bad <= 0.01 * len(x)
    said = "" if passed else "; gradients are masked, so trust only attacks without them"
    return Check(
        "gradients",
        passed,
        f"{zero} of {len(x)} examples have a zero gradient and {bad} one that is not finite{said}",
    )


def _growing(model: nn.Module, x: Tensor, y: Tensor, threat: AbstractBall, seed: Seed) -> Check:
    # Three radii around that of the evaluation, by PGD with the same seed.
    sizes = [threat.epsilon * factor for factor in (0.5, 1, 2)]
    counts = [_correct_after(model, x, y, PGD(threat.resized(e), steps=10), seed) for e in sizes]
    # One example may be fooled, or not, by the random start alone.
    passed = all(b <= a + 1 for a, b in pairwise(counts))
    listed = ", ".join(f"{count} at {e:.3g}" for count, e in zip(counts, sizes, strict=True))
    return Check(
        "growing",
        passed,
        f"of {len(x)} examples PGD-10 leaves {listed}" + ("" if passed else ": it rises with epsilon"),
    )


def _unbounded(model: nn.Module, x: Tensor, y: Tensor, threat: AbstractBall, seed: Seed) -> Check:
    whole = threat.whole(x)
    left = _correct_after(model, x, y, PGD(threat.resized(whole), steps=50, step_size=whole / 10), seed)
    passed = left <= 0.02 * len(x)
    said = (
        ""
        if passed
        else "; an attack without bound should fool every example, so its gradient points the wrong way"
    )
    return Check(
        "unbounded",
        passed,
        f"{left} of {len(x)} examples stay correctly classified under an attack without bound{said}",
    )


def _black_box(model: nn.Module, x: Tensor, y: Tensor, threat: AbstractBall, seed: Seed) -> Check:
    attacks = {"white": PGD(threat, steps=20), "black": Square(threat, queries=_QUERIES)}
    result = evaluate(model, x, y, attacks, seed=seed)
    more = int((result.standing("white") & ~result.standing("black")).sum())
    # Random search may be lucky once, or on 1 % of many examples.
    passed = more <= max(1, round(0.01 * len(x)))
    said = "" if passed else "; the gradients lead the attack astray"
    return Check(
        "black-box", passed, f"random search fools {more} of {len(x)} examples that PGD-20 did not{said}"
    )


def _correct_after(model: nn.Module, x: Tensor, y: Tensor, attack: PGD, seed: Seed) -> int:
    return int(evaluate(model, x, y, {"attack": attack}, seed=seed).standing("attack").sum())

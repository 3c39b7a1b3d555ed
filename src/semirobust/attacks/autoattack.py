"""The standard ensemble of attacks without parameters."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.apgd import APGD
from semirobust.attacks.base.active import all_rows
from semirobust.attacks.base.attack import AbstractAttack, AbstractBallAttack, Precision
from semirobust.attacks.base.goals import AbstractGoal, expect_fool
from semirobust.attacks.fab import FAB
from semirobust.attacks.square import Square
from semirobust.core.seed import Seed

__all__ = ["AutoAttack"]

Preset = Literal["standard", "plus", "rand", "clat"]


@ATTACKS.register("autoattack", pattern=r"autoattack(?:-(?P<preset>plus|rand|clat))?(?:-(?P<steps>\d+))?")
@dataclass(frozen=True)
class AutoAttack(AbstractBallAttack):
    """Several attacks one after the other, each on the examples that are still correctly classified.

    Source: Croce & Hein 2020, section 6, with the settings of the authors' code.

    - ``standard``: APGD on the cross entropy (100 steps), targeted APGD on the DLR loss (9 targets), targeted
      FAB (9 targets), Square (5,000 queries). Under l1 5 restarts for the first and 5 targets for the second.
    - ``plus``: APGD on both losses and untargeted FAB with 5 restarts each, Square, and the two targeted
      ones.
    - ``rand``: APGD on both losses with 20 gradients averaged in each step, for models that answer at random.
    - ``clat``: that of the CLAT paper (section 4.1): like standard, with 3 targets for FAB.

    By name ``autoattack-clat`` is a preset, and ``autoattack-10`` that of ten steps, which torchattacks calls
    AutoAttack and the semirobustness paper evaluates with.

    Args:
        threat: the perturbations allowed.
        preset: which ensemble.
        steps, queries: of its gradient attacks and of Square. With fewer than the standard 100 and 5,000 it
            is a quick look and no AutoAttack, and its name says so.
    """

    precision: ClassVar[Precision] = "full"  # run as one search, it needs what its parts need

    preset: Preset = "standard"
    steps: int = 100
    queries: int = 5000

    def __post_init__(self) -> None:
        AbstractBallAttack.__post_init__(self)
        _ = self.parts  # whose settings are checked when they are made

    @property
    def name(self) -> str:
        kind = "autoattack" if self.preset == "standard" else f"autoattack-{self.preset}"
        standard = (self.steps, self.queries) == (100, 5000)
        return kind if standard else f"{kind} of {self.steps} steps, {self.queries} queries"

    @property
    def cost(self) -> int:
        return sum(part.cost for part in self.parts)

    @property
    def parts(self) -> tuple[AbstractAttack, ...]:
        t, steps, sparse = self.threat, self.steps, self.threat.sparse
        first, square = APGD(t, steps, restarts=5 if sparse else 1), Square(t, self.queries)
        targeted = APGD(t, steps, loss="dlr-targeted", targets=5 if sparse else 9)
        match self.preset:
            case "standard":
                return first, targeted, FAB(t, steps), square
            case "clat":
                return APGD(t, steps), APGD(t, steps, loss="dlr-targeted"), FAB(t, steps, targets=3), square
            case "rand":
                return APGD(t, steps, eot=20), APGD(t, steps, loss="dlr", eot=20)
            case "plus":
                many = (
                    APGD(t, steps, restarts=5),
                    APGD(t, steps, loss="dlr", restarts=5),
                    FAB(t, steps, targets=0, restarts=5),
                )
                return *many, square, targeted, FAB(t, steps)

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        goal = expect_fool(goal, "autoattack")
        x_adv = x.clone()
        with torch.no_grad():
            correct = (~goal.fooled(goal.model(x), x, goal.y)).nonzero().flatten()
        for attack in self.parts:
            if len(correct) == 0:
                break
            part = goal.of(correct, early_exit=True)
            points = attack.search(part, x[correct], seed / attack.name)
            with torch.no_grad():
                fooled = part.fooled(part.logits(points, all_rows(points)), points, part.y)
            x_adv[correct[fooled]] = points[fooled]
            correct = correct[~fooled]
        return x_adv

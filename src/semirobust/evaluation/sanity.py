"""Checks that the field asks for before a robust accuracy is believed: signs that it is too high."""

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.attacks import AbstractAttack
from semirobust.attacks.base.gradients import input_gradient
from semirobust.attacks.base.sight import watched
from semirobust.attacks.fab import FAB
from semirobust.attacks.pgd import PGD
from semirobust.attacks.square import Square
from semirobust.core.checks import check_examples, check_mode, probe
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.margin import margin, misclassified
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.evaluation.accuracy import Evaluation
from semirobust.evaluation.check import Check, Checks
from semirobust.evaluation.passes import FEWEST, LEAST, Passes, allowed, passes_of
from semirobust.evaluation.runner import batches_of
from semirobust.evaluation.steadiness import PASSES
from semirobust.fast.model import FastModel
from semirobust.fast.policy import fast_for_evaluation
from semirobust.layers.quiet import quiet
from semirobust.threats import AbstractBall

__all__ = ["sanity_checks"]

_DRIFT = 1e-4  # of logits between passes on equal inputs, which kernels may add up in another order
_ASKED = 5  # passes on equal inputs
_QUERIES, _FEWEST_QUERIES = 300, 50
_STEPS, _FEWEST_STEPS = 10, 5
_RADII = (0.5, 1, 2)  # times epsilon
_FIRST, _LONG = 10, 50  # steps without bound: first for all, then for those that stand
_LEFT, _MORE = 0.02, 0.01  # of the examples: that may stand without bound, that random search may fool
_TARGETS = 3  # of the longer attack by gradients, on what random search alone has fooled
_FEW = 0.1  # of the examples: more are a sign without that attack
_BATCH = 256
_STRONG = 20  # passes of an attack whose verdicts random search can start from
_COMPARED = 16  # passes that finding the faster copy takes for each image it looks at, about
_NO_GRADIENT = "the logits have no gradient at all, so attacks with gradients cannot run; use Square"
_BLACK_BOX = "black-box"


@anywhere
@on_classifiers("model")
def sanity_checks(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: AbstractBall,
    *,
    evaluation: Evaluation | None = None,
    seed: int | Seed = 0,
    progress: Progress = silent,
) -> Checks:
    """Five checks on a few examples (Carlini et al. 2019, section 4; Croce & Hein 2020): up to 500 passes
    each.

    - ``randomised``: equal inputs give equal logits.
    - ``gradients``: the cross entropy has a gradient at the examples.
    - ``growing``: robust accuracy does not rise with epsilon.
    - ``unbounded``: with all pixels free to change, (nearly) every example is fooled.
    - ``black-box``: random search without gradients fools no example that PGD did not, nor targeted
      FAB on those few. It needs images, so other examples go without this check.

    Beside an ``evaluation`` they take at most a fifth of its passes (one of one image, forward or backward).
    Checks that cost more are made on those correctly classified examples that are nearest to the boundary,
    with fewer steps or queries, and say so. On fewer than ten a check judges nothing, and says that. Random
    search then starts from the evaluation's verdicts, where an attack by gradients of ten steps or more gave
    them. These numbers are our own choice.

    Train mode, probabilities in place of logits and pixels outside [0, 1] are refused outright.

    Args:
        model: gives logits (N, C); in eval mode. It is left as it was.
        x, y: (N, ...) pixels in [0, 1] and (N,) labels; a hundred examples are enough. Beside an evaluation
            its first ones.
        threat: the threat model of the evaluation.
        evaluation: the one that is checked; without one all examples are looked at, whatever that takes.
        seed: the source of all randomness.
        progress: told after each check.
    """
    if evaluation is not None:
        x, y = x[: len(evaluation.clean)], y[: len(evaluation.clean)]
    check_examples(x, y)
    check_mode(model)
    passes = Passes(None if evaluation is None else allowed(passes_of(evaluation)))
    with quiet(model):
        probe(model, x, y)
    checking = _Checking(model, x, y, threat, as_seed(seed), passes, evaluation)
    # By what they tell for what they cost.
    checks = [checking.randomised, checking.gradients, checking.unbounded, checking.growing]
    if x.dim() == 4:  # random search moves squares of pixels
        checks.insert(3, checking.black_box)
    found: dict[str, Check] = {}
    for number, check in enumerate(checks, 1):
        made = check()
        found[made.name] = made
        progress("sanity checks", number, len(checks))
        if made.text == _NO_GRADIENT:
            break  # the other checks compare attacks that need one
    order = ("randomised", "gradients", "growing", "unbounded", _BLACK_BOX)
    return Checks(found[name] for name in order if name in found)


@dataclass
class _Checking:
    """The checks of one network on some examples, within some passes."""

    model: nn.Module
    x: Tensor
    y: Tensor
    threat: AbstractBall
    seed: Seed
    passes: Passes
    evaluation: Evaluation | None
    nearest: Tensor = field(init=False)
    """(n,) the correctly classified examples, those nearest to the boundary first."""
    form: FastModel | None = None
    votes: int = 1
    judging: bool = True
    """Whether it is known which examples are nearest."""

    def __post_init__(self) -> None:
        self.counted = self.passes.counting(self.model)

    def randomised(self) -> Check:
        """Whether equal inputs give equal logits."""
        n = len(self.x) if self.passes.most is None else self.passes.images(min(len(self.x), FEWEST), _ASKED)
        if n < 1:
            return self._not_judged("randomised", _ASKED)
        x = self.x[:n]
        with quiet(self.model), torch.no_grad():
            first = self.counted(x)
            drift = max(float((self.counted(x) - first).abs().max()) for _ in range(_ASKED - 1))
        passed = drift <= _DRIFT
        if not passed:
            self.votes = PASSES
            if self.evaluation is not None:
                self.passes.most = allowed(passes_of(self.evaluation, drawn=True))
        said = (
            "equal inputs give equal logits"
            if passed
            else "the model answers at random; use the preset rand of AutoAttack"
        )
        return Check("randomised", passed, f"{said} (largest difference over {_ASKED} passes {drift:.1e})")

    def gradients(self) -> Check:
        """Whether the cross entropy has a gradient at the examples, of which the margins are kept."""
        x, y = self.x, self.y
        most = self.passes.most
        n = len(x) if most is None else min(len(x), int(max(most / 10, 2 * LEAST / 5) / 2))
        if 2 * min(n, FEWEST) > self.passes.left:
            self.nearest, self.judging = torch.arange(0), False
            return self._not_judged("gradients", 2 * FEWEST)
        x, y = x[:n], y[:n]
        with quiet(self.model):
            z = x.detach().requires_grad_()
            with torch.enable_grad():
                logits = self.counted(z)
                margins = margin(logits.detach(), y).nan_to_num(0)
                right = (~misclassified(logits.detach(), y)).nonzero().flatten()
                self.nearest = right[margins[right].argsort(descending=True, stable=True)].cpu()
                try:
                    gradient = input_gradient(F.cross_entropy(logits, y, reduction="sum"), z)
                except InputError:
                    return Check("gradients", False, _NO_GRADIENT)
        flat = gradient.flatten(1)
        zero, bad = int((flat.abs().amax(1) == 0).sum()), int((~torch.isfinite(flat)).any(1).sum())
        passed = zero + bad <= 0.01 * n
        said = "" if passed else "; gradients are masked, so trust only attacks without them"
        found = f"{zero} of {n} examples have a zero gradient and {bad} one that is not finite"
        return Check("gradients", passed, f"{found}{said}")

    def unbounded(self) -> Check:
        """Whether (nearly) every example is fooled with all pixels free to change."""
        whole, seed = self.threat.whole(self.x), self.seed / "unbounded" / "attack"
        first, long = (
            PGD(self.threat.resized(whole), steps=steps, step_size=whole / 10) for steps in (_FIRST, _LONG)
        )
        cost = first.cost + self.votes
        n = min(FEWEST, len(self.nearest))
        if self._too_few(self.passes.images(n, cost)):
            return self._not_judged("unbounded", cost * FEWEST)
        left = self._stand(first, self.nearest[:n], seed)
        # More of them once it is known how few passes they take, where that leaves enough to the others.
        spare = Passes(None if self.passes.most is None else int(max(self.passes.left - self._reserved, 0)))
        more = spare.images(len(self.nearest) - n, cost, 1 / 3)
        left, n = torch.cat([left, self._stand(first, self.nearest[n : n + more], seed)]), n + more
        most, standing = int(_LEFT * n), 0
        # One after the other, until it is sure.
        while len(left) and standing <= most and standing + len(left) > most:
            part, left = left[: most + 1 - standing], left[most + 1 - standing :]
            if long.cost * len(part) > self.passes.left:
                break
            standing += len(self._stand(long, part, seed))
        sure = standing > most or standing + len(left) <= most
        if not sure:
            text = f"{standing + len(left)} of {n} examples withstand a first attack without bound"
            long_one = f"a longer one takes more than a fifth of the evaluation ({self.passes.most:,} passes)"
            return Check("unbounded", None, f"not judged: {text}, and {long_one}")
        passed = standing <= most
        wrong = "; an attack without bound should fool every example, so its gradient points the wrong way"
        count = f"at least {standing}" if len(left) and not passed else f"{standing + len(left)}"
        text = f"{count} of {n} examples stay correctly classified under an attack without bound"
        return Check("unbounded", passed, f"{text}{self._of(n)}{'' if passed else wrong}")

    def growing(self) -> Check:
        """Whether robust accuracy does not rise with epsilon: PGD with the same seed at three radii."""
        for steps in (_STEPS, _FEWEST_STEPS):
            cost = 2 * steps * len(_RADII) + len(_RADII) * self.votes
            n = self.passes.images(len(self.nearest), cost)
            if not self._too_few(n):
                break
        else:
            return self._not_judged("growing", cost * FEWEST)
        rows, seed = self.nearest[:n], self.seed / "growing" / "attack"
        sizes = [self.threat.epsilon * factor for factor in _RADII]
        counts = [len(self._stand(PGD(self.threat.resized(e), steps=steps), rows, seed)) for e in sizes]
        # One example may be fooled, or not, by the random start alone.
        passed = all(b <= a + 1 for a, b in pairwise(counts))
        listed = ", ".join(f"{count} at {e:.3g}" for count, e in zip(counts, sizes, strict=True))
        text = f"of {n} examples PGD-{steps} leaves {listed}"
        return Check("growing", passed, f"{text}{self._of(n)}{'' if passed else ': it rises with epsilon'}")

    def black_box(self) -> Check:
        """Whether random search fools examples that an attack by gradients did not."""
        (white, standing), n = self._known(), len(self.nearest)
        if standing is None:
            attack = PGD(self.threat, steps=20)
            white, each = "PGD-20", attack.cost + self._each
            n = self.passes.images(n, each, 2 / 3) or self.passes.images(min(n, FEWEST), each)
            if self._too_few(n):
                return self._not_judged(_BLACK_BOX, each * FEWEST)
            standing = self._stand(attack, self.nearest[:n], self.seed / _BLACK_BOX / "white")
        limit = max(1, round(_MORE * n))  # random search may be lucky once, or on 1 % of many examples
        queries, tried = self._queries(len(standing))
        if tried < min(FEWEST, len(standing)) or self._too_few(n):
            return self._not_judged(_BLACK_BOX, self._each * FEWEST)
        random, rows = Square(self.threat, queries=queries), standing[:tried]
        stood = self._stand(random, rows, self.seed / _BLACK_BOX / "black")
        found = rows[:tried][~torch.isin(rows[:tried], stood)]
        # Near the boundary a longer attack by gradients finds them too, and then they are no sign.
        longer = FAB(self.threat, targets=_TARGETS)
        ran = {} if self.evaluation is None else self.evaluation.robust.attacks
        cost = ran[white].cost if white in ran else 0
        passed: bool | None = len(found) <= limit
        if not passed and cost < longer.cost:
            if (longer.cost + self.votes) * len(found) <= self.passes.left:
                found = self._stand(longer, found, self.seed / _BLACK_BOX / "longer")
                white, passed = f"{white} and {longer.name}", len(found) <= limit
            elif len(found) <= _FEW * n:
                passed = None
        more = len(found)
        fewer = f", tried on the nearest {tried} of {len(standing)}" if tried < len(standing) else ""
        fewer += f" with {queries} queries" if queries < _QUERIES else ""
        text = f"random search fools {more} of {n} examples that {white} did not{fewer}"
        said = {
            True: "",
            False: "; the gradients lead the attack astray",
            None: "; a longer attack by gradients, which may fool them too, takes more than a fifth of the"
            " evaluation",
        }
        return Check(_BLACK_BOX, passed, ("not judged: " if passed is None else "") + text + said[passed])

    @property
    def _beside(self) -> int:
        """Passes of an example beside its search: before it, and for the verdict."""
        return 2 + self.votes

    @property
    def _each(self) -> int:
        """Passes of the shortest random search on one example."""
        return _FEWEST_QUERIES + self._beside

    @property
    def _reserved(self) -> int:
        """Passes that the checks need which come after the one without bound."""
        return FEWEST * (self._each + len(_RADII) * (2 * _FEWEST_STEPS + self.votes))

    def _queries(self, standing: int) -> tuple[int, int]:
        """Queries of random search, and on how many of the examples that stand: rather more examples."""
        if not standing or self.passes.most is None:
            return _QUERIES, standing
        affordable = max(2 / 3 * self.passes.left, min(self.passes.left, FEWEST * self._each))
        queries = int(min(max(affordable / standing - self._beside, _FEWEST_QUERIES), _QUERIES))
        return queries, int(min(standing, affordable / (queries + self._beside)))

    def _known(self) -> tuple[str, Tensor | None]:
        """What an attack by gradients in the evaluation did not fool, nearest to the boundary first."""
        if self.evaluation is None:
            return "", None
        strongest, blind = "", set[str]()
        attacks, threats = self.evaluation.robust.attacks, self.evaluation.threats
        for name, attack in attacks.items():
            led = all(part.uses_gradients for part in attack.parts)
            if not led:
                blind.add(threats[name])
            usable = led and attack.cost >= _STRONG and attack.threat == self.threat
            alone = not (self.evaluation.cumulative and threats[name] in blind)
            if usable and alone and (not strongest or attack.cost >= attacks[strongest].cost):
                strongest = name
        if not strongest:
            return "", None
        return strongest, self.nearest[self.evaluation.standing(strongest).cpu()[self.nearest]]

    def _stand(self, attack: AbstractAttack, nearest: Tensor, seed: Seed) -> Tensor:
        """Those of the examples against which an attack finds nothing, in the order that they came in."""
        rows, found = nearest.sort().values, torch.zeros(len(self.x), dtype=torch.bool)
        for part in batches_of(len(rows), _BATCH):
            chosen = rows[part].to(self.x.device)
            x, y, own = self.x[chosen], self.y[chosen], seed / attack.name / part.start
            with (own / "network").globally(), quiet(self.model), watched(len(x)):
                x_adv = attack.fool(self.counted, x, y, seed=own, form=self._form())
                with torch.no_grad():
                    wrong = sum(misclassified(self.counted(x_adv), y).int() for _ in range(self.votes))
            found[rows[part]] = ~((2 * wrong > self.votes) & attack.threat.contains(x, x_adv)).cpu()
        return nearest[found[nearest]]

    def _form(self) -> FastModel | None:
        """What attacks search in; a faster copy of the network where it agrees, and is worth its passes."""
        if self.form is None:
            rows = self.nearest.to(self.x.device)
            enough = self.passes.left > 4 * _COMPARED * len(rows)
            form = fast_for_evaluation(self.model, self.x[rows], fast="auto") if enough else None
            if form is not None:
                self.passes.made += _COMPARED * min(max(len(rows) // 8, 4), 32)
            self.form = self.passes.counting_form(form) or FastModel(
                self.counted, self.counted, "", 0.0, torch.contiguous_format
            )
        return self.form if self.form.is_copy else None

    def _too_few(self, n: int) -> bool:
        """Whether a check on n of the nearest would judge on too little."""
        return n < min(FEWEST, len(self.nearest)) or not self.passes.left or not self.judging

    def _of(self, n: int) -> str:
        """Which examples were taken, where not all."""
        return f" (the nearest of {len(self.nearest)} to the boundary)" if n < len(self.nearest) else ""

    def _not_judged(self, name: str, needed: float) -> Check:
        text = (
            f"not judged: it needs {needed:,.0f} passes, and of the {self.passes.most:,} that are a fifth of"
            f" the evaluation {self.passes.left:,} were left; an evaluation of more images or steps has them"
        )
        return Check(name, None, text)

"""Random search with squares; needs no gradient."""

import math
from copy import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.active import AbstractActive, all_rows, looks, runs_per_batch
from semirobust.attacks.base.attack import AbstractBallAttack, Precision
from semirobust.attacks.base.ending import Stalled
from semirobust.attacks.base.goals import AbstractGoal, Fool, expect_fool
from semirobust.attacks.base.screening import AbstractRun, Coloured, Screen, Screened
from semirobust.attacks.base.sight import Tally
from semirobust.attacks.base.squares import Colours, moved_mass, square_side, starting_pyramids
from semirobust.core.checks import check_images
from semirobust.core.devices import costs_a_wait
from semirobust.core.errors import InputError
from semirobust.core.margin import margin
from semirobust.core.seed import Seed
from semirobust.threats.base.ball import per_example

__all__ = ["Square"]

# Proposals computed ahead, for each that is accepted on the way.
_AHEAD = 0.3
# The same where proposals were left out: of those tried every fifth is accepted, and few rows are slow.
_AHEAD_SCREENED = 0.9
# Proposals over which the rate of acceptance is averaged.
_MEMORY = 50


@dataclass
class _Pyramids(AbstractActive):
    """A run under l2 or l1, likewise."""

    rows: Tensor
    examples: Tensor
    best: Tensor
    margin: Tensor
    x: Tensor


@ATTACKS.register("square", pattern=r"square(?:-(?P<queries>\d+))?")
@dataclass(frozen=True)
class Square(AbstractBallAttack):
    """Tries a square of random place and colour at the edge of the ball, and keeps it where the margin falls.

    Under l-infinity a square sets its window to +-epsilon; under l2 and l1 it moves the mass of one window
    into another, shaped like two opposed pyramids. The side shrinks with the number of queries. Source:
    Andriushchenko et al. 2020, algorithms 1 to 3; place and side are drawn once for all examples of a batch,
    as in the authors' code.

    Few examples are attacked with several proposals in one batch, all from the same point. Those behind the
    first that is kept are tried again from there, so the result is that of one proposal after another (ours).
    In an evaluation, proposals under l-infinity that a gradient shows to be worse are left out
    (:class:`semirobust.attacks.base.screening.Screen`), and runs whose margin has all but stopped falling end
    early (:class:`semirobust.attacks.base.ending.Stalled`).

    Args:
        threat: the perturbations allowed.
        queries: forward passes for each example.
        p_init: fraction of the image that the first squares cover.
        restarts: independent runs.
        rescale: stretch the schedule of the side over the queries; AutoAttack does not.
    """

    uses_gradients: ClassVar[bool] = False

    # A square moves the margin by less than half precision can tell.
    pictures: ClassVar[bool] = True
    precision: ClassVar[Precision] = "full"

    queries: int = 5000
    p_init: float = 0.8
    restarts: int = 1
    rescale: bool = False

    def __post_init__(self) -> None:
        AbstractBallAttack.__post_init__(self)
        if min(self.queries, self.restarts) < 1 or not 0 < self.p_init <= 1:
            raise InputError(
                "queries, restarts and p_init: expected at least 1, at least 1, and a fraction in (0, 1]"
            )
        if self.threat.search_order is None:
            raise InputError(
                f"threat: expected a ball of the l-infinity, l2 or l1 norm, for which squares are defined;"
                f" got {self.threat}"
            )

    @property
    def name(self) -> str:
        return "square" if self.queries == 5000 else f"square-{self.queries}"

    @property
    def cost(self) -> int:
        return self.queries * self.restarts

    def left_out(self, tally: Tally) -> str:
        if not tally.left_out:
            return ""
        said, runs = (
            (
                f"{self.name} left out {tally.left_out:,} of {tally.considered:,} proposals, which a gradient"
                f" showed to be no better; of such that it tried all the same it kept {tally.errors}, and"
                " left out nothing more on those examples"
            ),
            tally.of_runs,
        )
        if runs.left_out:
            said += (
                f"; it ended {runs.left_out:,} of {runs.considered:,} runs early, whose margin had all but"
                f" stopped falling; of such that went on all the same fooled the model {runs.errors}"
            )
        return said

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        check_images(x, "square")
        goal = expect_fool(goal, "square")
        best, lowest = x.clone(), torch.full((len(x),), torch.inf, device=x.device, dtype=torch.float32)
        run = self._run_colours if self.threat.search_order == math.inf else self._run_pyramids
        for restart in range(self.restarts):
            rows = (lowest >= 0).nonzero().flatten() if goal.early_exit else all_rows(x)
            if len(rows) == 0:
                break
            points, value = run(goal, x[rows], rows, seed / restart)
            better = (value < lowest[rows]).nonzero().flatten()
            best[rows[better]], lowest[rows[better]] = points[better], value[better]
        return best

    def _side(self, query: int, size: tuple[int, int]) -> int:
        scaled = int(query / self.queries * 10_000) if self.rescale else query
        return square_side(self.p_init, scaled, size, odd=self.threat.search_order != math.inf)

    def _run_colours(self, goal: Fool, x: Tensor, rows: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """One run under l-infinity: the best point and its margin z_y - max z_k, negative where
        misclassified.
        """
        size, generator = (x.shape[2], x.shape[3]), seed.generator(x.device)
        colours = Colours(
            x, [self._side(query, size) for query in range(self.queries)], self.threat.epsilon, generator
        )
        frame = self.threat.frame(x)
        result = colours.start(x, frame, generator)
        lowest = _first(goal, x, result, rows)
        a = Coloured(
            rows=all_rows(x),
            examples=rows,
            best=result.clone(),
            margin=lowest.clone(),
            query=torch.zeros_like(rows),
            frame=frame,
        )
        start, stalled = copy(a), None
        a.drop(lowest < 0)  # who is misclassified needs no further query, in either form
        if goal.audited:
            stalled = Stalled(lowest, self.queries, seed / "audit") if Stalled.fits(self.queries) else None
            screen = Screen(colours, self.queries, generator)
            a = self._run_screened(goal, screen.start(a), screen, stalled, result, lowest)
        self._run_plain(goal, a, colours, result, lowest)
        if stalled is not None:
            again, tally = stalled.again(lowest)
            start.best, start.margin, start.query = result, lowest, stalled.query
            start.keep(again)  # they go on from where they ended, without leaving out anything
            self._run_plain(goal, start, colours, result, lowest)
            goal.count(Tally(0, 0, 0, 0, *tally.counts[:4]))
        return result, lowest

    def _run_plain(self, goal: Fool, a: Coloured, colours: Colours, result: Tensor, lowest: Tensor) -> None:
        """All proposals that are left of the runs ``a``, whose ends go to ``result`` and ``lowest``."""
        rate, turn = 1.0, 0
        while len(a):
            ahead = max(1, runs_per_batch(goal.batch_rows, len(a), int(_AHEAD / max(rate, 1e-2))))
            moved, counted = self._try(goal, a, colours, ahead)
            if looks(a.best, turn):
                accepted, tried = torch.stack([moved, counted]).tolist()
                rate += min(ahead / _MEMORY, 1) * (accepted / max(tried, 1) - rate)
                _leave(a, (a.margin < 0) | (a.query >= self.queries), result, lowest)
            turn += 1

    def _try(self, goal: Fool, a: Coloured, colours: Colours, ahead: int) -> tuple[Tensor, Tensor]:
        """Try the next ``ahead`` proposals of each example: how many examples moved, and how many proposals
        counted.

        Who is done stays where it is; where looking makes the host wait, it is still among the others.
        """
        n, open_ = len(a), ~(a.margin < 0) & (a.query < self.queries)
        query = (a.query + torch.arange(ahead, device=a.query.device)[:, None]).clamp_(
            max=self.queries - 1
        )  # (ahead, n)
        candidates = colours.apply(a.best, a.frame, query)
        limit = torch.where(open_, a.margin, -torch.inf)
        values = _margin(goal, candidates, a.examples.repeat(ahead), limit.repeat(ahead)).view(ahead, n)
        goal.tell(a.examples, (values != a.margin).any(0) & open_)
        better = values < limit
        moves, first = better.any(0), better.to(torch.int8).argmax(0)
        counted = torch.where(moves, first + 1, ahead) * open_
        if costs_a_wait(moves):
            rows = all_rows(moves)
            a.best = torch.where(per_example(moves, a.best), candidates[first * n + rows], a.best)
            a.margin = torch.where(moves, values[first, rows], a.margin)
        elif len(where := moves.nonzero().flatten()):
            a.best[where] = candidates[first[where] * n + where]
            a.margin[where] = values[first[where], where]
        a.query = a.query + counted
        return moves.sum(), counted.sum()

    def _run_screened(
        self, goal: Fool, s: Screened, screen: Screen, stalled: Stalled | None, result: Tensor, lowest: Tensor
    ) -> Coloured:
        """The same without most proposals that are no better; what is left to search without leaving out
        any.
        """
        rate = 1.0
        while len(s):
            if screen.look(goal, s):
                break
            wanted = int(_AHEAD_SCREENED / max(rate, 1e-2))
            trial = screen.next(s, max(1, runs_per_batch(goal.batch_rows, len(s), wanted)))
            rows = trial.rows
            if len(rows):
                query = s.first[rows] + trial.places
                candidates = screen.colours.apply_each(s.best, s.frame, rows, query, screen.least)
                values = _margin(goal, candidates, s.examples[rows], s.margin[rows])
                goal.tell(s.examples[rows], values != s.margin[rows])
            else:
                candidates, values = s.best[:0], s.margin[:0]
            accepted, tried = screen.learn(s, trial, candidates, values)
            if tried:
                rate += min(tried / (len(s) * _MEMORY), 1) * (accepted / tried - rate)
            done = (s.margin < 0) | (s.query >= self.queries)
            if stalled is not None:
                done |= stalled.after(s.rows, s.query, s.margin)
            _leave(s, done, result, lowest)
        goal.count(screen.tally)
        return s.plain_form

    def _run_pyramids(self, goal: Fool, x: Tensor, rows: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """One run under another norm, likewise."""
        generator = seed.generator(x.device)
        result = starting_pyramids(x, self.threat, generator)
        lowest = _first(goal, x, result, rows)
        a = _Pyramids(all_rows(x), examples=rows, best=result.clone(), margin=lowest.clone(), x=x)
        a.drop(lowest < 0)
        for query in range(self.queries):
            if len(a) == 0:
                return result, lowest
            side = self._side(query, (x.shape[2], x.shape[3]))
            point = moved_mass(a.x, a.best, side, self.threat, generator)
            value = _margin(goal, point, a.examples, a.margin)
            goal.tell(a.examples, value != a.margin)
            better = value < a.margin
            a.best = torch.where(per_example(better, point), point, a.best)
            a.margin = torch.where(better, value, a.margin)
            _leave(a, a.margin < 0, result, lowest)
        result[a.rows], lowest[a.rows] = a.best, a.margin
        return result, lowest


def _leave(a: AbstractRun | _Pyramids, done: Tensor, result: Tensor, lowest: Tensor) -> None:
    """The runs that are ``done`` (n,) leave ``a`` for ``result`` and ``lowest``."""
    left = done.nonzero().flatten()
    if len(left):
        rows = a.rows[left]
        result[rows], lowest[rows] = a.best[left], a.margin[left]
        a.drop(done)


def _first(goal: Fool, x: Tensor, start: Tensor, rows: Tensor) -> Tensor:
    """The margins where a search starts; who has another margin there than at ``x`` is seen."""
    limit = torch.full((len(x),), torch.inf, device=x.device, dtype=torch.float32)
    lowest = _margin(goal, start, rows, limit)
    if goal.sight is not None:
        goal.tell(rows, lowest != _margin(goal, x, rows, -limit))
    return lowest


def _margin(goal: Fool, point: Tensor, rows: Tensor, limit: Tensor) -> Tensor:
    """z_y - max z_k, below 0 just where the verdict is that the example is misclassified.

    The verdict is asked for where the margin fell below ``limit``, since no other point is kept, and where it
    is 0, since there it may be either.
    """
    with torch.no_grad():
        logits, y = goal.logits(point, rows), goal.y[rows]
        value = -margin(logits, y).float()
        wrong = torch.zeros_like(y, dtype=torch.bool)
        unsure = ~(value >= limit) | (value == 0)  # NaN is asked too
        if goal.verdict is None:  # nobody has to be asked
            wrong = goal.claim(rows, goal.fooled(logits, point, y) & unsure)
        elif len(asked := unsure.nonzero().flatten()):
            wrong[asked] = goal.claim(rows[asked], goal.fooled(logits[asked], point[asked], y[asked]))
        tiny = torch.finfo(torch.float32).tiny
        return torch.where(wrong, value.nan_to_num(-tiny).clamp(max=-tiny), value.clamp(min=0))

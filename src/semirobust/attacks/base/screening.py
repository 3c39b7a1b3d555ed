"""Which proposals of a random search to try: those that a gradient does not show to be worse."""

import logging
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.attacks.base.active import AbstractActive, all_rows
from semirobust.attacks.base.goals import Fool
from semirobust.attacks.base.gradients import input_gradient
from semirobust.attacks.base.sight import Tally
from semirobust.attacks.base.squares import Colours
from semirobust.core.devices import costs_a_wait
from semirobust.core.margin import margin
from semirobust.core.text import first_line
from semirobust.fast.layout import like
from semirobust.threats.base.ball import flat, per_example

__all__ = ["Coloured", "Screen", "Screened"]

_LOG = logging.getLogger("semirobust.attacks")

# Proposals whose change is foreseen at once.
_CHUNK = 48
# Proposals of an example that are tried before any is left out.
_FIRST = 32
# Errors of a prediction over which their spread is averaged.
_MEMORY = 64
# A proposal is left out where it is foreseen to be worse by more than so many spreads.
_SPREADS = 2.0
# Errors count for the spread up to so many spreads from no change, where it decides.
_NEAR = 3.0
# Share of what is left out that is tried all the same.
_AUDITED = 0.02
# Proposals kept from one gradient to the next; an example that is due takes the nearly due ones along.
_OLD, _OLDISH = 12, 5


@dataclass
class AbstractRun(AbstractActive):
    """Runs of random search under l-infinity.

    Attributes:
        examples: (n,) their numbers in the goal.
        best, margin: (n, K, H, W) and (n,) the point of lowest margin.
        query: (n,) the next proposal.
        frame: what the ball needs of the clean examples.
    """

    rows: Tensor
    examples: Tensor
    best: Tensor
    margin: Tensor
    query: Tensor
    frame: tuple[Tensor, ...]

    @property
    @abstractmethod
    def plain_form(self) -> "Coloured":
        """The same runs, which try all proposals from now on."""


@dataclass
class Coloured(AbstractRun):
    """Such as try all proposals."""

    @property
    def plain_form(self) -> "Coloured":
        return self


@dataclass
class Screened(AbstractRun):
    """Such as leave out proposals.

    Attributes:
        gradient: (n, K, H, W) of the margin, at a point not far behind ``best``.
        age: (n,) proposals kept since that point.
        spread: (n,) of the errors of predictions, as a fraction of their scale.
        seen: (n,) errors that it was learned from.
        plain: (n,) whether nothing is left out any more.
        offset: (n,) where in the plan of audits the example begins.
        first: (n,) the query that ``change`` begins with.
        change, scale: (n, L) the change of the margin that the next proposals are foreseen to bring, and the
            scale of its error.
        offered: (n, L, 2) the parts of both that are the same for all points.
        fresh, moved: (n,) whether there is a new gradient, and whether ``best`` moved, since those were
            computed.
    """

    gradient: Tensor
    age: Tensor
    spread: Tensor
    seen: Tensor
    plain: Tensor
    offset: Tensor
    first: Tensor
    change: Tensor
    scale: Tensor
    offered: Tensor
    fresh: Tensor
    moved: Tensor

    @property
    def plain_form(self) -> Coloured:
        return Coloured(self.rows, self.examples, self.best, self.margin, self.query, self.frame)


@dataclass(frozen=True)
class _Trial:
    """Proposals to try, sorted by example and query.

    Attributes:
        rows, places: (m,) the row and the place in its chunk.
        audited: (m,) whether it would have been left out.
        follow: (n,) the place to go on from where none of a row is kept.
    """

    rows: Tensor
    places: Tensor
    audited: Tensor
    follow: Tensor


class Screen:
    """Leaves out proposals that lower the margin by no more than the error of a linear prediction.

    Between two proposals that are kept the point stands still, and a small window changes the margin m nearly
    linearly: with the gradient g and the change d of a window, m rises by about <g, d>. Its error is learned
    from the proposals that are tried, example by example, as a multiple s of the scale ||g d||^(1/2) (product
    by element). A proposal with <g, d> above 2 s ||g d||^(1/2) is left out. Two in a hundred of those are
    tried all the same. Where one of them would have been kept, the example goes on without leaving out
    anything; so does one whose gradient is 0, no number or cannot be had. Our own idea.

    Args:
        colours: all proposals.
        queries: their number.
        generator: draws what is audited.
    """

    def __init__(self, colours: Colours, queries: int, generator: torch.Generator) -> None:
        self.colours, self.queries, self.tally = colours, queries, Tally()
        self.least = 0  # no run is at an earlier query
        self._generator = generator
        device = colours.shifts.device
        self._audit = torch.rand(queries, generator=generator, device=device) < _AUDITED
        self._downward = colours.shifts < 0
        self._ahead = torch.arange(_CHUNK, device=device)

    def start(self, a: AbstractRun) -> Screened:
        """These runs, which are at their start."""
        n, zeros = len(a), torch.zeros_like(a.margin)
        never = torch.zeros_like(a.rows, dtype=torch.bool)
        chunk = zeros[:, None].expand(n, _CHUNK)
        return Screened(
            **vars(a),
            gradient=torch.zeros_like(a.best),
            age=torch.full_like(a.rows, _OLD),
            spread=zeros,
            seen=zeros.clone(),
            plain=never,
            offset=torch.randint(self.queries, (n,), generator=self._generator, device=a.rows.device),
            first=torch.zeros_like(a.rows),
            change=chunk.clone(),
            scale=chunk.clone(),
            offered=torch.stack([chunk, chunk], 2),
            fresh=~never,
            moved=~never,
        )

    def look(self, goal: Fool, a: Screened) -> bool:
        """Take the gradients and predictions that are due; True if nothing more is left out of any run."""
        due, plain = torch.stack([(~a.plain & (a.age >= _OLD)).any(), a.plain.all()]).tolist()
        if due:
            rows = (~a.plain & (a.age >= _OLDISH)).nonzero().flatten()
            gradient = _gradient(goal, a.best[rows], a.examples[rows])
            size = flat(gradient).abs().sum(1)
            a.gradient[rows], a.age[rows], a.fresh[rows] = like(gradient, a.best), 0, True
            self.give_up(a, rows[~(torch.isfinite(size) & (size > 0))])
            plain = bool(a.plain.all())
        if plain:
            return True
        rows = (a.fresh | (a.query >= a.first + _CHUNK)).nonzero().flatten()
        if len(rows):
            a.first[rows] = a.query[rows]
            a.offered[rows] = self._offer(a, rows).to(a.offered.dtype)
            a.fresh[rows], a.moved[rows] = False, True
        rows = a.moved.nonzero().flatten()
        if len(rows):
            a.change[rows], a.scale[rows] = self._foresee(a, rows)
            a.moved[rows] = False
        return False

    def give_up(self, a: Screened, rows: Tensor) -> None:
        """Leave out nothing any more of these rows."""
        a.plain[rows] = True

    def _offer(self, a: Screened, rows: Tensor) -> Tensor:
        """What the downward shifts of the next chunk bring where all values are at the upper end: the change
        of the margin and the squares of its parts, (r, L, 2).
        """
        down = -a.gradient[rows] * (a.frame[1][rows] - a.frame[0][rows])
        query = self._queries(a, rows)
        return (self._windows(down, query) * self._downward[query][..., None, :]).sum(-1)

    def _foresee(self, a: Screened, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Change of the margin that each proposal of the chunk is foreseen to bring, and the scale of its
        error: (r, L).

        Every value is at one end of the ball, and a shift brings it to the upper or the lower one. A value at
        the lower end is changed by the upward shifts, and not, as was offered, by the downward ones.
        """
        up = a.gradient[rows] * (a.frame[1][rows] - a.best[rows])
        query = self._queries(a, rows)
        change, squared = self._windows(up, query).to(a.change.dtype).unbind(2)
        squared = torch.where(self._downward[query], -squared, squared)
        change, squared = (a.offered[rows] + torch.stack([change.sum(-1), squared.sum(-1)], 2)).unbind(2)
        return change, squared.clamp_min(0).sqrt_().sqrt_()

    def _queries(self, a: Screened, rows: Tensor) -> Tensor:
        return (a.first[rows, None] + self._ahead).clamp_(max=self.queries - 1)

    def _windows(self, planes: Tensor, query: Tensor) -> Tensor:
        """Sums of ``planes`` (r, K, H, W) and of their squares over the windows of queries (r, L):
        (r, L, 2, K).
        """
        r, k, h, w = planes.shape
        lines = planes.permute(0, 2, 1, 3)
        lines = self.colours.rows[query] @ torch.stack([lines, lines * lines], 2).view(r, h, 2 * k * w)
        return (lines.view(r, -1, 2 * k, w) @ self.colours.columns[query][..., None]).view(r, -1, 2, k)

    def next(self, a: Screened, ahead: int) -> _Trial:
        """Up to ``ahead`` proposals of each row to try, none behind one that will surely be kept."""
        query = a.first[:, None] + self._ahead
        open_ = (query >= a.query[:, None]) & (query < self.queries)
        bound = _SPREADS * a.spread[:, None] * a.scale
        everything = (a.plain | (a.seen < _FIRST))[:, None]
        likely = everything | (a.change < bound)
        audit = self._audit[(query + a.offset[:, None]) % self.queries]
        wanted = open_ & (likely | audit)
        sure = wanted & ~everything & (a.change < -bound)
        chosen = wanted & (wanted.cumsum(1) <= ahead) & (sure.cumsum(1) - sure.int() == 0)
        rows, places = chosen.nonzero(as_tuple=True)
        last = torch.where(chosen, self._ahead, -1).amax(1)
        more = (wanted & ~chosen).any(1)
        return _Trial(rows, places, ~likely[rows, places], torch.where(more, last + 1, _CHUNK))

    def learn(self, a: Screened, trial: _Trial, candidates: Tensor, values: Tensor) -> tuple[int, int]:
        """Move to the first proposal of each row that lowers its margin: how many rows moved, and how many of
        the proposals tried counted.

        Args:
            a: the rows, moved afterwards.
            trial: what was tried.
            candidates, values: (m, K, H, W) and (m,) the points, and their margins.
        """
        rows, places = trial.rows, trial.places
        better = values < a.margin[rows]
        first = torch.full_like(a.query, _CHUNK)
        first.scatter_reduce_(0, rows, torch.where(better, places, _CHUNK), "amin")
        counted = places <= first[rows]
        kept = better & (places == first[rows])
        self._learn_spread(a, trial, values)
        self._move(a, rows, kept, candidates, values)
        before = a.query
        a.query = a.first + torch.where(first < _CHUNK, first + 1, trial.follow)
        a.query.clamp_(max=self.queries)
        missed = kept & trial.audited
        # Read together, since each look at a device waits for it.
        sums = (a.query - before).sum(), counted.sum(), (counted & trial.audited).sum(), missed.sum()
        proposals, tried, audited, errors, moved, self.least = torch.stack(
            [*sums, kept.sum(), a.query.min()]
        ).tolist()
        self.tally += Tally(proposals, proposals - tried, audited, errors)
        if errors:
            self.give_up(a, rows[missed])
        return moved, tried

    def _move(self, a: Screened, rows: Tensor, kept: Tensor, candidates: Tensor, values: Tensor) -> None:
        """Go to the ``candidates`` (m, K, H, W) that are ``kept`` (m,), one of a row at most.

        On a CPU only those are copied, which costs least; elsewhere nothing is looked at.
        """
        if not costs_a_wait(kept):
            moved = kept.nonzero().flatten()
            where = rows[moved]
            a.best[where], a.margin[where] = candidates[moved], values[moved]
            a.age[where] += 1
            a.moved[where] = True
        elif len(rows):
            source = torch.where(kept, all_rows(rows), -1)
            source = torch.full_like(a.rows, -1).scatter_reduce_(0, rows, source, "amax")
            moves, source = source >= 0, source.clamp_min(0)
            a.best = torch.where(per_example(moves, a.best), candidates[source], a.best)
            a.margin = torch.where(moves, values[source], a.margin)
            a.age, a.moved = a.age + moves, a.moved | moves

    def _learn_spread(self, a: Screened, trial: _Trial, values: Tensor) -> None:
        rows, scale = trial.rows, a.scale[trial.rows, trial.places]
        change = a.change[rows, trial.places]
        error = ((values - a.margin[rows] - change) / scale).square()
        near = (change.abs() <= _NEAR * a.spread[rows] * scale) | (a.seen[rows] < _FIRST)
        usable = (near & torch.isfinite(error)).to(error)
        count = torch.zeros_like(a.spread).index_add_(0, rows, usable)
        total = torch.zeros_like(a.spread).index_add_(0, rows, torch.where(usable > 0, error, 0))
        a.seen += count
        rate = torch.maximum(count / a.seen.clamp_min(1), (count / _MEMORY).clamp_max(1))
        variance = a.spread.square()
        a.spread = (variance + rate * (total / count.clamp_min(1) - variance)).sqrt()


def _gradient(goal: Fool, point: Tensor, rows: Tensor) -> Tensor:
    """Gradient of the margin z_y - max z_k; 0 where it cannot be had."""
    z = point.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            return input_gradient(-margin(goal.logits(z, rows), goal.y[rows]), z).detach()
    except Exception as error:  # a search without gradients must do with any network
        _LOG.info("square leaves out no proposal, as there is no gradient (%s)", first_line(error))
        return torch.zeros_like(point)

"""Pages in Markdown: tables of numbers over seeds, and the template that they go into."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from semirobust.core.difference import holm, paired_p
from semirobust.core.errors import InputError
from semirobust.core.interval import ends, mean_interval, share_interval
from semirobust.core.text import in_markdown
from semirobust.records.about import Fields
from semirobust.records.schema import Number, Quantity
from semirobust.reports.source import Source

__all__ = [
    "Seeds",
    "adjusted",
    "by_seed",
    "cells",
    "paired",
    "percent",
    "plain",
    "points",
    "render",
    "table",
    "written_p",
]


@dataclass(frozen=True)
class Seeds:
    """One number for each seed.

    Attributes:
        values: seed -> value.
        n: examples that each was measured on, where that is known.
    """

    values: dict[int, float]
    n: int | None = None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return sum(self.values.values()) / len(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by Student's t over seeds; infinite for one."""
        return mean_interval(list(self.values.values()))

    def p(self, null: float = 0.0, *, shares: bool = True) -> float | None:
        """Two-sided p of a mean of ``null``, by Student's t over seeds.

        None for fewer than two seeds, and for seeds that do not differ: nothing says how certain they are.

        Args:
            null: what the mean is compared with.
            shares: the values are shares of ``n`` images, or differences of these; then they are taken to
                spread by one image at least, which is more cautious.
        """
        values = [value - null for value in self.values.values()]
        if len(values) < 2 or max(values) - min(values) < 1e-12:
            return None
        return paired_p(values, resolution=1 / self.n if shares and self.n else 0.0)

    def only(self, seeds: Iterable[int]) -> "Seeds":
        """Those of some seeds."""
        wanted = set(seeds)
        return Seeds({seed: value for seed, value in self.values.items() if seed in wanted}, self.n)

    def __bool__(self) -> bool:
        return bool(self.values)


def by_seed(numbers: Iterable[Number], keep: Callable[[Number], bool] = lambda number: True) -> Seeds:
    """The numbers that pass, by their seed; the mean where a seed has several, as of several layers.

    Raises:
        InputError: those of one seed are of different numbers of examples, so they are not of one kind.
    """
    found: dict[int, list[Number]] = {}
    for number in numbers:
        if keep(number):
            found.setdefault(number.about.seed or 0, []).append(number)
    for seed, of_seed in found.items():
        if len(counts := {number.n for number in of_seed}) > 1:
            said = " and ".join(str(n) for n in sorted(n or 0 for n in counts))
            raise InputError(
                f"{of_seed[0].quantity.value} of seed {seed}: the numbers are of {said} examples; say which"
                " are meant, such as by their unit"
            )
    means = {seed: sum(n.value for n in of_seed) / len(of_seed) for seed, of_seed in sorted(found.items())}
    return Seeds(means, min((n.n for of_seed in found.values() for n in of_seed if n.n), default=None))


def cells(source: Source, quantity: Quantity, /, **fields: Unpack[Fields]) -> Seeds:
    """The numbers of a quantity that :meth:`Source.of` selects, by their seed."""
    return by_seed(source.of(quantity, **fields))


def paired(one: Seeds, other: Seeds) -> Seeds:
    """One less the other, on the seeds that both have."""
    both = one.values.keys() & other.values.keys()
    n = min((n for n in (one.n, other.n) if n), default=None)
    return Seeds({seed: one.values[seed] - other.values[seed] for seed in both}, n)


def percent(found: Seeds, digits: int = 1) -> str:
    """``27.1 (25.9 to 28.3)``: the mean over seeds in per cent with its interval, which for shares ends at 0
    and 100, and is that over examples where all seeds agree.
    """
    values = list(found.values.values())
    shares = len(values) > 1 and all(0 <= value <= 1 for value in values)
    low, high = share_interval(values, found.n) if shares else found.interval if values else (0.0, 0.0)
    return _written(found, f"{100 * found.mean:.{digits}f}" if values else "", ends(low, high, digits=digits))


def points(found: Seeds, digits: int = 1) -> str:
    """A difference of shares, in points with its sign; by one example at least where all seeds agree."""
    values = list(found.values.values())
    low, high = found.interval if values else (0.0, 0.0)
    if found.n and len(values) > 1 and max(values) - min(values) < 0.5 / found.n:
        low, high = max(values[0] - 1 / found.n, -1.0), min(values[0] + 1 / found.n, 1.0)
    shown = ends(max(low, -1.0), min(high, 1.0), digits=digits, sign="+") if len(values) > 1 else ("", "")
    return _written(found, f"{100 * found.mean:+.{digits}f}" if values else "", shown)


def plain(found: Seeds, digits: int = 2) -> str:
    """The mean over seeds with its interval."""
    if not found:
        return _written(found, "", ("", ""))
    low, high = found.interval
    return _written(found, f"{found.mean:.{digits}f}", (f"{low:.{digits}f}", f"{high:.{digits}f}"))


def adjusted(found: Sequence[Seeds]) -> list[float | None]:
    """The p of each mean difference of 0, adjusted for their number (Holm 1979); None where seeds cannot
    tell.
    """
    raw = [each.p() for each in found]
    told = iter(holm([p for p in raw if p is not None]))
    return [None if p is None else next(told) for p in raw]


def written_p(p: float | None) -> str:
    """``0.012``, ``0.35``, ``< 0.001``, or a dash; more digits where three would hide the side of 0.05."""
    if p is None:
        return "–"
    if f"{p:.3f}" == "0.050":
        return f"{p:.4f}"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _written(found: Seeds, mean: str, shown: tuple[str, str]) -> str:
    if not found:
        return "–"
    if len(found.values) < 2:
        return f"{mean} (one seed)"
    if shown[0] == shown[1]:  # no spread, and nothing that tells how certain they are
        return f"{mean} ({len(found.values)} seeds agree)"
    return f"{mean} ({shown[0]} to {shown[1]})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> Markup:
    """A table in Markdown below its title, ready for :func:`render`; without rows nothing.

    A cell is text: what could make markup, a link or another cell of it is escaped.
    """
    lines = [head, ["---"] * len(head), *rows]
    if len(lines) == 2:
        return Markup("")
    above = f"**{_text(title)}**\n\n" if title else ""
    return Markup(above + "".join("| " + " | ".join(map(_text, line)) + " |\n" for line in lines))


def _text(value: object) -> str:
    return value if isinstance(value, Markup) else in_markdown(str(value))


def render(template: Path, **values: object) -> str:
    """The page that a Jinja template makes of ``values``, with one end of line at its end.

    A name in the template that ``values`` lacks is an error; the tag of a block takes no line of its own.
    Texts that are put in are escaped, tables are not: they are ready.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_text,
    )
    return environment.get_template(template.name).render(values).rstrip() + "\n"

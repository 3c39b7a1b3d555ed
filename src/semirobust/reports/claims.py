"""Claims as data, and the rule by which records decide them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from markupsafe import Markup

from semirobust.core.difference import holm
from semirobust.core.interval import mean_interval
from semirobust.records.about import Fields
from semirobust.records.schema import Quantity
from semirobust.reports.markdown import Seeds, cells, paired, percent, plain, points, table, written_p
from semirobust.reports.source import Source

__all__ = ["Claim", "Decided", "Side", "Verdict", "claims_table", "decide"]

Verdict = Literal["holds", "does not hold", "undecided", "not run"]
_LEVEL = 0.05
_FEWEST, _FEW = 3, {1: "one seed", 2: "two seeds"}  # of what is decided seed by seed
_TOLD = ("holds", "does not hold")
_WRITE = {"points": points, "percent": percent, "number": plain}


@dataclass(frozen=True)
class Side:
    """A number with one value for each seed.

    Attributes:
        quantity: what was measured.
        fields: what it was measured for; the network is the claim's where they do not name one.
    """

    quantity: Quantity
    fields: Fields = field(default_factory=Fields)

    def of(self, source: Source, network: str) -> Seeds:
        """Its values by seed."""
        return cells(source, self.quantity, **cast(Fields, {"network": network, **self.fields}))


Number = Side | Callable[[Source], Seeds]
"""Selected, or computed from the records of one network."""


@dataclass(frozen=True)
class Claim:
    """One sentence that records may decide.

    It says that ``one``, less ``other`` where there is one, is more (or less) than ``null``.

    Attributes:
        item: the table, figure or section that it stands in.
        words: the claim in one sentence.
        theirs: the paper's number, as it is written there.
        family: of the claims that are adjusted together.
        places: the networks that may decide it; that with the most seeds does, and of equal ones the first.
        one, other: what is compared.
        direction: of what is claimed.
        null: what the difference is compared with; less than 0 where no more than so much may be lost.
        trivial: a difference from ``null`` that counts as none.
        unit: how the effect is written: in points, in per cent, or as it is.
        exact: decided seed by seed and by no test, where seeds hardly differ.
    """

    item: str
    words: str
    theirs: str
    family: str
    places: tuple[str, ...]
    one: Number
    other: Number | None = None
    direction: Literal["more", "less"] = "more"
    null: float = 0.0
    trivial: float = 0.0
    unit: Literal["points", "percent", "number"] = "points"
    exact: bool = False

    def effect(self, source: Source, network: str) -> Seeds:
        """Seed by seed, in pairs."""
        one = _of(self.one, source, network)
        return one if self.other is None else paired(one, _of(self.other, source, network))


@dataclass(frozen=True)
class Decided:
    """A claim with what the records say of it.

    Attributes:
        claim: what is claimed.
        network: whose records decided it; empty where there are none.
        effect: by seed.
        p: two-sided, of no other effect than the claim's ``null``; None where seeds cannot tell.
        adjusted: the same, adjusted for the tests of its family by Holm's step-down method.
        tests: how many those are.
        verdict: by the rule of :func:`decide`.
        why: of a verdict that ``adjusted`` does not explain.
    """

    claim: Claim
    network: str
    effect: Seeds
    p: float | None
    adjusted: float | None
    tests: int
    verdict: Verdict
    why: str = ""


def decide(claims: Sequence[Claim], source: Source) -> list[Decided]:
    """The verdict on each claim.

    It *holds* where its effect differs from ``null`` in the claimed direction with an adjusted p below 0.05.
    It *does not hold* where it differs so in the other direction, or where its interval at the level
    1 − 0.05 / tests of the family lies within ``trivial`` of ``null``. Otherwise it is *undecided*, and *not
    run* without records. An ``exact`` one is decided by the side of ``null`` that all seeds lie on, three at
    least.

    The rule is our own. p is that of Student's t over seeds, in pairs (:meth:`Seeds.p`); one seed, and seeds
    that do not differ, have none.
    """
    found = [_best(claim, source) for claim in claims]
    raw = [
        None if claim.exact else effect.p(claim.null, shares=claim.unit != "number")
        for claim, (_, effect) in zip(claims, found, strict=True)
    ]
    adjusted: dict[int, float] = {}
    for family in dict.fromkeys(claim.family for claim in claims):
        members = [i for i, claim in enumerate(claims) if claim.family == family and raw[i] is not None]
        adjusted |= zip(members, holm([raw[i] or 0.0 for i in members]), strict=True)
    tests = Counter(claims[i].family for i in adjusted)
    result = []
    for i, (claim, (network, effect)) in enumerate(zip(claims, found, strict=True)):
        p = adjusted.get(i)
        verdict, why = _verdict(claim, effect, p, tests[claim.family])
        result.append(Decided(claim, network, effect, raw[i], p, tests[claim.family], verdict, why))
    return result


def claims_table(
    decided: Sequence[Decided], link: Callable[[str], str], sampled: Callable[[str], str]
) -> Markup:
    """One line for each claim.

    Args:
        decided: in their order.
        link: the address of the rows of a network.
        sampled: what of a network differs from seed to seed, in a word; empty where only its training does.
    """
    rows = []
    for one in decided:
        claim, effect = one.claim, one.effect
        verdict = (
            Markup("**{}**").format(one.verdict) if one.verdict in _TOLD else Markup("{}").format(one.verdict)
        )
        more = sampled(one.network) if effect else ""
        rows.append(
            (
                claim.words,
                claim.item,
                claim.theirs,
                Markup("{}, {}").format(verdict, one.why) if one.why else verdict,
                _WRITE[claim.unit](effect) if effect else "–",
                _tested(one),
                f"{len(effect.values)}{', ' if more else ''}{more}" if effect else "–",
                f"{effect.n:,}" if effect and effect.n else "–",
                Markup("[{}]({})").format(one.network, link(one.network)) if effect else "–",
            )
        )
    head = ("claim", "where", "its number", "here", "effect", "p, adjusted", "seeds", "images", "rows")
    return table(head, rows)


def _tested(one: Decided) -> str:
    """The adjusted p, with the tests of its family in brackets."""
    if one.claim.exact:
        return "seed by seed" if one.effect else "–"
    return f"{written_p(one.adjusted)} ({one.tests})" if one.adjusted is not None else "–"


def _of(number: Number, source: Source, network: str) -> Seeds:
    return number.of(source, network) if isinstance(number, Side) else number(source.only(network=network))


def _best(claim: Claim, source: Source) -> tuple[str, Seeds]:
    """The network with the most seeds, and the effect there."""
    effects = {name: claim.effect(source, name) for name in claim.places}
    name = max(effects, key=lambda name: len(effects[name].values), default="")
    found = effects.get(name, Seeds({}))
    return (name if found else "", found)


def _verdict(claim: Claim, effect: Seeds, adjusted: float | None, tests: int) -> tuple[Verdict, str]:
    if not effect:
        return "not run", ""
    sign = 1 if claim.direction == "more" else -1
    leads = [sign * (value - claim.null) for value in effect.values.values()]
    if claim.exact:
        sides = {lead > 0 for lead in leads}
        if len(leads) >= _FEWEST and len(sides) == 1:
            return _side(leads[0]), ""
        return "undecided", "seeds differ" if len(sides) > 1 else _FEW[len(leads)]
    if adjusted is None:
        return "undecided", "one seed" if len(leads) == 1 else "seeds do not differ"
    if adjusted < _LEVEL:
        return _side(sum(leads)), ""
    low, high = mean_interval(leads, level=1 - _LEVEL / tests)
    if -claim.trivial < low and high < claim.trivial:
        return "does not hold", "no such difference"
    return "undecided", ""


def _side(lead: float) -> Verdict:
    return "holds" if lead > 0 else "does not hold"

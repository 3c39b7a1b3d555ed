"""What measures of a network found, where that is more than one number by layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from semirobust.core.shown import AbstractResult
from semirobust.core.table import Kind, Table
from semirobust.dependence.base.estimate import Estimate
from semirobust.layers.scores import Floats, LayerScores, drawn_layers, layer_columns, layer_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ConnectivityResult", "CriticalityResult"]


@dataclass(frozen=True, eq=False, repr=False)
class CriticalityResult(AbstractResult):
    """Weakness and criticality of each layer.

    Attributes:
        indices: (L,) the layers, from 1.
        values: (L,) criticality C_i; along a chain of layers the product of the first i of them is the
            weakness of layer i. NaN where there is none.
        low, high: (L,) 95 % interval of C_i, by a bootstrap over batches.
        weakness: (L,) epsilon-weakness W(F_i): how far the attack moves the feature of layer i; NaN where
            the feature does not depend on the layer.
        examples: how many examples it was measured on.
        layers: how many layers the model has.
        notes: sentences that a reader must know, such as on layers without a number.
        names: (L,) the names of these layers in the model.
    """

    indices: tuple[int, ...]
    values: Floats
    low: Floats
    high: Floats
    weakness: Floats
    examples: int
    layers: int
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def scores(self) -> LayerScores:
        """The criticality as scores to select by."""
        return LayerScores(
            measure="criticality",
            unit="1",
            indices=self.indices,
            values=self.values,
            low=self.low,
            high=self.high,
            examples=self.examples,
            layers=self.layers,
            notes=self.notes,
            names=self.names,
        )

    def table(self) -> Table:
        scores = self.scores()
        whole = scores.table()
        rows = layer_rows(self.indices, self.names, self.values, self.low, self.high, self.weakness)
        columns: dict[str, Kind] = {**layer_columns(self.names, "criticality"), "weakness": "number"}
        return Table(
            whole.said, columns, rows, {"examples": self.examples, "layers": self.layers}, self.notes
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        return drawn_layers(table, "criticality", "criticality")

    def ranking(self) -> tuple[int, ...]:
        """Layer indices by falling criticality."""
        return self.scores().ranking()


@dataclass(frozen=True, eq=False, repr=False)
class ConnectivityResult(AbstractResult):
    """Dependence between each layer and the one measured before it.

    Attributes:
        indices: the layers, ascending.
        before: for each of them the layer that it was measured against: the last one before it that it
            depends on, or the end of a block.
        estimates: of each layer, with those of each class inside.
        notes: sentences on classes and layers that were left out, and on estimates that say little.
        examples: how many examples were given.
        layers: how many layers the model has.
        names: of the layers, where they are known.
    """

    indices: tuple[int, ...]
    before: tuple[int, ...]
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...]
    examples: int
    layers: int
    names: tuple[str, ...] = ()

    def scores(self) -> list[LayerScores]:
        """The dependence, its null and its excess, as scores by layer; without permutations the first
        alone.
        """
        found = self.estimates
        value = [(e.value, *e.interval) for e in found]
        details = {
            "on": self.before,
            "verdict": [e.verdict for e in found],
            "ceiling": [e.ceiling for e in found],
            "p": [e.p_value for e in found],
            "singletons": [e.singletons for e in found],
        }
        scores = [replace(self._score("", value), notes=self.notes, details=details)]
        if all(len(e.null) > 1 for e in found):
            null = [
                (e.null_mean, e.null_mean - 1.96 * e.null_sd, e.null_mean + 1.96 * e.null_sd) for e in found
            ]
            excess = [(e.excess, *e.excess_interval) for e in found]
            scores += [self._score("null", null), self._score("excess", excess)]
        return scores

    def table(self) -> Table:
        found = self.estimates
        unit, by = (found[0].unit, found[0].measure) if found else ("1", "")
        excess = [e.excess_interval if len(e.null) > 1 else (math.nan, math.nan) for e in found]
        rows = layer_rows(
            self.indices,
            self.names,
            self.before,
            [e.value for e in found],
            *zip(*[e.interval for e in found], strict=True),
            [e.null_mean for e in found],
            [e.excess for e in found],
            *zip(*excess, strict=True),
            [e.p_value if e.null else math.nan for e in found],
            [e.verdict for e in found],
        )
        columns: dict[str, Kind] = {"layer": "count", **({"name": "text"} if self.names else {})}
        columns |= {"before": "count", "dependence": "number", "low": "number", "high": "number"}
        columns |= {"null": "number", "excess": "number", "excess_low": "number", "excess_high": "number"}
        columns |= {"p": "number", "verdict": "text"}
        telling = sum(e.verdict == "informative" for e in found)
        said = "dependence between no layers: nothing could be measured"
        if found:
            said = (
                f"dependence by {by} between {len(found)} pairs of layers on {self.examples:,} examples,"
                f" {telling} of them informative"
            )
        return Table(
            said,
            columns,
            rows,
            {"by": by, "unit": unit, "examples": self.examples, "layers": self.layers},
            self.notes,
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        unit = table.facts["unit"]
        permuted = "null" if any(value is not None for value in table.column("null")) else ""
        label = "dependence" if unit == "1" else f"dependence ({unit})"
        return drawn_layers(table, label, "dependence", behind=permuted)

    def _score(self, part: str, rows: Sequence[tuple[float, float, float]]) -> LayerScores:
        """Of (value, low, high) by layer."""
        estimates = self.estimates
        return LayerScores.from_rows(
            "connectivity",
            rows,
            part=part,
            unit=estimates[0].unit if estimates else "1",
            indices=self.indices,
            examples=min((e.n for e in estimates), default=0),
            layers=self.layers,
            by=estimates[0].measure if estimates else "",
            names=self.names,
        )

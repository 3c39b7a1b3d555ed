"""One weight layer of a model, and all of them with what belongs to none."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, overload

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table
from semirobust.layers.sites import Key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Layer", "LayerMap", "LeftOut"]


@dataclass(frozen=True)
class Layer:
    """One weight layer: a convolution or linear module, and what belongs to it, such as its norm.

    Attributes:
        index: its number, 1 to n in execution order.
        name: the qualified name of its module; of its parameter where a function uses one that no
            convolution or linear module has.
        kind: the class of that module, or the name of the function.
        feature_shape: shape of the feature F_i without the batch.
        output_shape: shape of its raw output without the batch.
        modules: the modules whose direct parameters and buffers belong to the layer, such as its norm.
        parameters: the names of all its parameters.
        block: the smallest enclosing module that has several weight layers and whose class occurs more than
            once, such as a residual block; the layer itself if there is none.
        ends_block: whether it is the last weight layer of its block.
        batch_dim: the dimension of its feature that counts examples; 1 where the sequence comes first.
        output_batch_dim: the same for its raw output.
        feature_at: the layer whose input is F_i: the first one behind it that depends on it; n+1 for the
            logits.
        feature_key: which argument of that layer it is: a position or a keyword.
        before: the last layer that its input depends on; 0 where it takes the image.
        weights: the names of its weight matrices, without those of projections and gates.
        linear: the weights and biases of its linear function: all parameters but those of norms, scales,
            tables of positions, projections and gates.
        tokens: those of its parameters that are the same at every image and lie beside or on what runs in it:
            class tokens and embeddings of positions.
        functional: the parameters that tell it, where a function and no module computes it; else none.
        macs: multiply-accumulate operations for one example, with its projections and gates.
        label: the name to show.
        projections: the modules of shortcuts that belong to it.
    """

    index: int
    name: str
    kind: str
    feature_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    block: str
    ends_block: bool
    batch_dim: int = 0
    output_batch_dim: int = 0
    feature_at: int = 0
    feature_key: Key = 0
    before: int = 0
    weights: tuple[str, ...] = ()
    linear: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    functional: tuple[str, ...] = ()
    macs: float = 0.0
    label: str = ""
    projections: tuple[str, ...] = ()

    def per_example(self, feature: Tensor, n: int, *, raw: bool = False) -> Tensor:
        """A recorded feature (or raw output) of ``n`` examples as a matrix (n, values), one row each."""
        return feature.movedim(self.output_batch_dim if raw else self.batch_dim, 0).reshape(n, -1)

    def check_rows(self, feature: Tensor, n: int, *, raw: bool = False) -> None:
        """Raise ``InputError`` for a feature (or raw output) that is not of all ``n`` examples."""
        dim, shape = (
            (self.output_batch_dim, self.output_shape) if raw else (self.batch_dim, self.feature_shape)
        )
        rows = feature.shape[dim]
        # Where an example has several rows, such as windows, their number may vary with the image's size.
        several = len(shape) == feature.dim()
        if rows == 0 or rows % n or (rows != n and not several):
            raise InputError(
                f"layer {self.name}: expected a feature of each of the {n} examples, got {rows} rows, as"
                " where images take different ways through the network; leave the layers that only some of"
                " them reach out of the layer map by filter"
            )

    @property
    def features(self) -> int:
        """The number N_i of values in its feature."""
        return int(torch.Size(self.feature_shape).numel())


@dataclass(frozen=True)
class LeftOut:
    """A weight layer of which no number would be true.

    Attributes:
        name: of its module or parameter.
        kind: the class of that module, or the name of the function.
        reason: why it is no layer of the map, as a clause: "the input does not depend on the image".
        parameters: the names of its parameters.
    """

    name: str
    kind: str
    reason: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class LayerMap(AbstractResult, Sequence[Layer]):
    """The layers of one model in execution order; ``map[0]`` is layer 1.

    Attributes:
        layers: the entries.
        unassigned: parameters that belong to no layer: of modules that did not run, and of ``left_out``.
        left_out: weight layers that are not numbered, and why.
        sizes: the number of values in each parameter of the model, by name.
        beside: matrices of functions that are known as no layer, such as distances, -> the function. They
            belong to a layer that runs before or behind it.
        shared: the convolutions, linear modules and others of their kind whose parameters a function or
            another module takes too.
    """

    like: ClassVar[str] = "sr.layer_map(model, x)"

    layers: tuple[Layer, ...]
    unassigned: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, position: int) -> Layer: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[Layer, ...]: ...
    def __getitem__(self, position: int | slice) -> Layer | tuple[Layer, ...]:
        return self.layers[position]

    @property
    def indices(self) -> tuple[int, ...]:
        """1 to n."""
        return tuple(layer.index for layer in self.layers)

    @property
    def block_ends(self) -> tuple[int, ...]:
        """Indices of the layers that end a block; the last layer is always among them."""
        return tuple(layer.index for layer in self.layers if layer.ends_block or layer.index == len(self))

    @property
    def classifier(self) -> tuple[int, ...]:
        """The layers that give the logits: the last one, and further heads where their mean is taken."""
        n = len(self)
        return tuple(layer.index for layer in self.layers if layer.index == n or layer.feature_at > n)

    def at(self, index: int) -> Layer:
        """The layer numbered ``index`` (from 1)."""
        if not 1 <= index <= len(self):
            raise InputError(f"layer: expected an index from 1 to {len(self)}, got {index}")
        return self.layers[index - 1]

    def modules(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Names of the modules that belong to the given layers."""
        return tuple(name for index in indices for name in self.at(index).modules)

    def without_projections(self, size: int) -> int:
        """How many layers are among the last ``size``, where projections of shortcuts count as layers too.

        A projection counts beside the layer that it belongs to and stays with it: a layer that fits without
        its projection alone is not among them.
        """
        count = 0
        for layer in reversed(self.layers):
            size -= 1 + len(layer.projections)
            if size < 0:
                break
            count += 1
        return count

    def parameters(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Names of the parameters that belong to the given layers."""
        return tuple(name for index in indices for name in self.at(index).parameters)

    def before(self, index: int, among: Sequence[int]) -> int:
        """The layer among those given that layer ``index`` is compared with: the last one that it comes
        behind; 0 where there is none.
        """
        layer = self.at(index).before
        while layer and layer not in among:
            layer = self.at(layer).before
        return layer

    def names(self, indices: Iterable[int]) -> tuple[str, ...]:
        """The names of the given layers, as they are shown."""
        return tuple(self.at(index).label or self.at(index).name for index in indices)

    @property
    def functions(self) -> dict[tuple[str, ...], str]:
        """Of the layers that no module computes: the parameters that tell them -> their names."""
        return {layer.functional: layer.name for layer in self.layers if layer.functional}

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what is not numbered; none where each parameter belongs to the layer it is part of."""
        notes = []
        reasons: dict[str, list[LeftOut]] = {}
        for entry in self.left_out:
            reasons.setdefault(entry.reason, []).append(entry)
        for reason, entries in reasons.items():
            names = ", ".join(entry.name for entry in entries[:3]) + (", …" if len(entries) > 3 else "")
            what = "1 weight layer is" if len(entries) == 1 else f"{len(entries)} weight layers are"
            notes.append(f"layer map: {what} left out ({names}): {reason}")
        if self.unassigned:
            lost, total = sum(self.sizes[name] for name in self.unassigned), sum(self.sizes.values())
            names = ", ".join(self.unassigned[:3]) + (", …" if len(self.unassigned) > 3 else "")
            notes.append(
                f"layer map: {lost:,} of {total:,} parameters ({lost / max(total, 1):.1%}) belong to no"
                f" layer ({names})"
            )
        if self.beside:
            owners = {name: layer.index for layer in self.layers for name in layer.parameters}
            shown = [f"{n} of {f} with layer {owners[n]}" for n, f in list(self.beside.items())[:3]]
            several = len(self.beside) > 1
            what = f"{len(self.beside)} matrices, which go" if several else "1 matrix, which goes"
            more = ", …" if len(self.beside) > 3 else ""
            notes.append(
                f"layer map: no layer computes with {what} with a layer beside ({', '.join(shown)}{more})"
            )
        return tuple(notes)

    def table(self) -> Table:
        rows = []
        for x in self.layers:
            parameters = sum(self.sizes.get(name, 0) for name in x.parameters)
            shape = "x".join(map(str, x.feature_shape))
            rows.append((x.index, x.label or x.name, x.kind, shape, parameters, x.macs, x.block))
        total = sum(self.sizes.values())
        return Table(
            f"{len(self)} layers, {total:,} parameters, {_short(sum(x.macs for x in self.layers))} MACs",
            {
                "layer": "count",
                "name": "text",
                "kind": "text",
                "feature": "text",
                "parameters": "count",
                "MACs": "number",
                "block": "text",
            },
            rows,
            notes=self.notes,
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import layer_bars

        labels = [str(number) for number in table.column("layer")]
        return layer_bars(labels, table.numbers("parameters"), y_label="parameters")

    def __str__(self) -> str:
        """A table of the layers, their features, parameters and MACs, with the notes behind it."""
        rows = [("", "layer", "kind", "feature", "parameters", "MACs")]
        for x in self.layers:
            parameters = sum(self.sizes.get(name, 0) for name in x.parameters)
            shape = "x".join(map(str, x.feature_shape))
            rows.append((str(x.index), x.label or x.name, x.kind, shape, f"{parameters:,}", _short(x.macs)))
        total = sum(self.sizes.get(name, 0) for layer in self.layers for name in layer.parameters)
        rows.append(("", "all", "", "", f"{total:,}", _short(sum(x.macs for x in self.layers))))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = []
        for row in rows:
            left = [row[column].ljust(widths[column]) for column in (1, 2, 3)]
            right = [row[column].rjust(widths[column]) for column in (4, 5)]
            lines.append("  ".join([row[0].rjust(max(widths[0], 4)), *left, *right]).rstrip())
        return "\n".join([*lines, *self.notes])


def _short(count: float) -> str:
    """12,345,678 as 12.3 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"

"""Whether what fools one model fools another: black-box attacks by way of a substitute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.base.gradients import NoGradient
from semirobust.attacks.base.sight import watched
from semirobust.core.checks import check_examples
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.given import kind_of
from semirobust.core.outputs import note, notes
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table
from semirobust.evaluation.accuracy import evaluate
from semirobust.evaluation.plausible import note_plausibility
from semirobust.evaluation.proportion import VERDICT_COLUMNS, Proportion, not_decided, verdict_cells
from semirobust.evaluation.runner import correct
from semirobust.layers.quiet import device_of, quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Transfer", "transfer"]


@dataclass(frozen=True, eq=False, repr=False)
class Transfer(AbstractResult):
    """Verdicts of each model on the examples made for each other.

    Attributes:
        attack: its name.
        clean: model name -> (N,) whether the clean example is classified correctly.
        correct: (source, target) -> (N,) whether target classifies both the clean example and the one made
            for source correctly.
        undecided: (source, target) -> (N,) whether it does, but the attack on source saw nowhere to go, or
            left the threat model, so that this says nothing. It counts neither as correct nor as fooled.
        notes: what a reader must know.
    """

    attack: str
    clean: Mapping[str, Tensor]
    correct: Mapping[tuple[str, str], Tensor]
    undecided: Mapping[tuple[str, str], Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The models."""
        return tuple(self.clean)

    @property
    def sources(self) -> tuple[str, ...]:
        """The models that examples were made for: all but those without a gradient that the attack needs."""
        return tuple(dict.fromkeys(source for source, _ in self.correct))

    def accuracy(self, source: str, target: str) -> Proportion:
        """Accuracy of ``target`` on examples made for ``source``, with interval."""
        return Proportion.of(self.correct[source, target])

    def left_open(self, source: str, target: str) -> int:
        """How many examples made for ``source`` decide nothing about ``target``."""
        return int(self.undecided[source, target].sum()) if (source, target) in self.undecided else 0

    def __str__(self) -> str:
        width = max(map(len, self.names)) + 2
        head = "made for \\ seen by".ljust(width + 8) + "".join(name.rjust(width) for name in self.names)
        rows = [
            s.ljust(width + 8) + "".join(f"{self.accuracy(s, t):.1%}".rjust(width) for t in self.names)
            for s in self.sources
        ]
        said = [
            f"{s} \u2192 {t}{not_decided(self.left_open(s, t), self.correct[s, t].numel())}"
            for s, t in self.correct
            if self.left_open(s, t)
        ]
        return "\n".join([head, *rows, *said, *(f"Note: {sentence}." for sentence in self.notes)])

    def table(self) -> Table:
        rows = []
        for source, target in self.correct:
            cells = verdict_cells(self.accuracy(source, target), self.left_open(source, target))
            rows.append((source, target, *cells))
        clean = ", ".join(f"{name} {float(right.float().mean()):.1%}" for name, right in self.clean.items())
        return Table(
            f"{len(self.names)} models on examples that {self.attack} made for each of them; clean {clean}",
            {
                "source": "text",
                "target": "text",
                **VERDICT_COLUMNS,
            },
            rows,
            {"attack": self.attack},
            self.notes,
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import matrix

        sources, targets = (list(dict.fromkeys(table.column(side))) for side in ("source", "target"))
        pairs = zip(table.column("source"), table.column("target"), strict=True)
        found = dict(zip(pairs, table.percent("accuracy"), strict=True))
        values = [[found.get((source, target)) for target in targets] for source in sources]
        return matrix(values, sources, targets, x_label="accuracy in % of", y_label="made for")


@anywhere
@on_classifiers("models")
def transfer(
    models: Mapping[str, nn.Module],
    x: Tensor,
    y: Tensor,
    attack: AbstractAttack,
    *,
    seed: int | Seed = 0,
    batch_size: int = 256,
    progress: Progress = silent,
) -> Transfer:
    """Accuracy of each model on adversarial examples made for each of them, itself included.

    Each attack runs to its end on all images, not only until the source is fooled, since such examples
    transfer better. A model without a gradient, such as one that was exported, is shown the examples of the
    others, and none are made for it where the attack needs a gradient.

    Args:
        models: names and models, all on the same images; each in eval mode and left as it was.
        x, y, batch_size, progress: as for :func:`evaluate`.
        attack: made for one model at a time; an attack that looks for the smallest change transfers badly.
        seed: the source of all randomness.

    Raises:
        InputError: no models, none that the attack can be made for, or arguments not as described.
    """
    check_examples(x, y)
    if not isinstance(models, Mapping) or not models:
        given = "none" if not models else kind_of(models)
        raise InputError(f'models: expected at least one by name, such as {{"a": model}}; got {given}')
    clean = {name: evaluate(model, x, y, batch_size=batch_size).clean for name, model in models.items()}
    note_plausibility(models, x, y)
    parts, decided, blind = _made(models, x, y, attack, as_seed(seed), batch_size, progress)
    if len(blind) == len(models):
        raise next(iter(blind.values()))
    made = {(s, t): torch.cat(verdicts) for (s, t), verdicts in parts.items() if s not in blind}
    standing = {(s, t): verdicts & clean[t] for (s, t), verdicts in made.items()}
    sure = {pair: torch.cat(decided[pair]) for pair in made}
    return Transfer(
        attack.name,
        clean,
        {pair: verdicts & sure[pair] for pair, verdicts in standing.items()},
        {pair: verdicts & ~sure[pair] for pair, verdicts in standing.items()},
        notes(),
    )


_ByPair = dict[tuple[str, str], list[Tensor]]


def _made(
    models: Mapping[str, nn.Module],
    x: Tensor,
    y: Tensor,
    attack: AbstractAttack,
    seed: Seed,
    batch_size: int,
    progress: Progress,
) -> tuple[_ByPair, _ByPair, dict[str, NoGradient]]:
    """Verdicts and whether they decide anything, by batch, for each (source, target); and the models that no
    examples can be made for.
    """
    # One attack on a source serves all targets.
    parts: dict[tuple[str, str], list[Tensor]] = {(s, t): [] for s in models for t in models}
    decided: dict[tuple[str, str], list[Tensor]] = {pair: [] for pair in parts}
    blind: dict[str, NoGradient] = {}
    for number, (source, model) in enumerate(models.items(), 1):
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            device = device_of(model, x.device)
            part_x, part_y = x[rows].to(device), y[rows].to(device)
            try:
                with watched(len(part_x)) as sight:
                    x_adv = attack(model, part_x, part_y, seed=seed / source / start)
            except NoGradient as error:
                blind[source] = error
                note(f"{source} has no gradient, so no examples are made for it; it is shown those of others")
                break
            valid = attack.threat.contains(part_x, x_adv).cpu()
            for target, other in models.items():
                device = device_of(other, x.device)
                with quiet(other):
                    right = correct(other, x_adv.to(device), y[rows].to(device))
                # A success outside the threat model is none, and says nothing either.
                parts[source, target].append(right | ~valid)
                decided[source, target].append(valid & ~(sight.blind & right))
        progress("models attacked", number, len(models))
    return parts, decided, blind

"""Whether what fools one model fools another: black-box attacks by way of a substitute."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.checks import check_examples
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.evaluation.accuracy import evaluate
from semirobust.evaluation.proportion import Proportion
from semirobust.evaluation.runner import correct
from semirobust.layers.quiet import device_of, quiet

__all__ = ["Transfer", "transfer"]


@dataclass(frozen=True)
class Transfer:
    """Verdicts of each model on the examples made for each other.

    Attributes:
        attack: its name.
        clean: model name -> (N,) whether the clean example is classified correctly.
        correct: (source, target) -> (N,) whether target classifies both the clean example and the one made
            for source correctly.
    """

    attack: str
    clean: Mapping[str, Tensor]
    correct: Mapping[tuple[str, str], Tensor]

    @property
    def names(self) -> tuple[str, ...]:
        """The models."""
        return tuple(self.clean)

    def accuracy(self, source: str, target: str) -> Proportion:
        """Accuracy of ``target`` on examples made for ``source``, with interval."""
        return Proportion.of(self.correct[source, target])

    def __str__(self) -> str:
        width = max(map(len, self.names)) + 2
        head = "made for \\ seen by".ljust(width + 8) + "".join(name.rjust(width) for name in self.names)
        rows = [
            s.ljust(width + 8) + "".join(f"{self.accuracy(s, t):.1%}".rjust(width) for t in self.names)
            for s in self.names
        ]
        return "\n".join([head, *rows])


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
    transfer better.

    Args:
        models: names and models, all on the same images; each in eval mode and left as it was.
        x, y, batch_size, progress: as for :func:`evaluate`.
        attack: made for one model at a time; an attack that looks for the smallest change transfers badly.
        seed: the source of all randomness.

    Raises:
        InputError: no models, or arguments not as described.
    """
    check_examples(x, y)
    if not models:
        raise InputError("models: expected at least one, got none")
    clean = {name: evaluate(model, x, y, batch_size=batch_size).clean for name, model in models.items()}
    # One attack on a source serves all targets.
    parts: dict[tuple[str, str], list[Tensor]] = {(s, t): [] for s in models for t in models}
    for number, (source, model) in enumerate(models.items(), 1):
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            device = device_of(model, x.device)
            part_x, part_y = x[rows].to(device), y[rows].to(device)
            x_adv = attack(model, part_x, part_y, seed=as_seed(seed) / source / start)
            valid = attack.threat.contains(part_x, x_adv).cpu()
            for target, other in models.items():
                device = device_of(other, x.device)
                with quiet(other):
                    right = correct(other, x_adv.to(device), y[rows].to(device))
                # What is outside the threat model counts as no success.
                parts[source, target].append(right | ~valid)
        progress("models attacked", number, len(models))
    still_correct = {(s, t): torch.cat(verdicts) & clean[t] for (s, t), verdicts in parts.items()}
    return Transfer(attack.name, clean, still_correct)

"""Attacks on all examples, batch by batch, with the model's own verdict."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.base.gradients import NoGradient, blind_note
from semirobust.attacks.base.sight import Sight, Tally, watched
from semirobust.core.allocator import give_back_freed_memory
from semirobust.core.checks import check_logits
from semirobust.core.margin import misclassified
from semirobust.core.outputs import note
from semirobust.core.processes import Processes
from semirobust.core.progress import Progress
from semirobust.core.seed import Seed
from semirobust.evaluation.resume import Ledger
from semirobust.fast.model import FastModel

__all__ = ["Runner", "batches_of", "correct"]


@dataclass
class Runner:
    """Runs attacks on the examples that are still correctly classified."""

    model: nn.Module
    x: Tensor
    y: Tensor
    device: torch.device
    form: FastModel | None
    seed: Seed
    batch_size: int
    ledger: Ledger
    processes: Processes
    progress: Progress
    passes: int = 1  # through the model for a verdict
    without_gradients: bool = False  # whether an attack that needs none runs too

    def run(self, name: str, attack: AbstractAttack, before: Tensor) -> tuple[Tensor, Tensor, int]:
        """Attack the examples that are correct ``before`` (N,).

        Returns:
            which examples the attack shows to stay correct (N,), of which it found nothing but cannot tell
            (N,), and how many of its successes were rejected.
        """
        after, decided, rejected = before, torch.zeros_like(before), 0
        for part in attack.parts:
            label = name if len(attack.parts) == 1 else f"{name}: {part.name}"
            after, sure, more, tally = self._run_part(label, part, self.seed / name / part.name, after)
            note(part.left_out(tally))
            decided, rejected = decided | sure, rejected + more
        undecided = after & ~decided
        if (blind := int(undecided.sum()) - rejected) > 0:
            note(blind_note(name, blind, int(before.sum())))
        return after & decided, undecided, rejected

    def changed(self, chosen: Tensor) -> Tensor:
        """(N,) which of the ``chosen`` examples, which were correct, are not where they are asked again, in
        other batches; that is noted.
        """
        found, left = torch.zeros_like(chosen), chosen.nonzero().flatten()
        for rows in batches_of(len(left), self.batch_size):
            part = left[rows]
            found[part] = ~correct(self.model, *self._examples(part))
        if bool(found.any()):
            note(
                f"{int(found.sum())} clean images that were classified correctly are not when the model is"
                " asked again, in other batches; nothing is decided about them"
            )
        return found

    def _examples(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        x, y = (part[chosen.to(part.device)].to(self.device) for part in (self.x, self.y))
        return x, y

    def _run_part(
        self, label: str, attack: AbstractAttack, seed: Seed, correct_before: Tensor
    ) -> tuple[Tensor, Tensor, int, Tally]:
        before, after, decided, done, rejected, tally = self.ledger.open(label, correct_before)
        left = before.nonzero().flatten()
        for number, rows in enumerate(batches_of(len(left), self.batch_size)):
            # Done before an interruption, or the batch of another process.
            if rows.start < done or not self.processes.takes(number):
                continue
            chosen = left[rows]
            own = seed / rows.start
            with (own / "network").globally():
                x_adv, sight = self._fooled(attack, *self._examples(chosen), own)
                part_x, part_y = self._examples(chosen)  # an attack may have changed what it was given
                wrong = sum((~correct(self.model, x_adv, part_y)).int() for _ in range(self.passes))
            valid = attack.threat.contains(part_x, x_adv).cpu()
            fooled = 2 * wrong > self.passes
            # Of answers that are drawn: fooled now and then, or once during the search.
            unsure = ((wrong > 0) | sight.claimed) & ~fooled & (self.passes > 1)
            after[chosen], decided[chosen] = ~(fooled & valid), ~(sight.blind | unsure | (fooled & ~valid))
            tally += sight.tally
            rejected += int((fooled & ~valid).sum())
            # Seeds go by batch, so a resumed evaluation draws what an uninterrupted one would have drawn.
            self.ledger.keep(label, before, after, decided, rows.stop, rejected, tally)
            self.progress(label, rows.stop, len(left))
        give_back_freed_memory()  # the next attack frees blocks of other sizes
        # Each example is in one batch, and so only one process can have fooled or decided it.
        fooled_by_any = self.processes.sum((before & ~after).int()) > 0
        decided = self.processes.sum(decided.int()) > 0
        rejected, *tallied = self.processes.sum(torch.tensor([rejected, *tally.counts])).tolist()
        return before & ~fooled_by_any, decided, rejected, Tally(*tallied)

    def _fooled(self, attack: AbstractAttack, x: Tensor, y: Tensor, seed: Seed) -> tuple[Tensor, Sight]:
        """What the attack found, and what it saw."""
        with watched(len(x)) as sight:
            try:
                return attack.fool(self.model, x, y, seed=seed, form=self.form), sight
            except NoGradient as error:
                if not self.without_gradients:
                    raise
                note(str(error))
                sight.saw_nothing()
                return x, sight


def batches_of(n: int, size: int) -> Iterator[slice]:
    """The rows of each batch."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def correct(model: nn.Module, x: Tensor, y: Tensor, *, check: bool = False) -> Tensor:
    """Whether each example is classified correctly: (n,) on the CPU.

    The model must be in eval mode; with ``check`` its logits are checked too.
    """
    with torch.no_grad():
        logits = model(x)
    if check:
        check_logits(logits, y)
    return (~misclassified(logits, y)).cpu()

"""Clean and robust accuracy, example by example."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.base.gradients import confined_note, gradient_note, misleading
from semirobust.core.checks import check_counts, check_examples, check_mode, probe
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.given import kind_of
from semirobust.core.links import given_out
from semirobust.core.outputs import note, notes
from semirobust.core.own_code import code_of
from semirobust.core.plain import anywhere
from semirobust.core.processes import ALONE, Processes
from semirobust.core.progress import Progress, silent
from semirobust.core.renamed import renamed
from semirobust.core.seed import Seed, as_seed
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Kind, Table
from semirobust.evaluation.by_attack import ByAttack
from semirobust.evaluation.plausible import note_plausibility
from semirobust.evaluation.proportion import Accuracy, Proportion, Summary, drawn_accuracies
from semirobust.evaluation.resume import Ledger, evaluation_key
from semirobust.evaluation.runner import Runner, batches_of, correct
from semirobust.evaluation.separation import separation
from semirobust.evaluation.steadiness import PASSES, Steadiness
from semirobust.fast.policy import AS_IT_IS, Fast, fast_for_evaluation
from semirobust.layers.quiet import device_of, quiet
from semirobust.records.conditions import Conditions
from semirobust.threats.base.ball import AbstractBall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Evaluation", "evaluate", "named_attacks"]

Attacks = AbstractAttack | Sequence[AbstractAttack] | Mapping[str, AbstractAttack]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(AbstractResult):
    """Verdicts on N examples.

    Attributes:
        clean: (N,) whether the clean example is classified correctly.
        robust: attack name -> (N,) whether it is and the attack, which saw where to go, found no perturbation
            that changes that.
        undecided: attack name -> (N,) whether the attack found none either, but that says nothing: at no
            point was there a gradient to follow, what it found failed the final check, or the clean image was
            answered differently when it was asked about again. It counts neither as robust nor as fooled.
        rejected: attack name -> how many perturbations failed the final check and were not counted.
        inference: the form of the model in which attacks searched; verdicts are always those of the model
            itself.
        threats: attack name -> its threat model, as printed.
        cumulative: each attack got only the examples that stayed correct under those of its threat model
            before it, so its verdict is that of all of them together.
        notes: what a reader must know, such as how the model's output became logits.
    """

    clean: Tensor
    robust: ByAttack
    rejected: Mapping[str, int]
    inference: str = ""
    threats: Mapping[str, str] = field(default_factory=dict)
    cumulative: bool = False
    notes: tuple[str, ...] = ()
    undecided: Mapping[str, Tensor] = field(default_factory=dict)

    def standing(self, name: str) -> Tensor:
        """(N,) whether an attack found nothing against the example, decided or not."""
        return self.robust[name] | self.undecided.get(name, torch.zeros_like(self.clean))

    @property
    def worst(self) -> Tensor:
        """(N,) whether no attack found anything against the example, and one of each threat model decides."""
        decided = dict[str, Tensor]()
        for name, verdict in self.robust.items():
            threat = self.threats.get(name, "")
            decided[threat] = decided.get(threat, torch.zeros_like(self.clean)) | verdict
        return torch.stack([self.unbroken, *decided.values()]).all(0)

    @property
    def unbroken(self) -> Tensor:
        """(N,) whether no attack found anything against the example, decided or not."""
        return torch.stack([self.clean, *map(self.standing, self.robust)]).all(0)

    def accuracies(self) -> list[Accuracy]:
        """Accuracy with interval: clean, under each attack, and under the worst of several."""
        found, seen = [Accuracy("clean", Proportion.of(self.clean))], set[str]()
        for name, verdict in self.robust.items():
            threat = self.threats.get(name, "")
            open_ = int((self.standing(name) & ~verdict).sum())
            cumulative = self.cumulative and threat in seen
            found.append(Accuracy(name, Proportion.of(verdict), threat, cumulative, open_))
            seen.add(threat)
        if len(self.robust) > 1:
            threats, worst = set(self.threats.values()), self.worst
            threat = threats.pop() if len(threats) == 1 else ""
            open_ = int((self.unbroken & ~worst).sum())
            found.append(Accuracy("worst", Proportion.of(worst), threat, undecided=open_))
        return found

    def summary(self) -> Summary:
        """The accuracies by name; ``+ name`` is an attack together with those of its threat model before
        it.
        """
        found = self.accuracies()
        values = {accuracy.name: accuracy.value for accuracy in found}
        return Summary(values, self.notes, {a.name: a.undecided for a in found if a.undecided})

    def table(self) -> Table:
        whole = self.summary().table()
        more = [(a.threat or None, self.rejected.get(a.attack)) for a in self.accuracies()]
        rows = [(*row, *its) for row, its in zip(whole.rows, more, strict=True)]
        facts = {"searched": self.inference or None, "cumulative": self.cumulative}
        columns: dict[str, Kind] = {**whole.columns, "threat": "text", "rejected": "count"}
        return Table(whole.said, columns, rows, facts, whole.notes)

    @staticmethod
    def drawn(table: Table) -> "Figure":
        return drawn_accuracies(table)


@renamed("precision", "fast", {"exact": "off"})
@anywhere
@on_classifiers("model")
def evaluate(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attacks: Attacks = (),
    *,
    seed: int | Seed = 0,
    batch_size: int = 256,
    fast: Fast = "auto",
    worst_case: bool = False,
    state: str | Path | None = None,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Evaluation:
    """Clean accuracy of ``model`` and its accuracy under each attack.

    Only correctly classified examples are attacked, each until it is fooled. The parts of an ensemble run one
    after the other on all examples that are left, so that batches stay full. In the end every success is
    checked: it must be within the threat model and [0, 1], and the model itself must misclassify it. What an
    attack cannot decide is counted apart (:attr:`Evaluation.undecided`).

    Args:
        model: gives logits (N, C); in eval mode. It is left as it was.
        x: (N, ...) pixels in [0, 1], on any device; batches go to the model's.
        y: (N,) true labels.
        attacks: an attack, several, or names and attacks.
        seed: the source of all randomness.
        batch_size: examples attacked at once.
        fast: ``auto`` searches with a faster copy of the model where it agrees with the model
            (:func:`semirobust.fast.policy.fast_model`) and enough examples are attacked, and leaves out work
            that would change nothing, which is audited and noted; ``graphs`` also records the copy's launches
            on a CUDA device; ``onnx`` runs the copy's passes without a gradient, as Square makes them, in
            ONNX Runtime on the CPU where that agrees too, and notes why where it does not; ``off`` searches
            with the model as it is, and does all work.
        worst_case: run the attacks of each threat model cheapest first, each only on the examples that stay
            correct under those before. The last accuracy is the same and takes less time; each one before is
            that of the attack and all cheaper ones together.
        state: a file that stores the verdicts after each batch. An interrupted evaluation resumes from it and
            ends with the same result; where it goes on with other threads or on another processor, a note
            says so. A file that is damaged, of another version, or from before an attack was edited is
            refused. Delete the file afterwards. Each of several processes has a file, with
            its number in the name.
        processes: those that evaluate together. Each attacks some of the batches, and all get the same
            verdicts, which are those of a single process.
        progress: told after each batch.

    Raises:
        InputError: one of the arguments is not as described.
    """
    check_examples(x, y)
    check_mode(model)
    check_counts(1, batch_size=batch_size)
    named = named_attacks(attacks)
    for attack in named.values():
        attack.check_shape(x)
    if worst_case:
        named = _cheapest_first(named)
    device = device_of(model, x.device)
    # A network may draw numbers itself, such as dropout that is always on; they come from the seed too.
    with quiet(model), (as_seed(seed) / "network").globally():
        probe(model, x[:1].to(device), y[:1].to(device))
        batches = ((x[rows].to(device), y[rows].to(device)) for rows in batches_of(len(x), batch_size))
        clean = torch.cat([correct(model, *batch, check=True) for batch in batches])
        _note_images(model, x, y, named)
        steady = None
        if named and bool(clean.any()):
            steady = Steadiness(model, x[clean.to(x.device)][:batch_size].to(device))
        # The fast copy is compared with the model on examples that will be attacked.
        form = fast_for_evaluation(model, x[clean.to(x.device)], fast=fast) if named else None
        inference = AS_IT_IS if form is None else form.description
        ledger = Ledger(None, "")
        if state:
            audited = form is not None and form.audited
            settings = (named, str(as_seed(seed)), batch_size, fast, worst_case, inference, audited)
            place = (processes.rank, processes.count) if processes.count > 1 else ()
            key = evaluation_key(model, x, y, (*settings, *place))
            conditions = Conditions.now(device, code_of(*named.values(), model))
            ledger = Ledger(_of_process(given_out(state), processes), key, conditions)
            note(ledger.note)
        runner = Runner(model, x, y, device, form, as_seed(seed), batch_size, ledger, processes, progress)
        runner.passes = PASSES if steady is not None and steady.drawn else 1
        runner.without_gradients = any(not part.uses_gradients for a in named.values() for part in a.parts)
        astray = _note_gradients(model, x, clean, device, named, batch_size)
        robust, undecided, rejected = dict[str, Tensor](), dict[str, Tensor](), dict[str, int]()
        threats = {name: str(attack.threat) for name, attack in named.items()}
        still_correct: dict[str, Tensor] = {}  # by threat model, where attacks build on each other
        for name, attack in named.items():
            before = still_correct.get(threats[name], clean)
            robust[name], undecided[name], rejected[name] = runner.run(name, attack, before)
            if worst_case:
                still_correct[threats[name]] = robust[name] | undecided[name]
        changed = runner.changed(torch.stack([clean & False, *robust.values()]).any(0))
        changed |= steady is not None and steady.has_changed()
        for name, attack in named.items():
            misled = astray and all(part.uses_gradients for part in attack.parts)
            open_ = robust[name] & (changed | misled)
            undecided[name], robust[name] = undecided[name] | open_, robust[name] & ~open_
    return Evaluation(
        clean,
        ByAttack(robust, named),
        rejected,
        inference,
        threats,
        worst_case,
        notes(),
        ByAttack(undecided, named),
    )


def _note_images(model: nn.Module, x: Tensor, y: Tensor, named: Mapping[str, AbstractAttack]) -> None:
    """Note where images are not what the network was trained on, and balls that hold images of other classes,
    each once.
    """
    note_plausibility({"": model}, x, y)
    threats = {str(attack.threat): attack.threat for attack in named.values()}
    for threat in threats.values():
        if isinstance(threat, AbstractBall):
            note(separation(threat, x, y))


def _note_gradients(
    model: nn.Module,
    x: Tensor,
    clean: Tensor,
    device: torch.device,
    named: Mapping[str, AbstractAttack],
    batch_size: int,
) -> bool:
    """Note where attacks by gradients can find nothing; whether gradients mislead them."""
    attacked = x[clean.to(x.device)][: min(16, batch_size)].to(device)
    if not (len(attacked) and any(part.uses_gradients for a in named.values() for part in a.parts)):
        return False
    note(gradient_note(model, attacked))
    if all(len(attack.parts) == 1 for attack in named.values()):  # an ensemble has other losses too
        note(confined_note(model, attacked, clean))
    note(astray := misleading(model, attacked))
    return bool(astray)


def _cheapest_first(named: Mapping[str, AbstractAttack]) -> dict[str, AbstractAttack]:
    """Threat models in the order given; the attacks of each by rising cost."""
    threats = list(dict.fromkeys(str(attack.threat) for attack in named.values()))
    return dict(sorted(named.items(), key=lambda item: (threats.index(str(item[1].threat)), item[1].cost)))


def _of_process(state: Path, processes: Processes) -> Path:
    return state if processes.count == 1 else state.with_name(f"{state.stem}.{processes.rank}{state.suffix}")


def named_attacks(attacks: Attacks) -> dict[str, AbstractAttack]:
    """The attacks by name; attacks of equal names are told apart by ``'``, as ``pgd-20'``."""
    if isinstance(attacks, AbstractAttack):
        attacks = [attacks]
    if not isinstance(attacks, Iterable) or isinstance(attacks, type):
        raise _no_attack(attacks)
    given = list(attacks.items()) if isinstance(attacks, Mapping) else [(None, attack) for attack in attacks]
    named: dict[str, AbstractAttack] = {}
    for key, attack in given:
        if not isinstance(attack, AbstractAttack):
            raise _no_attack(attack)
        name = attack.name if key is None else key
        if not isinstance(name, str) or name in ("clean", "worst"):
            raise InputError(
                f"attacks: expected other names than clean and worst, which are taken; got {name!r}"
            )
        while name in named:
            name += "'"
        named[name] = attack
    return named


def _no_attack(value: object) -> InputError:
    return InputError(f"attacks: expected attacks such as PGD(Linf(8/255)), got {kind_of(value)}")

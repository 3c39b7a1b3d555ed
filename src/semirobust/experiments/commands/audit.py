"""``semirobust audit``: what can be said of a model within a given time."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from semirobust.core.budget import read_json
from semirobust.core.errors import InputError
from semirobust.core.files import write_atomically
from semirobust.core.progress import Progress, begins, silent
from semirobust.core.seed import as_seed
from semirobust.evaluation.check import Check
from semirobust.evaluation.proportion import Accuracy, Proportion
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import evaluate_subject
from semirobust.experiments.commands.profile import profile
from semirobust.experiments.folder import write_stage
from semirobust.experiments.identity import check_same_network, weights_of
from semirobust.experiments.provenance import origin_of
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.run_files import REPORT_FILE
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.subject import Subject
from semirobust.procedures.plan import MOST, Plan, plan_audit
from semirobust.procedures.verdict import next_steps, verdict
from semirobust.records.origin import config_hash
from semirobust.records.schema import Finding, Number, Quantity, Topic
from semirobust.records.store import AnyRecord, read_records
from semirobust.reports.page import write_report

__all__ = ["Audited", "audit_subject"]

_PLAN = "audit.json"
_MEASURE = "criticality"


@dataclass(frozen=True)
class Audited:
    """What ``semirobust audit`` found.

    Attributes:
        plan: what was done.
        accuracies: clean, under each attack, and under all together.
        checks: of the evaluation itself.
        layers: the criticality of each layer, by its index, the most critical first; empty where the network
            shows none.
        verdict: one sentence.
        steps: what to do next, with what it is expected to cost.
        notes: what a reader must know.
        report: the page.
    """

    plan: Plan
    accuracies: Sequence[Accuracy]
    checks: Sequence[Check]
    layers: dict[int, float]
    verdict: str
    steps: tuple[str, ...]
    notes: tuple[str, ...]
    report: Path


@claims_out
def audit_subject(
    subject: Subject,
    out: Path,
    *,
    minutes: float,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
) -> Audited:
    """Evaluate, check and profile a model within about so many ``minutes``, and write records and a report.

    What a call before has found for the same time is not done again; an interrupted part goes on. Called with
    more time, its numbers stand beside those of before.

    Args:
        say: is told what comes next, and how long it is expected to take.
    """
    if not minutes > 0:
        raise InputError(f"minutes: expected a number above 0, got {minutes:g}")
    check_same_network(out, subject.model, subject.recipe.model.name)
    begins("audit")
    plan = _plan(subject, out, minutes, devices, progress)
    say(f"Plan: {plan}.")
    recipe = read_recipe(
        None,
        {
            "evaluate.attacks": list(plan.attacks),
            "evaluate.each": False,
            "evaluate.examples": plan.examples,
            "evaluate.checks": plan.checked,
            "profile.measures": [_MEASURE],
            "profile.examples": plan.profiled,
        },
        subject.recipe,
    )
    subject = subject.under(recipe)
    notes: list[str] = []
    before = _records(out)
    if not _of(before, recipe, "evaluate"):
        done = evaluate_subject(subject, out, devices=devices, progress=progress)
        notes += done.notes
        say(verdict(done.accuracies, done.checks, plan.outputs))
    if not _of(before, recipe, "profile"):
        try:
            _, scores = profile(subject, out, devices=devices, progress=progress)
            notes += [note for score in scores for note in score.notes]
        except InputError as error:  # attacks need no layers
            notes.append(f"there is no profile of the layers: {error}")
    records = _records(out)
    evaluated = _of(records, recipe, "evaluate")
    accuracies, checks = _accuracies(evaluated), _checks(evaluated)
    layers = _layers(_of(records, recipe, "profile"))
    said = verdict(accuracies, checks, plan.outputs)
    top = list(layers)[:3] or None
    steps = next_steps(
        accuracies, checks, plan, training=len(subject.inputs.train), layers=top, folder=str(out)
    )
    at = origin_of(recipe, "evaluate", "profile")
    good = accuracies[-1].value.low > 1 / plan.outputs
    findings = [Finding(topic=Topic.AUDIT, text=said, level="note" if good else "warning", origin=at)]
    findings += [Finding(topic=Topic.AUDIT, text=f"Next: {step}.", origin=at) for step in steps]
    write_stage(out, "4-audit", findings)
    page = write_report([out], out / REPORT_FILE, title=f"Audit of {recipe.model.name}")
    return Audited(plan, accuracies, checks, layers, said, steps, tuple(dict.fromkeys(notes)), page)


def _plan(subject: Subject, out: Path, minutes: float, devices: build.Devices, progress: Progress) -> Plan:
    """What fits into the time; as it was planned before for the same network, data and time, since it is
    measured, and an interrupted evaluation goes on only where it is the same.
    """
    recipe = subject.recipe
    settings = recipe.for_hash("data", "model", "threat")
    key = config_hash({**settings, "minutes": minutes, "weights": weights_of(subject.model)})
    try:
        kept = read_json(out / _PLAN)
        if kept["key"] == key:
            return Plan(**{**kept["plan"], "attacks": tuple(kept["plan"]["attacks"])})
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or one that cannot be read: it is made again
    fabric = build.make_fabric(devices, "32-true")
    model = subject.model.to(fabric.device)
    x, y = subject.inputs.test.first(MOST).all(fabric.device)
    ball = recipe.threat.ball
    ball.check_radius(x)
    plan = plan_audit(model, x, y, ball, minutes, seed=as_seed(recipe.seed) / "audit", progress=progress)
    write_atomically(out / _PLAN, json.dumps({"key": key, "plan": asdict(plan)}, indent=1).encode())
    return plan


def _records(out: Path) -> list[AnyRecord]:
    """All that the folder has."""
    return read_records(out) if (out / "records").is_dir() else []


def _of(records: Sequence[AnyRecord], recipe: Recipe, stage: str) -> list[AnyRecord]:
    """Those of a stage under these settings; none where it is not done."""
    config = origin_of(recipe, stage).config
    return [record for record in records if record.origin.config == config]


def _layers(records: Sequence[AnyRecord]) -> dict[int, float]:
    """The criticality of each layer from the records of a profile, the most critical first."""
    found = {
        record.about.layer: record.value
        for record in records
        if isinstance(record, Number) and record.about.measure == _MEASURE and record.about.layer is not None
        and record.about.part is None
    }  # fmt: skip
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _accuracies(records: Sequence[AnyRecord]) -> list[Accuracy]:
    """The accuracies of an evaluation from its records."""
    numbers = [record for record in records if isinstance(record, Number)]
    left = {n.about: n for n in numbers if n.quantity is Quantity.UNDECIDED}
    found = []
    for number in numbers:
        about, n = number.about, number.n or 1
        if number.quantity is Quantity.ACCURACY and about.attack is not None:
            value = Proportion(round(number.value * n), n)
            undecided = round(left[about].value * n) if about in left else 0
            found.append(Accuracy(about.attack, value, about.threat or "", bool(about.cumulative), undecided))
    return found


def _checks(records: Sequence[AnyRecord]) -> list[Check]:
    return [
        Check(record.about.check or "", record.level == "good", record.text)
        for record in records
        if isinstance(record, Finding) and record.topic is Topic.CHECK
    ]

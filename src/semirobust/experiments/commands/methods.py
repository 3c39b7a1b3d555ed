"""``semirobust harden --method a,b``: several methods from one network, at equal budget."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semirobust.core.errors import InputError
from semirobust.core.nearest import meant
from semirobust.core.progress import Progress, silent
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import attacks_of
from semirobust.experiments.commands.harden import harden_subject
from semirobust.experiments.folder import write_stage
from semirobust.experiments.provenance import origin_of, settings_record
from semirobust.experiments.recipe import read_recipe
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.subject import Subject
from semirobust.experiments.verdict import verdict
from semirobust.methods import METHODS
from semirobust.records.schema import Number, Settings
from semirobust.records.store import AnyRecord

__all__ = ["by_method", "harden_by_methods"]

_SHARED = ("start", "PGD-AT continued")  # arms that are the same beside every method


def by_method(subject: Subject, names: Sequence[str], options: Mapping[str, Any]) -> dict[str, Subject]:
    """The subject under each method, with those of the typed options that it has.

    Raises:
        InputError: a method that is named twice, or an option that none of them has.
    """
    if len(set(names)) < len(names):
        raise InputError(f"harden.method: expected each once, got {', '.join(names)}")
    known = {name: {setting.name for setting in METHODS.options_of(name)} for name in names}
    every = sorted(set(itertools.chain.from_iterable(known.values())))
    for key in options:
        if key not in every:
            listed = ", ".join(names)
            raise InputError(f"harden.options: none of {listed} has {key!r}{meant(key, every)}")
    own, its = subject.recipe.plain()["harden"], {}
    for name in names:
        file = own["options"] if name == own["method"] else {}
        chosen = {**file, **{key: value for key, value in options.items() if key in known[name]}}
        recipe = read_recipe(None, {"harden.method": name, "harden.options": chosen}, subject.recipe)
        its[name] = subject.under(recipe)
    return its


@claims_out
def harden_by_methods(
    subjects: Mapping[str, Subject],
    out: Path,
    *,
    seeds: int = 1,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
) -> list[AnyRecord]:
    """Harden by each method into a folder of its own below ``out``, and say which is better than which.

    Returns:
        the records of all, which ``out`` has too: what is the same beside every method once.
    """
    records: list[AnyRecord] = []
    for name, subject in subjects.items():
        found = harden_subject(subject, out / name, seeds=seeds, devices=devices, progress=progress, say=say)
        again = bool(records)
        records += [r for r in found if not (again and _is_shared(r))]
    first = next(iter(subjects.values())).recipe
    at, attack = origin_of(first, "harden"), attacks_of(first)[-1].name
    for one, other in itertools.combinations(subjects, 2):
        records += verdict(records, one, [other], attack, at)
    head = settings_record(first, "harden", at, methods=list(subjects))
    write_stage(out, "1-harden", [head, *(r for r in records if not isinstance(r, Settings))])
    return records


def _is_shared(record: AnyRecord) -> bool:
    """Whether the same is among the records of another method."""
    if isinstance(record, Number):
        return record.about.arm in _SHARED
    return record.kind == "layer" or getattr(getattr(record, "about", None), "arm", None) in _SHARED

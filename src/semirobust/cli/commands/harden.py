"""``semirobust harden``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semirobust.cli import flags
from semirobust.cli.console import aside
from semirobust.cli.header import (
    attack_line,
    fresh_lines,
    header,
    method_line,
    subject_lines,
    training_line,
)
from semirobust.cli.parse import compute, end_of, failures, launch_of, layers_of
from semirobust.cli.progress import bars
from semirobust.cli.section_flags import SHARED, section
from semirobust.cli.show.comparison import show_comparison
from semirobust.core.settings import Setting
from semirobust.experiments.build import Devices
from semirobust.experiments.commands.harden import handed_over, harden_subject, train_base
from semirobust.experiments.commands.methods import by_method, harden_by_methods
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.model_spec import at_its_size, has_own_weights
from semirobust.experiments.queue.of_commands import Typed, harden_parts
from semirobust.experiments.queue.parts import do_parts
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.subject import build_subject
from semirobust.experiments.work import hardening_work, training_work
from semirobust.methods import METHODS

__all__ = ["command"]


def harden(
    changes: dict[str, Any],
    out: Path,
    target: str | None,
    recipe: Path | None,
    model: str | None,
    checkpoint: Path | None,
    seeds: int,
    launcher: str | None,
    workers: int | None,
    launcher_set: Sequence[str],
    as_json: bool,
    **where: Any,
) -> None:
    """Make a trained model more robust by training only the part that matters; evaluates before and after.

    With --recipe and neither --from nor --checkpoint, the model is first trained as the recipe says, into
    OUT/base; one of another library is hardened with its own weights. With several methods, --method a,b,
    each has a folder of its own below OUT, and the verdicts say which is better than which.
    """
    devices, launch = compute(**where), launch_of(launcher, workers, launcher_set)
    names, options, changes = _methods(changes)
    if target is None and checkpoint is None and recipe is not None:
        named = {**changes, "model.name": model}
        settings = at_its_size(read_recipe(recipe, named))
        if not has_own_weights(settings.model):
            first = _base_header(settings, named, recipe, seeds, devices, out, as_json=as_json)
            work = [*training_work(settings), *hardening_work(settings, seeds)]
            with bars(work, first=first, quiet=as_json) as progress:
                base = train_base(recipe, named, out, devices=devices, progress=progress)
            target, changes = str(base), named
            model = model if model and ":" in model else None  # a name of code is said again
    subject = build_subject(target, model, checkpoint, recipe, changes)
    if checkpoint is None and (last := handed_over(subject)) is not None:
        checkpoint = last
        subject = build_subject(target, model, checkpoint, recipe, changes)
    subjects = by_method(subject, names, options) if names else {"": subject}
    used, *said = subject.inputs.said(subject.recipe.evaluate.examples, training=True)
    how = "; ".join(method_line(each.recipe, seeds) for each in subjects.values())
    doing = {"method": how, "attacks": attack_line(subject.recipe)}
    told = (*said, *subject.notes)
    lines = subject_lines(subject, changes, checkpoint, used, doing, devices, out)
    first = header(lines, told, as_json=as_json)
    work = [entry for each in subjects.values() for entry in hardening_work(each.recipe, seeds)]
    with bars(work, first=first, quiet=as_json) as progress, failures():
        if launch is not None:
            which = Typed(target, model, checkpoint, recipe, changes)
            parts = [
                part
                for name, each in subjects.items()
                for part in harden_parts(which, each, out / name, seeds, devices)
            ]
            do_parts(parts, launch, progress)
        run: dict[str, Any] = {"seeds": seeds, "devices": devices, "progress": progress}
        run["say"] = lambda text: None if as_json else aside(f"Warning: {text}.")
        many = harden_by_methods
        records = many(subjects, out, **run) if names else harden_subject(subject, out, **run)
    show_comparison(records, out, as_json=as_json, told=told)
    end_of(records)


def _methods(changes: dict[str, Any]) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """Several methods that were typed, the options for them, and the other changes; no names for one."""
    typed = changes.get("harden.method")
    names = typed if isinstance(typed, list) else str(typed or "").split(",")
    names = [str(name).strip() for name in names if str(name).strip()]
    if len(names) < 2:
        return [], {}, changes
    start = "harden.options"
    options = dict(changes.get(start, {}))
    options |= {key.removeprefix(f"{start}."): v for key, v in changes.items() if key.startswith(f"{start}.")}
    rest = {k: v for k, v in changes.items() if k != "harden.method" and not k.startswith(start)}
    return names, options, rest


def _base_header(
    settings: Recipe,
    changes: Mapping[str, Any],
    recipe: Path,
    seeds: int,
    devices: Devices,
    out: Path,
    *,
    as_json: bool,
) -> Callable[[], None]:
    """What is trained first, and what then."""
    inputs = Inputs.of(settings)
    used, *_ = inputs.said(settings.evaluate.examples, training=True)
    doing = {
        "first": f"{training_line(settings.train.training, recipe)}, into {out / 'base'}",
        "then": method_line(settings, seeds),
        "attacks": attack_line(settings),
    }
    return header(fresh_lines(settings, inputs, changes, used, doing, devices, out), as_json=as_json)


def _of_methods(option: str) -> str:
    """What an option of methods means, by the methods that have it."""
    found: dict[str, list[str]] = {}
    for method in METHODS.names():
        for setting in METHODS.options_of(method):
            if setting.name == option:
                found.setdefault(setting.brief, []).append(method)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in found.items()) + "."


class _OfMethods(flags.SettingFlag):
    """The flag of an option that several methods have."""

    def __init__(self, option: str, hint: Any) -> None:
        meaning = _of_methods(option).rstrip(".")
        super().__init__(f"--{option}", f"harden.options.{option}", Setting(option, hint, None, meaning, ""))

    def plain(self, value: Any) -> Any:
        if self.path.endswith("layers"):
            return layers_of(value)
        return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


command = flags.command(
    harden,
    flags.OUT,
    flags.START,
    flags.RECIPE,
    flags.MODEL,
    flags.CHECKPOINT,
    SHARED,
    section("harden"),
    _OfMethods("k", int),
    _OfMethods("layers", tuple[int, ...]),
    flags.SEEDS,
    section("evaluate", only=("attacks", "examples")),
    flags.COMPUTE,
    flags.LAUNCH,
    flags.AS_JSON,
)

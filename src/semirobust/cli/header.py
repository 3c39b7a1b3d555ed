"""What a command says before it starts: what runs on what, and where it goes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.cli.console import aside, tell_notes
from semirobust.core.links import given_folder
from semirobust.experiments.build import Devices
from semirobust.experiments.comparison import controls_of, without_control
from semirobust.experiments.contents import contents
from semirobust.experiments.folder import is_run
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.model_spec import fresh_spec, has_own_weights
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.subject import Subject
from semirobust.experiments.work import arm_names
from semirobust.measures import MEASURES
from semirobust.methods import METHODS
from semirobust.objectives import OBJECTIVES
from semirobust.training.training import Training
from semirobust.zoo.base.named import from_zoo, source_of

__all__ = [
    "attack_line",
    "both_ways",
    "fresh_lines",
    "header",
    "measure_line",
    "method_line",
    "pruning_line",
    "subject_lines",
    "training_line",
    "where_line",
    "writes_line",
]

_WIDE = 8  # columns of the names at the left
_WHOLE = 1e-6


def header(lines: Mapping[str, str], notes: Sequence[str] = (), *, as_json: bool) -> Callable[[], None]:
    """What says a header when the work begins: a line for each entry on standard error, long ones wrapped,
    and the notes after it; nothing beside JSON.
    """

    def say() -> None:
        for name, text in {} if as_json else lines.items():
            aside(text, f"{name:<{_WIDE}} ")
        tell_notes(notes, as_json=as_json)

    return say


def both_ways(epsilon: float) -> str:
    """A radius as a fraction of 255 and as a number: ``8/255 = 0.0314``."""
    scaled = epsilon * 255
    shown = f"{round(scaled)}" if abs(scaled - round(scaled)) < _WHOLE else f"{scaled:.4g}"
    return f"{shown}/255 = {epsilon:.3g}"


def by_default(key: str, recipe: Recipe, changes: Mapping[str, Any]) -> str:
    """`` (by default)`` where nobody asked for the value of a setting."""
    section, _, name = key.partition(".")
    asked = changes.get(key) is not None or name in recipe.changed().get(section, {})
    return "" if asked else " (by default)"


def subject_lines(
    subject: Subject,
    changes: Mapping[str, Any],
    checkpoint: Path | None,
    used: str,
    doing: Mapping[str, str],
    devices: Devices,
    out: Path | None,
    *,
    looks: bool = False,
) -> dict[str, str]:
    """The header of a command on a network that is there.

    Args:
        subject: the network.
        changes: what was typed.
        checkpoint: the file of its weights, where it was typed.
        used: which images.
        doing: lines of what is done with it.
        devices, out: where it is done and written.
        looks: it makes no network, and leaves this one.
    """
    count = f"{sum(p.numel() for p in subject.model.parameters()):,} parameters"
    model = f"{subject.spec.name}, {_weights(subject, checkpoint)}, {count}"
    own, kept = subject.folder is not None, subject.model if looks else None
    writes = writes_line(out, kept)
    return _lines(subject.recipe, changes, used, model, doing, devices, writes, own=own)


def fresh_lines(
    recipe: Recipe,
    inputs: Inputs,
    changes: Mapping[str, Any],
    used: str,
    doing: Mapping[str, str],
    devices: Devices,
    out: Path | None,
) -> dict[str, str]:
    """The header of a command that trains a network of its own; the rest as in :func:`subject_lines`."""
    name, own = recipe.model.name, has_own_weights(recipe.model, default=False)
    model = f"{name}{by_default('model.name', recipe, changes)}, {'its own' if own else 'fresh'} weights"
    if not from_zoo(name):  # counted where it takes no memory, and no image is read
        spec = fresh_spec(replace(recipe.model, mean=None, std=None, normalisation="none"), inputs.splits)
        with torch.device("meta"):
            fresh = spec.build()
        model += f", {sum(p.numel() for p in fresh.parameters()):,} parameters"
    return _lines(recipe, changes, used, model, doing, devices, writes_line(out))


def _lines(
    recipe: Recipe,
    changes: Mapping[str, Any],
    used: str,
    model: str,
    doing: Mapping[str, str],
    devices: Devices,
    writes: str,
    *,
    own: bool = False,
) -> dict[str, str]:
    data = "" if own else by_default("data.source", recipe, changes)
    radius = f"{recipe.threat.norm}, \N{GREEK SMALL LETTER EPSILON} = {both_ways(recipe.threat.epsilon)}"
    return {
        "data": f"{used}{data}",
        "model": model,
        "threat": radius if own else f"{radius}{by_default('threat.epsilon', recipe, changes)}",
        **doing,
        "device": where_line(devices),
        "writes": writes,
    }


def _weights(subject: Subject, checkpoint: Path | None) -> str:
    """Where the weights of a subject are from."""
    if checkpoint is not None:
        return f"weights of {checkpoint}"
    if subject.folder is not None:
        return f"weights of the run {subject.folder}"
    if not has_own_weights(subject.recipe.model):
        return "the weights that it comes with" if from_zoo(subject.spec.name) else "fresh weights"
    return f"the weights that {source_of(subject.spec.name)[0].holder}"


def where_line(devices: Devices, *, workers: str = "") -> str:
    """Where is computed, and with how many threads and processes."""
    device = devices.accelerator
    if device == "auto":
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    if device in ("cuda", "gpu") and torch.cuda.is_available():
        device = f"{device} ({torch.cuda.get_device_name()})"
    count, threads = devices.devices * devices.nodes, torch.get_num_threads()
    processes = f", {count} processes" if count > 1 else ""
    nodes = f" on {devices.nodes} machines" if devices.nodes > 1 else ""
    return f"{device}, {threads} thread{'s' * (threads > 1)}{processes}{nodes}{workers}"


def writes_line(out: Path | None, kept: nn.Module | None = None) -> str:
    """Where it writes, and what is there.

    Args:
        out: the folder.
        kept: the network that is left there beside the records.
    """
    if out is None:
        return "nowhere. Nothing is kept: --out FOLDER keeps the records, and goes on after an interruption"
    place = given_folder(out)  # what is typed may be a link
    there = contents(place)
    if there:
        return f"{out}, beside what it has: {', '.join(there)}"
    if kept is not None and not is_run(place):
        size = sum(t.numel() * t.element_size() for t in kept.state_dict().values() if isinstance(t, Tensor))
        return str(out) if not size else f"{out}, also the weights ({spoken_size(size)}), to go on from"
    return f"{out}"


def spoken_size(count: int) -> str:
    """A number of bytes as one says it: ``320 kB``, ``45 MB``."""
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{max(1, count // 1000)} kB"


def attack_line(recipe: Recipe) -> str:
    """What evaluates, and by which checks."""
    settings = recipe.evaluate
    names = ", ".join(attack.name for attack in settings.attacks)
    radii = f"; security curve at {', '.join(map(both_ways, settings.sweep))}" if settings.sweep else ""
    return f"{names}{radii}"


def measure_line(recipe: Recipe) -> str:
    """What is measured, under which attack."""
    names = ", ".join(map(MEASURES.name_of, recipe.profile.measures))
    return f"{names}, under {recipe.profile.attack.name}"


def method_line(recipe: Recipe, seeds: int) -> str:
    """How is hardened, with which controls and seeds."""
    settings, method = recipe.harden, recipe.harden.method
    name, training = METHODS.name_of(method), settings.training
    attack = f" against {training.attack.name}" if training.attack is not None else ""
    rate = f"learning rate {training.learning_rate:g}"
    if part := _part(training):
        rate += f" ({training.schedule}, {part})"
    parts = [f"{name}, {_epochs(training.epochs)}{attack}", rate]
    if settings.controls:
        arms = [arm.name for arm in controls_of(name, method)[1:]]
        missing = without_control(name, method)
        parts.append(f"beside it {' and '.join(arms)}{f' ({missing})' if missing else ''}")
    parts.append(f"{seeds} seeds" if seeds > 1 else "one seed")
    return "; ".join(parts)


def _part(training: Training) -> str:
    """Which epochs of a longer schedule a training has; empty where it has one of its own."""
    before, last = training.epochs_before, training.epochs_before + training.epochs
    whole = last + training.epochs_after
    return f"epochs {before + 1} to {last} of {whole}" if whole > training.epochs else ""


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


def pruning_line(recipe: Recipe, seeds: int) -> str:
    """What is pruned away, in which steps, and how what is left is trained."""
    settings, lottery = recipe.prune, recipe.prune.lottery
    each = _epochs(settings.training.epochs)
    if settings.training.attack is not None:
        each += f" against {settings.training.attack.name}"
    if settings.macs is not None:
        return f"channels, until {settings.macs:.0%} of the multiply-accumulates are left; then {each}"
    arms = f" of {', '.join(arm_names(recipe))}" if settings.controls else ""
    counted = f"{seeds} seeds" if seeds > 1 else "one seed"
    share = f"{lottery.fraction:.0%} of what is left at each"
    return f"{lottery.levels} levels{arms}, {share}; {each} a level; {counted}"


def training_line(training: Training, recipe: Path | None = None) -> str:
    """How is trained, and by which recipe."""
    attack = f" against {training.attack.name}" if training.attack is not None else ""
    objective = OBJECTIVES.name_of(training.objective)
    named = f" (recipe {recipe})" if recipe is not None else ""
    shape = f"{training.schedule}{f', {part}' if (part := _part(training)) else ''}"
    pace = f"batches of {training.batch_size}, learning rate {training.learning_rate:g} ({shape})"
    return f"{_epochs(training.epochs)} of {objective}{attack}, {pace}{named}"

"""What training and hardening share: devices, validation, logs as records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from semirobust.attacks import ATTACKS, AbstractAttack
from semirobust.core.errors import InputError
from semirobust.core.processes import Processes
from semirobust.core.seed import Seed
from semirobust.core.text import first_line
from semirobust.data.base.images import Images
from semirobust.evaluation.accuracy import evaluate
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.settings import FitSettings, PruneSettings, TrainSettings
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import device_of
from semirobust.measures import MEASURES, MeasureContext
from semirobust.objectives import OBJECTIVES
from semirobust.records.schema import Finding, Label, Number, Origin
from semirobust.records.store import AnyRecord
from semirobust.threats import NORMS, AbstractBall
from semirobust.training.state import EpochLog, TrainState
from semirobust.training.training import Trained, Training, Validate

__all__ = [
    "Devices",
    "attack_of",
    "fit_options",
    "judge_of",
    "log_records",
    "make_fabric",
    "score_record",
    "tensorboard_log",
    "threat_of",
    "training_of",
    "validation_of",
]


@dataclass(frozen=True)
class Devices:
    """Where to compute.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        devices: how many.
        nodes: over how many machines.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1


def make_fabric(where: Devices, precision: str) -> Fabric:
    """A Lightning Fabric for these devices.

    Raises:
        InputError: Lightning does not know the device or the precision, or there is none of it.
    """
    strategy = "ddp" if where.devices * where.nodes > 1 else "auto"
    try:
        return Fabric(
            accelerator=where.accelerator,
            devices=where.devices,
            num_nodes=where.nodes,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
        )
    except Exception as error:  # each accelerator complains in its own way
        raise InputError(
            f"device {where.accelerator!r}, precision {precision!r}: {first_line(error)}"
        ) from None


def threat_of(recipe: Recipe) -> AbstractBall:
    """The threat model of a recipe."""
    return NORMS.make(recipe.threat.norm, {"epsilon": recipe.threat.epsilon})


def attack_of(name: str, options: Mapping[str, Any], threat: AbstractBall) -> AbstractAttack:
    """The attack called ``name`` under ``threat``."""
    return ATTACKS.make(name, options, threat=threat)


def judge_of(settings: FitSettings, threat: AbstractBall) -> AbstractAttack:
    """The attack that validates."""
    if settings.judge:
        return attack_of(settings.judge, {}, threat)
    return attack_of(settings.attack, settings.attack_options, threat)


def fit_options(settings: FitSettings) -> dict[str, Any]:
    """The fields of :class:`Training` that a recipe sets directly."""
    names = [
        "epochs",
        "batch_size",
        "learning_rate",
        "schedule",
        "momentum",
        "weight_decay",
        "nesterov",
        "augment",
        "start",
    ]
    names += ["awp", "awp_warm_up", "average", "average_decay", "average_from", "fast", "replays"]
    return {name: getattr(settings, name) for name in names}


def training_of(settings: TrainSettings | PruneSettings, threat: AbstractBall) -> Training:
    """The course of training that a section with an objective of its own describes."""
    return Training(
        objective=OBJECTIVES.make(settings.objective, settings.objective_options),
        attack=attack_of(settings.attack, settings.attack_options, threat),
        **fit_options(settings),
    )


def validation_of(
    settings: FitSettings, images: Images, threat: AbstractBall, fabric: Fabric | None = None
) -> Validate | None:
    """Clean and robust accuracy on the first held-out images, and there the measures to watch; None where
    nothing was held out.

    A measure by layer becomes one score for each layer, such as ``criticality@7``. The processes of a
    ``fabric`` attack a part of the images each."""
    if len(images) == 0 or settings.validation_examples == 0:
        return None
    part, attack = images.first(min(settings.validation_examples, len(images))), judge_of(settings, threat)
    measures = [MEASURES.make(name) for name in settings.watch]
    for name, measure in zip(settings.watch, measures, strict=True):
        if measure.min_examples > len(part):
            raise InputError(f"watch: {name} needs {measure.min_examples} held-out images, got {len(part)}")

    def validate(model: nn.Module, seed: Seed) -> Mapping[str, float]:
        x, y = part.all(device_of(model, torch.device("cpu")))
        shares = evaluate(model, x, y, {"robust": attack}, seed=seed, processes=Processes(fabric)).summary()
        found = {"clean": float(shares["clean"]), "robust": float(shares["robust"])}
        if measures:
            layers = layer_map(model, x)
            x_adv = attack.in_batches(model, x, y, seed=seed / "watch")
            context = MeasureContext(model, layers, x, y, x_adv, attack, seed / "measure")
            for measure in measures:
                for score in measure.scores(context):
                    found |= {
                        f"{score.measure}@{i}": float(v)
                        for i, v in zip(score.indices, score.values, strict=True)
                    }
        return found

    return validate


def log_records(trained: Trained, at: Origin, examples: int, labels: Mapping[str, Label]) -> list[AnyRecord]:
    """The epochs of a run as records: loss, rate, seconds, validation, and which layers trained."""
    records: list[AnyRecord] = []
    for log in trained.logs:
        here = {**labels, "epoch": log.epoch}
        values = {
            "loss": (log.loss, "nats"),
            "learning_rate": (log.learning_rate, "1"),
            "seconds": (log.seconds, "s"),
        }
        records += [
            Number(name=f"train.{k}", value=v, unit=u, labels=here, origin=at) for k, (v, u) in values.items()
        ]
        records.append(Number(name="train.parameters", value=log.trained_parameters, labels=here, origin=at))
        records += [score_record(name, value, examples, here, at) for name, value in log.metrics.items()]
        # Which layers trained, where not all did.
        records += [
            Number(name="train.layer", value=1, labels={**here, "layer": i}, origin=at)
            for i in log.layers or ()
        ]
    records.append(Number(name="train.best_epoch", value=trained.best_epoch, labels=dict(labels), origin=at))
    records += [Finding(name="note", text=note, labels=dict(labels), origin=at) for note in trained.notes]
    if trained.stopped:
        records.append(
            Finding(name="stopped", text=trained.stopped, level="error", labels=dict(labels), origin=at)
        )
    return records


def score_record(name: str, value: float, examples: int, labels: Mapping[str, Label], at: Origin) -> Number:
    """A score on held-out images; ``rho@7`` is that of layer 7."""
    what, _, layer = name.partition("@")
    here = {**labels, "layer": int(layer)} if layer else dict(labels)
    return Number(name=f"validation.{what}", value=value, n=examples, labels=here, origin=at)


def tensorboard_log(folder: Path) -> Callable[[EpochLog, TrainState], None]:
    """Writes each epoch to a TensorBoard log below ``folder``.

    Raises:
        InputError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "tensorboard: expected the package, found none; pip install 'semirobust[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(log: EpochLog, state: TrainState) -> None:
        for name, value in {"loss": log.loss, "learning_rate": log.learning_rate, **log.metrics}.items():
            writer.add_scalar(name, value, log.epoch)
        writer.flush()

    return write


def load_best(trained: Trained) -> nn.Module:
    """The model with the weights of its best epoch."""
    with torch.no_grad():
        trained.model.load_state_dict(dict(trained.best))
    return trained.model.eval()

"""All that a training run must keep to go on as if it had never stopped."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.data.images import Images
from semirobust.errors import InputError
from semirobust.models.checkpoint import read_metadata, read_tensors, write_tensors

__all__ = ["EpochLog", "TrainState", "digest", "restore", "snapshot", "store"]


@dataclass(frozen=True)
class EpochLog:
    """What happened in one epoch.

    Attributes:
        epoch: its number, from 1.
        loss: mean outer loss over its steps.
        learning_rate: at its last step.
        seconds: how long its steps took, validation left out.
        layers: the layers that trained; None for all.
        selected: whether they were chosen at its start.
        trained_parameters: how many parameters that is.
        metrics: what validation gave, by name.
    """

    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    layers: tuple[int, ...] | None
    selected: bool
    trained_parameters: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass
class TrainState:
    """Where a run stands, beside its weights and its optimiser.

    Attributes:
        epoch: epochs done.
        layers: the layers that train; None for all.
        reference: the objective's scale since they were selected; None until it is measured.
        best: highest validation score so far, and the epoch it came from.
        logs: one entry an epoch.
        stopped: why it ended early; empty if it did not.
    """

    epoch: int = 0
    layers: tuple[int, ...] | None = None
    reference: float | None = None
    best: float = float("-inf")
    best_epoch: int = 0
    logs: list[EpochLog] = field(default_factory=list)
    stopped: str = ""


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def digest(weights: Mapping[str, Tensor], images: Images) -> str:
    """What a run starts from, in twelve hex digits: its weights, its labels and its pixels (of files: some of them)."""
    found = hashlib.sha256()
    pixels = images.pixels if isinstance(images.pixels, Tensor) else images.pixels[torch.arange(min(64, len(images)))]
    for tensor in (*weights.values(), images.y, pixels):
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:12]


def store(path: Path, state: TrainState, groups: Mapping[str, Mapping[str, Tensor]], key: str) -> None:
    """Write everything into one safetensors file, whole or not at all; ``groups`` are tensors by group and name."""
    tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
    write_tensors(path, tensors, {"state": asdict(state), "key": key})


def restore(path: Path, key: str) -> tuple[TrainState, dict[str, dict[str, Tensor]]]:
    """What :func:`store` wrote.

    Raises:
        InputError: the file is damaged, or belongs to a run with other settings (``key``).
    """
    metadata = read_metadata(path)
    if "state" not in metadata or metadata.get("key") != key:
        raise InputError(f"{path.parent}: holds a run with other settings; choose another folder or delete it")
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "momentum": {}}
    for name, tensor in read_tensors(path).items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    return _state(metadata["state"]), groups


def _state(entries: dict[str, Any]) -> TrainState:
    logs = [EpochLog(**{**log, "layers": _tuple(log["layers"])}) for log in entries.pop("logs")]
    return TrainState(**{**entries, "layers": _tuple(entries["layers"]), "logs": logs})


def _tuple(layers: list[int] | None) -> tuple[int, ...] | None:
    return None if layers is None else tuple(layers)

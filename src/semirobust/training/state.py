"""All that a training run must keep to go on as if it had never stopped."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.tensor_files import bytes_of, read_checked, write_checked
from semirobust.data.base.images import Images

__all__ = [
    "EpochLog",
    "TrainState",
    "Underway",
    "digest",
    "forget",
    "kept",
    "restore",
    "settle",
    "snapshot",
    "store",
]


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
class Underway:
    """How far an epoch has come.

    Attributes:
        selected: whether layers were chosen at its start.
        form: the form of the network that its attacks search.
        step: steps done.
        loss: sum of the outer loss over the images seen.
        seen: images seen.
        seconds: how long that took.
    """

    selected: bool = False
    form: str = ""
    step: int = 0
    loss: float = 0.0
    seen: int = 0
    seconds: float = 0.0


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
        underway: the epoch that is not done yet; None between two.
    """

    epoch: int = 0
    layers: tuple[int, ...] | None = None
    reference: float | None = None
    best: float = float("-inf")
    best_epoch: int = 0
    logs: list[EpochLog] = field(default_factory=list)
    stopped: str = ""
    underway: Underway | None = None


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def digest(weights: Mapping[str, Tensor], images: Images) -> str:
    """What a run starts from, in twelve hex digits: its weights, its labels and its pixels (of files: some of
    them).
    """
    found = hashlib.sha256()
    pixels = (
        images.pixels
        if isinstance(images.pixels, Tensor)
        else images.pixels[torch.arange(min(64, len(images)))]
    )
    for tensor in (*weights.values(), images.y, pixels):
        found.update(bytes_of(tensor))
    return found.hexdigest()[:12]


def store(path: Path, state: TrainState, groups: Mapping[str, Mapping[str, Tensor]], key: str) -> None:
    """Write everything into one safetensors file, whole or not at all, and keep the one before it.

    ``groups`` are tensors by group and name. A checksum over all of it is kept too.
    """
    tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
    content = {"state": asdict(state), "key": key}
    if path.exists():
        path.replace(_before(path))
    write_checked(path, tensors, content)


def kept(path: Path) -> bool:
    """Whether there is a state to go on from."""
    return path.exists() or _before(path).exists()


def forget(path: Path) -> None:
    """Delete the state and the one before it, which nobody needs any more."""
    path.unlink(missing_ok=True)
    _before(path).unlink(missing_ok=True)


def settle(path: Path) -> None:
    """Delete the state before the last one: the run is done."""
    if path.exists():
        _before(path).unlink(missing_ok=True)


def restore(path: Path, key: str) -> tuple[TrainState, dict[str, dict[str, Tensor]], str]:
    """What :func:`store` wrote last; where that is damaged, what it wrote before, and a sentence that says
    so.

    Raises:
        InputError: both are damaged, or they belong to a run with other settings (``key``).
    """
    files = [file for file in (path, _before(path)) if file.exists()]
    for file in files:
        try:
            metadata, tensors = read_checked(file)
        except InputError:
            continue
        if metadata["key"] != key:
            raise InputError(
                f"{path.parent}: holds a run with other settings; choose another folder or delete it"
            )
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "momentum": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = tensor
        state = _state(metadata["state"])
        if file != path:
            path.unlink(
                missing_ok=True
            )  # damaged, and not to take the place of the whole one when the next is stored
        note = (
            ""
            if file == files[0]
            else f"{path.name} is damaged; it went on from the state before it, epoch {state.epoch}"
        )
        return state, groups, note
    raise InputError(f"{path}: damaged, and there is no whole state before it; delete it to begin again")


def _before(path: Path) -> Path:
    return path.with_name(f"{path.stem}.before{path.suffix}")


def _state(entries: dict[str, Any]) -> TrainState:
    logs = [EpochLog(**{**log, "layers": _tuple(log["layers"])}) for log in entries.pop("logs")]
    underway = entries.pop("underway", None)
    return TrainState(
        **{
            **entries,
            "layers": _tuple(entries["layers"]),
            "logs": logs,
            "underway": Underway(**underway) if underway else None,
        }
    )


def _tuple(layers: list[int] | None) -> tuple[int, ...] | None:
    return None if layers is None else tuple(layers)

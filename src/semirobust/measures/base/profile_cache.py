"""Files with the results of a profile so far, from which an interrupted profile resumes."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.files import delete
from semirobust.core.processes import ALONE, Processes
from semirobust.core.tensor_files import read_checked, write_tensors
from semirobust.layers.scores import LayerScores

__all__ = ["ProfileCache"]

_LOG = logging.getLogger("semirobust.measures")
_Entry = tuple[dict[str, Any], dict[str, Tensor]]


class ProfileCache:
    """The perturbed images and the scores of each measure, each in a file.

    A file that is damaged, or of another profile, is ignored and written again; of a damaged one that is
    said.

    Args:
        stem: the beginning of the names of the files; None stores nothing.
        key: of the profile.

    Attributes:
        damaged: a sentence for each file that was.
    """

    def __init__(self, stem: Path | None, key: str) -> None:
        self.stem, self.key = stem, key
        self.damaged: list[str] = []

    def images(self, make: Callable[[], Tensor], processes: Processes = ALONE) -> Tensor:
        """The perturbed images (N, ...); all ``processes`` make them together, or none does."""
        entry = self._read("images")
        if int(processes.sum(torch.tensor(int(entry is not None)))) == processes.count and entry is not None:
            return entry[1]["images"]
        # Contiguous, as it will be read: sums over another memory layout give other last digits.
        x_adv = make().contiguous()
        if processes.rank == 0:
            self._write("images", {"images": x_adv}, {})
        return x_adv

    def scores(self, name: str, make: Callable[[], Sequence[LayerScores]]) -> list[LayerScores]:
        """The scores of the measure ``name``."""
        if (stored := self._read(name)) is not None:
            entries, tensors = stored
            return [_unpacked(entry, tensors, f"{i}/") for i, entry in enumerate(entries["scores"])]
        scores = list(make())
        packed = [_packed(score, f"{i}/") for i, score in enumerate(scores)]
        tensors = {name: tensor for _, arrays in packed for name, tensor in arrays.items()}
        self._write(name, tensors, {"scores": [entry for entry, _ in packed]})
        return scores

    def forget(self) -> None:
        """Delete the files, after the profile is done."""
        if self.stem is not None:
            for file in self.stem.parent.glob(f"{self.stem.name}.*.safetensors"):
                delete(file)

    def _write(self, name: str, tensors: dict[str, Tensor], entries: dict[str, Any]) -> None:
        if self.stem is not None:
            write_tensors(
                self.stem.with_name(f"{self.stem.name}.{name}.safetensors"),
                tensors,
                {"key": self.key, "name": name, **entries},
            )

    def _read(self, name: str) -> _Entry | None:
        if self.stem is None:
            return None
        file = self.stem.with_name(f"{self.stem.name}.{name}.safetensors")
        if not file.exists():
            return None
        try:
            entries, tensors = read_checked(file)
        except InputError:
            self.damaged.append(f"{file.name} is damaged; what it held was measured anew")
            _LOG.warning("%s", self.damaged[-1])
            return None
        of_this = (entries.get("key"), entries.get("name")) == (self.key, name)
        return (entries, tensors) if of_this else None


def _packed(scores: LayerScores, place: str) -> _Entry:
    """Arrays as tensors, the other fields as JSON."""
    fields = {field.name: getattr(scores, field.name) for field in dataclasses.fields(scores)}
    features = {f"features/{layer}": values for layer, values in fields.pop("features").items()}
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    tensors = {place + name: torch.from_numpy(value.copy()) for name, value in {**arrays, **features}.items()}
    return {name: value for name, value in fields.items() if name not in arrays}, tensors


def _unpacked(entry: dict[str, Any], tensors: dict[str, Tensor], place: str) -> LayerScores:
    """The inverse of :func:`_packed`."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()
    }
    arrays = {
        name.removeprefix(place): tensor.numpy() for name, tensor in tensors.items() if name.startswith(place)
    }
    features = {
        int(name.partition("/")[2]): arrays.pop(name) for name in list(arrays) if name.startswith("features/")
    }
    return LayerScores(
        **(fields | arrays | {"features": {layer: features[layer] for layer in sorted(features)}})
    )

"""What a profile has measured so far, kept in files so that it can be taken up again."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semirobust.errors import InputError
from semirobust.layers.scores import LayerScores
from semirobust.models.checkpoint import read_metadata, read_tensors, write_tensors

__all__ = ["ScoreLedger"]

_ARRAYS = ("values", "low", "high")
_PLAIN = ("measure", "unit", "examples", "layers", "by")


class ScoreLedger:
    """The perturbed images and the scores of each measure, in a file each; one of them that is damaged is made again.

    Args:
        stem: what the names of the files begin with; None keeps nothing.
        key: of the profile; what belongs to another is made again.
    """

    def __init__(self, stem: Path | None, key: str) -> None:
        self.stem, self.key = stem, key

    def images(self, make: Callable[[], Tensor], *, write: bool = True) -> Tensor:
        """The perturbed images (N, ...), on the device where ``make`` would put them; with ``write`` they are kept."""
        file = self._file("images")
        if file is not None and (found := self._read(file)) is not None:
            return found[1]["images"]
        x_adv = make().contiguous()  # as it is read again: sums over another layout end in other digits
        if file is not None and write:
            write_tensors(file, {"images": x_adv}, {"key": self.key})
        return x_adv

    def scores(self, name: str, make: Callable[[], Sequence[LayerScores]]) -> list[LayerScores]:
        """The scores of the measure ``name``."""
        file = self._file(name)
        if file is not None and (found := self._read(file)) is not None:
            return [_unpacked(entry, found[1], f"{i}") for i, entry in enumerate(found[0]["scores"])]
        scores = list(make())
        if file is not None:
            tensors = {name: tensor for i, own in enumerate(scores) for name, tensor in _tensors(own, f"{i}").items()}
            write_tensors(file, tensors, {"key": self.key, "scores": [_plain(own) for own in scores]})
        return scores

    def forget(self) -> None:
        """Delete the files: the profile is done."""
        if self.stem is not None:
            for file in self.stem.parent.glob(f"{self.stem.name}.*.safetensors"):
                file.unlink(missing_ok=True)

    def _file(self, name: str) -> Path | None:
        return None if self.stem is None else self.stem.with_name(f"{self.stem.name}.{name}.safetensors")

    def _read(self, file: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        try:
            metadata = read_metadata(file)
            return (metadata, read_tensors(file)) if metadata.get("key") == self.key else None
        except InputError:
            return None


def _tensors(scores: LayerScores, place: str) -> dict[str, Tensor]:
    arrays = {name: getattr(scores, name) for name in _ARRAYS} | {f"feature/{i}": v for i, v in scores.features.items()}
    return {f"{place}/{name}": torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _plain(scores: LayerScores) -> dict[str, object]:
    own: dict[str, object] = {name: getattr(scores, name) for name in _PLAIN}
    details = {name: list(values) for name, values in scores.details.items()}
    return {
        **own,
        "indices": list(scores.indices),
        "notes": list(scores.notes),
        "details": details,
        "features": list(scores.features),
    }


def _unpacked(entry: Mapping[str, Any], tensors: Mapping[str, Tensor], place: str) -> LayerScores:
    given: dict[str, Any] = {name: entry[name] for name in _PLAIN}
    given |= {name: tensors[f"{place}/{name}"].numpy() for name in _ARRAYS}
    return LayerScores(
        **given,
        indices=tuple(entry["indices"]),
        notes=tuple(entry["notes"]),
        details=entry["details"],
        features={layer: tensors[f"{place}/feature/{layer}"].numpy() for layer in entry["features"]},
    )

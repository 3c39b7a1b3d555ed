"""From what was typed to what the stages take."""

from pathlib import Path
from typing import Any

from semirobust.core.errors import InputError

__all__ = ["compute", "layers_of", "subject_of"]


def compute(device: str, devices: int = 1, threads: int | None = None, nodes: int = 1) -> Any:
    """Where to compute, with so many threads."""
    import torch

    from semirobust.experiments.build import Devices

    if threads is not None:
        if threads < 1:
            raise InputError(f"threads: expected at least 1, got {threads}")
        torch.set_num_threads(threads)
    return Devices(device, devices, nodes)


def subject_of(
    target: str | None,
    model: str | None,
    checkpoint: Path | None,
    recipe: Path | None,
    changes: dict[str, Any],
) -> Any:
    """The model that a command names."""
    from semirobust.experiments.subject import build_subject

    return build_subject(target, model, checkpoint, recipe, changes)


def layers_of(text: str | None) -> list[int] | None:
    """``7,9`` as numbers."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--layers: expected numbers with commas, such as 7,9; got {text!r}") from None

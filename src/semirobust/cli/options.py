"""Options that several commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from semirobust.core.errors import InputError

__all__ = [
    "Accelerator",
    "Attacks",
    "Checkpoint",
    "Count",
    "Data",
    "DataRoot",
    "Epsilon",
    "Examples",
    "ImageSize",
    "Json",
    "Model",
    "Norm",
    "Out",
    "RecipeFile",
    "Seed",
    "Set",
    "Threads",
    "Width",
    "common_changes",
]

Out = Annotated[Path, typer.Option("--out", help="Run folder to write.")]
RecipeFile = Annotated[
    Path | None,
    typer.Option("--recipe", help="TOML file of settings, or a name such as trades; flags override it."),
]
Data = Annotated[
    str | None,
    typer.Option("--data", help="Known data set (see `semirobust data`), .npz, or folder of pictures."),
]
DataRoot = Annotated[str | None, typer.Option("--data-root", help="Folder in which a known data set lies.")]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", help="Side to which pictures of a folder are brought.")
]
Model = Annotated[
    str | None, typer.Option("--model", help="Architecture by name, or package.module:factory.")
]
Width = Annotated[
    str | None, typer.Option("--width", help="Factor on the architecture's channels, such as 0.25.")
]
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", help="Weights: safetensors or a PyTorch state dict.")
]
Norm = Annotated[str | None, typer.Option("--norm", help="Norm of the threat model: linf, l2 or l1.")]
Epsilon = Annotated[str | None, typer.Option("--eps", help="Radius in pixel units, such as 8/255.")]
Attacks = Annotated[
    str | None,
    typer.Option("--attacks", help="Attacks with commas, such as fgsm,pgd-20x2 (20 steps, 2 restarts)."),
]
Examples = Annotated[int | None, typer.Option("--examples", help="Number of test images.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all randomness.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any recipe entry, such as --set train.momentum=0.8. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and no progress bars.")]
Accelerator = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Count = Annotated[int, typer.Option("--devices", help="Number of devices, and so of processes.")]
Nodes = Annotated[int, typer.Option("--nodes", help="Number of machines; launched by torchrun or SLURM.")]
Threads = Annotated[int | None, typer.Option("--threads", help="CPU threads; all cores by default.")]


def common_changes(entries: list[str] | None, **values: Any) -> dict[str, Any]:
    """Recipe changes from flags, ``section__key=value``, and from ``--set section.key=value``."""
    changes = {key.replace("__", "."): value for key, value in values.items() if value is not None}
    if isinstance(changes.get("evaluate.attacks"), str):
        changes["evaluate.attacks"] = [
            part.strip() for part in changes["evaluate.attacks"].split(",") if part.strip()
        ]
    for entry in entries or []:
        key, equals, text = entry.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set: expected section.key=value, got {entry!r}")
        try:
            changes[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            changes[key.strip()] = text
    return changes

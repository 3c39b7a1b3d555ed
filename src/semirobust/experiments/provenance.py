"""Where the numbers of a command come from, as records: settings, data, layers of the network."""

from collections.abc import Sequence

import torch
from torch import nn

from semirobust.data.base.images import Splits
from semirobust.experiments.recipe import Recipe
from semirobust.layers.map import LayerMap
from semirobust.records.origin import origin
from semirobust.records.schema import AnyRecord, Finding, LayerEntry, Origin, Settings, Topic

__all__ = ["data_notes", "layer_entries", "notes_on", "origin_of", "settings_record"]


def origin_of(
    recipe: Recipe, *sections: str, device: torch.device | None = None, seed: object = None
) -> Origin:
    """The origin of records made under these sections of a recipe."""
    accelerator = torch.cuda.get_device_name(device) if device is not None and device.type == "cuda" else ""
    settings = recipe.for_hash("data", "model", "threat", *sections)
    return origin(
        settings,
        seed=recipe.seed if seed is None else seed,
        accelerator=accelerator,
        threads=torch.get_num_threads(),
    )


def settings_record(recipe: Recipe, stage: str, at: Origin, **more: object) -> Settings:
    """The settings of a command as a record; folders of this machine are left out."""
    settings = recipe.plain()
    settings["data"].pop("root", None)
    return Settings(stage=stage, settings={**settings, **more}, origin=at)


def data_notes(splits: Splits, at: Origin) -> list[Finding]:
    """What the reader of numbers on these images should know."""
    return [Finding(topic=Topic.DATA, text=f"{splits.name}: {splits.note}", origin=at)] if splits.note else []


def notes_on(notes: Sequence[str], at: Origin) -> list[Finding]:
    """What the reader of numbers of this network should know."""
    return [Finding(topic=Topic.NOTE, text=text, origin=at) for text in notes]


def layer_entries(model: nn.Module, layers: LayerMap, at: Origin) -> list[AnyRecord]:
    """The layers of a model as records, and what belongs to none of them."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    entries: list[AnyRecord] = [
        LayerEntry(
            index=layer.index,
            name=layer.name,
            type=layer.kind,
            shape=layer.feature_shape,
            parameters=sum(sizes[name] for name in layer.parameters),
            block=layer.block,
            origin=at,
        )
        for layer in layers
    ]
    notes = [Finding(topic=Topic.NOTE, text=note, level="warning", origin=at) for note in layers.notes]
    return [*entries, *notes]

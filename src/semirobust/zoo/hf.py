"""Image classifiers of Hugging Face's transformers (Wolf et al. 2020), by their names on its hub or the
folder in which one lies.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.packages import hushed, imported
from semirobust.models.base.as_classifier import as_classifier
from semirobust.zoo import ZOO, AbstractSource
from semirobust.zoo.base.names import without
from semirobust.zoo.base.source import Card, Wanted

__all__ = ["HuggingFace"]

# Entries of a configuration that name code, other files or kernels to fetch, or are set by the data.
_REFUSED = (
    "attn_implementation",
    "auto_map",
    "experts_implementation",
    "id2label",
    "label2id",
    "num_channels",
    "num_labels",
    "quantization_config",
    "trust_remote_code",
)


@ZOO.register("hf")
class HuggingFace(AbstractSource):
    """Image classifiers of transformers (Wolf et al. 2020), for ``hf:microsoft/resnet-50`` or ``hf:FOLDER``.

    Normalisation and input size are those of ``preprocessor_config.json``, the classes those of ``id2label``.
    Code of a repository is never run (``trust_remote_code=False``). ``model.options`` are entries of the
    configuration.
    """

    shown = "hf:OWNER/NAME"
    any_channels = True

    def card(self, name: str, options: Mapping[str, Any], *, offline: bool = False) -> Card:
        config = _config(name, options, offline=offline)
        said = _preprocessing(name, config, offline=offline)
        labels = [str(config.id2label[i]) for i in range(config.num_labels)]
        generic = all(re.fullmatch(r"LABEL_\d+", label) for label in labels)
        mean, std = _normalisation(said)
        return Card(
            outputs=config.num_labels,
            classes=() if generic else tuple((label, *label.split(", ")) for label in labels),
            mean=mean,
            std=std,
            image_size=_size(said) or _pair(getattr(config, "image_size", None)),
            channels=getattr(config, "num_channels", 3),
        )

    def build(self, name: str, wanted: Wanted) -> nn.Module:
        transformers = imported("transformers", "hf")
        auto = transformers.AutoModelForImageClassification
        config = _config(name, wanted.options, offline=wanted.offline)
        new_head = config.num_labels != wanted.outputs
        if new_head:
            config.num_labels = wanted.outputs
        if getattr(config, "num_channels", wanted.channels) != wanted.channels:
            config.num_channels = wanted.channels
        if not wanted.own_weights and _pair(getattr(config, "image_size", None)) not in (
            None,
            wanted.image_size,
        ):
            height, width = wanted.image_size
            config.image_size = height if height == width else [height, width]
        with _quietly(transformers):
            if not wanted.own_weights:
                return as_classifier(auto.from_config(config, trust_remote_code=False))
            model = auto.from_pretrained(
                name, config=config, trust_remote_code=False, ignore_mismatched_sizes=new_head
            )
            return as_classifier(model)


@contextlib.contextmanager
def _quietly(transformers: Any) -> Iterator[None]:
    """Inside, nothing is drawn or said of files that are read."""
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        with hushed("transformers", "huggingface_hub"):
            yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _config(name: str, options: Mapping[str, Any], *, offline: bool) -> Any:
    """The configuration with the user's entries."""
    transformers = imported("transformers", "hf")
    if not name:
        raise InputError(f"model: expected {HuggingFace.shown}, got no name")
    if offline and Path(name).exists():  # a folder that only a file has named
        raise InputError(f"model: say so with --model hf:{name}, since a file may not name a folder to read")
    with hushed("transformers", "huggingface_hub"):
        config = transformers.AutoConfig.from_pretrained(
            name, trust_remote_code=False, local_files_only=offline
        )
    for key, value in without(options, _REFUSED).items():
        if key.startswith("_") or not hasattr(config, key):
            raise InputError(f"model.options: the configuration of hf:{name} has no entry {key!r}")
        setattr(config, key, value)
    # A configuration may name kernels that would be fetched and run.
    config._attn_implementation = None
    return config


def _preprocessing(name: str, config: Any, *, offline: bool) -> Mapping[str, Any]:
    """What is done to a picture before; empty where nothing says so."""
    if isinstance(inside := getattr(config, "pretrained_cfg", None), Mapping):  # of timm's networks
        _, height, width = inside.get("input_size", (3, 224, 224))
        return {
            "image_mean": inside.get("mean"),
            "image_std": inside.get("std"),
            "size": {"height": height, "width": width},
        }
    reader = imported("transformers.image_processing_base", "hf").ImageProcessingMixin
    try:
        with hushed("transformers", "huggingface_hub"):
            said, _ = reader.get_image_processor_dict(name, local_files_only=offline)
    except OSError:  # there is no such file
        return {}
    return dict(said)


def _normalisation(
    said: Mapping[str, Any],
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and deviation in pixel units: ``(scale * x - offset - mean) / std`` is what the network gets."""
    if not said:
        return None, None
    scale = 255 * float(said.get("rescale_factor") or 1 / 255) if said.get("do_rescale", True) else 255.0
    mean, std = _three(0.0), _three(1.0)
    if said.get("do_normalize", True):
        mean, std = _three(said.get("image_mean")), _three(said.get("image_std"))
    if mean is None or std is None:
        return None, None
    offset = 1.0 if said.get("rescale_offset") else 0.0
    # EfficientNet divides by the deviation twice.
    twice = [s * s if said.get("include_top") else s for s in std]
    return tuple((m + offset) / scale for m in mean), tuple(s / scale for s in twice)


def _three(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    return tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),) * 3


def _size(said: Mapping[str, Any]) -> tuple[int, int] | None:
    size = said.get("crop_size") if said.get("do_center_crop") else None
    size = size or said.get("size")
    if isinstance(size, Mapping):
        if "height" in size:
            return int(size["height"]), int(size["width"])
        size = size.get("shortest_edge")
    return _pair(size)


def _pair(size: Any) -> tuple[int, int] | None:
    """(H, W) of a side or of both."""
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, Sequence) and len(size) == 2 else None

"""PyTorch Image Models (Wightman 2019), by the names that ``timm.list_models()`` gives."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from semirobust.core.packages import hushed, imported
from semirobust.zoo import ZOO, AbstractSource
from semirobust.zoo.base.names import no_such, without
from semirobust.zoo.base.source import Card, Wanted

__all__ = ["Timm"]

# What reads files, changes what comes out, or is set by the data.
_REFUSED = (
    "cache_dir",
    "checkpoint_path",
    "features_only",
    "in_chans",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
)


@ZOO.register("timm")
class Timm(AbstractSource):
    """Networks of timm (Wightman 2019), for ``timm:convnext_atto`` or ``timm:resnet18.a1_in1k``.

    Normalisation and input size are those of its ``pretrained_cfg``; ImageNet's classes are known by their
    WordNet numbers and by their words. ``model.options`` are further arguments of ``timm.create_model``.
    """

    shown = "timm:NAME"
    any_channels = True

    def card(self, name: str, options: Mapping[str, Any], *, offline: bool = False) -> Card:
        timm = _timm(name)
        config = timm.get_pretrained_cfg(name)
        if config is None:
            return Card()
        channels, height, width = config.input_size
        return Card(
            outputs=config.num_classes,
            classes=_classes(config),
            mean=tuple(config.mean),
            std=tuple(config.std),
            image_size=(height, width),
            channels=channels,
        )

    def build(self, name: str, wanted: Wanted) -> nn.Module:
        timm = _timm(name)
        options = without(wanted.options, _REFUSED)
        config = timm.get_pretrained_cfg(name)
        # Networks that run at one size alone are told which; the others have no such argument.
        if (
            config is not None
            and config.fixed_input_size
            and tuple(config.input_size[1:]) != wanted.image_size
        ):
            options.setdefault("img_size", wanted.image_size)
        with hushed("timm", "huggingface_hub"):
            return timm.create_model(
                name,
                pretrained=wanted.own_weights,
                num_classes=wanted.outputs,
                in_chans=wanted.channels,
                **options,
            )


def _timm(name: str) -> Any:
    timm = imported("timm", "timm")
    # A name of timm's own list; its prefixes for the model hub and for folders read files of strangers.
    if not timm.is_model(name):
        raise no_such(Timm.shown, name, timm.list_models())
    return timm


def _classes(config: Any) -> tuple[tuple[str, ...], ...]:
    """The names of the outputs where the configuration has them or they are those of an ImageNet."""
    data = imported("timm.data", "timm")
    names, descriptions = config.label_names, config.label_descriptions
    if names is None:
        subset = data.infer_imagenet_subset(config.to_dict())
        if subset is None:
            return ()
        info = data.ImageNetInfo(subset)
        names, descriptions = info.label_names(), info.label_descriptions()
    words = [_words(descriptions, i, name) for i, name in enumerate(names)]
    return tuple((str(name), *more) for name, more in zip(names, words, strict=True))


def _words(descriptions: Any, i: int, name: str) -> tuple[str, ...]:
    if isinstance(descriptions, Mapping):
        text = descriptions.get(name, "")
    else:
        text = descriptions[i] if descriptions else ""
    return tuple(dict.fromkeys(part for part in (text, *text.split(", ")) if part))

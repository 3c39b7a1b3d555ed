"""The classifiers of torchvision (2016), by the names that ``torchvision.models.list_models()`` gives."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.packages import hushed, imported
from semirobust.zoo import ZOO, AbstractSource
from semirobust.zoo.base.names import no_such, without
from semirobust.zoo.base.source import Card, Wanted

__all__ = ["Torchvision"]

_REFUSED = ("weights", "weights_backbone", "progress", "num_classes")
# They warn where nobody says how their random weights are drawn; this is what they then do.
_INITIALISED = ("googlenet", "inception_v3")


@ZOO.register("torchvision")
class Torchvision(AbstractSource):
    """Classifiers of torchvision (2016), for ``torchvision:resnet18``, with its default weights for each.

    Normalisation and input size are those of the weights' ``transforms()``, the classes those of their
    ``meta``. ``model.options`` are further arguments of the network, such as ``image_size`` of a ViT.
    """

    shown = "torchvision:NAME"

    def card(self, name: str, options: Mapping[str, Any], *, offline: bool = False) -> Card:
        weights = _models(name).get_model_weights(name).DEFAULT
        prepared = weights.transforms()
        names = tuple((str(each),) for each in weights.meta.get("categories", ()))
        side = int(prepared.crop_size[0])
        return Card(
            outputs=len(names) or None,
            classes=names,
            mean=tuple(prepared.mean),
            std=tuple(prepared.std),
            image_size=(side, side),
        )

    def build(self, name: str, wanted: Wanted) -> nn.Module:
        models = _models(name)
        options = without(wanted.options, _REFUSED)
        if name in _INITIALISED and not wanted.own_weights:
            options.setdefault("init_weights", True)
        if not wanted.own_weights:
            return models.get_model(name, weights=None, num_classes=wanted.outputs, **options)
        weights = models.get_model_weights(name).DEFAULT
        if wanted.outputs != (outputs := len(weights.meta["categories"])):
            raise InputError(
                f"model: the weights of torchvision:{name} have {outputs} outputs and no other number, got"
                f" {wanted.outputs} classes; train from random ones with --set model.options.pretrained=false"
            )
        with hushed():
            return models.get_model(name, weights=weights, **options)


def _models(name: str) -> Any:
    models = imported("torchvision.models", "torchvision")
    known = models.list_models(module=models)
    if name not in known:
        raise no_such(Torchvision.shown, name, known)
    return models

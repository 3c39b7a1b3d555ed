"""A network in an ONNX file (Open Neural Network Exchange, 2017), which onnxruntime runs."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from semirobust.core.errors import InputError
from semirobust.models.export import load_onnx
from semirobust.zoo import ZOO, AbstractSource
from semirobust.zoo.base.source import Card, Wanted

__all__ = ["Onnx"]


@ZOO.register("onnx")
class Onnx(AbstractSource):
    """A network in an ONNX file (Open Neural Network Exchange), for ``onnx:FILE``; it runs on the CPU.

    It has no gradient, so it is measured by attacks that need none (``square``, ``pixle``), by those of
    another network (``transfer``) and on clean images. Files of ``semirobust export`` take pixels in [0, 1]
    and know their classes; of others ``model.mean`` and ``model.std`` say the normalisation.

    A file is run, so its name must come from the command line or from Python, never from a file.
    """

    shown = "onnx:FILE"
    named_by_files = False
    holder = "the file holds"

    def card(self, name: str, options: Mapping[str, Any], *, offline: bool = False) -> Card:
        network = load_onnx(name)
        if options:
            raise InputError(f"model.options: an ONNX file takes none, got {', '.join(options)}")
        channels, *size = network.image_shape or (3,)
        ours = network.normalised
        return Card(
            outputs=network.outputs,
            classes=tuple((label,) for label in network.classes),
            mean=(0.0,) * channels if ours else None,
            std=(1.0,) * channels if ours else None,
            image_size=(size[0], size[1]) if size else None,
            channels=channels,
        )

    def build(self, name: str, wanted: Wanted) -> nn.Module:
        if not wanted.own_weights:
            raise InputError(
                f"model: onnx:{name} is finished; it cannot be trained, pruned or given other weights"
            )
        return load_onnx(name)

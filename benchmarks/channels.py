"""Channels removed until half of the MACs are left: the time, by how numbers of channels are rounded."""

from collections.abc import Iterator

import torch

import semirobust as sr
from semirobust.cost.time import costs
from semirobust.pruning.channels import Channels

__all__ = ["run"]

_BATCH = 64


def run(runs: int, width: float = 0.5) -> Iterator[str]:
    """Forward passes of batches of 64 small images, in turn with the whole network; untrained: time does not
    see it.
    """
    x = torch.rand(_BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, torch.arange(_BATCH) % 10, [str(c) for c in range(10)])
    for name in ("resnet18", "vgg19"):
        model = sr.build_model(name, width=width)
        small = {f"multiples of {m}": Channels(macs=0.5, multiple=m)(model, images) for m in (1, 8, 16)}
        found = costs({"whole": model, **small}, x, runs=5 * runs)
        for way, cost in found.items():
            macs, parameters = (
                getattr(cost, key) / getattr(found["whole"], key) for key in ("macs", "parameters")
            )
            yield (
                f"{name} of width {width:g}, {way:<15} {1e3 * cost.seconds:7.1f} ms  {1 / cost.ratio:.2f}"
                f" times as fast ({1 / cost.high:.2f} to {1 / cost.low:.2f}), {macs:.2f} of the"
                f" MACs, {parameters:.2f} of the parameters, {cost.megabytes:.1f} MB"
            )

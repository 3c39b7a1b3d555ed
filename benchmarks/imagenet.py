"""What ImageNet would cost: ``python -m benchmarks.imagenet`` counts work, memory and traffic of WRN-50-2 and
divides by a GPU's.

Nothing is trained. Assumed: GPUs of 312 TFLOP/s in bfloat16, of which a quarter is used; all-reduce in full
precision at 200 GB/s in a machine of 8 and 20 GB/s between machines; images that are read as fast as they are
used. Memory is counted in full precision."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.layers.macs import macs_by_module
from semirobust.models.architectures.resnet import Bottleneck

__all__ = ["main"]

_IMAGES, _CLASSES, _BATCH, _STEPS = 1_281_167, 1000, 64, 3
_PEAK, _USED = 312e12, 0.25
_LINKS = {8: 200e9, 64: 20e9}


class _Wide(Bottleneck):
    """Inner convolutions of twice the channels: WRN-50-2 (Zagoruyko and Komodakis 2016)."""

    expansion = 2


class _WideResNet50(nn.Module):
    """With the 7x7 stem and pooling of 224 pixels; 68,883,240 parameters, as published."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        stages, inputs = [], 64
        for stage, (count, planes) in enumerate(zip((3, 4, 6, 3), (128, 256, 512, 1024), strict=True)):
            for position in range(count):
                stages.append(_Wide(inputs, planes, 2 if stage and not position else 1))
                inputs = 2 * planes
        self.stages, self.linear = nn.Sequential(*stages), nn.Linear(inputs, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.linear(F.adaptive_avg_pool2d(self.stages(h), 1).flatten(1))


@dataclass(frozen=True)
class _Way:
    """A way to train: passes over the network in a step by image, and the parameters whose gradients are
    sent.
    """

    name: str
    passes: float
    sent: int


def main() -> None:
    """Minutes of an epoch by way to train and number of GPUs."""
    model = _WideResNet50().eval()
    x = torch.rand(1, 3, 224, 224)
    macs, parameters = sum(macs_by_module(model, x).values()), sum(p.numel() for p in model.parameters())
    layers = sr.layer_map(model, x)
    named = dict(model.named_parameters())
    sizes = sorted(sum(named[name].numel() for name in layer.parameters) for layer in layers)
    chosen = math.ceil(0.05 * len(layers)) * sizes[len(sizes) // 2]
    print(
        f"WRN-50-2, 224 pixels: {len(layers)} layers, {parameters:,} parameters, {macs / 1e9:.2f}"
        " GMACs an image"
    )
    for name, objective in (("attack", None), ("PGD-AT", sr.Adversarial()), ("TRADES", sr.TRADES(6))):
        counted = sr.footprint(model, x, _BATCH, objective=objective)
        print(f"memory at {_BATCH} images in full precision, {name}: {counted / 2**30:.1f} GiB")
    # An attack step is a pass forward and one back to the image; an update has one back to its weights
    # beside.
    share = math.ceil(0.05 * len(layers)) / len(layers)
    ways = [
        _Way(f"PGD-{_STEPS} AT of everything", 2 * _STEPS + 3, parameters),
        _Way(f"PGD-{_STEPS} AT of {math.ceil(0.05 * len(layers))} layers", 2 * _STEPS + 2 + share, chosen),
        _Way(f"CLAT, {_STEPS} steps, as many layers", 1 + 2 * _STEPS + 2 * (2 + share), chosen),
        _Way(f"TRADES, {_STEPS} steps", 2 * _STEPS + 1 + 6, parameters),
        _Way("fast AT (one step)", 2 + 3, parameters),
    ]
    print(
        "| an epoch | GPUs | computing, minutes | gradients sent, minutes if nothing hides it | images a"
        " second |"
    )
    print("|---" * 5 + "|")
    for way in ways:
        for gpus, link in _LINKS.items():
            compute = _IMAGES * way.passes * 2 * macs / (gpus * _PEAK * _USED)
            traffic = _IMAGES / (gpus * _BATCH) * 2 * 4 * way.sent / link
            print(
                f"| {way.name} | {gpus} | {compute / 60:.1f} | {traffic / 60:.2f} |"
                f" {_IMAGES / compute:,.0f} |"
            )
    evaluation = 5000 * 20 * 2 * 2 * macs
    for gpus in _LINKS:
        print(f"PGD-20 on 5,000 images, {gpus} GPUs: {evaluation / (gpus * _PEAK * _USED):.1f} s")


if __name__ == "__main__":
    main()

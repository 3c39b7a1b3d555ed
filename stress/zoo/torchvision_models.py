"""Networks of torchvision, the smallest of each family."""

from functools import partial

from torch import nn

from stress.zoo.network import Network, lively

__all__ = ["networks"]

_BY_NAME = {
    "alexnet": (64, {}),
    "vgg11": (32, {}),
    "vgg11_bn": (32, {}),
    "resnet18": (32, {}),
    "resnet50": (32, {}),
    "resnext50_32x4d": (32, {}),
    "densenet121": (32, {}),
    "mobilenet_v2": (32, {}),
    "mobilenet_v3_small": (32, {}),
    "mnasnet0_5": (32, {}),
    "shufflenet_v2_x0_5": (32, {}),
    "squeezenet1_0": (64, {}),
    "squeezenet1_1": (64, {}),
    "regnet_x_400mf": (32, {}),
    "regnet_y_400mf": (32, {}),
    "efficientnet_b0": (32, {}),
    "efficientnet_v2_s": (32, {}),
    "convnext_tiny": (32, {}),
    "googlenet": (64, {"init_weights": False}),
}


def _named(name: str, **options: object) -> nn.Module:
    from torchvision import models

    model = models.get_model(name, weights=None, num_classes=10, **options)
    if isinstance(model, models.VGG | models.AlexNet):
        _narrowed(model)
    return lively(model) if isinstance(model, models.VGG | models.AlexNet | models.SqueezeNet) else model


def _narrowed(model: nn.Module) -> None:
    """Give it a classifier of 64 units in place of 4096, since nothing else of it is so large."""
    channels = [module for module in model.features if isinstance(module, nn.Conv2d)][-1].out_channels
    model.avgpool = nn.AdaptiveAvgPool2d(2)
    widths = iter([(4 * channels, 64), (64, 64), (64, 10)])
    for position, module in enumerate(model.classifier):
        if isinstance(module, nn.Linear):
            model.classifier[position] = nn.Linear(*next(widths))


def _vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return _lively(VisionTransformer(32, 8, 4, 4, 64, 128, num_classes=10))


def _swin(version: int) -> nn.Module:
    from torchvision.models.swin_transformer import (
        PatchMergingV2,
        SwinTransformer,
        SwinTransformerBlock,
        SwinTransformerBlockV2,
    )

    block = SwinTransformerBlock if version == 1 else SwinTransformerBlockV2
    more = {} if version == 1 else {"downsample_layer": PatchMergingV2}
    return SwinTransformer([4, 4], 32, [2, 2], [2, 4], [4, 4], num_classes=10, block=block, **more)


def _maxvit() -> nn.Module:
    from torchvision.models.maxvit import MaxVit

    return MaxVit(
        input_size=(32, 32),
        stem_channels=16,
        partition_size=4,
        block_channels=[16, 32],
        block_layers=[1, 1],
        head_dim=8,
        stochastic_depth_prob=0.0,
        num_classes=10,
    )


def _video() -> nn.Module:
    from torchvision.models.video import r3d_18

    return r3d_18(weights=None, num_classes=10)


def _quantised() -> nn.Module:
    from torchvision.models.quantization import resnet18

    return resnet18(weights=None, quantize=True, num_classes=10)


def _lively(model: nn.Module) -> nn.Module:
    """The model with a last layer that is not all zeros, as it is before training."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=0.1)
    return model


def networks() -> list[Network]:
    """All of them."""
    found = [
        Network(f"torchvision/{name}", partial(_named, name, **options), (3, side, side))
        for name, (side, options) in _BY_NAME.items()
    ]
    return [
        *found,
        Network(
            "torchvision/googlenet without heads",
            partial(_named, "googlenet", aux_logits=False, init_weights=False),
            (3, 64, 64),
        ),
        Network(
            "torchvision/inception_v3",
            partial(_named, "inception_v3", init_weights=False),
            (3, 299, 299),
            images=4,
        ),
        Network("torchvision/vit", _vit),
        Network("torchvision/swin", partial(_swin, 1)),
        Network("torchvision/swin_v2", partial(_swin, 2)),
        Network("torchvision/maxvit", _maxvit),
        Network("torchvision/r3d_18 (video)", _video, (3, 4, 16, 16), images=8),
        Network("torchvision/resnet18 quantised", _quantised, calibrate=False),
    ]

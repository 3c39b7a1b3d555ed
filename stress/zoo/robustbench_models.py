"""The architectures of RobustBench, narrow and shallow; the package around them is not imported."""

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from torch import nn

from stress.zoo.network import Network

__all__ = ["networks"]


def _architectures(name: str) -> Any:
    """A file of ``robustbench.model_zoo.architectures`` without what the packages around it ask for."""
    spec = importlib.util.find_spec("robustbench") if "robustbench" not in sys.modules else None
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0])
        for package in ("robustbench", "robustbench.model_zoo", "robustbench.model_zoo.architectures"):
            bare = types.ModuleType(package)
            bare.__path__ = [str(folder.joinpath(*package.split(".")[1:]))]
            sys.modules[package] = bare
    return importlib.import_module(f"robustbench.model_zoo.architectures.{name}")


def _gowal_wide() -> nn.Module:
    return _architectures("dm_wide_resnet").DMWideResNet(num_classes=10, depth=10, width=1)


def _gowal_swish() -> nn.Module:
    found = _architectures("dm_wide_resnet")
    return found.DMWideResNet(num_classes=10, depth=10, width=1, activation_fn=found.Swish)


def _gowal_preact() -> nn.Module:
    return _architectures("dm_wide_resnet").DMPreActResNet(num_classes=10, depth=18, width=0)


def _rebuffi() -> nn.Module:
    return _architectures("dm_rn").WideResNet(num_classes=10, depth=10, width=1)


def _wide() -> nn.Module:
    return _architectures("wide_resnet").WideResNet(depth=10, widen_factor=2)


def _preact() -> nn.Module:
    found = _architectures("resnet")
    return found.PreActResNet(found.PreActBlock, [1, 1, 1, 1])


def _chen() -> nn.Module:
    found = _architectures("resnet")
    return found.ResNet(found.BottleneckChen2020AdversarialNet, [1, 1, 1, 1])


def _resnext() -> nn.Module:
    found = _architectures("resnext")
    return found.CifarResNeXt(found.ResNeXtBottleneck, depth=11, cardinality=4, base_width=8, num_classes=10)


def _huang() -> nn.Module:
    return _architectures("robust_wide_resnet").RobustWideResNet(
        num_classes=10, channel_configs=[16, 32, 64, 128], depth_configs=[1, 1, 1], stride_config=[1, 2, 2]
    )


def _card() -> nn.Module:
    return _architectures("CARD_resnet").WidePreActResNet(num_blocks=[1, 1, 1, 1], widen_factor=1)


def _singh() -> nn.Module:
    """A ConvNeXt with the convolutional stem of Singh et al. (2023)."""
    import timm

    model = timm.create_model("convnext_atto", pretrained=False, num_classes=10)
    model.stem = _architectures("convstem_models").ConvBlock1(48, 8)
    width = next(p for p in model.stages.parameters()).shape[0]
    last = [m for m in model.stem.modules() if isinstance(m, nn.Conv2d)][-1].out_channels
    return (
        model
        if last == width
        else nn.Sequential(model.stem, nn.Conv2d(last, width, 1), model.stages, model.head)
    )


def networks() -> list[Network]:
    """All of them."""
    builders = {
        "DMWideResNet (Gowal2021)": _gowal_wide,
        "DMWideResNet with Swish (Wang2023)": _gowal_swish,
        "DMPreActResNet (Rade2021)": _gowal_preact,
        "WideResNet (Rebuffi2021)": _rebuffi,
        "WideResNet (Carmon2019)": _wide,
        "PreActResNet (Wong2020)": _preact,
        "ResNet (Chen2020)": _chen,
        "CifarResNeXt (Hendrycks2020)": _resnext,
        "RobustWideResNet (Huang2021)": _huang,
        "WidePreActResNet (Diffenderfer2021)": _card,
        "ConvNeXt with a convolutional stem (Singh2023)": _singh,
    }
    return [Network(f"robustbench/{name}", build) for name, build in builders.items()]

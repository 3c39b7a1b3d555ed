"""Image classifiers of transformers with small configurations; they return a ModelOutput."""

from functools import partial
from typing import Any

from torch import nn

from stress.zoo.network import Network, lively

__all__ = ["networks"]

_PLAIN = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
_SWIN = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "window_size": 4,
}
_TOWERS = {"hidden_sizes": [16, 32], "depths": [1, 1]}
_CONFIGURED: dict[str, tuple[int, dict[str, Any]]] = {
    "ViT": (32, _PLAIN),
    "DeiT": (32, _PLAIN),
    "Beit": (32, _PLAIN),
    "Data2VecVision": (32, _PLAIN),
    "ViTMSN": (32, _PLAIN),
    "Dinov2": (32, _PLAIN),
    "Dinov2WithRegisters": (32, _PLAIN),
    "IJepa": (32, _PLAIN),
    "Swin": (32, _SWIN),
    "Swinv2": (32, _SWIN),
    "ConvNext": (32, {"hidden_sizes": [16, 32, 32, 32], "depths": [1, 1, 1, 1]}),
    "ConvNextV2": (32, {"hidden_sizes": [16, 32, 32, 32], "depths": [1, 1, 1, 1]}),
    "ResNet": (32, {"embedding_size": 16, **_TOWERS, "layer_type": "basic"}),
    "RegNet": (32, {"embedding_size": 16, "groups_width": 8, **_TOWERS}),
    "Bit": (32, {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 1], "num_groups": 8}),
    "MobileNetV1": (32, {"depth_multiplier": 0.25}),
    "MobileNetV2": (32, {"depth_multiplier": 0.35}),
    "MobileViT": (
        64,
        {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 16, 24, 32], "image_size": 64},
    ),
    "MobileViTV2": (64, {"width_multiplier": 0.25, "image_size": 64}),
    "PoolFormer": (32, {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]}),
    "Segformer": (
        32,
        {
            "hidden_sizes": [8, 16, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "decoder_hidden_size": 16,
        },
    ),
    "Levit": (
        64,
        {
            "image_size": 64,
            "hidden_sizes": [16, 32, 48],
            "num_attention_heads": [2, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
    ),
    "Focalnet": (32, {"image_size": 32, "embed_dim": 8, "depths": [1, 1, 1, 1]}),
    "Pvt": (
        64,
        {
            "image_size": 64,
            "hidden_sizes": [8, 16, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 2],
        },
    ),
    "PvtV2": (
        64,
        {
            "image_size": 64,
            "hidden_sizes": [8, 16, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 2],
        },
    ),
    "Cvt": (32, {"embed_dim": [8, 16, 16], "depth": [1, 2, 3], "num_heads": [1, 2, 2]}),
    "EfficientNet": (
        32,
        {
            "width_coefficient": 0.25,
            "depth_coefficient": 0.25,
            "hidden_dim": 320,
            "image_size": 32,
            "initializer_range": 0.2,
        },
    ),
    "SwiftFormer": (64, {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [16, 24, 32, 48]}),
    "HGNetV2": (64, {}),
    "Hiera": (
        64,
        {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2]},
    ),
    "TextNet": (64, {}),
}
_FAINT = ("EfficientNet", "MobileViT", "MobileViTV2", "PoolFormer", "Pvt")


def _configured(family: str, options: dict[str, Any]) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{family.replace('Focalnet', 'FocalNet')}Config")(
        num_labels=10, **options
    )
    model = getattr(transformers, f"{family.replace('Focalnet', 'FocalNet')}ForImageClassification")(config)
    return lively(model) if family in _FAINT else model


def _two_towers(family: str) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{family}Config")(
        vision_config=_PLAIN, text_config=_PLAIN | {"vocab_size": 10}
    )
    config.num_labels = 10
    return getattr(transformers, f"{family}ForImageClassification")(config)


class _Logits(nn.Module):
    """The wrapper that everybody writes around such a network."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(pixel_values=x).logits


def _wrapped(family: str) -> nn.Module:
    return _Logits(_configured(family, _CONFIGURED[family][1]))


def networks() -> list[Network]:
    """All of them."""
    configured = [
        Network(f"transformers/{family}", partial(_configured, family, options), (3, side, side))
        for family, (side, options) in _CONFIGURED.items()
    ]
    wrapped = [
        Network(
            f"transformers/{family} in a wrapper",
            partial(_wrapped, family),
            (3, _CONFIGURED[family][0], _CONFIGURED[family][0]),
        )
        for family in ("ViT", "Swin", "ResNet", "ConvNext", "Levit", "Dinov2")
    ]
    towers = [
        Network(f"transformers/{family}", partial(_two_towers, family)) for family in ("CLIP", "Siglip")
    ]
    return [*configured, *wrapped, *towers]

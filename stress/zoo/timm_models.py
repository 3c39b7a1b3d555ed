"""Networks of timm: one or two of each family, the smallest, and made smaller where they allow it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from stress.zoo.network import Network, lively

__all__ = ["networks"]

_SMALL = {"depth": 3}
_CONVOLUTIONAL: dict[str, tuple[int, dict[str, Any]]] = {
    # layers side by side: branches, splits, gates, shortcuts in concatenations
    "mobileone_s0": (32, {}),
    "hrnet_w18_small": (64, {}),
    "inception_v3": (80, {}),
    "inception_v4": (80, {}),
    "repvgg_a0": (32, {}),
    "dpn48b": (32, {}),
    "dla34": (32, {}),
    "dla46x_c": (32, {}),
    "regnetx_002": (32, {}),
    "regnety_002": (32, {}),
    "resnest14d": (32, {}),
    "skresnet18": (32, {}),
    "cspresnet50": (32, {}),
    "cs3darknet_s": (32, {}),
    "res2net50_14w_8s": (32, {}),
    "ese_vovnet19b_dw": (32, {}),
    "selecsls42b": (32, {}),
    "xception41": (32, {}),
    "densenet121": (32, {}),
    "rdnet_tiny": (32, {}),
    "seresnet50": (32, {}),
    "ecaresnet26t": (32, {}),
    "resnet10t": (32, {}),
    "resnet26d": (32, {}),
    "resnetblur18": (32, {}),
    "resnetv2_50": (32, {}),
    "nf_resnet26": (32, {}),
    "eca_nfnet_l0": (32, {}),
    "gernet_s": (32, {}),
    "tresnet_m": (32, {}),
    "hgnetv2_b0": (32, {}),
    # depthwise
    "ghostnet_050": (32, {}),
    "ghostnetv2_100": (64, {}),
    "lcnet_035": (32, {}),
    "efficientnet_lite0": (32, {}),
    "mixnet_s": (32, {}),
    "mobilenetv2_050": (32, {}),
    "mobilenetv3_small_050": (32, {}),
    "mobilenetv4_conv_small_035": (32, {}),
    "mobilenetv4_hybrid_medium": (64, {}),
    "semnasnet_050": (32, {}),
    "tinynet_e": (32, {}),
    "convnext_atto": (32, {}),
    "convnextv2_atto": (32, {}),
    "inception_next_atto": (64, {}),
    "starnet_s050": (32, {}),
    "mambaout_femto": (64, {}),
    "repghostnet_050": (32, {}),
    # convolutions and attention
    "edgenext_xx_small": (64, {}),
    "mobilevit_xxs": (64, {}),
    "mobilevitv2_050": (64, {}),
    "poolformer_s12": (64, {}),
    "efficientvit_b0": (64, {}),
    "shvit_s1": (64, {}),
    "fastvit_t8": (64, {}),
    "repvit_m0_9": (64, {}),
    "lambda_resnet26t": (64, {"img_size": 64}),
    "pvt_v2_b0": (64, {}),
    "focalnet_tiny_srf": (32, {}),
    "tiny_vit_5m_224": (64, {}),
}
_OF_ONE_SIZE: dict[str, tuple[int, dict[str, Any]]] = {
    "vit_tiny_patch16_224": (32, {"patch_size": 8, **_SMALL}),
    "vit_relpos_small_patch16_224": (32, {"patch_size": 8, "embed_dim": 64, "num_heads": 2, **_SMALL}),
    "deit_tiny_distilled_patch16_224": (32, {"patch_size": 8, **_SMALL}),
    "deit3_small_patch16_224": (32, {"patch_size": 8, "embed_dim": 64, "num_heads": 2, **_SMALL}),
    "cait_xxs24_224": (32, {"patch_size": 8, **_SMALL}),
    "beit_base_patch16_224": (32, {"patch_size": 8, "embed_dim": 64, "num_heads": 2, **_SMALL}),
    "eva02_tiny_patch14_224": (32, {"patch_size": 8, **_SMALL}),
    "convit_tiny": (32, {"patch_size": 8, **_SMALL}),
    "xcit_nano_12_p16_224": (64, _SMALL),
    "pit_ti_224": (64, {}),
    "tnt_s_patch16_224": (64, _SMALL),
    "twins_pcpvt_small": (64, {"depths": (1, 1, 2, 1)}),
    "twins_svt_small": (64, {"depths": (1, 1, 2, 1)}),
    "visformer_tiny": (64, {}),
    "levit_128s": (64, {}),
    "efficientformerv2_s0": (64, {}),
    "coat_lite_tiny": (64, {}),
    "swin_tiny_patch4_window7_224": (
        64,
        {"window_size": 4, "depths": (2, 2), "embed_dim": 32, "num_heads": (2, 4)},
    ),
    "swinv2_tiny_window8_256": (
        64,
        {"window_size": 4, "depths": (2, 2), "embed_dim": 32, "num_heads": (2, 4)},
    ),
    "swinv2_cr_tiny_224": (64, {"window_size": 4, "depths": (2, 2), "embed_dim": 32, "num_heads": (2, 4)}),
    "maxvit_rmlp_pico_rw_256": (64, {}),
    "coatnet_pico_rw_224": (64, {}),
    "hiera_tiny_224": (64, {"stages": (1, 1, 2, 1)}),
    "sequencer2d_s": (32, {"layers": (1, 1, 1, 1)}),
}


def _named(name: str, **options: Any) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, num_classes=10, **options)


def _conv_mixer() -> nn.Module:
    from timm.models.convmixer import ConvMixer

    return ConvMixer(64, 4, kernel_size=5, patch_size=4, num_classes=10)


def _nas_net() -> nn.Module:
    from timm.models.nasnet import NASNetALarge

    return NASNetALarge(num_classes=10, stem_size=8, channel_multiplier=2, num_features=96)


def _mixer(kind: str) -> nn.Module:
    from timm.models import mlp_mixer

    options: dict[str, Any] = {}
    if kind == "gmlp":
        options = {
            "mlp_ratio": 6,
            "block_layer": mlp_mixer.SpatialGatingBlock,
            "mlp_layer": mlp_mixer.GatedMlp,
        }
    if kind == "resmlp":
        options = {"mlp_ratio": 4, "block_layer": mlp_mixer.ResBlock, "norm_layer": mlp_mixer.Affine}
    return mlp_mixer.MlpMixer(10, 32, patch_size=8, num_blocks=3, embed_dim=64, **options)


def _efficient_former() -> nn.Module:
    from timm.models.efficientformer import EfficientFormer

    return EfficientFormer(depths=(1, 1, 2, 2), embed_dims=(16, 32, 64, 128), num_vit=1, num_classes=10)


def _multi_scale() -> nn.Module:
    from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg

    return MultiScaleVit(MultiScaleVitCfg(depths=(1, 1, 2, 1), embed_dim=32), img_size=64, num_classes=10)


def _lively(build: Callable[[], nn.Module]) -> nn.Module:
    """The model with last layers that are not all zeros, as some are before training."""
    model = build()
    heads = model.get_classifier()
    for head in heads if isinstance(heads, tuple) else (heads,):
        for module in head.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    return lively(model) if type(model).__name__ in ("Cait", "VisionTransformer") and scaled(model) else model


def scaled(model: nn.Module) -> bool:
    """Whether it multiplies its branches by factors near 0 until it is trained."""
    return any(
        float(p.abs().max()) < 0.01 for n, p in model.named_parameters() if "gamma" in n.rpartition(".")[2]
    )


def networks() -> list[Network]:
    """All of them."""
    any_size = [
        Network(f"timm/{name}", partial(_lively, partial(_named, name, **options)), (3, side, side))
        for name, (side, options) in _CONVOLUTIONAL.items()
    ]
    one_size = [
        Network(
            f"timm/{name}", partial(_lively, partial(_named, name, img_size=side, **options)), (3, side, side)
        )
        for name, (side, options) in _OF_ONE_SIZE.items()
    ]
    return [
        *any_size,
        *one_size,
        Network("timm/convmixer", _conv_mixer),
        Network("timm/nasnet", _nas_net, (3, 64, 64)),
        Network("timm/mixer", partial(_lively, partial(_mixer, "mixer"))),
        Network("timm/gmlp", partial(_lively, partial(_mixer, "gmlp"))),
        Network("timm/resmlp", partial(_lively, partial(_mixer, "resmlp"))),
        Network("timm/efficientformer", _efficient_former, (3, 224, 224), images=4),
        Network("timm/mvitv2", _multi_scale, (3, 64, 64)),
    ]

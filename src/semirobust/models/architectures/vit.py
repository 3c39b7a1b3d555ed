"""Vision transformers (Dosovitskiy et al. 2021) for small images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.models import MODELS, Classifier
from semirobust.models.base.classifier import channels

__all__ = ["VisionTransformer", "vit_small"]


class Attention(nn.Module):
    """Multi-head self-attention: (N, tokens, D) -> (N, tokens, D)."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, size = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(n, tokens, size))


class Block(nn.Module):
    """Attention and a two-layer perceptron, each with a layer norm in front and a shortcut beside it."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size)
        self.attention = Attention(size, heads)
        self.norm2 = nn.LayerNorm(size)
        self.fc1 = nn.Linear(size, 4 * size)
        self.fc2 = nn.Linear(4 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    """Patches, a class token, learned positions, blocks, layer norm and a linear head on the class token."""

    def __init__(
        self,
        *,
        size: int,
        heads: int,
        depth: int,
        patch: int,
        image_size: int,
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, size, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, size))
        self.positions = nn.Parameter(
            0.02 * nn.init.normal_(torch.empty(1, (image_size // patch) ** 2 + 1, size))
        )
        self.blocks = nn.Sequential(*(Block(size, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(size)
        self.linear = nn.Linear(size, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x_NKHW: Tensor) -> Tensor:
        tokens = self.patches(x_NKHW).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1) + self.positions
        return self.linear(self.norm(self.blocks(x))[:, 0])


@MODELS.register("vit_small")
def vit_small(
    *,
    num_classes: int,
    width: float,
    in_channels: int,
    image_size: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    patch: int = 4,
    depth: int = 12,
) -> Classifier:
    """Twelve blocks of 384 features and 6 heads on 4x4 patches: ViT-S for CIFAR (Touvron et al. 2021)."""
    if patch < 1 or depth < 1 or image_size % patch:
        raise InputError(f"image_size: vit_small expects a multiple of its patch {patch}, got {image_size}")
    network = VisionTransformer(
        size=channels(384, width, multiple_of=6),  # the heads divide it among them
        heads=6,
        depth=depth,
        patch=patch,
        image_size=image_size,
        in_channels=in_channels,
        num_classes=num_classes,
    )
    return Classifier(network, in_channels=in_channels, mean=mean, std=std)

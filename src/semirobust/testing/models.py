"""What every architecture must do."""

import torch
from torch import nn

from semirobust.core.seed import as_seed
from semirobust.layers.map import layer_map
from semirobust.testing.base.check import Subject, demanded, require
from semirobust.testing.base.network import untouched

__all__: list[str] = []

_SIZE, _CLASSES = 32, 5


def _model(subject: Subject, *, width: float = 0.1, seed: int = 0, channels: int = 1) -> nn.Module:
    with (as_seed(seed) / "initialise").globally():
        model: nn.Module = subject.make(
            num_classes=_CLASSES,
            width=width,
            in_channels=channels,
            image_size=_SIZE,
            mean=(0.5,) * channels,
            std=(0.25,) * channels,
        )
    return model.eval()


@demanded("models")
def gives_logits_with_a_gradient(subject: Subject) -> None:
    """Give finite logits (N, C) with a gradient at the image."""
    model = _model(subject)
    x = torch.rand(3, 1, _SIZE, _SIZE, generator=as_seed(1).generator()).requires_grad_()
    logits = model(x)
    require(logits.shape == (3, _CLASSES), f"logits of the shape {tuple(logits.shape)}, not (3, {_CLASSES})")
    require(torch.isfinite(logits).all(), "a logit is not finite")
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    require(float(gradient.abs().sum()) > 0, "the gradient at the image is 0")


@demanded("models")
def every_parameter_belongs_to_a_layer(subject: Subject) -> None:
    """Have a layer map in which every parameter belongs to one layer."""
    model = _model(subject)
    x = torch.rand(3, 1, _SIZE, _SIZE, generator=as_seed(1).generator())
    with untouched(model):
        layers = layer_map(model, x)
    require(not layers.unassigned, f"parameters of no layer: {', '.join(layers.unassigned)}")
    mapped = sorted(p for layer in layers for p in layer.parameters)
    require(mapped == sorted(n for n, _ in model.named_parameters()), "the map has other parameters")


@demanded("models")
def seeds_decide_the_weights(subject: Subject) -> None:
    """Have weights that the seed decides, and nothing else."""
    first, again, other = (_model(subject, seed=s).state_dict() for s in (1, 1, 2))
    require(all(torch.equal(first[k], again[k]) for k in first), "equal seeds give other weights")
    require(any(not torch.equal(first[k], other[k]) for k in first), "all seeds give the same weights")


@demanded("models")
def width_scales_it(subject: Subject) -> None:
    """Have more parameters with a larger ``width``."""
    small, large = (sum(p.numel() for p in _model(subject, width=w).parameters()) for w in (0.25, 0.5))
    require(small < large, f"{small:,} parameters with width 0.25, {large:,} with 0.5")

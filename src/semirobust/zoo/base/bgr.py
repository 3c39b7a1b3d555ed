"""Colour images for a network that takes blue first."""

from torch import Tensor, nn

__all__ = ["FromRGB"]


class FromRGB(nn.Module):
    """A network for red, green, blue, which itself takes blue, green, red.

    Args:
        model: takes (N, 3, H, W).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_N3HW: Tensor) -> Tensor:
        logits_NC: Tensor = self.model(x_N3HW.flip(1))
        return logits_NC

"""Grey images for a network that takes colour."""

from torch import Tensor, nn

__all__ = ["FromGrey"]


class FromGrey(nn.Module):
    """A network for images of one channel: it sees that channel in each of its own.

    Args:
        model: takes (N, K, H, W).
        channels: K.
    """

    def __init__(self, model: nn.Module, channels: int) -> None:
        super().__init__()
        self.model = model
        self.channels = channels

    def forward(self, x_N1HW: Tensor) -> Tensor:
        logits_NC: Tensor = self.model(x_N1HW.expand(-1, self.channels, -1, -1))
        return logits_NC

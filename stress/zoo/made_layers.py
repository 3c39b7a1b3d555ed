"""Hand-made networks: layers and blocks as people write them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from stress.zoo.network import Network, lively

__all__ = ["Small", "networks"]


class Small(nn.Module):
    """Two convolutions with norms, one hidden layer, one classifier."""

    def __init__(self, channels: int = 3, classes: int = 10, width: int = 8) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width)
        self.pool, self.fc1 = nn.AdaptiveAvgPool2d(4), nn.Linear(32 * width, 32)
        self.fc2 = nn.Linear(32, classes)

    def hidden(self, x: Tensor) -> Tensor:
        """The input of the classifier."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.pool(F.relu(self.bn2(self.conv2(x))))
        return F.relu(self.fc1(torch.flatten(x, 1)))

    def forward(self, x: Tensor):
        return self.fc2(self.hidden(x))


class Viewed(Small):
    """Flattens as most tutorials do."""

    def hidden(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = self.pool(x)
        return F.relu(self.fc1(x.view(x.size(0), -1)))


class Functional(nn.Module):
    """No layer is a module: weights are its own parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(0.3 * torch.randn(8, 3, 3, 3)), nn.Parameter(torch.zeros(8))
        self.w2 = nn.Parameter(0.15 * torch.randn(16, 8, 3, 3))
        self.w3, self.b3 = nn.Parameter(0.2 * torch.randn(10, 16)), nn.Parameter(torch.zeros(10))

    def forward(self, x):
        x = F.relu(F.conv2d(x, self.w1, self.b1, padding=1))
        x = F.relu(F.conv2d(x, self.w2, stride=2))
        return F.linear(x.mean((2, 3)), self.w3, self.b3)


class HalfFunctional(Small):
    """A module's weight is used functionally, so the module never runs."""

    def hidden(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(F.conv2d(x, self.conv2.weight, self.conv2.bias, stride=2, padding=1)))
        return F.relu(F.linear(self.pool(x).flatten(1), self.fc1.weight, self.fc1.bias))


class Multiplied(Small):
    """The classifier is a matrix product, cosine of features and class weights."""

    def forward(self, x):
        h = F.normalize(self.hidden(x), dim=1)
        return 8 * h @ F.normalize(self.fc2.weight, dim=1).t()


class Tied(nn.Module):
    """Encoder and decoder share one weight; the classifier reads the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.encode = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(8 * 225, 32)
        self.decode, self.head = nn.Linear(32, 32), nn.Linear(32, 10)
        self.again = nn.Linear(32, 32)
        self.again.weight = self.decode.weight

    def forward(self, x):
        h = F.relu(self.encode(F.relu(self.conv(x)).flatten(1)))
        return self.head(F.relu(self.again(F.relu(self.decode(h)))))


class Shared(nn.Module):
    """One block runs three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for _ in range(3):
            x = x + self.block(x)
        return self.head(x.mean((2, 3)))


class Branches(nn.Module):
    """Branches that are concatenated, a padded input, and a projection that runs last."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 5, padding=2)
        self.main, self.again = nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3, padding=1)
        self.beside, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(torch.cat([self.a(x), self.b(x)], 1))
        main = self.again(F.relu(self.main(F.pad(x, (1, 1, 1, 1)))))
        return self.head(F.relu(main + self.beside(x)).mean((2, 3)))


class DeadBranch(nn.Module):
    """Residual branches that add nothing: their last norm starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv1, self.conv2 = (nn.Conv2d(c, 8, 3, padding=1) for c in (3, 8, 8))
        self.bn1, self.bn2, self.head = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.Linear(8, 10)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return self.head(x.mean((2, 3)))


class SqueezeExcite(nn.Module):
    """A depthwise convolution whose channels are scaled by what two layers say of their means."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 16, 3, stride=2), nn.Conv2d(16, 16, 3, groups=16)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.project, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.depthwise(F.relu(self.stem(x))))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(F.relu(self.project(x)).mean((2, 3)))


class Gated(nn.Module):
    """SwiGLU: one layer gates the other."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 16, 8, stride=8), nn.LayerNorm(16)
        self.gate, self.up, self.down = nn.Linear(16, 32), nn.Linear(16, 32), nn.Linear(32, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        h = self.norm(x)
        x = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return self.head(x.mean(1))


class Positions(nn.Module):
    """A small network makes the bias of every position from a constant grid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.mlp = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 10)
        axis = torch.linspace(-1, 1, 16)
        self.register_buffer("grid", torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1))

    def forward(self, x):
        x = F.relu(self.conv1(x)) + self.mlp(self.grid).permute(2, 0, 1)
        return self.head(F.relu(self.conv2(x)).mean((2, 3)))


class Checkpointed(nn.Module):
    """Recomputes its middle in the backward pass."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 10)
        self.middle = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)
        )

    def forward(self, x):
        x = checkpoint(self.middle, F.relu(self.stem(x)), use_reentrant=self.reentrant)
        return self.head(F.relu(x).mean((2, 3)))


class SequenceFirst(nn.Module):
    """Multi-head attention as PyTorch has it by default: (sequence, batch, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.attention = nn.Conv2d(3, 16, 8, stride=8), nn.MultiheadAttention(16, 2)
        self.fc1, self.fc2, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).permute(2, 0, 1)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.fc2(F.gelu(self.fc1(x)))
        return self.head(x.mean(0))


class Encoder(nn.Module):
    """``nn.TransformerEncoder``, which has a fast path in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, stride=8)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.encoder(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class Windows(nn.Module):
    """Merges windows into the batch dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.inside = nn.Conv2d(3, 16, 4, stride=4), nn.Linear(16, 16)
        self.mix, self.head = nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x):
        n = len(x)
        x = F.relu(self.patch(x)).reshape(n, 16, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(n * 4, 16, 16)
        x = F.relu(self.inside(x))
        x = F.relu(self.mix(x)).reshape(n, 4, 16, 16)
        return self.head(x.mean((1, 2)))


class Keywords(nn.Module):
    """Its modules are called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = F.relu(self.conv2(input=F.relu(self.conv1(input=x))))
        return self.head(input=x.mean((2, 3)))


class EarlyExit(Small):
    """Where the first exit is sure of the whole batch, the rest does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.exit = nn.Linear(8, 10)

    def forward(self, x):
        early = self.exit(F.relu(self.bn1(self.conv1(x))).mean((2, 3)))
        return early if float(early.softmax(1).amax(1).min()) > 0.9 else super().forward(x)


class Transposed(nn.Module):
    """A transposed convolution on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 4, stride=4), nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.conv, self.head = nn.Conv2d(8, 8, 3), nn.Linear(8, 10)

    def forward(self, x):
        return self.head(F.relu(self.conv(F.relu(self.up(F.relu(self.down(x)))))).mean((2, 3)))


def _normed(norm) -> nn.Module:
    model = Small()
    for name in ("conv1", "conv2", "fc1", "fc2"):
        setattr(model, name, norm(getattr(model, name)))
    return model


def _lively(build: Callable[[], nn.Module]) -> nn.Module:
    return lively(build())


def networks() -> list[Network]:
    """All of them."""
    plain = [
        ("small", Small),
        ("view in forward", Viewed),
        ("functional", Functional),
        ("half functional", HalfFunctional),
        ("cosine classifier", Multiplied),
        ("tied weights", Tied),
        ("one block three times", Shared),
        ("branches", Branches),
        ("dead branch", DeadBranch),
        ("squeeze-excite", SqueezeExcite),
        ("gated (SwiGLU)", Gated),
        ("position MLP", Positions),
        ("attention, sequence first", SequenceFirst),
        ("TransformerEncoder", Encoder),
        ("windows in the batch", Windows),
        ("keyword calls", Keywords),
        ("early exit", EarlyExit),
        ("transposed convolution", Transposed),
        ("checkpointed", lambda: Checkpointed(False)),
        ("checkpointed, reentrant", lambda: Checkpointed(True)),
        ("spectral norm", lambda: _normed(parametrizations.spectral_norm)),
        ("spectral norm, old", lambda: _normed(nn.utils.spectral_norm)),
        ("weight norm", lambda: _normed(parametrizations.weight_norm)),
        ("weight norm, old", lambda: _normed(nn.utils.weight_norm)),
    ]
    return [Network(f"made/{name}", partial(_lively, build)) for name, build in plain]

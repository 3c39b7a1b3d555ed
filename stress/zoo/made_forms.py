"""Hand-made networks: inputs, outputs, number formats and wrappers of every kind."""

import copy
from collections import namedtuple
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stress.zoo.made_layers import Small
from stress.zoo.network import Network

__all__ = ["networks"]

_Named = namedtuple("_Named", ["features", "logits"])


class Tuple(Small):
    """Gives logits and features."""

    def forward(self, x):
        h = self.hidden(x)
        return self.fc2(h), h


class Dictionary(Small):
    """Gives a dict."""

    def forward(self, x):
        h = self.hidden(x)
        return {"features": h, "logits": self.fc2(h)}


class NamedTuple(Small):
    """Gives a named tuple whose first field is not the logits."""

    def forward(self, x):
        h = self.hidden(x)
        return _Named(h, self.fc2(h))


@dataclass
class Output:
    """As libraries of their own kind return it."""

    logits: Tensor
    loss: Tensor | None = None


class Object(Small):
    """Gives an object with a field ``logits``."""

    def forward(self, x):
        return Output(super().forward(x))


class Auxiliary(Small):
    """A second head in train mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Linear(8, 10)

    def forward(self, x):
        first = F.relu(self.bn1(self.conv1(x)))
        h = self.pool(F.relu(self.bn2(self.conv2(first)))).flatten(1)
        logits = self.fc2(F.relu(self.fc1(h)))
        return (logits, self.side(first.mean((2, 3)))) if self.training else logits


class OneLogit(Small):
    """Two classes by the sign of one number."""

    def __init__(self) -> None:
        super().__init__(classes=1)


class Probabilities(Small):
    """Ends in a softmax."""

    def forward(self, x):
        return super().forward(x).softmax(1)


class LogProbabilities(Small):
    """Ends in a log-softmax."""

    def forward(self, x):
        return super().forward(x).log_softmax(1)


class InPlace(Small):
    """Normalises its input in place."""

    def forward(self, x):
        x.sub_(0.5).div_(0.25)
        return super().forward(x)


class Normalising(Small):
    """Normalises its input."""

    def forward(self, x):
        return super().forward((x - 0.5) / 0.25)


class Noisy(Small):
    """Drops units in eval mode too."""

    def hidden(self, x):
        return F.dropout(super().hidden(x), 0.2, training=True)


class OneAtATime(Small):
    """Takes one image only."""

    def forward(self, x):
        if len(x) != 1:
            raise ValueError("expected a batch of one image")
        return super().forward(x)


class Rows(nn.Module):
    """A recurrent layer reads the image row by row."""

    def __init__(self, cell: type[nn.RNNBase], layers: int = 1) -> None:
        super().__init__()
        self.rnn, self.head = cell(96, 32, num_layers=layers, batch_first=True), nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.rnn(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])


class ConvThenRows(nn.Module):
    """A convolution in front of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.lstm, self.head = nn.LSTM(128, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x))).permute(0, 2, 1, 3).flatten(2)
        return self.head(self.lstm(x)[0].mean(1))


class Ensemble(nn.Module):
    """The mean of three networks, each of which sees the image."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(Small() for _ in range(3))

    def forward(self, x):
        return torch.stack([member(x) for member in self.members]).mean(0)


def _sequence() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 5, stride=2), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 16, 5, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def _volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 16, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def _flat() -> nn.Module:
    return nn.Sequential(
        nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)
    )


def _low_rank() -> nn.Module:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(Small(), LoraConfig(r=2, target_modules=["conv2", "fc1"], init_lora_weights=False))


def _traced(script: bool) -> nn.Module:
    model = Small().eval()
    return torch.jit.script(model) if script else torch.jit.trace(model, torch.rand(2, 3, 32, 32))


def _exported() -> nn.Module:
    batch = torch.export.Dim("batch", min=1, max=4096)
    return torch.export.export(
        Small().eval(), (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: batch},)
    ).module()


def _compiled() -> nn.Module:
    model = torch.compile(Small().eval(), backend="eager")
    model(torch.rand(2, 3, 32, 32))
    return model


def _quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(Small().eval(), {nn.Linear}, dtype=torch.qint8)


def _fake_quantised() -> nn.Module:
    model = Small().train()
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    model = torch.ao.quantization.prepare_qat(model)
    for _ in range(3):
        model(torch.rand(16, 3, 32, 32))
    return model.apply(torch.ao.quantization.disable_observer)


def _graph_module() -> nn.Module:
    from torchvision.models import resnet18

    return torch.fx.symbolic_trace(resnet18(num_classes=10))


def _frozen() -> nn.Module:
    return Small().requires_grad_(False)


def _hooked() -> nn.Module:
    model = Small()
    model.conv1.register_forward_hook(lambda module, args, output: output * 1.5)
    model.conv2.register_forward_pre_hook(lambda module, args: (args[0] + 0.1,))
    return copy.deepcopy(model)


def networks() -> list[Network]:
    """All of them."""
    half, double = torch.bfloat16, torch.float64
    given = {"output": "probabilities"}
    adapted = [
        Network("made/probabilities, adapted", Probabilities, adapt=given),
        Network("made/log-probabilities, adapted", LogProbabilities, adapt={"output": "log-probabilities"}),
        Network("made/one logit, adapted", OneLogit, classes=2, adapt={"output": "binary"}),
        Network("made/one at a time, adapted", OneAtATime, batch=1, adapt={}),
    ]
    outputs = [
        Network("made/tuple", Tuple),
        Network("made/dict", Dictionary),
        Network("made/named tuple", NamedTuple),
        Network("made/object with logits", Object),
        Network("made/auxiliary head", Auxiliary),
        Network("made/one logit", OneLogit, classes=2),
        Network("made/probabilities", Probabilities),
        Network("made/log-probabilities", LogProbabilities),
    ]
    inputs = [
        Network("made/in place", InPlace),
        Network("made/normalising", Normalising),
        Network("made/four channels", partial(Small, 4), (4, 32, 32)),
        Network("made/thirteen channels", partial(Small, 13), (13, 32, 32)),
        Network("made/one channel", partial(Small, 1), (1, 28, 28)),
        Network("made/31 x 47 pixels", Small, (3, 31, 47)),
        Network("made/137 classes", partial(Small, 3, 137), classes=137),
        Network("made/two classes", partial(Small, 3, 2), classes=2),
        Network("made/1-D", _sequence, (2, 64)),
        Network("made/3-D", _volume, (1, 8, 12, 12)),
        Network("made/flat", _flat, (20,)),
        Network("made/one at a time", OneAtATime, batch=1),
        Network("made/float64", lambda: Small().to(double), dtype=double),
        Network("made/bfloat16", lambda: Small().to(half), dtype=half),
        Network("made/LSTM", lambda: Rows(nn.LSTM)),
        Network("made/GRU of two layers", lambda: Rows(nn.GRU, 2)),
        Network("made/convolution and LSTM", ConvThenRows),
    ]
    forms = [
        Network("made/scripted", partial(_traced, True), calibrate=False),
        Network("made/traced", partial(_traced, False), calibrate=False),
        Network("made/exported", _exported, calibrate=False),
        Network("made/compiled", _compiled, calibrate=False),
        Network("made/DataParallel", lambda: nn.DataParallel(Small())),
        Network("made/dynamically quantised", _quantised, calibrate=False),
        Network("made/fake-quantised", _fake_quantised, calibrate=False),
        Network("made/LoRA (peft)", _low_rank),
        Network("made/fx graph of ResNet-18", _graph_module),
        Network("made/frozen", _frozen),
        Network("made/copied with hooks", _hooked),
        Network("made/randomness in eval mode", Noisy, random=True),
        Network("made/ensemble", Ensemble),
        Network("made/Lightning module", _lightning),
    ]
    return [*outputs, *adapted, *inputs, *forms]


def _lightning() -> nn.Module:
    import lightning

    class Module(lightning.LightningModule):
        """A classifier within the module that trains it."""

        def __init__(self) -> None:
            super().__init__()
            self.net = Small()

        def forward(self, x):
            return self.net(x)

    return Module()

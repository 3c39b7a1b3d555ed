"""Stand-ins for packages that bring networks, with the part of each interface that is used."""

import enum
import sys
import types
from dataclasses import asdict, dataclass, field

import torch
from torch import nn

__all__ = ["CLASSES", "OWN", "STAND_INS"]

CLASSES = ("tench", "goldfish", "white shark", "hen", "ostrich")
OWN = 0.125
"""The bias of the head of what comes with its own weights."""


class Net(nn.Module):
    """A convolution and a head that run on images of any size."""

    def __init__(self, outputs: int = 5, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3, 2, 1)
        self.head = nn.Linear(6, outputs)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


def _own(net: Net) -> Net:
    nn.init.constant_(net.head.bias, OWN)
    return net


@dataclass
class _Config:
    input_size: tuple = (3, 12, 12)
    mean: tuple = (0.4, 0.5, 0.6)
    std: tuple = (0.2, 0.25, 0.3)
    num_classes: int = 5
    fixed_input_size: bool = False
    label_names: tuple | None = tuple(f"n0{i}" for i in range(5))
    label_descriptions: dict = field(
        default_factory=lambda: {f"n0{i}": f"{name}, {name}us" for i, name in enumerate(CLASSES)}
    )

    def to_dict(self):
        return asdict(self)


def _timm():
    timm, data = types.ModuleType("timm"), types.ModuleType("timm.data")
    configs = {"tiny": _Config(), "square": _Config(fixed_input_size=True), "lost": _Config(), "bare": None}
    configs["headless"] = _Config(num_classes=0, label_names=())

    def create_model(name, pretrained=False, num_classes=5, in_chans=3, img_size=None, wide=1):
        if img_size is not None and name != "square":
            raise TypeError("unexpected keyword argument 'img_size'")
        if pretrained and name == "lost":
            raise FileNotFoundError("no such file on the hub")
        if pretrained and name == "bare":
            raise RuntimeError("No pretrained weights exist")
        net = Net(num_classes, in_chans)
        net.wide, net.img_size = wide, img_size
        return _own(net) if pretrained else net

    timm.is_model, timm.list_models = configs.__contains__, lambda: list(configs)
    timm.get_pretrained_cfg, timm.create_model = configs.__getitem__, create_model
    data.infer_imagenet_subset = lambda config: None
    return {"timm": timm, "timm.data": data}


def _torchvision():
    models = types.ModuleType("torchvision.models")

    def weights(lost):
        transforms = types.SimpleNamespace(crop_size=[12], mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3])
        one = types.SimpleNamespace(
            meta={"categories": list(CLASSES)}, transforms=lambda: transforms, lost=lost
        )
        return types.SimpleNamespace(DEFAULT=one)

    def get_model(name, weights=None, num_classes=5):
        if weights is not None and weights.lost:
            raise OSError("no route to host")
        return Net(num_classes) if weights is None else _own(Net(num_classes))

    models.list_models = lambda module=None: ["tiny", "lost"]
    models.get_model_weights = lambda name: weights(name == "lost")
    models.get_model = get_model
    return {"torchvision": types.ModuleType("torchvision"), "torchvision.models": models}


def _hf():
    transformers = types.ModuleType("transformers")
    base = types.ModuleType("transformers.image_processing_base")

    class Config:
        def __init__(self, name):
            self.name, self.num_labels, self.num_channels, self.depth = name, 5, 3, 1
            self.id2label = dict(enumerate(CLASSES))
            self._attn_implementation = "somebody/kernels"

    class AutoConfig:
        @staticmethod
        def from_pretrained(name, *, trust_remote_code, local_files_only):
            assert trust_remote_code is False
            if name not in ("owner/tiny", "owner/lost", "owner/plain"):
                raise OSError(f"{name} is not a valid model identifier")
            return Config(name)

    class AutoModelForImageClassification:
        @staticmethod
        def from_config(config, *, trust_remote_code):
            assert trust_remote_code is False and config._attn_implementation is None
            return Net(config.num_labels, config.num_channels)

        @staticmethod
        def from_pretrained(name, *, config, trust_remote_code, ignore_mismatched_sizes):
            assert trust_remote_code is False and config._attn_implementation is None
            if name == "owner/lost":
                raise OSError("couldn't connect")
            return _own(Net(config.num_labels, config.num_channels))

    class ImageProcessingMixin:
        @staticmethod
        def get_image_processor_dict(name, *, local_files_only):
            if name == "owner/plain":
                raise OSError("no preprocessor_config.json")
            return {
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": [0.4, 0.5, 0.6],
                "image_std": [0.2, 0.25, 0.3],
                "size": {"shortest_edge": 12},
            }, {}

    bars = types.SimpleNamespace(
        is_progress_bar_enabled=lambda: True, disable_progress_bar=bool, enable_progress_bar=bool
    )
    transformers.utils = types.SimpleNamespace(logging=bars)
    transformers.AutoConfig = AutoConfig
    transformers.AutoModelForImageClassification = AutoModelForImageClassification
    base.ImageProcessingMixin = ImageProcessingMixin
    return {"transformers": transformers, "transformers.image_processing_base": base}


def _robustbench():
    zoo, names = types.ModuleType("robustbench.model_zoo"), types.ModuleType("robustbench.model_zoo.enums")
    utils = types.ModuleType("robustbench.utils")

    class BenchmarkDataset(enum.Enum):
        cifar_10 = "cifar10"

    class ThreatModel(enum.Enum):
        Linf = "Linf"

    def load_model(name, *, dataset, threat_model):
        if name == "lost":
            raise OSError("no route to host")
        return _own(Net(10))

    names.BenchmarkDataset, names.ThreatModel = BenchmarkDataset, ThreatModel
    entries = {name: {"model": lambda: Net(10)} for name in ("tiny", "lost")}
    zoo.model_dicts = {BenchmarkDataset.cifar_10: {ThreatModel.Linf: entries}}
    utils.load_model = load_model
    return {
        "robustbench": types.ModuleType("robustbench"),
        "robustbench.model_zoo": zoo,
        "robustbench.model_zoo.enums": names,
        "robustbench.utils": utils,
    }


def _factory():
    mine = types.ModuleType("mine")
    mine.tiny = lambda num_classes, in_channels, deep=1: _own(Net(num_classes, in_channels))
    return {"mine": mine}


# Source -> what makes its package, a name that it knows, and one whose weights cannot be fetched.
STAND_INS = {
    "hf": (_hf, "hf:owner/tiny", "hf:owner/lost"),
    "package.module": (_factory, "mine:tiny", None),
    "robustbench": (_robustbench, "robustbench:tiny", "robustbench:lost"),
    "timm": (_timm, "timm:tiny", "timm:lost"),
    "torchvision": (_torchvision, "torchvision:tiny", "torchvision:lost"),
}


def put_in(monkeypatch, source: str) -> None:
    """Let the stand-in of a source be imported, and nothing else of its package."""
    for name, module in STAND_INS[source][0]().items():
        monkeypatch.setitem(sys.modules, name, module)

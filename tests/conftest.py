"""What all tests share."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from semirobust.core.plugins import VARIABLE

os.environ.setdefault("OMP_NUM_THREADS", "1")
_STATE = tempfile.TemporaryDirectory(prefix="semirobust-state-")
os.environ["XDG_STATE_HOME"] = _STATE.name  # what is noted of the user's own code
os.environ.pop("COLUMNS", None)  # pytest-xdist tells its workers a width, and lines would be broken there
torch.set_num_threads(1)

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
_DATA = Path(os.environ.get("SEMIROBUST_DATA") or _BESIDE).resolve()


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    """What a test names as a plug-in is no plug-in of the next one, nor of the processes that it starts."""
    monkeypatch.setenv(VARIABLE, "")


@pytest.fixture
def real_data() -> Callable[..., Path]:
    """``real_data("mnist")``: the folder that holds what is named, or the test is skipped.

    The folder is ``$SEMIROBUST_DATA``, or ``shared/data`` beside the checkout. Tests know ``mnist``,
    ``fashion-mnist``, ``cifar10-sample.tar.gz`` and ``checkpoints``.
    """

    def find(*names: str) -> Path:
        if missing := [name for name in names if not (_DATA / name).exists()]:
            pytest.skip(f"needs real data: {', '.join(missing)} in the folder that SEMIROBUST_DATA names")
        return _DATA

    return find


@pytest.fixture
def linear() -> nn.Module:
    """logits = x W^T + b on 12 pixels and 3 classes: its worst case is known in closed form."""
    generator = torch.Generator().manual_seed(7)
    layer = nn.Linear(12, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 12, generator=generator))
        layer.bias.copy_(torch.randn(3, generator=generator) / 10)
    return nn.Sequential(nn.Flatten(), layer)


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Seventeen images of 3x2x2 and labels among 3 classes, away from the borders of [0, 1]."""
    generator = torch.Generator().manual_seed(3)
    x = 0.3 + 0.4 * torch.rand(17, 3, 2, 2, generator=generator)
    return x, torch.randint(0, 3, (17,), generator=generator)

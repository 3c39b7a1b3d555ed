"""Each sanity check on a model that has just that fault, and none on a sound one."""

import pytest
import torch
from torch import nn

import semirobust as sr
from tests.helpers import untouched


class _Classifier(nn.Module):
    """A linear classifier on 3x6x6 images with a fault at its output."""

    def __init__(self, fault=lambda z: z):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(108, 3)
        self.fault = fault

    def forward(self, x):
        return self.fault(self.linear(x.flatten(1)))


def _rounded_input(model):
    """Gradients vanish: pixels are rounded to eight levels before the model sees them."""

    class Rounded(nn.Module):
        def forward(self, x):
            return model((x * 8).round() / 8)

    return Rounded()


class _Barrier(nn.Module):
    """The gradient points the wrong way, so that following it makes the example safer."""

    def __init__(self):
        super().__init__()
        self.model = _Classifier()

    def forward(self, x):
        logits = self.model(x)
        return 2 * logits.detach() - logits


def _examples(model):
    x = torch.rand(60, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, model(x).argmax(1)


def _failed(model, epsilon=0.02):
    x, y = _examples(model)
    return {check.name for check in sr.sanity_checks(model, x, y, sr.Linf(epsilon)) if not check.passed}


def test_a_sound_model_passes_and_is_left_alone():
    model = _Classifier().eval()
    x, y = _examples(model)
    with untouched(model):
        checks = sr.sanity_checks(model, x, y, sr.Linf(0.02))
    assert [check.name for check in checks] == [
        "randomised",
        "gradients",
        "growing",
        "unbounded",
        "black-box",
    ]
    assert all(check.passed for check in checks), checks
    assert not {c.name for c in sr.sanity_checks(model, x, y, sr.L2(0.3)) if not c.passed}


def test_a_randomised_model():
    generator = torch.Generator().manual_seed(0)
    noisy = _Classifier(lambda z: z + 0.05 * torch.randn(z.shape, generator=generator)).eval()
    assert "randomised" in _failed(noisy)


def test_missing_and_vanishing_gradients():
    assert {"gradients", "unbounded", "black-box"} <= _failed(_rounded_input(_Classifier()).eval(), 0.15)
    assert "gradients" in _failed(_Classifier(lambda z: z.detach()).eval())


def test_gradients_that_point_the_wrong_way():
    found = _failed(_Barrier().eval(), 0.05)
    assert {"unbounded", "black-box"} <= found and "gradients" not in found


def test_failed_checks_reach_the_command_line(monkeypatch, capsys, tmp_path):
    import sys
    from pathlib import Path

    from semirobust.cli.app import main
    from semirobust.records.quantity import Topic
    from semirobust.records.store import read_records

    monkeypatch.chdir(tmp_path)
    Path("masked.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.linear = torch.nn.Linear(64, 10)\n    def forward(self, x):\n"
        "        return self.linear(((x * 4).round() / 4).flatten(1))\n"
    )
    torch.save(nn.Linear(64, 10).state_dict(), "w.pt")
    arguments = [
        "evaluate",
        "masked:Net",
        "--checkpoint",
        "w.pt",
        "--data",
        "digits",
        "--examples",
        "40",
        "--attacks",
        "fgsm",
    ]
    monkeypatch.setattr(sys, "argv", ["semirobust", *arguments, "--eps", "0.1", "--out", "run"])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 0
    assert "Warning (gradients): 40 of 40 examples have a zero gradient" in capsys.readouterr().out.replace(
        "\n", " "
    )
    records = [r for r in read_records(Path("run")) if r.kind == "finding" and r.topic is Topic.CHECK]
    levels = {r.about.check: r.level for r in records}
    assert levels["gradients"] == "error" and levels["randomised"] == "good"

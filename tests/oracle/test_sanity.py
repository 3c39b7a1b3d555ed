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


def test_what_targeted_gradients_find_too_is_no_sign(monkeypatch):
    """An attack by gradients may be too short, which is no fault of the gradients."""
    monkeypatch.setattr("semirobust.evaluation.sanity._Checking._known", lambda self: ("weak", self.nearest))
    model = _Classifier().eval()
    x, y = _examples(model)
    check = {check.name: check for check in sr.sanity_checks(model, x, y, sr.Linf(0.1))}["black-box"]
    assert check.passed
    assert "fools 0 of 60 examples that weak and fab-t did not" in check.text
    barrier = _Barrier().eval()
    x, y = _examples(barrier)
    check = {check.name: check for check in sr.sanity_checks(barrier, x, y, sr.Linf(0.1))}["black-box"]
    assert check.passed is False


class _Counting(nn.Module):
    """Counts the images that pass forward and backward."""

    def __init__(self, model):
        super().__init__()
        self.model, self.passes = model, 0

    def forward(self, x):
        out = self.model(x)
        self.passes += len(x)
        if out.requires_grad:
            out.register_hook(self.back)
        return out

    def back(self, gradient):
        self.passes += len(gradient)


def _beside(model, steps, epsilon, n=60):
    """What an evaluation of n examples by PGD takes, its checks beside it, and what those found."""
    model = _Counting(model).eval()
    x, y = _examples(model)
    x, y, threat = x[:n], y[:n], sr.Linf(epsilon)
    model.passes = 0
    found = sr.evaluate(model, x, y, sr.PGD(threat, steps=steps), fast="off")
    evaluation, model.passes = model.passes, 0
    checks = sr.sanity_checks(model, x, y, threat, evaluation=found)
    return evaluation, model.passes, {check.name: check for check in checks}


@pytest.mark.parametrize(("steps", "n"), [(20, 60), (40, 60), (100, 60), (100, 30)])
def test_checks_take_at_most_a_fifth_of_the_evaluation(steps, n):
    evaluation, checks, found = _beside(_Classifier(), steps, 0.001, n)
    assert checks <= evaluation / 5
    assert all(check.passed is not False for check in found.values())
    fewer = [check for check in found.values() if "nearest" in check.text or check.passed is None]
    assert fewer, "what is made on fewer images says so"
    assert found["gradients"].passed is found["randomised"].passed is found["unbounded"].passed is True
    if steps == 100 and n == 60:
        assert "that pgd-100 did not, tried on the nearest" in found["black-box"].text
        assert all(check.passed for check in found.values())


def test_faults_are_found_within_a_fifth():
    """With the budget as without: each check finds its fault."""
    generator = torch.Generator().manual_seed(0)
    noisy = _Classifier(lambda z: z + 0.05 * torch.randn(z.shape, generator=generator))
    for model, epsilon, faults in (
        (noisy, 0.02, {"randomised"}),
        (_rounded_input(_Classifier()), 0.15, {"gradients", "unbounded", "black-box"}),
        (_Classifier(lambda z: z.detach()), 0.02, {"gradients"}),
        (_Barrier(), 0.05, {"unbounded", "black-box"}),
    ):
        steps = 1 if faults == {"gradients"} else 100
        try:
            evaluation, checks, found = _beside(model, steps, epsilon)
        except sr.InputError:  # without any gradient there is nothing to evaluate by PGD
            assert faults == {"gradients"}
            continue
        assert faults <= {name for name, check in found.items() if check.passed is False}, found
        assert checks <= evaluation / 5


def test_too_short_an_evaluation_is_not_judged():
    """Below ten images a check says that it judges nothing, and is neither passed nor failed."""
    _, checks, found = _beside(_Classifier(), 1, 0.001)
    assert checks <= 200 and found["gradients"].passed is True
    for name in ("growing", "black-box"):
        assert found[name].passed is None and "not judged: it needs" in found[name].text
    table = sr.evaluation.sanity.Checks(found.values()).table()
    assert "not judged: growing" in table.said and "failed" not in table.said


def test_what_was_not_judged_reaches_the_command_line(monkeypatch, capsys, tmp_path):
    import sys

    from semirobust.cli.app import main
    from semirobust.records.quantity import Topic
    from semirobust.records.store import read_records

    monkeypatch.chdir(tmp_path)
    arguments = "evaluate short:Net --data digits --examples 12 --attacks fgsm --eps 0.01 --out run"
    (tmp_path / "short.py").write_text(
        "import torch\nclass Net(torch.nn.Sequential):\n    def __init__(self):\n"
        "        torch.manual_seed(0)\n        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    monkeypatch.setattr(sys, "argv", ["semirobust", *arguments.split()])
    with pytest.raises(SystemExit) as leave:
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert (
        leave.value.code == 0 and "Note (black-box): not judged: it needs" in said and "Warning" not in said
    )
    findings = [r for r in read_records(tmp_path / "run") if r.kind == "finding" and r.topic is Topic.CHECK]
    levels = {r.about.check: r.level for r in findings}
    assert levels["black-box"] == "warning" and levels["gradients"] == "good"


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

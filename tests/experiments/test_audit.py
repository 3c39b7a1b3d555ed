"""One command for an hour: what it does, what it says, and that nothing it has found is done again or lost."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.evaluation.check import Check
from semirobust.evaluation.proportion import Accuracy, Proportion
from semirobust.experiments.commands import audit as command
from semirobust.procedures import plan as planning
from semirobust.procedures.plan import Plan, plan_audit, took
from semirobust.procedures.verdict import next_steps, verdict
from tests.experiments.test_commands import FAST
from tests.helpers import SmallResidual, untouched

BALL = sr.Linf(0.1)


@pytest.fixture
def paced(monkeypatch):
    """Passes that take a millisecond, so that a plan does not depend on the machine."""
    own = planning._measured
    monkeypatch.setattr(planning, "_measured", lambda *a: (1e-3, *own(*a)[1:]))


@pytest.fixture
def network():
    torch.manual_seed(0)
    model, x = SmallResidual().eval(), torch.rand(80, 3, 5, 5)
    return model, x, model(x).argmax(1)


def test_a_plan_takes_the_strongest_attack_that_fits_and_says_what_did_not(network, paced):
    model, x, y = network
    found = [plan_audit(model, x, y, BALL, minutes, seed=sr.Seed(("0",))) for minutes in (0.05, 3, 200)]
    assert [plan.attacks[1] for plan in found] == ["apgd-10", "apgd-50", "autoattack"]
    assert found[-1].examples == 80 and not found[-1].why
    assert "autoattack on 50 images does not fit into 3 minutes" in found[1].why
    for plan, minutes in zip(found[1:], (3, 200), strict=True):
        assert 0 < sum(plan.seconds.values()) <= 60 * minutes
    assert "autoattack on 80 images" in str(found[-1]) and "minutes" in str(found[-1])
    assert [took(s) for s in (0.2, 40, 600, 9000)] == [
        "about 1 s",
        "about 40 s",
        "about 10 minutes",
        "about 2 hours",
    ]


def test_an_audit_in_python_has_the_numbers_of_evaluate(network, paced):
    model, x, y = network
    with untouched(model):
        found = sr.audit(model, (x, y), BALL, minutes=0.2, seed=3)
    n = found.plan.examples
    attacks = [command_attack(name) for name in found.plan.attacks]
    own = sr.evaluate(model, x[:n], y[:n], attacks, seed=sr.Seed(("3",)) / "audit", worst_case=True)
    assert torch.equal(found.evaluation.worst, own.worst) and found.layers is not None
    text = str(found)
    assert found.verdict in text and "Most critical layers:" in text and "Next: " in text
    with pytest.raises(InputError, match="minutes: expected a number above 0"):
        sr.audit(model, (x, y), BALL, minutes=0)
    with pytest.raises(InputError, match=r"data: expected images and their labels"):
        sr.audit(model, x, BALL)
    with pytest.raises(InputError, match=r"did you mean 9/255"):
        sr.audit(model, (x, y), sr.L2(9))


def command_attack(name):
    from semirobust.attacks import ATTACKS

    return ATTACKS.make(name, threat=BALL)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_network_without_gradients_or_layers_is_audited_by_square(network, paced):
    model, x, y = network

    class Rounding(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, z):
            return self.inner((z * 64).round() / 64).detach()

    hidden = Rounding().eval()
    found = sr.audit(hidden, (x[:20], hidden(x[:20]).argmax(1)), BALL, minutes=2)
    assert all(name.startswith("square") for name in found.plan.attacks)
    traced = torch.jit.trace(model, x[:2])
    found = sr.audit(traced, (x[:20], y[:20]), BALL, minutes=1)
    assert found.layers is None and any("no profile of the layers" in note for note in found.notes)


def _accuracies(clean, robust, n=200, undecided=0):
    return [
        Accuracy("clean", Proportion(clean, n)),
        Accuracy("pgd-20", Proportion(robust, n), "Linf 8/255", undecided=undecided),
    ]


_PLAN = Plan(
    1e-4, 10, ("pgd-20", "autoattack"), 200, 20, 100, {"attacks": 1.0, "checks": 1.0, "profile": 1.0}
)


def test_verdicts_say_what_the_numbers_do_and_no_more():
    good, bad = Check("growing", True, "fine"), Check("growing", False, "it rises")
    said = verdict(_accuracies(180, 100), [good], 10)
    assert said.startswith(
        "Of 200 images 90.0% are classified correctly, and 50.0% (42.9 to 57.1 %) withstand"
    )
    assert "upper bound" in said and "check failed" not in said
    assert "a check failed, so the truth may be lower" in verdict(_accuracies(180, 100), [bad], 10)
    assert verdict(_accuracies(180, 21), [good], 10).startswith("The network is not robust.")
    assert verdict(_accuracies(180, 0), [good], 10).startswith("The network is not robust.")
    assert "no better than chance (10.0%)" in verdict(_accuracies(22, 10), [good], 10)
    assert "cannot be told: 30 of 200 are not decided" in verdict(
        _accuracies(180, 100, undecided=30), [good], 10
    )


def test_next_steps_name_a_cost_and_what_a_method_expects():
    good, bad = Check("growing", True, "fine"), Check("growing", False, "it rises")
    robust = next_steps(_accuracies(180, 100), [good], _PLAN, training=1000, layers=(7, 5))
    assert len(robust) == 1 and "the classifier left out" in robust[0]
    assert 'sr.harden(model, images, "clat", threat=threat)' in robust[0]
    typed = next_steps(_accuracies(180, 100), [good], _PLAN, training=1000, layers=(7, 5), folder="runs/a")
    assert "semirobust harden --from runs/a --method clat --controls --out hardened" in typed[0]
    # Three passes a step, eleven steps an image, ten epochs of a thousand images.
    assert "about 33 s" in robust[0]
    weak = next_steps(_accuracies(180, 5), [bad], _PLAN, training=0)
    assert weak[0].startswith("look at growing first: it rises") and "train it adversarially" in weak[1]
    assert "10,000 images" in weak[1]
    unknown = next_steps(_accuracies(20, 5), [good], _PLAN, training=1000)
    assert "does not know these images" in unknown[-1] and len(unknown) == 1


def test_the_command_goes_on_and_adds(run, monkeypatch, paced):
    run("train", "--data", "digits", "--attack", "pgd-2", "--epochs", "2", "--out", "runs/a", *FAST)
    call = ("audit", "runs/a", "--threads", "1", "--set", "data.test=30")
    first = json.loads(run(*call, "--minutes", "0.2", "--json")[0])
    assert Path(first["report"]).is_file() and first["verdict"] in Path(first["report"]).read_text()
    assert set(first["criticality"]) == {str(i) for i in range(1, 9)} and len(first["checks"]) == 5
    before = {file: file.read_bytes() for file in Path("runs/a/records").iterdir()}

    def not_again(*args, **kwargs):
        raise AssertionError("done before")

    with monkeypatch.context() as patched:
        patched.setattr(command, "evaluate_subject", not_again)
        patched.setattr(command, "profile", not_again)
        again = json.loads(run(*call, "--minutes", "0.2", "--json")[0])
    assert again["accuracy"] == first["accuracy"] and again["verdict"] == first["verdict"]
    assert {file: file.read_bytes() for file in Path("runs/a/records").iterdir()} == before
    more, _ = run(*call, "--minutes", "1")
    assert "Plan: " in more and "Verdict: " in more and "Report: " in more
    numbers = [record for record in sr_records("runs/a") if record.kind == "number"]
    evaluations = {n.origin.config for n in numbers if n.about.attack == "clean"}
    assert len(evaluations) == 2  # what was found before is still there
    _, error = run(*call, "--minutes", "-1", code=2)
    assert "minutes: expected a number above 0" in error


def sr_records(folder):
    from semirobust.records.store import read_records

    return read_records(Path(folder))


def test_another_network_is_not_taken_for_the_one_that_was_audited(run, paced, tmp_path):
    for seed in (0, 1):
        sr.save_model(
            sr.build_model("resnet8", width=0.1, in_channels=1, image_size=8, seed=seed),
            tmp_path / f"{seed}.safetensors",
        )
    call = ["audit", "resnet8", "--data", "digits", "--width", "0.1", "--set", "data.test=40", "--eps", "0.1"]
    run(*call, "--checkpoint", "0.safetensors", "--minutes", "0.1", "--out", "o")
    _, error = run(*call, "--checkpoint", "1.safetensors", "--minutes", "0.1", "--out", "o", code=2)
    assert "o" in error

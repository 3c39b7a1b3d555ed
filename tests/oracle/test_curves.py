"""Worst case, resumption, security curves and transfer."""

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from tests.helpers import untouched

THREAT = sr.Linf(0.1)
ATTACKS = [
    sr.AutoAttack(THREAT, steps=10, queries=60),
    sr.PGD(THREAT, steps=10),
    sr.FGSM(THREAT),
    sr.StAdv(steps=20),
]


@pytest.fixture(scope="module")
def trained():
    """A small network on digits, and 120 test images with labels."""
    splits = sr.load_data("digits")
    model = sr.build_model("mlp_300_100_100", width=0.3, in_channels=1, image_size=8, seed=1)
    training = sr.Training(
        objective=sr.Adversarial(), attack=sr.PGD(THREAT, steps=3), epochs=6, batch_size=64
    )
    training(model, splits.train, seed=0)
    return model, *splits.test.first(120).all()


def test_the_worst_case_is_that_of_all_attacks_and_comes_cheapest_first(trained):
    model, x, y = trained
    with untouched(model):
        quick = sr.evaluate(model, x, y, ATTACKS, worst_case=True)
    each = sr.evaluate(model, x, y, ATTACKS)
    names = list(quick.robust)
    assert names[:2] == ["fgsm", "pgd-10"] and names[2].startswith("autoattack") and names[3] == "stadv-20"
    assert (quick.robust[names[0]] >= quick.robust[names[1]]).all() and (
        quick.robust[names[1]] >= quick.robust[names[2]]
    ).all()
    assert int((quick.worst != each.worst).sum()) <= 1
    assert list(quick.summary()) == ["clean", "fgsm", "+ pgd-10", f"+ {names[2]}", "stadv-20", "worst"]
    assert torch.equal(
        quick.robust["stadv-20"], each.robust["stadv-20"]
    )  # another threat model starts afresh
    assert quick.threats["stadv-20"] == "flow of 0.3 pixels"


def test_an_interrupted_evaluation_ends_as_if_it_had_not_been(trained, tmp_path):
    model, x, y = trained
    state, calls = tmp_path / "state.safetensors", []
    whole = sr.evaluate(model, x, y, ATTACKS, batch_size=30, worst_case=True)

    def stop(task, done, total):
        calls.append(task)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sr.evaluate(model, x, y, ATTACKS, batch_size=30, worst_case=True, state=state, progress=stop)
    assert state.is_file()
    resumed = []
    again = sr.evaluate(
        model,
        x,
        y,
        ATTACKS,
        batch_size=30,
        worst_case=True,
        state=state,
        progress=lambda *step: resumed.append(step),
    )
    assert all(torch.equal(again.robust[name], whole.robust[name]) for name in whole.robust)
    done = []
    sr.evaluate(
        model, x, y, ATTACKS, batch_size=30, worst_case=True, progress=lambda *step: done.append(step)
    )
    assert resumed == done[4:]
    with pytest.raises(InputError, match="of another evaluation"):
        sr.evaluate(model, x, y, ATTACKS, batch_size=31, worst_case=True, state=state)
    state.write_bytes(state.read_bytes()[:50])
    with pytest.raises(InputError, match="cannot be read"):
        sr.evaluate(model, x, y, ATTACKS, batch_size=30, worst_case=True, state=state)
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        sr.evaluate(model, x, y, state=tmp_path / "state")


def test_a_security_curve_of_a_linear_model(linear, images):
    """An example falls just at the radius |margin| / ||w||_1 of its nearest boundary."""
    x, _ = images
    y = linear(x).argmax(1).detach()
    logits, weight = linear(x).detach(), linear[1].weight.detach()
    gaps = torch.stack(
        [
            (logits.gather(1, y[:, None])[:, 0] - logits[:, k]) / (weight[y] - weight[k]).abs().sum(1)
            for k in range(3)
        ]
    )
    radius = gaps.nan_to_num(torch.inf, torch.inf).where(gaps != 0, torch.inf).amin(0)
    radii = [0.02, 0.05, 0.1, 0.2]
    curve = sr.sweep(
        linear, x, y, sr.APGD(sr.Linf(1.0, insist=True), loss="dlr-targeted"), [0.2, 0.02, 0.1, 0.05, 0]
    )
    assert curve.epsilons == (0.0, *radii) and curve.correct[0].all()
    for row, epsilon in zip(curve.correct[1:], radii, strict=True):
        sure = (radius - epsilon).abs() > 0.01 * epsilon
        room = x.flatten(1).amin(1) > epsilon  # away from the ends of the pixel range
        room &= x.flatten(1).amax(1) < 1 - epsilon
        assert torch.equal(row[sure & room], (radius > epsilon)[sure & room])
    assert all((b <= a).all() for a, b in zip(curve.correct[:-1], curve.correct[1:], strict=True))
    assert "Linf 0.05" in str(curve) and curve.accuracies[0] == 1


def test_sweeps_that_make_no_sense_are_one_sentence(trained):
    model, x, y = trained
    for attacks, radii, message in (
        ([sr.StAdv()], [0.1], "norm balls of one norm"),
        ([sr.PGD(sr.L2(1)), sr.PGD(THREAT)], [0.1], "norm balls of one norm"),
        ([], [0.1], "norm balls of one norm"),
        ([sr.PGD(THREAT)], [0], "at least one radius"),
        ([sr.PGD(THREAT)], [-0.1], "epsilon: expected a finite number"),
    ):
        with pytest.raises(InputError, match=message):
            sr.sweep(model, x, y, attacks, radii)


def test_transfer_between_equal_models_is_the_attack_itself(trained):
    model, x, y = trained
    other = sr.build_model("mlp_300_100_100", width=0.3, in_channels=1, image_size=8, seed=3)
    attack = sr.PGD(THREAT, steps=10)
    with untouched(model):
        matrix = sr.transfer({"a": model, "twin": model, "other": other.eval()}, x, y, attack, seed=1)
    assert torch.equal(matrix.correct["a", "a"], matrix.correct["a", "twin"])
    own = sr.evaluate(model, x, y, [attack]).robust["pgd-10"]
    assert int((matrix.correct["a", "a"] != own).sum()) <= 3
    assert matrix.accuracy("other", "a") > matrix.accuracy("a", "a")
    assert torch.equal(matrix.clean["a"], model(x).argmax(1) == y) and matrix.names == ("a", "twin", "other")
    assert "made for" in str(matrix) and matrix.attack == "pgd-10"
    with pytest.raises(InputError, match="models: expected at least one"):
        sr.transfer({}, x, y, attack)


def test_transfer_does_not_count_what_leaves_the_threat_model(trained):
    model, x, y = trained
    black = sr.adapt(lambda model, x, y: torch.zeros_like(x), sr.Linf(0.01), name="black")
    matrix = sr.transfer({"a": model}, x, y, black)
    # It is no success, and that nothing was found says nothing: the third number, as of an evaluation.
    assert torch.equal(matrix.undecided["a", "a"], matrix.clean["a"]) and not matrix.correct["a", "a"].any()
    assert "a \u2192 a, " in str(matrix) and "not decided" in str(matrix)


def test_models_on_the_same_images_only(trained):
    model, x, y = trained
    with pytest.raises(InputError, match="the model cannot run"):
        sr.transfer(
            {"a": model, "b": nn.Sequential(nn.Flatten(), nn.Linear(5, 10)).eval()}, x, y, sr.FGSM(THREAT)
        )


def test_attacks_of_one_name_are_told_apart(trained):
    model, x, y = trained
    strong, weak = sr.PGD(sr.Linf(0.2)), sr.PGD(sr.Linf(0.001))
    result = sr.evaluate(model, x, y, [strong, weak])
    assert result.robust[weak].sum() > result.robust[strong].sum()
    with pytest.raises(KeyError):
        result.robust[sr.PGD(sr.Linf(0.3))]
    two = [sr.Square(THREAT, queries=200), sr.Square(THREAT, queries=2)]
    assert [attack.name for attack in two] == ["square-200", "square-2"]
    curve = sr.sweep(model, x, y, two, [0.1])
    assert int(curve.correct[1].sum()) <= int(sr.evaluate(model, x, y, two[0]).worst.sum()) + 3


def test_resuming_with_another_attack_of_the_same_name_is_refused(trained, tmp_path):
    model, x, y = trained
    state = tmp_path / "s.safetensors"

    class Gentle:
        def __init__(self, strength):
            self.strength = strength

        def __repr__(self):
            return f"Gentle({self.strength})"

        def __call__(self, model, x, y):
            return x

    sr.evaluate(model, x, y, sr.adapt(Gentle(1), THREAT), state=state)
    with pytest.raises(InputError, match="of another evaluation"):
        sr.evaluate(model, x, y, sr.adapt(Gentle(2), THREAT), state=state)

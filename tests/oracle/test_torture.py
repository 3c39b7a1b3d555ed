"""No robust accuracy above the truth: outputs and gradients that are not as they should be, every attack, every
norm. What cannot be decided is counted as such, or refused.
"""

import copy
from fractions import Fraction

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.cli.show.accuracy import show_accuracy
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.evaluation.proportion import Accuracy, Proportion
from semirobust.experiments.commands.evaluate import Evaluated, curve_records
from semirobust.experiments.recipe import read_recipe
from semirobust.records.schema import Origin
from semirobust.records.store import write_records
from semirobust.reports.page import write_report
from tests.helpers import SmallResidual
from tests.kinds import kind
from tests.oracle.torture import TORTURES, Linear, examples, tortured

NORMS = {"linf": (sr.Linf, 0.02), "l2": (sr.L2, 0.1), "l1": (sr.L1, 0.3)}
SEEDS = (0, 1)


def _attacks(ball):
    return {
        "fgsm": sr.FGSM(ball),
        "fgsm-rs": sr.PGD(ball, steps=1, step_size=1.25 * ball.epsilon),
        "pgd": sr.PGD(ball, steps=10),
        "pgd from the image": sr.PGD(ball, steps=10, random_start=False),
        "pgd twice": sr.PGD(ball, steps=5, restarts=2),
        "apgd": sr.APGD(ball, steps=20),
        "apgd-dlr": sr.APGD(ball, steps=20, loss="dlr"),
        "apgd-t": sr.APGD(ball, steps=20, loss="dlr-targeted"),
        "fab": sr.FAB(ball, steps=15),
        "fab untargeted": sr.FAB(ball, steps=15, targets=0),
        "square": sr.Square(ball, queries=400),
        "autoattack": sr.AutoAttack(ball, steps=10, queries=400),
    }


def _above_the_truth(norm, seed, chosen):
    """Of the (torture, attack) pairs those whose accuracy is too high without a word, and how many there were."""
    model, (ball, epsilon) = Linear(seed), NORMS[norm]
    x, y, robust = examples(model, norm, epsilon, 8, seed)
    attacks, wrong, count = _attacks(ball(epsilon)), [], 0
    # An attack that is too weak for the plain network is as weak here.
    plain = {key: sr.evaluate(model, x, y, {key: a}, fast="off").robust[key] for key, a in attacks.items()}
    for name, (_, answers_nothing) in TORTURES.items():
        for key, attack in attacks.items():
            count += 1
            if not chosen(count):
                continue
            try:
                found = sr.evaluate(tortured(name, model, x), x, y, {key: attack}, fast="off")
            except InputError:
                continue
            truth = (robust | plain[key]) & (not answers_nothing)
            if bool((found.robust[key] & ~truth).any()) and not bool(found.undecided[key].any()):
                wrong.append((norm, seed, name, key))
            assert name != "as it is" or not found.undecided[key].any(), key
    return wrong, count


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize("norm", NORMS)
def test_no_accuracy_above_the_truth_without_a_word(norm):
    wrong, _ = _above_the_truth(norm, 0, lambda number: number % 7 == 0)
    assert wrong == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:std")
def test_no_accuracy_above_the_truth_in_two_thousand_combinations():
    results = [_above_the_truth(norm, seed, lambda number: True) for norm in NORMS for seed in SEEDS]
    assert sum(count for _, count in results) >= 2000
    assert [case for wrong, _ in results for case in wrong] == []


def _found(name, attack="pgd", norm="linf", **kwargs):
    model, (ball, epsilon) = Linear(0), NORMS[norm]
    x, y, robust = examples(model, norm, epsilon, 8, 0)
    made = tortured(name, model, x)
    return sr.evaluate(made, x, y, {"a": _attacks(ball(epsilon))[attack]}, fast="off", **kwargs), robust


@kind(
    "a network with a NaN gradient in one pixel",
    "the other pixels still move, and all is decided",
    about="attacks",
)
def test_one_pixel_without_a_number_does_not_stop_the_others():
    for norm in NORMS:
        found, robust = _found("NaN gradient in a pixel", "pgd from the image", norm)
        assert torch.equal(found.robust["a"], robust) and not found.undecided["a"].any()


@kind(
    "a network whose gradient is NaN for whole images",
    "what withstands is not decided, which is the third number beside the accuracy",
    about="attacks",
)
def test_an_attack_that_sees_only_nan_decides_nothing():
    found, _ = _found("NaN gradient everywhere")
    assert not found.robust["a"].any() and found.undecided["a"].all()
    assert "100.0% not decided" in str(found.summary())
    assert any("saw nowhere to go on 8 of 8" in note for note in found.notes)
    assert [a.undecided for a in found.accuracies()] == [0, 8]


@kind("a network that rounds its input, so that gradients are 0", "not decided by gradients", about="attacks")
def test_a_gradient_of_zero_decides_nothing():
    for attack in ("fgsm", "pgd", "apgd", "fab"):
        found, _ = _found("rounded input", attack)
        assert not found.robust["a"].any() and found.undecided["a"].all(), attack


@kind("the same, attacked by Square too", "Square decides", about="attacks")
def test_a_black_box_decides_what_gradients_cannot():
    for name in ("rounded input", "no gradient at all", "backwards gradient"):
        found, robust = _found(name, "autoattack")
        assert torch.equal(found.robust["a"], robust) and not found.undecided["a"].any(), name


@kind(
    "a network whose answers are one of two, so that no margin changes",
    "not decided by Square",
    about="attacks",
)
def test_a_margin_that_never_changes_decides_nothing():
    found, _ = _found("hard answers", "square")
    assert not (found.robust["a"]).any()


@kind("a network whose answer is NaN near the images", "it has not withstood", about="attacks")
def test_no_number_is_no_answer():
    for attack in ("fgsm", "pgd", "square"):
        for name in ("NaN off the grid", "NaN in one logit off the grid"):
            found, _ = _found(name, attack)
            assert not found.robust["a"].any(), (attack, name)


@kind(
    "a backward pass that points the wrong way", "said, and nothing is decided by gradients", about="attacks"
)
def test_a_gradient_that_misleads_decides_nothing():
    found, _ = _found("backwards gradient")
    assert not found.robust["a"].any() and any("misled" in note for note in found.notes)


@kind("logits of a size of 1e30 or 1e-30", "attacked like any others", about="attacks")
def test_the_size_of_the_logits_hides_nothing():
    for name in ("more saturated", "faint"):
        for attack in ("fab", "apgd-dlr"):
            found, robust = _found(name, attack)
            assert not (found.robust["a"] & ~robust).any(), (name, attack)


@kind(
    "batch norm without running statistics",
    "refused, since each answer depends on the batch",
    about="attacks",
)
def test_answers_that_depend_on_the_batch_are_refused():
    with pytest.raises(InputError, match="other images of the batch.*running statistics"):
        _found("answers by the batch")


@kind(
    "a network that draws its answers",
    "a verdict is that of eight passes; where they differ it is not decided",
    about="attacks",
)
def test_drawn_answers_are_said_and_asked_eight_times():
    found, robust = _found("answers drawn", "apgd")
    assert any("differently from pass to pass" in note for note in found.notes)
    assert not (found.robust["a"] & ~robust).any()


@kind("a network that answers otherwise once it was called often", "nothing is decided", about="attacks")
def test_answers_that_change_with_the_number_of_calls_decide_nothing():
    found, _ = _found("answers late")
    assert not found.robust["a"].any() and any("after it was attacked" in note for note in found.notes)


@kind("attacks called clean or worst", "refused, since the summary has those names", about="attacks")
def test_names_of_the_summary_are_taken():
    model = Linear(0)
    x, y, _ = examples(model, "linf", 0.02, 4, 0)
    for name in ("clean", "worst"):
        with pytest.raises(InputError, match="other names than clean and worst"):
            sr.evaluate(model, x, y, {name: sr.FGSM(sr.Linf(0.02))})


@kind("labels of any whole-number type", "taken; one-hot ones are refused with the remedy", about="attacks")
def test_labels_of_every_integer_type():
    model = Linear(0)
    x, y, _ = examples(model, "linf", 0.02, 6, 0)
    attacks = list(_attacks(sr.Linf(0.02)).values())
    expected = sr.evaluate(model, x, y, attacks)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint64):
        found = sr.evaluate(model, x, y.to(dtype), attacks)
        assert all(torch.equal(found.robust[name], expected.robust[name]) for name in expected.robust)
    with pytest.raises(InputError, match="argmax"):
        sr.evaluate(model, x, nn.functional.one_hot(y, 2), attacks)


@kind(
    "a network in bfloat16 or float16",
    "an attack looks at what is left of a point after rounding",
    about="attacks",
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_point_that_is_judged_is_the_point_that_was_searched(dtype):
    torch.manual_seed(0)
    model = SmallResidual().eval().to(dtype)
    x = torch.rand(60, 3, 5, 5).to(dtype)
    y = model(x).argmax(1)
    for ball in (sr.Linf(0.1), sr.L2(0.6)):
        result = sr.evaluate(model, x, y, [sr.PGD(ball, steps=20), sr.PGD(ball, steps=20, restarts=5)])
        weak, strong = (float(v.float().mean()) for v in result.robust.values())
        assert strong <= weak + 1e-9
        # A plain search along signs that looks at rounded points, for one of the balls.
        if isinstance(ball, sr.Linf):
            assert strong <= _plain(model, x, y, 0.1) + 0.05


def _plain(model, x, y, epsilon):
    low, high = (x.float() - epsilon).clamp(0, 1), (x.float() + epsilon).clamp(0, 1)
    point, left = x.float(), torch.ones(len(x), dtype=torch.bool)
    for _ in range(20):
        leaf = point.to(x.dtype).requires_grad_()
        logits = model(leaf)
        left &= logits.argmax(1) == y
        nn.functional.cross_entropy(logits.float(), y, reduction="sum").backward()
        point = torch.minimum(torch.maximum(point + epsilon / 8 * leaf.grad.float().sign(), low), high)
    return float(left.float().mean())


def _exactly_inside(x, x_adv, norm, epsilon):
    """In rational numbers, in which floating-point numbers have no rounding."""
    delta = [Fraction(a) - Fraction(b) for a, b in zip(x_adv.tolist(), x.tolist(), strict=True)]
    if norm == "linf":
        return max(map(abs, delta)) <= Fraction(epsilon)
    if norm == "l1":
        return sum(map(abs, delta)) <= Fraction(epsilon)
    return sum(d * d for d in delta) <= Fraction(epsilon) ** 2


def _check_examples(n, draws):
    """How many adversarial examples there were, all inside their balls, and all verdicts those of the model."""
    torch.manual_seed(0)
    model, count = SmallResidual().eval(), 0
    with torch.no_grad():
        for norm, (ball, _) in NORMS.items():
            for draw in range(draws):
                epsilon = (8 / 255, 0.1, 0.5, 0.3)[draw % 4] * (1 if norm == "linf" else 3)
                x = torch.rand(n, 3, 5, 5)
                x[: n // 3] = (x[: n // 3] * 255).round() / 255
                y = model(x).argmax(1)
                for name, attack in _attacks(ball(epsilon)).items():
                    single = len(attack.parts) == 1
                    path = as_seed(draw) / name / attack.name / 0 if single else as_seed(draw)
                    x_adv = attack.fool(model, x, y, seed=path)
                    if single:
                        verdict = sr.evaluate(model, x, y, {name: attack}, seed=draw, fast="off")
                        assert torch.equal(verdict.standing(name), model(x_adv).argmax(1) == y)
                    count += len(x)
                    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
                    own = (x_adv - x).flatten(1).norm(order, dim=1)
                    assert float(own.max()) <= epsilon, (attack, float(own.max()))
                    assert float((x_adv.double() - x.double()).flatten(1).norm(order, dim=1).max()) <= epsilon
                    assert float(x_adv.min()) >= 0 and float(x_adv.max()) <= 1
                    rows = zip(x.flatten(1).double(), x_adv.flatten(1).double(), strict=True)
                    assert all(_exactly_inside(a, b, norm, epsilon) for a, b in rows), attack
    return count


@kind(
    "a strict `<= eps` on what an attack returns",
    "holds, in single precision, in double precision and in rational numbers",
    about="attacks",
)
def test_every_example_is_in_its_ball_in_exact_arithmetic():
    assert _check_examples(6, 1) == 6 * 3 * len(_attacks(sr.Linf(0.1)))


@pytest.mark.slow
def test_a_hundred_thousand_examples_are_in_their_balls_in_exact_arithmetic():
    assert _check_examples(120, 24) >= 100_000


@kind(
    "a default dtype of float64, or autocast inside the network", "attacked like any other", about="attacks"
)
def test_other_default_precisions():
    class Casting(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.inner(x)

    torch.manual_seed(0)
    single, x = SmallResidual().eval(), torch.rand(8, 3, 5, 5)
    y = single(x).argmax(1)
    for norm, (ball, _) in NORMS.items():
        threat = ball(0.05 if norm == "linf" else 0.5)
        attacks = [sr.PGD(threat, steps=4), sr.FAB(threat, steps=4), sr.Square(threat, queries=20)]
        attacks += [sr.APGD(threat, steps=4, loss=loss) for loss in ("ce", "dlr-targeted")]
        expected = sr.evaluate(single, x, y, attacks).worst
        casting = Casting(single).eval()
        assert sr.evaluate(casting, x, casting(x).argmax(1), attacks).clean.all()
        torch.set_default_dtype(torch.float64)
        try:
            assert torch.equal(sr.evaluate(single, x, y, attacks).worst, expected)
            assert sr.evaluate(copy.deepcopy(single).double(), x.double(), y, attacks).clean.all()
        finally:
            torch.set_default_dtype(torch.float32)


@kind(
    "a security curve or a transfer matrix of a network without gradients",
    "what is not decided is a third number there too, in print, table, JSON, records and report",
    about="attacks",
)
def test_curves_and_matrices_have_the_third_number_too(capsys, tmp_path):
    model = Linear(0)
    x, y, _ = examples(model, "linf", 0.02, 8, 0)
    rounding = tortured("rounded input", model, x)
    curve = sr.sweep(rounding, x, y, sr.PGD(sr.Linf(0.02), steps=3), [0.01, 0.02], fast="off")
    assert curve.left_open == (0, 8, 8) and [float(a) for a in curve.accuracies] == [1, 0, 0]
    matrix = sr.transfer({"r": rounding, "m": model}, x, y, sr.PGD(sr.Linf(0.02), steps=3))
    assert matrix.left_open("r", "m") == 8 and matrix.left_open("m", "m") == 0
    assert not matrix.correct["r", "m"].any() and matrix.correct["m", "m"].any()
    assert "100.0% not decided" in str(curve) and "r \u2192 m, 100.0% not decided" in str(matrix)

    clean = Proportion(8, 8)
    found = Evaluated([Accuracy("clean", clean)], {}, [], curve, matrix)
    for as_json, expected in ((True, '"undecided": 8'), (False, "not decided")):
        show_accuracy(found, read_recipe(None, {}), as_json=as_json)
        assert expected in capsys.readouterr().out
    records = curve_records(found, Origin(config="0", version="0", device="cpu", seed="0"))
    write_records(tmp_path / "records" / "3-evaluate.jsonl", records)
    write_report([tmp_path], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "or not decided" in page and "Made for r, seen by m: 100.0% not decided." in page


def test_curves_and_matrices_look_whether_clean_accuracy_is_plausible():
    model = Linear(0)
    x, y, _ = examples(model, "linf", 0.02, 80, 0)
    attack = sr.FGSM(sr.Linf(0.02))
    curve = sr.sweep(model, x, 1 - y, attack, [0.02])
    matrix = sr.transfer({"a": model, "b": model}, x, 1 - y, attack)
    assert any("another order of the classes" in note for note in curve.notes)
    assert {note[:3] for note in matrix.notes} == {"a: ", "b: "}
    assert sr.sweep(model, x, y, attack, [0.02]).notes == ()

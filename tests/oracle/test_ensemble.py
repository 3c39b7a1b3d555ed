"""APGD, FAB, Square and AutoAttack against closed forms, the formulas of the papers, and the authors'
code.
"""

import logging
import warnings

import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

import semirobust as sr
from semirobust.attacks import ATTACKS
from semirobust.attacks.apgd import likeliest_others
from semirobust.attacks.base.goals import Fool
from semirobust.attacks.base.losses import dlr, dlr_targeted, margin
from semirobust.attacks.base.steps import HalvedStep
from semirobust.core.errors import InputError

NORMS = pytest.mark.parametrize("threat", [sr.Linf(0.05), sr.L2(0.15), sr.L1(0.4)], ids=["linf", "l2", "l1"])


@pytest.fixture(scope="module")
def trained():
    """A small network on digits, and 60 test images with labels."""
    splits = sr.load_data("digits")
    model = sr.build_model("mlp_300_100_100", width=0.3, in_channels=1, image_size=8, seed=1)
    attack = sr.PGD(sr.Linf(0.05), steps=3)
    sr.Training(objective=sr.Adversarial(), attack=attack, epochs=8, batch_size=64)(
        model, splits.train, seed=0
    )
    return model, *splits.test.first(60).all()


def _two_class(linear):
    layer = nn.Linear(12, 2)
    with torch.no_grad():
        layer.weight.copy_(linear[1].weight[:2])
        layer.bias.copy_(-linear[1].weight[:2].sum(1) / 2)
    return nn.Sequential(nn.Flatten(), layer).eval()


@pytest.mark.parametrize(
    "threat", [sr.Linf(0.05), sr.L2(0.15), sr.L1(0.25)], ids=["linf", "l2", "l1"]
)  # no pixel to its end
@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted"])
def test_apgd_reaches_the_worst_case_of_a_linear_classifier(linear, images, threat, loss):
    model, x, y = _two_class(linear), images[0], images[1] % 2
    x_adv = sr.APGD(threat, steps=60, loss=loss)(model, x, y)
    w = (model[1].weight[0] - model[1].weight[1]).detach()
    with torch.no_grad():
        fall = margin(model(x_adv), y) - margin(model(x), y)
    truth = threat.epsilon * threat.dual(w[None]).expand_as(fall)
    # Two thirds of two values, rounded up, are two: on 12 pixels the sparse steps never come down to one.
    torch.testing.assert_close(fall, truth, rtol=0.3 if isinstance(threat, sr.L1) else 2e-3, atol=0)


@NORMS
@pytest.mark.parametrize("targets", [9, 0])
def test_fab_finds_the_distance_to_the_boundary_of_a_linear_classifier(linear, images, threat, targets):
    """|f| / ||w||_dual, where that lies within epsilon; otherwise it gives back x."""
    model, x = _two_class(linear), images[0]
    logits = model(x).detach()
    y = logits.argmax(1)
    w = (model[1].weight[0] - model[1].weight[1]).detach()
    truth = -margin(logits, y) / threat.dual(w[None])
    wide = type(threat)(float(truth.median()))
    x_adv = sr.FAB(wide, steps=60, targets=targets)(model, x, y)
    size = wide.size(x_adv - x)
    near = truth < 0.95 * wide.epsilon
    assert near.any() and (~near).any()
    torch.testing.assert_close(size[near], truth[near], rtol=0.02, atol=0)
    assert torch.equal(x_adv[truth > 1.05 * wide.epsilon], x[truth > 1.05 * wide.epsilon])


def test_square_reaches_the_worst_case_where_one_pixel_is_all(linear):
    """On 1x1 images each square is the whole image: the best of its colours is the corner of the ball."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    torch.manual_seed(0)
    x, y = 0.3 + 0.4 * torch.rand(20, 4, 1, 1), torch.zeros(20, dtype=torch.long)
    x_adv = sr.Square(sr.Linf(0.1), queries=300)(model, x, y)
    with torch.no_grad():
        start, end = margin(model(x), y), margin(model(x_adv), y)
    w = (model[1].weight[1] - model[1].weight[0]).detach()
    assert ((end > 0) | torch.isclose(end - start, 0.1 * w.abs().sum().expand(20), rtol=1e-4)).all()


@NORMS
def test_the_way_to_a_hyperplane_inside_the_pixel_range(threat):
    """argmin ||d||_p s.t. <w, d> = c, 0 <= t + d <= 1, by SciPy."""
    torch.manual_seed(1)
    t, w = torch.rand(12, 6, dtype=torch.float64), torch.randn(12, 6, dtype=torch.float64)
    w[0, :2] = 0
    c = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64)
    ours = threat.to_hyperplane(t, w, c)
    for i in range(12):
        bounds = [(-float(v), 1 - float(v)) for v in t[i]]
        if isinstance(threat, sr.L1):  # variables: what is added and what is taken away
            w_i = w[i].tolist()
            room = [(0.0, 1 - float(v)) for v in t[i]] + [(0.0, float(v)) for v in t[i]]
            found = linprog([1] * 12, A_eq=[w_i + [-v for v in w_i]], b_eq=[float(c[i])], bounds=room)
            best = found.fun if found.success else None
        elif isinstance(threat, sr.Linf):  # variables d and m: minimise m with |d| <= m
            upper = [[*(float(s * (j == k)) for k in range(6)), -1.0] for j in range(6) for s in (1, -1)]
            found = linprog(
                [0] * 6 + [1],
                A_ub=upper,
                b_ub=[0] * 12,
                A_eq=[[*w[i].tolist(), 0]],
                b_eq=[float(c[i])],
                bounds=[*bounds, (0, 2)],
            )
            best = found.fun if found.success else None
        else:
            equal = {"type": "eq", "fun": lambda d, i=i: float(w[i] @ torch.tensor(d)) - float(c[i])}
            found = minimize(
                lambda d: (d**2).sum(), [0.0] * 6, bounds=bounds, constraints=equal, options={"ftol": 1e-14}
            )
            best = found.fun**0.5 if found.success else None
        if best is not None:
            assert float(threat.size(ours[i : i + 1])) == pytest.approx(best, rel=1e-4, abs=1e-6)
            assert float(w[i] @ ours[i]) == pytest.approx(float(c[i]), abs=1e-6)
        assert float((t[i] + ours[i]).min()) >= -1e-9 and float((t[i] + ours[i]).max()) <= 1 + 1e-9


@NORMS
def test_the_way_to_a_hyperplane_does_not_depend_on_the_layout(threat):
    torch.manual_seed(2)
    t, w, c = torch.rand(5, 3, 4, 4), torch.randn(5, 3, 4, 4), torch.linspace(-2, 2, 5)
    last = {True: torch.channels_last, False: torch.contiguous_format}
    truth = threat.to_hyperplane(t, w, c)
    for a in (True, False):
        for b in (True, False):
            d = threat.to_hyperplane(
                t.contiguous(memory_format=last[a]), w.contiguous(memory_format=last[b]), c
            )
            torch.testing.assert_close(d, truth, rtol=1e-4, atol=1e-6)


def test_losses_by_hand():
    z = torch.tensor([[4.0, 1.0, 3.0, 0.0]])
    y, target = torch.tensor([0]), torch.tensor([1])
    assert float(margin(z, y)) == -1 and float(margin(z, y, target)) == -3
    assert float(dlr(z, y)) == pytest.approx(-1 / 3) and float(dlr_targeted(z, y, target)) == pytest.approx(
        -3 / 3.5
    )
    for loss in (dlr(z, y), dlr_targeted(z, y, target)):
        scaled = dlr(3 * z + 7, y) if loss is dlr else loss
        torch.testing.assert_close(loss, scaled)
    torch.testing.assert_close(dlr(3 * z + 7, y), dlr(z, y))
    torch.testing.assert_close(dlr_targeted(3 * z + 7, y, target), dlr_targeted(z, y, target))


def test_checkpoints_are_those_of_the_paper():
    """p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), in steps of 100."""
    p = [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    assert list(HalvedStep(sr.Linf(0.1), 0.75).checkpoints(100)) == [round(100 * v) for v in p[1:] if v <= 1]


def test_targets_are_the_likeliest_other_classes():
    logits = torch.tensor([[5.0, 1, 3, 2], [0, 9, 1, 8]])
    goal = Fool(lambda x: logits, torch.tensor([0, 3]))
    assert [t.tolist() for t in likeliest_others(goal, torch.zeros(2, 1), 9)] == [[2, 1], [3, 2], [1, 0]]


@pytest.mark.parametrize("classes", [2, 3, 4])
@NORMS
def test_few_classes_work(classes, threat):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, classes)).eval()
    x = torch.rand(15, 3, 3, 3)
    y = model(x).argmax(1).detach()
    for attack in (
        sr.APGD(threat, steps=10, loss="dlr"),
        sr.APGD(threat, steps=10, loss="dlr-targeted"),
        sr.FAB(threat, steps=5),
    ):
        x_adv = attack(model, x, y)
        assert torch.isfinite(x_adv).all() and attack.threat.contains(x, x_adv).all()


@NORMS
def test_verdicts_are_those_of_the_authors_code(trained, threat):
    """Each component alone and the whole ensemble on 60 images; at most one verdict may differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = pytest.importorskip("pyautoattack").AutoAttack
    logging.getLogger("auto-attack").setLevel("ERROR")
    model, x, y = trained
    components = {
        "apgd-ce": sr.APGD(threat),
        "apgd-dlr": sr.APGD(threat, loss="dlr"),
        "apgd-t": sr.APGD(threat, loss="dlr-targeted"),
        "fab-t": sr.FAB(threat),
    }
    ours = sr.evaluate(model, x, y, components)
    for name in components:
        theirs = reference(
            model, eps=threat.epsilon, norm=threat.norm, seed=0, version="custom", attacks=[name]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x_adv, _ = theirs.run_standard_evaluation(x, y, batch_size=60)
        expected = model(x_adv).argmax(1) == y
        assert 0.1 < float(expected.float().mean()) < 0.95
        assert int((ours.robust[name] != expected).sum()) <= 1, name


@NORMS
def test_square_is_as_strong_as_the_authors_code(trained, threat):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from_authors = pytest.importorskip("pyautoattack.square").SquareAttack
    model, x, y = trained
    ours = float(sr.evaluate(model, x, y, {"square": sr.Square(threat, queries=400)}).summary()["square"])
    theirs = from_authors(
        model, norm=threat.norm, n_queries=400, eps=threat.epsilon, p_init=0.8, seed=0, resc_schedule=False
    )
    x_adv = theirs.perturb(x, y)
    assert abs(ours - float((model(x_adv).argmax(1) == y).float().mean())) <= 0.07


def test_autoattack_is_at_least_as_strong_as_each_of_its_parts(trained):
    model, x, y = trained
    threat = sr.Linf(0.06)
    attack = sr.AutoAttack(threat, steps=30, queries=200)
    whole = sr.evaluate(model, x[:30], y[:30], {"whole": attack})
    parts = sr.evaluate(model, x[:30], y[:30], attack.parts)
    assert (whole.robust["whole"] <= parts.worst).all()
    assert attack.name == "autoattack of 30 steps, 200 queries" and sr.AutoAttack(threat).name == "autoattack"


def test_presets_and_steps_by_name():
    threat = sr.Linf(0.1)
    made = {
        name: ATTACKS.make(f"autoattack{name}", threat=threat) for name in ("", "-clat", "-10", "-rand-20")
    }
    assert made[""] == sr.AutoAttack(threat)
    assert made["-clat"] == sr.AutoAttack(threat, preset="clat")
    assert made["-10"] == sr.AutoAttack(threat, steps=10)
    assert made["-rand-20"] == sr.AutoAttack(threat, preset="rand", steps=20)
    # Options that the name does not say are taken as before.
    assert ATTACKS.make("autoattack", {"preset": "plus"}, threat=threat) == sr.AutoAttack(threat, "plus")
    for wrong in ("autoattack-foo", "autoattack-10-clat", "autoattack-0"):
        with pytest.raises(InputError):
            ATTACKS.make(wrong, threat=threat)


def test_presets():
    names = lambda preset: [a.name for a in sr.AutoAttack(sr.Linf(0.1), preset=preset).parts]  # noqa: E731
    assert names("standard") == names("clat") == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert names("rand") == ["apgd-ce", "apgd-dlr"]
    assert names("plus") == ["apgd-cex5", "apgd-dlrx5", "fabx5", "square", "apgd-t", "fab-t"]
    clat = sr.AutoAttack(sr.Linf(0.1), preset="clat").parts
    assert clat[1].targets == 9 and clat[2].targets == 3 and clat[3].queries == 5000
    assert all(a.eot == 20 for a in sr.AutoAttack(sr.Linf(0.1), preset="rand").parts)
    with pytest.raises(InputError, match="preset"):
        sr.AutoAttack(sr.Linf(0.1), preset="quick")


def test_a_step_is_halved_only_where_it_stops_paying():
    """A loss that rises at every step keeps its step of 2 epsilon; one that never does is halved at each
    checkpoint.
    """
    threat = sr.Linf(0.1)
    rule = HalvedStep(threat, 0.75)
    x = torch.full((2, 3), 0.5)
    a = rule.begin(x, x, torch.ones_like(x), torch.zeros(2))
    a.memory = a.memory._replace(checked=a.top_loss.clone())
    checkpoints, halved = rule.checkpoints(100), 0
    for i in range(1, 101):
        a.record(a.gradient, torch.tensor([float(i), 0.0]))
        if i in checkpoints:
            rule.check(a, checkpoints[i])
            halved += 1
            torch.testing.assert_close(a.step, torch.tensor([0.2, 0.2 / 2**halved]))
    assert halved == len(checkpoints)


def test_a_vanishing_gradient_does_not_poison_the_way_to_a_hyperplane():
    t = torch.rand(2, 1, 2, 2)
    for threat in (sr.Linf(1.0, insist=True), sr.L2(1.0), sr.L1(1.0)):
        assert torch.equal(
            threat.to_hyperplane(t, torch.zeros_like(t), torch.tensor([5.0, -5.0])), torch.zeros_like(t)
        )


def test_restriction_does_not_depend_on_the_layout():
    x = torch.rand(2, 3, 8, 6)
    noisy = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    for threat in (sr.Linf(0.05), sr.L2(0.3), sr.L1(1.0)):
        swapped = threat.restrict(x.transpose(2, 3), noisy.transpose(2, 3))
        torch.testing.assert_close(swapped.transpose(2, 3), threat.restrict(x, noisy))

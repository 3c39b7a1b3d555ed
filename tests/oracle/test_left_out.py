"""Work that a search leaves out because it would change nothing: predictions, audits and what is said of it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.attacks.base import ending, screening
from semirobust.attacks.base.active import Best, pooled
from semirobust.attacks.base.ending import EarlyEnd, LevelledOff, Stalled
from semirobust.attacks.base.goals import Fool
from semirobust.attacks.base.screening import Coloured, Screen
from semirobust.attacks.base.sight import Tally, watched
from semirobust.attacks.base.squares import Colours
from semirobust.attacks.base.steps import HalvedStep
from semirobust.attacks.fab import _Points
from semirobust.core.margin import margin
from semirobust.core.seed import as_seed
from semirobust.fast.model import FastModel
from tests.helpers import SmallResidual

EPSILON = 8 / 255


class _Linear(nn.Module):
    """Two classes, so that the margin is linear in the pixels."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(3 * 12 * 12, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = (x.flatten(1) - 0.5) @ self.w
        return torch.stack([z, -z], 1)


class _Quantised(nn.Module):
    """Rounds its input, so that its gradient is 0 everywhere."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model((x * 64).round() / 64)


class _Lying(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, gradient):
        return gradient.flip(2, 3)


class _Misleading(_Quantised):
    """Its gradient is that of the image turned round."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(_Lying.apply(x))


class _NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ValueError("this layer has no backward pass")


class _Breaking(_Quantised):
    """A backward pass through it fails."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(_NoBackward.apply(x))


def _network() -> nn.Module:
    with as_seed(5).globally():
        return SmallResidual()


def _curved() -> nn.Module:
    """Six classes, of which some are near."""
    with as_seed(7).globally():
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(200, 6))


def _images(n: int = 12) -> torch.Tensor:
    return torch.rand(n, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def _run(model: nn.Module, attack, *, audited: bool, n: int = 12, early_exit: bool = True):
    model = model.eval()
    x = _images(n)
    y = model(x).argmax(1).detach()
    form = replace(FastModel(model, model, "as it is", 0.0, torch.contiguous_format), audited=audited)
    with watched(n) as sight:
        x_adv = attack._on_model(model, x, y, as_seed(0), early_exit=early_exit, form=form)
    return x_adv, sight.tally


def test_a_linear_margin_is_foreseen_to_the_digit():
    """The change that a window brings, from sums over windows, against applying the proposals one by one."""
    x, model = _images(4), _Linear()
    threat = sr.Linf(EPSILON)
    generator = as_seed(3).generator()
    colours = Colours(x, [5] * 40 + [3] * 60, EPSILON, generator)
    frame = threat.frame(x)
    best = colours.start(x, frame, generator)
    y = model(best).argmax(1)
    lowest = -margin(model(best).detach(), y)
    screen = Screen(colours, 100, generator)
    rows = torch.arange(4)
    a = screen.start(Coloured(rows, rows, best, lowest, torch.zeros_like(rows), frame))
    screen.look(Fool(model, y), a)
    for query in range(48):
        points = colours.apply(best, frame, torch.full((1, 4), query))
        change = -margin(model(points).detach(), y) - lowest
        torch.testing.assert_close(a.change[:, query], change, atol=2e-5, rtol=1e-4)
        moved = ((points - best) * a.gradient).square().flatten(1).sum(1)
        torch.testing.assert_close(a.scale[:, query], moved.sqrt().sqrt(), atol=1e-4, rtol=1e-3)


def test_on_a_linear_margin_it_takes_the_very_same_course():
    attack = sr.Square(sr.Linf(EPSILON), queries=400)
    exact, none = _run(_Linear(), attack, audited=False, early_exit=False)
    audited, tally = _run(_Linear(), attack, audited=True, early_exit=False)
    assert torch.equal(exact, audited)
    assert none == Tally()
    assert tally.missed == 0
    assert tally.left_out > 0.4 * tally.considered


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions(dtype):
    model = _network().eval().to(dtype)
    x = _images(20).to(dtype)
    y = model(x).argmax(1)
    found = {
        fast: sr.evaluate(model, x, y, sr.AutoAttack(sr.Linf(1 / 255), steps=12, queries=100), fast=fast)
        for fast in ("auto", "off")
    }
    assert torch.equal(found["auto"].worst, found["off"].worst)


@pytest.mark.parametrize("wrap", [_Quantised, _Breaking])
def test_without_a_gradient_nothing_is_left_out(wrap):
    attack = sr.Square(sr.Linf(EPSILON), queries=150)
    model = wrap(_network())
    exact, _ = _run(model, attack, audited=False)
    audited, tally = _run(model, attack, audited=True)
    assert torch.equal(exact, audited)
    assert tally.left_out == 0


def test_a_gradient_that_lies_is_found_out():
    """What it promises has errors as large as all changes, so next to nothing is left out."""
    attack = sr.Square(sr.Linf(EPSILON), queries=1500)
    _, true = _run(_Linear(), attack, audited=True, early_exit=False)
    x_adv, lied = _run(_Misleading(_Linear()), attack, audited=True, early_exit=False)
    exact, _ = _run(_Linear(), attack, audited=False, early_exit=False)
    assert lied.left_out < 0.05 * true.left_out
    model, y = _Linear(), _Linear()(_images()).argmax(1)
    far, near = (margin(model(p), y).mean() - margin(model(_images()), y).mean() for p in (exact, x_adv))
    assert near > 0.9 * far


def test_who_was_missed_goes_on_without_leaving_anything_out():
    model = _Misleading(_Linear()).eval()
    attack = sr.Square(sr.Linf(EPSILON), queries=1500)
    x = _images(1)
    y = model(x).argmax(1).detach()
    seen = list[bool]()

    class _Watched(Screen):
        def give_up(self, a, rows):
            super().give_up(a, rows)
            seen.append(bool(a.plain.all()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semirobust.attacks.square.Screen", _Watched)
        patch.setattr(screening, "_SPREADS", 0.0)  # so that the lies are believed
        form = FastModel(model, model, "as it is", 0.0, torch.contiguous_format)
        with watched(1) as sight:
            attack._on_model(model, x, y, as_seed(0), early_exit=False, form=form)
    assert sight.tally.missed == 1
    assert True in seen


def test_the_search_in_the_model_itself_leaves_out_nothing():
    model = _network().eval()
    x = _images(24)
    y = model(x).argmax(1)
    attack = sr.Square(sr.Linf(1 / 255), queries=300)
    notes = {
        fast: [
            line for line in sr.evaluate(model, x, y, attack, fast=fast, seed=0).notes if "left out" in line
        ]
        for fast in ("auto", "off")
    }
    assert len(notes["auto"]) == 1
    assert "square-300 left out" in notes["auto"][0]
    assert notes["off"] == []


def test_an_evaluation_that_goes_on_says_the_same_of_what_was_left_out(tmp_path):
    model = _network().eval()
    x = _images(40)
    y = model(x).argmax(1)
    attack = sr.AutoAttack(sr.Linf(1 / 255), steps=12, queries=200)

    def evaluate(state=None, progress=lambda *_: None):
        return sr.evaluate(model, x, y, attack, seed=0, batch_size=20, state=state, progress=progress)

    whole, state = evaluate(), tmp_path / "state.safetensors"

    def stop(label, done, of):
        if "square" in label and done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(state, stop)
    again = evaluate(state)
    assert [note for note in again.notes if "left out" in note] == [
        note for note in whole.notes if "left out" in note
    ]
    assert torch.equal(again.robust[attack.name], whole.robust[attack.name])


class TestEarlyEnd:
    def _after_ten(self, sizes, radius=1.0, seed=0, before=1.0):
        """Runs whose nearest points were so many times as far away after 5 steps."""
        early = EarlyEnd(len(sizes), radius, as_seed(seed), torch.device("cpu"))
        size = torch.tensor(sizes)
        best = torch.zeros(len(sizes), 1, 2, 2)
        a = _Points(torch.arange(len(sizes)), best, best, *[torch.zeros(len(sizes))] * 5)
        early.after(5, a, size * before)
        early.after(10, a, size)
        return early, a, size

    def test_far_runs_end_and_a_few_go_on(self):
        early, a, _ = self._after_ten([2.0] * 30 + [4.0] * 70)
        assert set(range(30)) <= set(a.rows.tolist())
        went_on = [row for row in a.rows.tolist() if row >= 30]
        assert went_on == [row for row in early._audited.nonzero().flatten().tolist() if row >= 30]
        assert len(went_on) == 10

    def test_no_run_ends_that_has_found_no_boundary_yet(self):
        _, a, _ = self._after_ten([float("inf")] * 20)
        assert len(a) == 20

    def test_no_run_ends_where_most_have_found_no_boundary_yet(self):
        assert len(self._after_ten([float("inf")] * 51 + [4.0] * 49)[1]) == 100
        assert len(self._after_ten([float("inf")] * 50 + [4.0] * 50)[1]) == 60

    @pytest.mark.parametrize(("before", "left"), [(1.9, 10), (2.1, 100), (float("inf"), 100)])
    def test_no_run_ends_that_comes_nearer_fast(self, before, left):
        assert len(self._after_ten([4.0] * 100, before=before)[1]) == left

    def test_ten_of_those_that_would_end_go_on_though_they_are_few(self):
        early, a, _ = self._after_ten([2.0] * 88 + [4.0] * 12)
        assert len([row for row in a.rows.tolist() if row >= 88]) == 10
        early.after(20, a, torch.full((100,), 2.0))
        assert len(a) == 10 + int(early._audited[:88].sum())  # all others end, the number being reached

    def test_who_would_come_in_by_the_largest_gain_starts_again(self):
        early, _, size = self._after_ten([3.2] * 50 + [9.0] * 50)
        end = size.clone()
        audited = early._audited.nonzero().flatten()
        end[audited] = size[audited] / 4  # as much nearer
        end[audited] = end[audited].clamp_min(1.1)  # but none inside
        rows, tally = early.again(end, torch.zeros(100, dtype=torch.bool))
        gain = float((size[audited] / end[audited]).max())
        assert (gain >= 3.2) == (len(rows) > 0)
        assert all(size[row] <= gain for row in rows)
        assert tally.missed == 0

    def test_all_start_again_where_an_audited_one_came_in(self):
        early, a, size = self._after_ten([3.2] * 50 + [9.0] * 50)
        end = size.clone()
        end[early._audited.nonzero()[0]] = 0.9
        done = torch.zeros(100, dtype=torch.bool)
        done[7] = True
        rows, tally = early.again(end, done)
        ended = set(range(100)) - set(a.rows.tolist())
        assert set(rows.tolist()) == ended - {7}
        assert tally.missed == 1
        assert tally.left_out == len(ended) - len(rows)


class _Saturated(_Quantised):
    """Logits of which nearly all are 0 or 10."""

    def forward(self, x):
        return 10 * (300 * self.model(x)).softmax(1)


@pytest.mark.parametrize("wrap", [lambda model: model, _Saturated])
@pytest.mark.parametrize("epsilon", [0.5 / 255, 4 / 255])
def test_the_verdicts_of_fab_are_those_of_all_its_steps(epsilon, wrap):
    attack = sr.FAB(sr.Linf(epsilon), targets=3)
    model = wrap(_network()).eval()
    x = _images(24)
    y = model(x).argmax(1)
    exact, _ = _run(model, attack, audited=False, n=24)
    audited, tally = _run(model, attack, audited=True, n=24)
    assert torch.equal(model(exact).argmax(1) == y, model(audited).argmax(1) == y)
    assert tally.left_out <= tally.considered


def test_fab_runs_end_early():
    attack = sr.FAB(sr.Linf(0.001 / 255))
    _, tally = _run(_Linear(), attack, audited=True, n=24)
    assert tally.left_out > 0.5 * tally.considered


def test_parts_are_put_together_in_order():
    parts = [_Points(torch.arange(n) + 10 * n, *[torch.full((n, 1), float(n))] * 7) for n in (3, 0, 2, 4)]
    batches = list(pooled(parts, 5))
    assert [batch.rows.tolist() for batch in batches] == [[30, 31, 32, 20, 21], [40, 41, 42, 43]]
    assert batches[0].z.flatten().tolist() == [3, 3, 3, 2, 2]
    assert list(pooled(parts[1:2], 5)) == []


def test_the_counts_add_up():
    assert Tally(10, 5, 2, 1) + Tally(1, 1, 1, 0) == Tally(11, 6, 3, 1)
    assert "1 of 100" in Tally(1000, 900, 100, 1).errors


class TestLevelledOff:
    """100 runs of 100 steps that begin at -1."""

    def _after_ten(self, heights, promise=0.0):
        n = len(heights)
        early = LevelledOff.of_ascents(n, 100, as_seed(0), torch.device("cpu"))
        early.begin(torch.arange(n), torch.full((n,), -1.0), torch.full((n,), promise))
        a = _Points(torch.arange(n), *[torch.zeros(n)] * 7)
        a.drop(early.after(10, a.rows, torch.tensor(heights)))
        return early, a

    def _ended(self, a, n=100):
        return sorted(set(range(n)) - set(a.rows.tolist()))

    def test_who_lacks_twice_its_rise_ends_and_a_few_go_on(self):
        early, a = self._after_ten([-0.6] * 30 + [-0.7] * 70)
        assert set(range(30)) <= set(a.rows.tolist())
        went_on = [row for row in a.rows.tolist() if row >= 30]
        assert went_on == [row for row in early._audited.nonzero().flatten().tolist() if row >= 30]
        assert len(went_on) == 10

    @pytest.mark.parametrize("height", [-1.0, float("-inf"), float("nan")])
    def test_no_run_ends_that_has_not_risen(self, height):
        assert len(self._after_ten([height] * 20)[1]) == 20

    def test_no_run_ends_that_rose_less_than_a_tenth_of_what_its_gradient_promised(self):
        assert len(self._after_ten([-0.9] * 20, promise=1.1)[1]) == 20
        assert len(self._after_ten([-0.9] * 20, promise=float("nan"))[1]) == 20
        assert len(self._after_ten([-0.9] * 20, promise=0.9)[1]) < 20

    @pytest.mark.parametrize(("share", "again"), [(0.4, False), (0.6, True)])
    def test_all_start_again_where_an_audited_one_made_up_half_of_what_it_lacked(self, share, again):
        early, a = self._after_ten([-0.9] * 100)
        early.end(a.rows, torch.full((len(a),), -0.9))
        early.end(a.rows[:1], torch.tensor([-0.9 * (1 - share)]))
        done = torch.zeros(100, dtype=torch.bool)
        done[self._ended(a)[0]] = True
        rows, tally = early.again(done)
        assert rows.tolist() == (self._ended(a)[1:] if again else [])
        assert tally == Tally(100, 90 - len(rows), 10, 0)

    def test_all_start_again_where_an_audited_one_reached_its_aim(self):
        early, a = self._after_ten([-0.9] * 100)
        early.reach(a.rows[:1], torch.tensor([True]))
        rows, tally = early.again(torch.zeros(100, dtype=torch.bool))
        assert rows.tolist() == self._ended(a)
        assert tally.missed == 1


@pytest.mark.parametrize("wrap", [lambda model: model, _Quantised, _Misleading])
@pytest.mark.parametrize("epsilon", [1 / 255, 4 / 255])
def test_the_verdicts_of_apgd_are_those_of_all_its_steps(wrap, epsilon):
    attack = sr.APGD(sr.Linf(epsilon), steps=50, loss="dlr-targeted", targets=3)
    model, x = wrap(_curved()).eval(), _images(40)
    y = model(x).argmax(1)
    exact, none = _run(model, attack, audited=False, n=40)
    audited, tally = _run(model, attack, audited=True, n=40)
    fooled = model(exact).argmax(1) != y
    assert fooled.any()
    assert torch.equal(model(audited).argmax(1) != y, fooled)
    assert none == Tally()
    assert (tally.left_out > 0) == (wrap is not _Quantised)


def test_apgd_ends_most_runs_on_what_is_robust():
    attack = sr.APGD(sr.Linf(0.001 / 255), loss="dlr-targeted")
    _, tally = _run(_curved(), attack, audited=True)
    assert tally.considered == 12 * 5
    assert tally.left_out > 0.8 * tally.considered
    assert f"ended {tally.left_out} of 60 runs early" in attack.left_out(tally)


def test_runs_that_ended_before_an_interruption_count(tmp_path):
    model, x = _curved().eval(), _images(24)
    y = model(x).argmax(1)
    attack, state = (
        sr.APGD(sr.Linf(1 / 255), steps=50, loss="dlr-targeted", targets=2),
        tmp_path / "e.safetensors",
    )

    def evaluate(progress, state=None):
        return sr.evaluate(model, x, y, attack, seed=0, batch_size=8, state=state, progress=progress)

    def stop(label, done, of):
        if "apgd" in label and done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(stop, state)
    whole, again = evaluate(lambda *_: None), evaluate(lambda *_: None, state)
    assert any("apgd-t-50 ended" in note for note in whole.notes)
    assert again.notes == whole.notes


def test_where_ending_was_wrong_the_runs_of_apgd_start_again_and_find_the_same(monkeypatch):
    monkeypatch.setattr(ending, "_LEVEL", {0.02: 0.0})  # all end after the first step
    monkeypatch.setattr(ending, "_HONEST", 0.0)
    monkeypatch.setattr(ending, "_AUDITED", 0.4)
    attack = sr.APGD(sr.Linf(8 / 255), steps=50, loss="dlr-targeted", targets=3)
    model, x = _curved().eval(), _images(40)
    y = model(x).argmax(1)
    exact, _ = _run(model, attack, audited=False, n=40)
    audited, tally = _run(model, attack, audited=True, n=40)
    fooled = model(exact).argmax(1) != y
    assert tally.missed > 0
    assert tally.left_out <= 3 * int(fooled.sum())  # runs on examples that are fooled need not start again
    assert torch.equal(model(audited).argmax(1) != y, fooled)


@pytest.mark.parametrize(
    "attack",
    [
        sr.APGD(sr.Linf(0.001 / 255), steps=50),
        sr.APGD(sr.Linf(0.001 / 255), steps=49, loss="dlr-targeted", targets=2),
        sr.APGD(sr.Linf(0.001 / 255), steps=50, loss="dlr-targeted", targets=2, eot=2),
        sr.APGD(sr.L1(0.001), steps=50, loss="dlr-targeted", targets=2),
    ],
)
def test_other_ascents_end_no_run(attack):
    assert _run(_network(), attack, audited=True)[1] == Tally()


def test_the_best_of_several_points_of_an_example():
    best = Best(torch.zeros(2, 1), shared=True)
    rows, points = torch.tensor([0, 2, 4, 3]), torch.arange(4.0)[:, None]
    best.keep(rows, points, torch.tensor([1.0, 3.0, 2.0, 5.0]), torch.tensor([False, False, True, False]))
    assert best.x_adv.flatten().tolist() == [2, 3]
    assert best.reached.tolist() == [True, False]
    best.keep(rows[:2], points[:2], torch.tensor([7.0, 8.0]), None)
    assert best.x_adv.flatten().tolist() == [2, 3]


def test_runs_put_together_keep_what_their_rule_remembers():
    rule, x = HalvedStep(sr.Linf(0.1), 0.75), torch.rand(3, 1, 2, 2)
    parts = [rule.begin(x, x, x, torch.zeros(3)) for _ in range(2)]
    (joined,) = pooled(parts, 8)
    rule.check(joined, 1)
    assert len(joined.memory.checked) == 6


class TestStalled:
    """Forty runs of 1,000 queries whose margin is 1 at their start."""

    def _after_200(self, before, now):
        stalled, rows = Stalled(torch.ones(40), 1000, as_seed(0)), torch.arange(40)
        assert not stalled.after(rows, torch.full((40,), 99), torch.full((40,), 0.99)).any()
        assert not stalled.after(rows, torch.full((40,), 103), torch.full((40,), before)).any()
        assert not stalled.after(rows, torch.full((40,), 160), torch.full((40,), before)).any()
        return stalled, stalled.after(rows, torch.full((40,), 207), torch.full((40,), now))

    def test_who_fell_little_of_late_ends_and_two_go_on(self):
        stalled, ends = self._after_200(0.8, 0.75)
        assert int(ends.sum()) == 38
        assert (stalled.query == 207).all()

    @pytest.mark.parametrize(
        ("before", "now"), [(0.8, 0.7), (0.8, 0.8), (0.95, 0.93), (float("nan"), 0.5), (float("inf"), 0.5)]
    )
    def test_who_falls_or_never_fell_goes_on(self, before, now):
        assert not self._after_200(before, now)[1].any()

    @pytest.mark.parametrize(("end", "again"), [(0.5, False), (0.3, True), (-0.1, True)])
    def test_all_go_on_where_an_audited_margin_fell_by_half(self, end, again):
        stalled, ends = self._after_200(0.8, 0.75)
        margin = torch.where(ends, 0.75, 0.7)
        margin[(~ends).nonzero()[0]] = end
        rows, tally = stalled.again(margin)
        assert rows.tolist() == (ends.nonzero().flatten().tolist() if again else [])
        assert tally == Tally(40, 0 if again else 38, 2, int(end < 0))


@pytest.mark.parametrize("wrap", [lambda model: model, _Quantised, _Misleading])
def test_the_verdicts_of_square_are_those_of_all_its_queries(wrap):
    attack = sr.Square(sr.Linf(2 / 255), queries=1000)
    model, x = wrap(_curved()).eval(), _images(25)
    y = model(x).argmax(1)
    exact, none = _run(model, attack, audited=False, n=25)
    audited, tally = _run(model, attack, audited=True, n=25)
    fooled = model(exact).argmax(1) != y
    assert fooled.any()
    assert torch.equal(model(audited).argmax(1) != y, fooled)
    assert none == Tally()
    assert (tally.of_runs.left_out > 0) == (wrap is not _Quantised)
    assert ("runs early" in attack.left_out(tally)) == (wrap is not _Quantised)


def test_where_ending_was_wrong_the_runs_of_square_go_on_and_find_the_same(monkeypatch):
    monkeypatch.setattr(ending, "_STALL", {0.1: 0.0})
    monkeypatch.setattr(ending, "_HONEST", 0.0)
    monkeypatch.setattr(ending, "_AUDITED", 0.3)
    attack = sr.Square(sr.Linf(6 / 255), queries=1000)
    model, x = _curved().eval(), _images(25)
    y = model(x).argmax(1)
    exact, _ = _run(model, attack, audited=False, n=25)
    audited, tally = _run(model, attack, audited=True, n=25)
    assert tally.of_runs.missed > 0
    assert tally.of_runs.left_out == 0
    assert torch.equal(model(audited).argmax(1) != y, model(exact).argmax(1) != y)

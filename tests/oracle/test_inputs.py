"""What a network gets: its own memory layout, dtype and number of examples, and never the caller's tensors to
overwrite.
"""

import copy

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.fast import copy as fast_copies
from semirobust.fast import policy
from semirobust.fast.layout import safe_layouts, suited
from semirobust.fast.model import FastModel
from semirobust.measures.semirobustness import Semirobustness
from semirobust.training import training as training_room
from semirobust.training.alone import Alone
from tests.helpers import untouched

BALL = sr.Linf(0.06)
ATTACKS = (
    sr.FGSM(BALL),
    sr.PGD(BALL, steps=2, restarts=2),
    sr.APGD(BALL, steps=4),
    sr.APGD(BALL, steps=3, loss="dlr-targeted", targets=2),
    sr.FAB(BALL, steps=3, targets=2),
    sr.Square(BALL, queries=12),
    sr.PGD(sr.L2(0.4), steps=2),
    sr.APGD(sr.L1(2.0), steps=3),
    sr.Square(sr.L2(0.4), queries=6),
    sr.Square(sr.L1(2.0), queries=6),
    sr.Pixle(rounds=1, tries=3, largest=3),
    sr.StAdv(steps=2),
)
EVERY = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.name} {attack.threat}")


class Tiny(nn.Module):
    """Two convolutions and a head for images of three channels and six pixels a side."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, 2, 1)
        self.head = nn.Linear(36, 4)

    def normalised(self, x):
        return x

    def forward(self, x):
        h = torch.relu(self.second(torch.relu(self.first(self.normalised(x)))))
        return self.head(self.rows(h))

    def rows(self, h):
        return h.reshape(len(h), -1)


class Viewing(Tiny):
    """Flattens by a view, and reads the pixels in a row as well."""

    def __init__(self):
        super().__init__()
        self.pixels = nn.Linear(108, 4)

    def forward(self, x):
        turned = x.permute(0, 2, 3, 1).contiguous()  # whose gradient comes back turned round
        return (
            super().forward(x) + self.pixels(x.view(len(x), -1)) + 0.1 * self.pixels(turned.view(len(x), -1))
        )

    def rows(self, h):
        return h.view(len(h), -1)


class Overwriting(Tiny):
    def normalised(self, x):
        return x.sub_(0.45).div_(0.25)


class Normalising(Tiny):
    def normalised(self, x):
        return (x - 0.45).div(0.25)


class Clipping(Tiny):
    """Changes no value of an image, and yet works in place."""

    def normalised(self, x):
        return x.clamp_(0, 1)


class Hidden(Tiny):
    """Changes values behind the back of the tensor's version."""

    def normalised(self, x):
        x.data.sub_(0.3)
        return x


def _made(kind, seed=3):
    torch.manual_seed(seed)
    return kind().eval()


def _examples(model, n=24, shape=(3, 6, 6), dtype=torch.float32):
    torch.manual_seed(4)
    x = torch.rand(n, *shape).to(dtype)
    with torch.no_grad():
        return x, model(x.clone()).argmax(1)


def _trained(model, x, y, **options):
    images = sr.images_from_tensors(x, y, list("abcd"))
    given = {
        "objective": sr.TRADES(),
        "attack": sr.PGD(BALL, steps=2),
        "epochs": 1,
        "batch_size": 8,
    } | options
    return sr.Training(**given)(model, images).model


@EVERY
def test_a_network_that_flattens_by_a_view_is_attacked(attack):
    model = _made(Viewing)
    x, y = _examples(model, 9)
    with untouched(model):
        assert attack.threat.contains(x, attack(model, x, y)).all()


def test_a_network_that_flattens_by_a_view_is_measured_and_trained():
    model = _made(Viewing)
    x, y = _examples(model)
    attack = sr.PGD(BALL, steps=2)
    with untouched(model):
        assert len(sr.evaluate(model, x, y, attack).worst) == len(x)
        sr.criticality(model, x, y, threat=BALL, form="curvature")
        heads = Semirobustness(rounds=1, decays=(0.1,), resamples=2)
        sr.semirobustness(model, x, y, attack=attack, measure=heads, layers=(1,))
        sr.stability(model, x, y, threat=BALL, batches=(5,), draws=2)
        sr.transfer({"a": model, "b": model}, x, y, attack)
        assert suited(model, x) is torch.contiguous_format
    _trained(model, x, y)


def test_a_network_that_views_in_train_mode_alone_trains():
    class Auxiliary(Tiny):
        def rows(self, h):
            return h.view(len(h), -1) if self.training else h.reshape(len(h), -1)

    model = _made(Auxiliary)
    x, y = _examples(model)
    assert suited(model, x) is torch.channels_last
    assert suited(model, x, train=True) is torch.contiguous_format
    _trained(model, x, y)


def test_a_network_that_takes_channels_last_gets_them():
    seen = []

    class Watched(Tiny):
        def normalised(self, x):
            seen.append(x.is_contiguous(memory_format=torch.channels_last))
            return x

    model = _made(Watched)
    x, y = _examples(model)
    attack = sr.PGD(BALL, steps=4)
    attack(model, x, y)
    assert sum(seen) >= 4
    seen.clear()
    _trained(model, x, y, fast="off")
    assert sum(seen) > 0.7 * len(seen)


def test_finding_the_layout_changes_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(64, 3)
    )
    x, before = torch.rand(5, 3, 6, 6), torch.get_rng_state()
    state = copy.deepcopy(model.state_dict())
    assert suited(model, x, train=True) is torch.channels_last
    assert model.training and torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_layout_that_gives_other_logits_is_not_used():
    class InMemoryOrder(Tiny):
        def normalised(self, x):
            return x.as_strided(x.shape, (x[0].numel(), x[0, 0].numel(), x.shape[3], 1))

    model = _made(InMemoryOrder)
    assert suited(model, torch.rand(4, 3, 6, 6)) is torch.contiguous_format


def test_images_in_another_order_are_told_from_a_wrong_number():
    """Given so, a network that views runs on them one by one, or on none; training lays them out itself."""
    model = _made(Viewing)
    _, y = _examples(model, 6)
    turned, every_second = torch.rand(6, 6, 6, 3).permute(0, 3, 1, 2), torch.rand(6, 6, 6, 6)[:, ::2]
    for x in (turned, every_second):
        for run in (
            lambda x: sr.evaluate(model, x, y, sr.PGD(BALL, steps=1)),
            lambda x: sr.criticality(model, x, y, x_adv=x),
        ):
            with pytest.raises(InputError, match=r"plain memory order; hand over x\.contiguous\(\)"):
                run(x)
        _trained(_made(Viewing), x, y)


def test_both_sides_of_a_cut_leave_the_image_alone():
    class Returning(Overwriting):
        def forward(self, x):
            return super().forward(x) + x.mean((1, 2, 3))[:, None]

    class Kept(Normalising):
        def forward(self, x):
            z = self.normalised(x)
            return super().forward(x) + z.mean((1, 2, 3))[:, None]

    model, twin = _made(Returning), _made(Kept)
    x, _ = _examples(twin, 5)
    kept = x.clone()
    prefix, suffix = sr.split(model, sr.layer_map(model, x[:2]), after=1)
    assert torch.allclose(suffix(prefix(x)), twin(kept), atol=1e-6) and torch.equal(x, kept)


@EVERY
def test_working_in_place_changes_no_result(attack):
    model, twin = _made(Overwriting), _made(Normalising)
    x, y = _examples(twin, 12)
    kept = x.clone()
    with untouched(model):
        found = attack(model, x, y, seed=1)
    assert torch.equal(x, kept) and torch.equal(found, attack(twin, x, y, seed=1))


def test_measures_and_training_of_a_network_that_works_in_place():
    model, twin = _made(Overwriting), _made(Normalising)
    x, y = _examples(twin)
    kept, attacks = x.clone(), [sr.PGD(BALL, steps=2), sr.Square(BALL, queries=20)]
    # Without copies, since a network that works in place has none.
    mine, theirs = (sr.evaluate(m, x, y, attacks, fast="off") for m in (model, twin))
    assert all(torch.equal(mine.robust[name], theirs.robust[name]) for name in theirs.robust)
    assert torch.equal(sr.evaluate(model, x, y, attacks).worst, mine.worst)
    a, b = (sr.criticality(m, x, y, threat=BALL).values for m in (model, twin))
    assert (a == b).all()
    assert (sr.usefulness(model, x, y).useful == sr.usefulness(twin, x, y).useful).all()
    assert sr.footprint(model, x, 8, objective=sr.Adversarial()) > 0
    assert torch.equal(x, kept)
    a, b = (_trained(copy.deepcopy(m), x, y, fast="off").state_dict() for m in (model, twin))
    assert all(torch.equal(a[name], b[name]) for name in b) and torch.equal(x, kept)


@pytest.mark.parametrize("kind", [Clipping, Hidden])
def test_working_in_place_is_noticed_by_version_and_by_value(kind):
    model = _made(kind)
    x, y = _examples(model)
    kept = x.clone()
    sr.FAB(BALL, steps=2)(model, x, y)
    sr.evaluate(model, x, y, sr.Square(BALL, queries=6))
    sr.connectivity(model, x, y, dependence=sr.CKA())
    _trained(model, x, y)
    assert torch.equal(x, kept)


class _Ensemble(nn.Module):
    """The image reaches the first convolution of both."""

    def __init__(self):
        super().__init__()
        self.a, self.b = Tiny(), Tiny()

    def forward(self, x):
        return self.a(x) + self.b(x)


def _bounded():
    model = Tiny()
    for name in ("first", "second", "head"):
        nn.utils.parametrizations.spectral_norm(getattr(model, name))
    return model


@pytest.mark.parametrize("kind", [_Ensemble, _bounded])
def test_a_form_that_cannot_run_is_not_used(kind, monkeypatch):
    monkeypatch.setattr(policy, "has_bfloat16", lambda device: True)
    model = _made(kind)
    x, y = _examples(model)
    _trained(model, x, y)
    images = sr.images_from_tensors(x, y, list("abcd"))
    sr.harden(model, images, "clat", threat=BALL, epochs=1, batch_size=8, k=1)


def test_a_copy_that_fails_later_is_given_up(monkeypatch, caplog):
    """The verdicts are those of the network itself, and the log says so."""
    model = _made(Tiny)
    x, y = _examples(model, 40)
    attack = sr.PGD(BALL, steps=3)
    expected = sr.evaluate(model, x, y, attack, fast="off")

    def broken(z):
        raise RuntimeError("no such kernel")

    form = FastModel(model, broken, "broken", 0.01)
    monkeypatch.setattr("semirobust.evaluation.accuracy.fast_for_evaluation", lambda *args, **kwargs: form)
    assert torch.equal(sr.evaluate(model, x, y, attack).worst, expected.worst)
    assert any("fast copy failed (no such kernel)" in record.message for record in caplog.records)
    caplog.clear()
    refresh, refreshed = fast_copies.Faster.refresh, []

    def wearing(self, source=None):
        refresh(self, source)
        refreshed.append(source)
        if len(refreshed) > 5:
            self.network.forward = broken

    monkeypatch.setattr(fast_copies.Faster, "refresh", wearing)
    _trained(model, x, y, fast="auto", epochs=2)
    assert any("fast copy failed (no such kernel)" in record.message for record in caplog.records)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_training_gives_a_network_its_own_dtype(dtype):
    model = _made(Tiny).to(dtype)
    x, y = _examples(model, dtype=dtype)
    before = copy.deepcopy(model.state_dict())
    _trained(model, x.float(), y)
    state = model.state_dict()
    assert all(value.dtype == dtype and value.isfinite().all() for value in state.values())
    assert any(not torch.equal(before[name], value) for name, value in state.items())
    images = sr.images_from_tensors((255 * x.float()).to(torch.uint8), y, list("abcd"))
    sr.harden(model, images, "clat", threat=BALL, epochs=1, batch_size=8, k=1)
    level = sr.Lottery(levels=1)(model, images, sr.Training(attack=sr.PGD(BALL, steps=1), epochs=1))
    assert level is not None
    assert sr.footprint(model, x, 8, objective=sr.Adversarial()) > 0


def test_pixels_are_rounded_once():
    images = sr.images_from_tensors(torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8), torch.arange(4))
    exact = torch.arange(256, dtype=torch.float64).reshape(4, 1, 8, 8) / 255
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x, _ = images.fitting(nn.Linear(2, 2, dtype=dtype)).subset(torch.arange(4)).all()
        assert torch.equal(x, exact.to(dtype))


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((2, 9), lambda: nn.Conv1d(2, 4, 3, padding=1)),
        ((2, 3, 4, 3), lambda: nn.Conv3d(2, 4, 3, padding=1)),
        ((7,), lambda: nn.Linear(7, 4)),
        ((7, 3, 5), lambda: nn.Conv2d(7, 4, 3, padding=1)),
    ],
    ids=["signal", "volume", "row", "seven channels"],
)
def test_examples_of_any_shape(shape, first):
    torch.manual_seed(0)
    width = first()(torch.rand(1, *shape)).numel()
    model = nn.Sequential(
        first(), nn.ReLU(), nn.Flatten(), nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 4)
    ).eval()
    x, y = _examples(model, 20, shape)
    for attack in ATTACKS:
        if attack.pictures and len(shape) != 3:
            with pytest.raises(InputError, match=r"expected images \(N, K, H, W\).*pgd, apgd and fab"):
                attack(model, x, y)
        elif attack.name != "stadv-2":
            attack(model, x, y)
    if len(shape) != 3:  # before any of its attacks begins
        with pytest.raises(InputError, match=r"autoattack: expected images"):
            sr.evaluate(model, x, y, [sr.PGD(BALL, steps=1), sr.AutoAttack(BALL)])
        with pytest.raises(InputError, match=r"augment: expected images"):
            _trained(model, x, y, augment="crop")
    assert len(sr.criticality(model, x, y, threat=BALL).values) == 3
    assert len(sr.sanity_checks(model, x, y, BALL)) == (5 if len(shape) == 3 else 4)
    sr.usefulness(model, x, torch.arange(len(x)) % 4, threat=BALL)
    _trained(model, x, y)


def test_a_network_for_some_numbers_of_examples_is_refused_in_words():
    class Single(Tiny):
        def normalised(self, x):
            return x.reshape(1, 3, 6, 6)

    class Eight(Tiny):
        def normalised(self, x):
            return x.reshape(8, 3, 6, 6)

    class Several(Tiny):
        def normalised(self, x):
            if len(x) < 2:
                raise ValueError("one is too few")
            return x

    x, y = torch.rand(24, 3, 6, 6), torch.arange(24) % 4
    attack = sr.PGD(BALL, steps=2)
    with pytest.raises(InputError, match=r"any number of examples; it runs on 1 at once, but not on 24"):
        attack(_made(Single), x, y)
    with pytest.raises(InputError, match=r"any number of examples; it runs on 1 at once, but not on 7"):
        sr.evaluate(_made(Single), x, y, attack, batch_size=7)
    with pytest.raises(InputError, match=r"one is too few\), though on 2 at once"):
        sr.evaluate(_made(Several), x, y, attack)
    for run in (
        lambda: sr.evaluate(_made(Eight), x, y, attack),
        lambda: sr.criticality(_made(Eight), x, y, threat=BALL),
        lambda: sr.usefulness(_made(Eight), x, y, threat=BALL),
        lambda: _trained(_made(Eight), x, y),
    ):
        with pytest.raises(
            InputError, match=r"cannot run on.* of shape \(3, 6, 6\).*invalid for input of size"
        ):
            run()
    # One at a time is all that it can do, and that is done.
    assert len(sr.evaluate(_made(Single), x[:6], y[:6], attack, batch_size=1).worst) == 6


def test_one_example_too_few_for_batch_norm_is_said_in_words():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))
    x, y = torch.rand(4, 3, 6, 6), torch.arange(4)
    with pytest.raises(InputError, match="it runs on 2 at once, but not on 1"):
        _trained(model, x, y, batch_size=1)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_inside_a_loop_without_gradients(mode):
    model = _made(Tiny)
    x, y = _examples(model, 12)
    attack, fresh = sr.PGD(BALL, steps=2), [_made(Tiny) for _ in range(3)]
    heads = Semirobustness(layers=(1,), rounds=1, decays=(0.1,), resamples=2)
    runs = {
        "attack": lambda x: attack(model, x, y),
        "fab": lambda x: sr.FAB(BALL, steps=2)(model, x, y),
        "evaluate": lambda x: sr.evaluate(model, x, y, attack).worst,
        "criticality": lambda x: sr.criticality(model, x, y, threat=BALL, form="curvature").values,
        "usefulness": lambda x: sr.usefulness(model, x, torch.arange(len(x)) % 4, threat=BALL).robust,
        "semirobustness": lambda x: (
            sr.semirobustness(model, x, y, attack=attack, measure=heads, layers=(1,)).values
        ),
        "training": lambda x: _trained(fresh.pop(), x, y).head.weight.detach(),
    }
    expected = {name: torch.as_tensor(run(x)) for name, run in runs.items()}
    asks = x.clone().requires_grad_()
    with torch.inference_mode():
        built = _made(Tiny)
    with pytest.raises(InputError, match=r"made inside torch\.inference_mode"):
        attack(built, x, y)
    for name, run in runs.items():
        with mode():
            found = torch.as_tensor(run(x + 0))
        assert torch.equal(found, expected[name]), name
        assert torch.equal(torch.as_tensor(run(asks)), expected[name]), name
    assert asks.grad is None


def test_training_stays_on_the_device_of_the_model(monkeypatch):
    asked = []

    def alone(device):
        asked.append(device)
        return Alone(torch.device("cpu"))

    monkeypatch.setattr(training_room, "Alone", alone)
    monkeypatch.setattr(training_room, "device_of", lambda model, default: torch.device("cuda", 1))
    model = _made(Tiny)
    _trained(model, *_examples(model, 8))
    assert asked == [torch.device("cuda", 1)]


def test_a_convolution_called_by_keyword_trains():
    class ByName(nn.Conv2d):
        def forward(self, input):
            return super().forward(input)

    class Shortcut(Tiny):
        def __init__(self):
            super().__init__()
            self.short = ByName(3, 3, 1, 2)

        def forward(self, x):
            return super().forward(x) + self.short(input=x).mean((2, 3)).sum(1, keepdim=True)

    model = _made(Shortcut)
    x, y = _examples(model)
    with safe_layouts(model):
        model(x)
    _trained(model, x, y)

"""Masks and lottery tickets: the invariants of open_lth, torch's own pruning as oracle, exactness and
resuming.
"""

import copy
from dataclasses import fields

import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

import semirobust as sr
from semirobust.attacks.fgsm import FGSM
from semirobust.attacks.pgd import PGD
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.objectives import OBJECTIVES, Step
from semirobust.procedures.lottery import Lottery
from semirobust.pruning.masks import Masks
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.pruning.saliencies.gradient import Gradient
from semirobust.pruning.saliencies.layered import Layered
from semirobust.pruning.saliencies.magnitude import Magnitude
from semirobust.pruning.saliencies.usefulness import Useful
from semirobust.training.hooks.awp import AWP
from semirobust.training.hooks.ema import EMA
from semirobust.training.hooks.free import Free
from semirobust.training.hooks.swa import SWA
from semirobust.training.training import Training
from tests.helpers import SmallResidual, untouched

_THREAT = sr.Linf(8 / 255)


def _images(n=48):
    x = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)


def _model():
    torch.manual_seed(0)
    return SmallResidual().eval()


def _whole(model, **options):
    return Masks.full(model, sr.layer_map(model, _images().all()[0][:1]), **options)


def _scores(model, masks):
    return {name: model.get_parameter(name).detach().abs() for name in masks.by_name}


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.3, 0.55])
def test_fractions_are_exact_thresholds_ordered_and_masks_only_shrink(scope, fraction):
    model = _model()
    masks = whole = _whole(model)
    for _ in range(3):
        scores = _scores(model, masks)
        after = masks.pruned(scores, fraction, scope)
        groups = [tuple(masks.by_name)] if scope == "global" else [(name,) for name in masks.by_name]
        for names in groups:
            left = sum(int(masks.by_name[n].sum()) for n in names)
            assert sum(int(after.by_name[n].sum()) for n in names) == left - round(fraction * left)
            kept = torch.cat([scores[n][after.by_name[n]] for n in names])
            gone = torch.cat([scores[n][masks.by_name[n] & ~after.by_name[n]] for n in names])
            assert not len(gone) or gone.max() <= kept.min()
        assert all(not (after.by_name[n] & ~masks.by_name[n]).any() for n in masks.by_name)
        masks = after
    assert masks.size == whole.size and masks.density == masks.remaining / masks.size
    assert abs(masks.density - (1 - fraction) ** 3) < 3 * len(masks.by_name) / masks.size


def test_equal_scores_leave_exactly_as_many_as_asked_for():
    model = _model()
    masks = _whole(model)
    flat = {name: torch.ones_like(mask, dtype=torch.float32) for name, mask in masks.by_name.items()}
    assert masks.pruned(flat, 0.2).remaining == masks.remaining - round(0.2 * masks.remaining)


def test_the_classifier_is_left_alone_where_asked():
    model = _model()
    masks = _whole(model, classifier=False)
    assert "linear.weight" not in masks.by_name and "linear.weight" in _whole(model).by_name
    assert not any("bn" in name or name.endswith("bias") for name in masks.by_name)


def test_magnitude_pruning_is_torchs():
    """Twice in a row, of all layers together and of each: the masks of torch.nn.utils.prune."""
    for scope in ("global", "layer"):
        model, other = _model(), _model()
        masks = _whole(model)
        weights = [(other.get_submodule(name.removesuffix(".weight")), "weight") for name in masks.by_name]
        for _ in range(2):
            masks = masks.pruned(
                Magnitude()(
                    model, {n: model.get_parameter(n) for n in masks.by_name}, _images(), None, as_seed(0)
                ),
                0.3,
                scope,
            )
            masks.apply(model)
            if scope == "global":
                torch_prune.global_unstructured(
                    weights, pruning_method=torch_prune.L1Unstructured, amount=0.3
                )
            else:
                for module, name in weights:
                    torch_prune.l1_unstructured(module, name, amount=0.3)
        theirs = Masks.from_torch(other)
        assert theirs.by_name.keys() == masks.by_name.keys()
        # Their fraction of the rest is rounded in float, so one weight may differ.
        assert sum(int((theirs.by_name[n] != masks.by_name[n]).sum()) for n in masks.by_name) <= 1
        for name, mask in masks.by_name.items():
            assert torch.equal(
                model.get_parameter(name)[mask],
                other.get_submodule(name.removesuffix(".weight")).weight[mask],
            )


def test_masks_go_to_torch_and_back():
    model, x = _model(), _images().all()[0]
    masks = _whole(model).pruned(_scores(model, _whole(model)), 0.5)
    handed = masks.to_torch(copy.deepcopy(model))
    back = Masks.from_torch(handed)
    assert all(torch.equal(back.by_name[name], mask) for name, mask in masks.by_name.items())
    masks.apply(model)
    torch.testing.assert_close(handed(x), model(x))
    for name in masks.by_name:
        torch_prune.remove(handed.get_submodule(name.removesuffix(".weight")), "weight")
    assert handed.state_dict().keys() == model.state_dict().keys()
    with pytest.raises(InputError, match="found none"):
        Masks.from_torch(model)


def test_masks_hold_weights_that_torch_prunes_and_tied_ones_stay_tied():
    x, y = _images().all()
    handed = _whole(_model()).pruned(_scores(_model(), _whole(_model())), 0.5).to_torch(_model())
    masks = Masks.from_torch(handed)
    with masks.enforced(handed):
        F.cross_entropy(handed(x), y).backward()
    for name, mask in masks.by_name.items():
        original = handed.get_parameter(f"{name}_orig")
        assert not original[~mask].any() and not original.grad[~mask].any() and original.grad[mask].any()
    with pytest.raises(InputError, match="make it permanent first"):
        _whole(handed)
    tied = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    masks = Masks({"0.weight": torch.arange(16).view(4, 4) % 2 == 0})
    masks.to_torch(tied)
    assert tied[0].weight_orig is tied[2].weight_orig and torch.equal(
        tied[0].weight_mask, tied[2].weight_mask
    )


def test_weights_that_are_computed_from_others_are_refused():
    model = _model()
    torch.nn.utils.parametrizations.weight_norm(model.linear)
    with pytest.raises(InputError, match=r"linear\.weight"):
        _whole(model)
    with pytest.raises(InputError, match="found none"):
        one = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()
        Masks.full(one, sr.layer_map(one, torch.rand(1, 3, 2, 2)), classifier=False)


def test_weights_behind_spectral_norm_are_pruned_where_their_zeros_are():
    model, training = _model(), Training(objective=sr.Standard(), epochs=1, batch_size=16)
    torch.nn.utils.parametrizations.spectral_norm(model.linear)
    level = Lottery(levels=1, fraction=0.5)(model, _images(), training)[-1]
    mask = level.masks.by_name["linear.parametrizations.weight.original"]
    assert not mask.all() and torch.equal(model.linear.weight != 0, mask)


def test_networks_whose_state_has_a_version_are_pruned_too():
    class Versioned(SmallResidual):
        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
            assert local_metadata["version"] == 1
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    model = Versioned().eval()
    levels = Lottery(levels=1, fraction=0.5)(model, _images(), Training(objective=sr.Standard(), epochs=1))
    assert levels[-1].masks.remaining == round(0.5 * levels[0].masks.remaining)


def test_all_matrices_of_an_attention_are_pruned_and_it_is_said_how_much_can_be():
    class Attentive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = torch.nn.Conv2d(3, 8, 2, stride=2)
            self.attention, self.head = (
                torch.nn.MultiheadAttention(8, 2, batch_first=True),
                torch.nn.Linear(8, 3),
            )

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            return self.head((x + self.attention(x, x, x)[0]).mean(1))

    torch.manual_seed(0)
    model = Attentive().eval()
    masks = _whole(model)
    assert {"attention.in_proj_weight", "attention.out_proj.weight"} < masks.by_name.keys()
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert masks.share(model) == weights / sum(p.numel() for p in model.parameters())
    training = Training(objective=sr.Standard(), epochs=1, batch_size=16)
    levels = Lottery(levels=2, fraction=0.5)(model, _images(), training)
    for name, mask in levels[-1].masks.by_name.items():
        assert not model.get_parameter(name)[~mask].any()
    assert levels[-1].masks.remaining == round(0.5 * round(0.5 * weights))


def test_what_was_pruned_before_stays_out():
    model = _model()
    masks = _whole(model).pruned(_scores(model, _whole(model)), 0.6)
    masks.apply(model)
    training = Training(objective=sr.Standard(), epochs=1, batch_size=16, learning_rate=0.05)
    levels = Lottery(levels=1, fraction=0.5, rewind="none", whole=False)(
        model, _images(), training, zeros=True
    )
    assert levels[0].masks.density == masks.density and levels[1].masks.remaining == masks.remaining - round(
        0.5 * masks.remaining
    )
    for name, mask in masks.by_name.items():
        assert not levels[1].masks.by_name[name][~mask].any() and not levels[1].last[name][~mask].any()


@pytest.mark.parametrize(
    "options", [{}, {"hooks": (AWP(0.01),)}, {"hooks": (EMA(0.5),)}, {"hooks": (Free(replays=2),)}]
)
def test_a_pruned_weight_is_0_in_every_step(options, monkeypatch):
    """Weight, gradient and momentum, at each step of the optimiser, whatever else treats the weights."""
    model, images = _model(), _images()
    masks = _whole(model).pruned(_scores(model, _whole(model)), 0.6)
    seen = []
    step = torch.optim.SGD.step

    def watched(self, *args, **kwargs):
        found = step(self, *args, **kwargs)
        for name, mask in masks.by_name.items():
            weight = model.get_parameter(name)
            for tensor in (weight, weight.grad, self.state[weight]["momentum_buffer"]):
                assert not tensor[~mask].any()
        seen.append(True)
        return found

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    training = Training(
        objective=sr.Adversarial(),
        attack=PGD(_THREAT, steps=2),
        epochs=2,
        batch_size=16,
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=0.01,
        **options,
    )
    before = copy.deepcopy(model.state_dict())
    with masks.enforced(model):
        trained = training(model, images)
    assert len(seen) >= 6
    for name, mask in masks.by_name.items():
        assert not model.get_parameter(name)[~mask].any() and not trained.best[name][~mask].any()
        assert not torch.equal(model.get_parameter(name)[mask], before[name][mask])
    assert not any(p._backward_hooks for p in model.parameters())


@pytest.mark.parametrize("options", [{}, {"hooks": (AWP(0.01),)}, {"hooks": (SWA(),)}])
def test_a_lottery_from_which_nothing_is_pruned_is_plain_training(options):
    training = Training(
        objective=sr.Adversarial(),
        attack=FGSM(_THREAT),
        epochs=2,
        batch_size=16,
        learning_rate=0.05,
        **options,
    )
    plain = _model()
    training(plain, _images(), seed=5)
    levels = Lottery(levels=2, fraction=0.0)(_model(), _images(), training, seed=5)
    assert [level.masks.density for level in levels] == [1.0] * 3
    for level in levels:
        for name, tensor in plain.state_dict().items():
            assert torch.equal(level.last[name], tensor), (level.number, name)


class _Killed(Exception):
    pass


@pytest.mark.parametrize("options", [{}, {"rewind_epoch": 1}, {"rewind": "reinitialise"}, {"rewind": "none"}])
def test_killed_in_the_middle_of_a_level_it_ends_with_the_same_masks_and_weights(tmp_path, options):
    training = Training(
        objective=sr.Adversarial(), attack=FGSM(_THREAT), epochs=2, batch_size=16, learning_rate=0.05
    )
    lottery = Lottery(levels=2, fraction=0.4, **options)

    def fresh(seed):
        with seed.globally():
            return SmallResidual()

    call = {"seed": 5, "fresh": fresh}
    whole = lottery(_model(), _images(), training, **call)
    count = 0

    def dies(task, i, n):
        nonlocal count
        count += 1
        if count == 10:  # level 1, epoch 2 of 2: three steps an epoch
            raise _Killed

    with pytest.raises(_Killed):
        lottery(_model(), _images(), training, folder=tmp_path, progress=dies, **call)
    assert (tmp_path / "level-0.safetensors").is_file() and not (tmp_path / "level-1.safetensors").is_file()
    ran = []
    again = lottery(
        _model(),
        _images(),
        training,
        folder=tmp_path,
        on_level=lambda level: ran.append(level.number),
        **call,
    )
    assert ran == [1, 2] and again[0].trained is None
    for one, other in zip(whole, again, strict=True):
        assert list(one.masks.by_name) == list(other.masks.by_name)
        assert all(torch.equal(one.masks.by_name[n], other.masks.by_name[n]) for n in one.masks.by_name)
        assert all(
            torch.equal(one.last[n], other.last[n]) and torch.equal(one.best[n], other.best[n])
            for n in one.last
        )
    with pytest.raises(InputError, match="other settings"):
        Lottery(levels=2, fraction=0.5, **options)(_model(), _images(), training, folder=tmp_path, **call)


def test_what_a_level_starts_from():
    """A ticket starts from the initial weights under its mask, the control from others, and the late one from
    epoch 1's.
    """
    one = Training(
        objective=sr.Standard(), epochs=2, batch_size=16, learning_rate=1e-12, momentum=0.0, weight_decay=0.0
    )
    first = Lottery(levels=1, fraction=0.4)(_model(), _images(), one)[1]
    start = _model().state_dict()
    for name, mask in first.masks.by_name.items():
        torch.testing.assert_close(first.last[name], start[name] * mask)
    early = Training(
        objective=sr.Standard(),
        epochs=1,
        batch_size=16,
        learning_rate=0.05,
        schedule="constant",
        weight_decay=0.0,
    )
    after_one = early(_model(), _images()).model.state_dict()
    constant = Training(
        objective=sr.Standard(),
        epochs=2,
        batch_size=16,
        learning_rate=0.05,
        schedule="constant",
        weight_decay=0.0,
    )
    starts = []

    class Noting(Training):
        def __call__(self, model, *args, **kwargs):
            starts.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            return super().__call__(model, *args, **kwargs)

    noting = Noting(**{f.name: getattr(constant, f.name) for f in fields(constant)})
    late = Lottery(levels=1, fraction=0.4, rewind_epoch=1)(_model(), _images(), noting)
    for name, tensor in after_one.items():
        mask = late[1].masks.by_name.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(starts[1][name], tensor.masked_fill(~mask, 0)), name
    fresh = SmallResidual()
    control = Lottery(levels=1, fraction=0.4, rewind="reinitialise")(
        _model(), _images(), noting, fresh=lambda seed: fresh
    )
    for name, mask in control[1].masks.by_name.items():
        assert torch.equal(starts[-1][name], fresh.state_dict()[name].masked_fill(~mask, 0))


def test_saliencies_by_their_definitions():
    model, images = _model(), _images()
    x, y = images.all()
    masks = _whole(model)
    weights = {name: model.get_parameter(name) for name in masks.by_name}
    with untouched(model):
        found = Gradient(inputs="clean")(model, weights, images, None, as_seed(0))
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], (weight * weight.grad).abs().detach(), rtol=1e-4, atol=1e-7)
    one, other = (SALIENCIES.make("random")(model, weights, images, None, as_seed(s)) for s in (0, 1))
    again = SALIENCIES.make("random")(model, weights, images, None, as_seed(0))
    assert all(torch.equal(one[n], again[n]) and not torch.equal(one[n], other[n]) for n in weights)
    with pytest.raises(InputError, match="attack"):
        Gradient()(model, weights, images, None, as_seed(0))


@pytest.mark.parametrize("name", SALIENCIES.names())
def test_every_saliency_leaves_the_model_alone_and_scores_its_weights(name):
    model, images = _model(), _images()
    masks = _whole(model)
    weights = {n: model.get_parameter(n) for n in masks.by_name}
    with untouched(model):
        found = SALIENCIES.make(name)(model, weights, images, FGSM(_THREAT), as_seed(3))
    expected = {n: w.shape for n, w in weights.items() if name != "usefulness" or n == "linear.weight"}
    assert {n: t.shape for n, t in found.items()} == expected
    assert all(torch.isfinite(t).all() and not t.requires_grad for t in found.values())


def test_what_a_lottery_refuses():
    wrong = [
        {"levels": -1},
        {"levels": 1.5},
        {"fraction": 1.0},
        {"rewind": "late"},
        {"rewind": "none", "rewind_epoch": 1},
    ]
    for options in (*wrong, {"scope": "row"}, {"saliency": "magnitude"}):
        with pytest.raises(InputError, match=next(iter(options))):
            Lottery(**options)
    with pytest.raises(InputError, match="inputs"):
        Gradient(inputs="adverserial")
    training = Training(objective=sr.Standard(), epochs=1)
    with pytest.raises(InputError, match="fresh"):
        Lottery(levels=1, rewind="reinitialise")(_model(), _images(), training)
    with pytest.raises(InputError, match="rewind_epoch"):
        Lottery(levels=1, rewind_epoch=3)(_model(), _images(), training)
    with pytest.raises(InputError, match="scope"):
        _whole(_model()).pruned({}, 0.1, "row")


def test_what_cannot_be_pruned_is_said_before_anything_trains(monkeypatch):
    training = Training(objective=sr.Standard(), epochs=1)
    monkeypatch.setattr(Training, "__call__", lambda *args, **kwargs: pytest.fail("trained"))
    with pytest.raises(InputError, match="scope"):
        Lottery(levels=1, saliency=Useful())(_model(), _images(), training)
    with pytest.raises(InputError, match="expected an attack"):
        Lottery(levels=1, saliency=Gradient())(_model(), _images(), training)
    deeper = sr.images_from_tensors(torch.rand(6, 7, 8, 8), torch.arange(6) % 3)
    with pytest.raises(InputError, match="x: the model cannot run"):
        Lottery(levels=1)(_model(), deeper, training)


def test_the_mixed_loss_has_its_ends():
    model, (x, y) = _model(), _images().all()
    step = Step(model, sr.layer_map(model, x), x, y, (1,))
    x_adv = (x + 0.05).clamp(0, 1)
    adversarial, clean = F.cross_entropy(model(x_adv), y), F.cross_entropy(model(x), y)
    for share, expected in ((0.0, adversarial), (1.0, clean), (0.5, (adversarial + clean) / 2)):
        torch.testing.assert_close(OBJECTIVES.make("mixed", {"clean": share}).outer(step, x_adv), expected)


def _measured(model, images, saliency, masks):
    weights = {name: model.get_parameter(name) for name in masks.by_name}
    with untouched(model):
        return saliency(model, weights, images, FGSM(_THREAT), as_seed(1))


def test_layers_that_are_favoured_keep_more_and_the_control_only_brings_layers_to_one_scale():
    model, images = _model(), _images()
    masks = _whole(model)
    plain = _measured(model, images, Layered(favour="none"), masks)
    for name, score in plain.items():
        weight = model.get_parameter(name).detach().abs()
        torch.testing.assert_close(score, weight / weight.mean())
    x, y = images.all()
    layers = sr.layer_map(model, x[:1])
    index = sr.criticality(model, x, y, x_adv=FGSM(_THREAT)(model, x, y)).values
    high, low, drawn, again = (
        _measured(model, images, Layered(favour=f, strength=9.0), masks)
        for f in ("high", "low", "random", "random")
    )
    top, last = (f"{layers.at(int(i) + 1).name}.weight" for i in (index.argmax(), index.argmin()))
    for name, factor in ((top, 3.0), (last, 1 / 3)):
        torch.testing.assert_close(high[name], factor * plain[name])
        torch.testing.assert_close(low[name], plain[name] / factor)
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    assert sorted(round(float((drawn[n] / plain[n]).max()), 4) for n in drawn) == pytest.approx(
        sorted(round(9 ** (i / (len(drawn) - 1) - 0.5), 4) for i in range(len(drawn))), abs=1e-3
    )
    kept = [masks.pruned(scores, 0.5).by_name[top].float().mean() for scores in (high, plain, low)]
    assert kept[0] > kept[1] > kept[2]


def test_one_layer_or_equal_scores_favour_nobody(monkeypatch):
    from semirobust.measures.gradient_norm import GradientNorm

    model, images = _model(), _images()
    layers, attack = sr.layer_map(model, images.all()[0][:1]), FGSM(_THREAT)
    scores = GradientNorm.scores

    def level(self, *args, **kwargs):
        found = scores(self, *args, **kwargs)
        found[0].values[:] = 1.0
        return found

    monkeypatch.setattr(GradientNorm, "scores", level)
    for favour in ("high", "low"):
        ranks = Layered(measure="gradient-norm", favour=favour)._ranks(
            model, layers, *images.all(), attack, as_seed(0)
        )
        assert set(ranks.values()) == {0.5}


@pytest.mark.parametrize("kind", ["useful", "robust", "actual"])
def test_features_worth_least_go_as_whole_columns(kind):
    model, images = _model(), _images()
    masks = _whole(model)
    scores = _measured(model, images, Useful(kind=kind, examples=48), masks)
    (name,) = scores
    order = torch.randperm(48, generator=(as_seed(1) / "examples").generator())
    x, y = images.batch(order)
    values = getattr(
        sr.usefulness(model, x, y, attack=sr.FeatureAttack(_THREAT, 3, None), seed=as_seed(1) / "attack"),
        kind,
    )
    torch.testing.assert_close(scores[name][0].double(), torch.as_tensor(values), rtol=1e-5, atol=1e-7)
    after = masks.pruned(scores, 0.3, "features")
    gone = ~after.by_name[name].any(0)
    size = len(gone)
    assert int(gone.sum()) == round(0.3 * size) and torch.equal(gone, ~after.by_name[name].all(0))
    assert values[gone.numpy()].max() <= values[~gone.numpy()].min()
    assert all(mask.all() for other, mask in after.by_name.items() if other != name)
    again = after.pruned(scores, 0.3, "features")
    left = size - round(0.3 * size)
    assert int(again.by_name[name].any(0).sum()) == left - round(0.3 * left)
    with pytest.raises(InputError, match="features"):
        masks.pruned(scores, 0.3)


def test_a_lottery_over_features_drops_only_these():
    lottery = Lottery(
        levels=2, fraction=0.5, scope="features", saliency=Useful(kind="robust", examples=32), rewind="none"
    )
    levels = lottery(
        _model(),
        _images(),
        Training(objective=sr.Adversarial(), attack=FGSM(_THREAT), epochs=1, batch_size=16),
    )
    *others, classifier = levels[-1].masks.by_name.values()
    assert all(mask.all() for mask in others)
    left = [int(level.masks.by_name[list(level.masks.by_name)[-1]].any(0).sum()) for level in levels]
    assert left[1] == left[0] - round(left[0] / 2) and left[2] == left[1] - round(left[1] / 2)
    weight = [t for n, t in levels[-1].last.items() if n.endswith("weight") and t.shape == classifier.shape][
        -1
    ]
    assert not weight[~classifier].any()

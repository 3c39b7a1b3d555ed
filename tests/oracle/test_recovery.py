"""Algorithm 1 and what makes it cheap: perturbations that are kept, dependence that is asked for."""

import copy
import dataclasses

import pytest
import torch
from lightning_fabric import Fabric

import semirobust as sr
from semirobust.attacks.pgd import PGD
from semirobust.augment.crop_flip import CropFlip
from semirobust.core.errors import InputError
from semirobust.core.processes import Processes
from semirobust.core.seed import as_seed
from semirobust.layers.scores import ScoreName
from semirobust.methods.suffix import SuffixAdversarial
from semirobust.objectives.adversarial import Adversarial
from semirobust.objectives.dependent import Dependent, alignment
from semirobust.procedures.recovery import Recovered, Trial
from semirobust.training.hooks.stored_starts import Perturbations, StoredStarts
from semirobust.training.state import EpochLog
from semirobust.training.training import Trained, Training
from semirobust.training.validation import ValidationScores
from tests.helpers import untouched


def _setting(n=40):
    x = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)
    build = {"num_classes": 3, "width": 0.125, "image_size": 8}
    return sr.build_model("resnet8", **build), sr.build_model("resnet8", **build, seed=1), images


def test_a_trial_starts_semirobust_ends_recovered_and_touches_no_argument():
    robust, normal, images = _setting()
    layers = sr.layer_map(robust, images.all()[0])
    attack = PGD(sr.Linf(0.03), steps=1)
    training = sr.Training(attack=attack, epochs=6, learning_rate=0.01, batch_size=20)
    recovery = sr.Recovery(layers=3, trials=2, training=training)
    start = recovery.start(robust, normal, layers)
    for name, value in start.state_dict().items():
        owner = name.rpartition(".")[0]
        source = normal if owner in layers.modules(recovery.suffix(layers)) else robust
        assert torch.equal(value, source.state_dict()[name]), name
    seen = iter([0.5, 0.1, 0.3, 0.6, 0.1, 0.2, 0.3, 0.35, 0.4, 0.41, 0.42])
    with untouched(robust), untouched(normal):
        found = recovery(
            robust,
            normal,
            images,
            lambda m, s: ValidationScores({"robust": next(seen)}, {ScoreName("connectivity"): {6: 2.0}}),
        )
    assert [trial.converged for trial in found.trials] == [2, None]
    assert [len(trial.trained.logs) for trial in found.trials] == [
        2,
        6,
    ]  # a trial ends where it has recovered
    assert found.epochs == 2 and found.difference == pytest.approx(0.1)
    frozen = set(robust.state_dict()) - {
        n for n in robust.state_dict() if n.rpartition(".")[0] in layers.modules(found.layers)
    }
    for trial in found.trials:
        assert all(torch.equal(trial.trained.model.state_dict()[n], robust.state_dict()[n]) for n in frozen)


def test_what_judges_is_not_what_chooses():
    """The epoch is chosen by one set of images and judged on another, where A* is measured too."""
    robust, normal, images = _setting()
    attack = PGD(sr.Linf(0.03), steps=1)
    training = sr.Training(attack=attack, epochs=3, learning_rate=0.01, batch_size=20)
    for after, converged in ((0.45, 2), (0.44, None)):
        chosen = iter([0.5, 0.1, 0.3, 0.6, 0.2])  # f*, before, and three epochs, of which the second is best
        judged = iter([0.45, 0.05, after])  # f*, before, and the epoch that was chosen
        seen = []

        def judge(model, seed, judged=judged, seen=seen):
            seen.append([value.clone() for value in model.state_dict().values()])
            return {"robust": next(judged)}

        found = sr.Recovery(layers=3, training=training, stop=False)(
            robust, normal, images, lambda m, s, c=chosen: {"robust": next(c)}, judge=judge
        )
        trial = found.trials[0]
        assert next(chosen, None) is None and next(judged, None) is None
        assert trial.converged == converged and trial.trained.best_epoch == 2
        assert all(torch.equal(a, b) for a, b in zip(seen[2], trial.trained.best.values(), strict=True))
        assert (found.aim, trial.before, trial.best) == (0.45, 0.05, after)
        assert found.difference == pytest.approx(after - 0.45)
        assert trial.start.metrics["robust"] == 0.1


def test_projections_count_and_stay_with_their_layer():
    model = sr.build_model("resnet18", width=0.05)
    layers = sr.layer_map(model, torch.rand(1, 3, 32, 32))
    assert sr.Recovery(layers=12, count_projections=True).suffix(layers) == tuple(range(9, 19))
    assert sr.Recovery(layers=4, count_projections=True).suffix(layers) == (16, 17, 18)
    with pytest.raises(InputError, match="how many layers"):
        sr.Recovery(layers=21, count_projections=True).suffix(layers)


def _trial(converged, rho, robust=0.3):
    log = EpochLog(1, 0.0, 0.1, 1.0, (3,), True, 1, {"robust": robust}, {ScoreName("connectivity"): {3: rho}})
    return Trial(
        ValidationScores({"robust": 0.1}), Trained(torch.nn.Identity(), {}, 1, (log,), ""), converged
    )


def test_thresholds_are_the_smallest_of_what_converged_or_the_largest_of_all():
    trials = (_trial(1, 3.0), _trial(None, 1.0), _trial(1, 2.0))
    assert Recovered((3,), 0.3, ValidationScores({"robust": 0.3}), trials).thresholds() == {3: 2.0}
    trials = (_trial(None, 3.0), _trial(None, 1.0))
    found = Recovered((3,), 0.9, ValidationScores({"robust": 0.9}), trials)
    assert found.thresholds() == {3: 3.0} and found.epochs is None


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="trials"):
        sr.Recovery(layers=3, trials=0)
    with pytest.raises(InputError, match="tolerance"):
        sr.Recovery(layers=3, tolerance=2.0)
    with pytest.raises(InputError, match="prefix_epochs"):
        model, _, images = _setting()
        sr.harden(model, images, SuffixAdversarial(3, prefix_epochs=-1), threat=sr.Linf(0.03))


def test_a_prefix_can_be_made_robust_first():
    model, _, images = _setting()
    trained = sr.harden(
        model,
        images,
        "suffix",
        layers=3,
        prefix_epochs=2,
        epochs=3,
        attack=PGD(sr.Linf(0.03), steps=1),
        batch_size=20,
    )
    n = len(sr.layer_map(model, images.all()[0]))
    assert [log.layers for log in trained.logs] == [None, None, (n - 2, n - 1, n)]


@pytest.mark.parametrize("augment", [None, CropFlip(2), CropFlip(0), CropFlip(1, flip=False)])
def test_a_perturbation_comes_back_where_it_was(augment):
    """Kept in one epoch under one shift and mirror, it is found in the next at the same pixels of the
    image.
    """
    epsilon, g = 0.1, torch.Generator().manual_seed(0)
    stored = Perturbations(6, (3, 8, 8), epsilon)
    delta, rows = (torch.rand(6, 3, 8, 8, generator=g) * 2 - 1) * epsilon, torch.arange(6)
    move = (lambda t: t) if augment is None else (lambda t: augment(t, as_seed(1)))
    inside = move(torch.ones(6, 3, 8, 8)) > 0  # of what the shift brought in from outside nothing is kept
    stored.keep(rows, delta, move)
    stored.end_epoch(Processes(Fabric(accelerator="cpu", devices=1)))
    again = stored.of(rows, move, torch.device("cpu"))
    torch.testing.assert_close(again[inside], delta[inside], atol=epsilon / 254 + 1e-7, rtol=0)
    assert float(again[~inside].abs().sum()) == 0


def test_a_stored_start_is_where_the_last_attack_ended():
    """With steps too small to move, the perturbations of the second epoch are those of the first."""
    model, _, images = _setting()
    seen: list[torch.Tensor] = []

    @dataclasses.dataclass(frozen=True)
    class Watching(Adversarial):
        def outer(self, step, x_adv):
            seen.append((x_adv - step.x).detach())
            return super().outer(step, x_adv)

    attack = PGD(sr.Linf(0.1), steps=1, step_size=1e-9)
    Training(
        objective=Watching(),
        attack=attack,
        epochs=2,
        batch_size=40,
        hooks=(StoredStarts(),),
        learning_rate=1e-6,
    )(model, images)
    first, second = (d.flatten(1).sort(0).values for d in seen)  # the order of images differs
    assert float(first.abs().max()) > 0.05
    torch.testing.assert_close(first, second, atol=0.1 / 254 + 1e-5, rtol=0)


def test_a_stored_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    _, _, images = _setting()
    training = Training(
        objective=Adversarial(),
        attack=PGD(sr.Linf(0.05), steps=2),
        epochs=3,
        batch_size=20,
        hooks=(StoredStarts(),),
        augment="crop-flip",
    )
    whole = training(_setting()[0], images)

    def interrupt(log, state):
        if log.epoch == 2:
            raise KeyboardInterrupt

    file = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        training(_setting()[0], images, state_file=file, on_epoch=interrupt)
    resumed = training(_setting()[0], images, state_file=file)
    assert [log.epoch for log in resumed.logs] == [1, 2, 3]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_stored_starts_need_an_attack_that_can_start_there():
    with pytest.raises(InputError, match="norm ball"):
        Training(objective=Adversarial(), attack=sr.StAdv(), hooks=(StoredStarts(),))
    with pytest.raises(InputError, match="stored perturbations"):
        Training(objective=Adversarial(), attack=sr.FGSM(sr.Linf(0.1)), epochs=2, hooks=(StoredStarts(),))


@pytest.mark.parametrize("kernel", ["hsic", "cka"])
def test_alignment_is_one_with_itself_and_nothing_when_independent(kernel):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 6
    a = torch.randn(60, 300, generator=g)
    assert float(alignment(a, a, y, kernel=kernel)) == pytest.approx(1, abs=1e-5)
    free = torch.stack([alignment(a, torch.randn(60, 80, generator=g), y, kernel=kernel) for _ in range(60)])
    assert abs(float(free.mean())) < 4 * float(free.std()) / 60**0.5
    mean = 10 * torch.randn(6, 300, generator=g)[y]  # what all images of a class share does not count
    shared = torch.stack(
        [
            alignment(
                mean + torch.randn(60, 300, generator=g),
                mean + torch.randn(60, 300, generator=g),
                y,
                kernel="cka",
            )
            for _ in range(30)
        ]
    )
    assert abs(float(shared.mean())) < 0.05


def test_alignment_within_one_class_is_the_measure_of_dependence():
    """Against the library's own unbiased HSIC, normalised, which has another kernel width only where classes
    are many.
    """
    g = torch.Generator().manual_seed(1)
    x = torch.randn(50, 4, generator=g, dtype=torch.float64)
    y = x[:, :2] + 0.3 * torch.randn(50, 2, generator=g, dtype=torch.float64)
    mine = alignment(x, y, torch.zeros(50, dtype=torch.long))
    theirs = sr.HSIC(normalized=True, permutations=0)(x, y)
    assert float(mine) == pytest.approx(theirs.value, rel=0.01)


def test_dependence_that_is_asked_for_rises():
    found = {}
    for weight in (0.0, 20.0):
        model, _, images = _setting(60)
        layers = sr.layer_map(model, images.all()[0])
        sr.harden(
            model,
            images,
            SuffixAdversarial(3, dependence="hsic", weight=weight),
            attack=PGD(sr.Linf(0.01), steps=1),
            epochs=4,
            batch_size=60,
            learning_rate=0.05,
        )
        x, y = images.all()
        with torch.no_grad(), sr.features(model.eval(), layers) as tape:
            model(x)
        n = len(layers)
        rows = {i: tape[i].flatten(1) for i in range(n - 3, n + 1)}
        found[weight] = sum(float(alignment(rows[j - 1], rows[j], y)) for j in range(n - 2, n + 1))
    assert found[20.0] > found[0.0] + 0.05


def test_dependence_on_the_prefix_falls_where_less_of_it_is_asked_for():
    """On the last layer of the prefix, where a term has room both ways: the manipulation takes."""
    found = {}
    for weight in (-20.0, 0.0, 20.0):
        model, _, images = _setting(60)
        x, y = images.all()
        layers = sr.layer_map(model, x)
        prefix, suffix = len(layers) - 3, range(len(layers) - 2, len(layers) + 1)
        sr.harden(
            model,
            images,
            SuffixAdversarial(3, dependence="hsic", weight=weight, on="prefix"),
            attack=PGD(sr.Linf(0.01), steps=1),
            epochs=4,
            batch_size=60,
            learning_rate=0.05,
        )
        with torch.no_grad(), sr.features(model.eval(), layers) as tape:
            model(x)
        rows = {i: tape[i].flatten(1) for i in (prefix, *suffix)}
        found[weight] = sum(float(alignment(rows[prefix], rows[j], y)) for j in suffix)
    assert found[-20.0] + 0.05 < found[0.0] < found[20.0] - 0.05


def test_the_term_is_the_mean_over_the_layers_that_train():
    from semirobust.objectives import Step

    model, _, images = _setting()
    x, y = images.all()
    layers = sr.layer_map(model, x)
    n = len(layers)
    with torch.no_grad(), sr.features(model, layers) as tape:
        loss = torch.nn.functional.cross_entropy(model(x), y)
    rows = {i: feature.flatten(1) for i, feature in tape.items()}
    step = Step(model, layers, x, y, (n - 1, n))
    for on, before in (("before", (n - 2, n - 1)), ("prefix", (n - 2, n - 2))):
        pairs = zip(before, (n - 1, n), strict=True)
        by_hand = loss - 0.7 * sum(alignment(rows[i], rows[j], y) for i, j in pairs) / 2
        term = Dependent(weight=0.7, on=on).outer(step, x).detach()
        assert float(term) == pytest.approx(float(by_hand), abs=1e-5)
    with pytest.raises(InputError, match="on: expected before or prefix"):
        Dependent(on="suffix")


def test_a_first_layer_has_nothing_before_it():
    model, _, images = _setting()
    x, y = images.all()
    from semirobust.objectives import Step

    step = Step(copy.deepcopy(model), sr.layer_map(model, x), x, y, (1,))
    with pytest.raises(InputError, match="depends on no other"):
        Dependent().outer(step, x)


def test_alignment_survives_half_precision_and_features_that_collapsed():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 8
    a = torch.randn(64, 512, generator=g)
    b = torch.relu(a @ torch.randn(512, 256, generator=g) / 20)
    for kernel in ("hsic", "cka"):
        exact = float(alignment(a, b, y, kernel=kernel))
        with torch.autocast("cpu", torch.bfloat16):
            assert float(alignment(a, b, y, kernel=kernel)) == pytest.approx(exact, abs=0.02)
        flat = torch.ones(64, 32).requires_grad_()
        found = alignment(a, flat * 3, y, kernel=kernel)
        found.backward()
        assert float(found.detach()) == 0 and bool(torch.isfinite(flat.grad).all())


def test_a_score_that_nobody_gives_is_refused():
    model, _, images = _setting()
    base = Training(objective=Adversarial(), attack=PGD(sr.Linf(0.03), steps=1), epochs=2, batch_size=20)
    with pytest.raises(InputError, match="got none"):
        dataclasses.replace(base, until=0.9)(model, images)
    with pytest.raises(InputError, match="best_by: expected one of robust"):
        dataclasses.replace(base, best_by="robsut")(model, images, validate=lambda m, s: {"robust": 0.5})
    with pytest.raises(InputError, match="fewer than the 2 epochs"):
        sr.harden(model, images, SuffixAdversarial(3, prefix_epochs=2), threat=sr.Linf(0.03), epochs=2)

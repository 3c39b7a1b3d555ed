"""Arguments of calls that are not as they should be, and objects whose code is a user's own."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.attacks import ATTACKS
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.core import plugins
from semirobust.core.registry import Registry
from semirobust.core.settings import settings_of
from semirobust.errors import InputError
from semirobust.experiments.contents import contents
from semirobust.layers.freeze import only_trainable
from tests.kinds import kind

_X = torch.rand(24, 1, 6, 6, generator=torch.Generator().manual_seed(0))
_BALL = sr.Linf(0.05)


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).eval()


def _labels(model):
    return model(_X).argmax(1)


@kind(
    "attacks from a generator, which can be read once",
    "all of them are carried out",
    about="attacks",
)
def test_attacks_of_a_generator():
    model = _network()
    y, radii = _labels(model), (0.1, 0.3)
    listed = sr.evaluate(model, _X, y, [sr.FGSM(sr.Linf(r)) for r in radii], seed=0)
    drawn = sr.evaluate(model, _X, y, (sr.FGSM(sr.Linf(r)) for r in radii), seed=0)
    assert drawn.summary() == listed.summary() and len(drawn.summary()) == 4


@dataclass(frozen=True)
class _Wide(AbstractBallAttack):
    """Leaves the ball by changing in place what it is given."""

    called: str = "wide"

    @property
    def name(self):
        return self.called

    @property
    def cost(self):
        return 1.0

    def search(self, goal, x, seed):
        x += 0.5
        return x.clamp_(0, 1)


def test_what_an_attack_does_in_place_does_not_move_the_ball():
    model = _network()
    found = sr.evaluate(model, _X.clone(), _labels(model), _Wide(_BALL), seed=0)
    assert found.rejected["wide"] > 0 and not bool(
        found.robust["wide"].logical_not().any() & ~found.undecided["wide"].any()
    )


@pytest.mark.parametrize("taken", ["clean", "worst"])
def test_an_attack_has_no_name_of_a_row(taken):
    model = _network()
    with pytest.raises(InputError, match=f"other names than clean and worst, which are taken; got '{taken}'"):
        sr.evaluate(model, _X, _labels(model), [_Wide(_BALL, called=taken)])


def test_layers_named_by_tensors_train():
    model = _network()
    with only_trainable(model, sr.layer_map(model, _X[:1]), torch.tensor([1])):
        assert [p.requires_grad for p in model.parameters()] == [True, True, False, False]


@kind(
    "numbers of epochs and images, attacks, objectives and validations of a wrong type",
    "one sentence that says what was expected",
    about="runs",
)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 1.5}, "epochs: expected a whole number, got 1.5"),
        ({"epochs": True}, "epochs: expected a whole number"),
        ({"epochs": "2"}, "epochs: expected a whole number"),
        ({"batch_size": 8.0}, "batch_size: expected a whole number, got 8.0"),
        ({"attack": "pgd-3"}, "attack: expected one such as PGD"),
        ({"attack": sr.PGD}, "attack: expected one such as PGD.*got PGD"),
        ({"objective": "trades"}, "objective: expected one such as Adversarial"),
    ],
)
def test_a_training_has_what_it_needs(options, words):
    with pytest.raises(InputError, match=words):
        sr.Training(**{"attack": sr.PGD(_BALL, steps=1), **options})


def test_wrong_arguments_of_other_calls():
    model, attack = _network(), sr.PGD(_BALL, steps=1)
    y = _labels(model)
    for call, words in (
        (lambda: sr.transfer([model, model], _X, y, attack), "models: expected at least one by name"),
        (lambda: sr.transfer({"a": model}, _X, y, [attack]), "attack: expected one such as PGD"),
        (
            lambda: sr.sweep(model, _X, y, attack, ["2/255"]),
            "epsilons: expected a tuple with each item a number, .*give 2/255 without quotes",
        ),
        (lambda: sr.evaluate(model, _X, y, {1: attack}), "attacks: expected other names"),
        (lambda: sr.load_data(None), "data: expected .* got None"),
        (lambda: sr.load_data(""), "data: expected .* got ''"),
        (
            lambda: sr.harden(model, (_X, y), "adversarial", attack=attack, validate=_X),
            "validate: expected a func",
        ),
        (lambda: sr.as_classifier(model, mean=torch.ones(1), std=torch.ones(1)), "as a list such as"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    assert len(sr.sweep(model, _X, y, attack, torch.tensor([0.01, 0.02])).epsilons) == 3


def test_results_are_equal_to_themselves_alone():
    model = _network()
    y = _labels(model)
    one, other = (sr.evaluate(model, _X, y, sr.FGSM(_BALL)) for _ in range(2))
    assert one == one and one != other and one in [other, one] and len({one, other}) == 2
    images = sr.images_from_tensors(_X, y, list("abcd"))
    assert images == images and images in {images}


def test_weights_are_not_written_over_a_file_of_another_kind(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(InputError, match="exists and holds no weights"):
        sr.save_model(_network(), file)
    assert file.read_text() == "mine"
    for _ in range(2):
        sr.save_model(_network(), tmp_path / "weights")


def _registry():
    registry = Registry("sound", "tests", group="sounds")
    registry._loaded = True

    class Bang:
        """Ours."""

    Bang.__module__ = "tests.sounds"
    registry.register("bang", pattern=r"bang-(?P<n>\d+)")(Bang)
    return registry, Bang


def test_a_name_that_a_pattern_of_ours_reads_is_taken():
    registry, ours = _registry()

    class Other:
        """A package's."""

    Other.__module__ = "elsewhere"
    with pytest.raises(InputError, match="'bang-20': this name means a member of this library already"):
        registry.register("bang-20")(Other)
    assert registry.find("bang-20") == (ours, {"n": 20})
    registry.register("boom")(Other)
    again = type("Other", (), {"__module__": "elsewhere", "__qualname__": Other.__qualname__})
    registry.register("boom")(again)  # a cell of a notebook that ran twice
    assert registry.find("boom")[0] is again
    with pytest.raises(InputError, match="two members of the family 'sound' are called 'boom'"):
        registry.register("boom")(type("Third", (), {"__module__": "elsewhere"}))


def test_an_entry_point_does_not_take_a_name_that_a_pattern_reads(monkeypatch):
    monkeypatch.setattr(ATTACKS, "_loaded", False)
    point = EntryPoint(name="pgd-20", value="elsewhere:Other", group="semirobust.attacks")
    monkeypatch.setattr(
        "semirobust.core.registry.entry_points", lambda: {"semirobust.attacks": {"pgd-20": point}}
    )
    assert ATTACKS.find("pgd-20")[1] == {"steps": 20} and ATTACKS.left_out("pgd-20") == "elsewhere:Other"
    monkeypatch.delitem(ATTACKS._left_out, "pgd-20")


def test_of_two_packages_with_one_name_it_is_said_which_counts(monkeypatch, caplog):
    points = [EntryPoint(name="noise", value=f"{of}:Noise", group="semirobust.attacks") for of in ("b", "a")]
    for point, package in zip(points, ("second", "first"), strict=True):
        vars(point)["dist"] = type("Dist", (), {"name": package})()
    installed = type("Points", (), {"groups": {"semirobust.attacks"}, "select": lambda self, group: points})()
    monkeypatch.setattr(plugins.importlib.metadata, "entry_points", lambda: installed)
    found = plugins.entry_points.__wrapped__()
    assert found["semirobust.attacks"]["noise"].value == "a:Noise"
    assert "that of first counts, and that of second is left out" in caplog.text


def test_a_name_for_type_checkers_alone_is_told():
    @dataclass(frozen=True)
    class Odd:
        """Odd.

        Args:
            path: some.
        """

        path: "OnlyForCheckers" = None  # noqa: F821

    with pytest.raises(
        InputError, match="annotations whose names exist when it runs; name 'OnlyForCheckers'"
    ):
        settings_of(Odd)


def test_an_audit_has_no_settings_and_is_not_damaged(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "4-audit.jsonl").write_text('{"kind":"finding"}\n')
    (tmp_path / "records" / "3-evaluate.jsonl").write_text("cut off")
    assert contents(tmp_path) == ["evaluate (damaged)", "audit"]

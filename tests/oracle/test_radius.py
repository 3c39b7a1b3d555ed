"""Radii that hold every image are refused, since they are nearly always numbers from 0 to 255."""

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.experiments.recipe import Recipe
from tests.kinds import kind


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()


@pytest.mark.parametrize(
    ("epsilon", "meant"), [(8, "8/255"), (1, "1/255"), (1.0, "1/255"), (2.5, "2.5/255"), (128, "128/255")]
)
@kind(
    "`Linf(8)`, a radius in pixels from 0 to 255",
    'it is refused with the question "8/255?"',
    about="epsilon",
)
def test_a_radius_in_bytes_is_refused_with_what_was_meant(epsilon, meant):
    with pytest.raises(
        InputError, match=rf"below 1, .* got {epsilon:g}; did you mean {meant}\?.*insist=True"
    ):
        sr.Linf(epsilon)


def test_no_question_where_no_byte_was_meant():
    with pytest.raises(InputError, match=r"got 1000\. It is taken"):
        sr.Linf(1000)


@pytest.mark.parametrize(("norm", "whole"), [(sr.L2, 12**0.5), (sr.L1, 12.0)])
@kind(
    "an l2 or l1 radius that is longer than any two images are apart",
    "it is refused once the size of an image is known",
    about="epsilon",
)
def test_a_ball_around_any_image_that_holds_all_is_refused_before_the_attack(linear, norm, whole):
    x, y = torch.rand(4, 3, 2, 2), torch.zeros(4, dtype=torch.long)
    for attack in (sr.PGD, sr.FGSM, sr.Square, sr.AutoAttack):
        for run in (lambda a: sr.evaluate(linear, x, y, a), lambda a: a(linear, x, y)):
            with pytest.raises(InputError, match=rf"epsilon: expected a radius below {whole:.4g}"):
                run(attack(norm(whole)))
    sr.FGSM(norm(0.99 * whole))(linear, x, y)


@kind(
    "a radius that holds every image, on purpose",
    "`insist=True` and `--insist-eps` take it",
    about="epsilon",
)
def test_who_insists_gets_the_whole_cube(linear):
    x = torch.rand(4, 3, 2, 2)
    y = linear(x).argmax(1)
    for norm in (sr.Linf, sr.L2, sr.L1):
        ball = norm(8, insist=True) if norm is sr.Linf else norm(20, insist=True)
        assert sr.evaluate(linear, x, y, sr.PGD(ball)).worst.sum() <= 2
    assert Recipe({"threat": {"epsilon": 8, "insist": True}}).threat.ball == sr.Linf(8.0, insist=True)
    with pytest.raises(InputError, match=r"threat\.epsilon: expected a radius below 1.*8/255.*--insist-eps"):
        Recipe({"threat": {"epsilon": "8"}})


@kind(
    "a security curve over radii from 0 to 255",
    "it is refused before its first radius is tried",
    about="epsilon",
)
def test_a_curve_says_so_before_its_first_radius(linear):
    x, y = torch.rand(4, 3, 2, 2), torch.zeros(4, dtype=torch.long)
    tried = []
    with pytest.raises(InputError, match="8/255"):
        sr.sweep(linear, x, y, sr.FGSM(sr.Linf(0.1)), [0.1, 8], progress=lambda *done: tried.append(done))
    assert not tried
    curve = sr.sweep(linear, x, y, sr.FGSM(sr.Linf(0.1, insist=True)), [0.1, 1])
    assert curve.epsilons == (0.0, 0.1, 1.0)


@kind(
    "an l2 radius of 128 for images of 3 by 224 by 224 pixels, or any ball that holds images of other classes",
    "said with the share of the images, since no network is robust there",
    about="epsilon",
)
def test_a_ball_that_holds_images_of_other_classes_is_said():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(12, 3, 40, 40, generator=draw) * 0.1 + 0.4, torch.arange(12) % 3
    model = nn.Sequential(nn.Flatten(), nn.Linear(4800, 3)).eval()
    y = model(x).argmax(1) if len(model(x).argmax(1).unique()) > 1 else y
    for ball in (sr.L2(6.0), sr.Linf(0.2), sr.L1(900.0)):
        within = ball.contains(x[:, None].expand(-1, 12, -1, -1, -1).flatten(0, 1), x.repeat(12, 1, 1, 1))
        held = int((within.view(12, 12) & (y[:, None] != y)).any(1).sum())
        expected = f"around {held} of 12 images holds an image of another class"
        assert held and any(expected in note for note in sr.evaluate(model, x, y, sr.FGSM(ball)).notes)
        curve = sr.sweep(model, x, y, sr.FGSM(ball), [ball.epsilon])
        assert any(expected in note for note in curve.notes)
    assert any("6/255 meant?" in n for n in sr.evaluate(model, x, y, sr.FGSM(sr.L2(6.0))).notes)
    for ball in (sr.L2(0.5), sr.Linf(8 / 255), sr.Linf(0.06)):
        assert not any("another class" in note for note in sr.evaluate(model, x, y, sr.FGSM(ball)).notes)

"""Every augmentation on batches, and mixtures of two sources of images."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.nn import functional as F

import semirobust as sr
import semirobust.augment.colour_shape as colour_shape
from semirobust.augment import AUGMENTATIONS, augmentation
from semirobust.augment.colour import Colour
from semirobust.augment.colour_shape import OPERATIONS, ColourShape, changed
from semirobust.augment.crop_shift import CropShift
from semirobust.augment.cutout import Cutout
from semirobust.augment.erase import Erase
from semirobust.augment.random_resized_crop import RandomResizedCrop
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed, as_seed
from semirobust.data.base.mixture import mixture
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.hooks.stored_starts import StoredStarts
from semirobust.training.training import Training

SEED = Seed(("augment",))


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
@pytest.mark.parametrize("channels", [1, 3])
def test_every_augmentation(name, channels):
    augment = augmentation(name)
    assert augment is not None
    x = torch.rand(32, channels, 12, 12, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    out = augment(x, SEED)
    assert out.shape == x.shape and out.dtype == x.dtype and float(out.min()) >= 0 and float(out.max()) <= 1
    assert torch.equal(augment(x, SEED), out) and torch.equal(x, before)
    assert not torch.equal(augment(x, SEED / "other"), out)
    if augment.only_moves:  # each value is one of the image's own, or zero, and it is linear in the image
        for image, moved in zip(x, out, strict=True):
            assert set(moved.flatten().tolist()) <= {0.0, *image.flatten().tolist()}
        torch.testing.assert_close(augment(0.5 * x, SEED), 0.5 * out)


def test_augmentations_that_are_a_name():
    assert augmentation("none") is None
    assert set(AUGMENTATIONS.names()) >= {
        "crop",
        "crop-flip",
        "crop-small",
        "cutout",
        "idbh-strong",
        "idbh-svhn",
        "idbh-weak",
    }
    with pytest.raises(InputError, match="augment: expected one of none, colour, .*; got 'nope'"):
        augmentation("nope")


def test_cutout_takes_a_square_around_a_centre_in_the_image():
    out = Cutout(0.5)(torch.ones(400, 1, 8, 8), SEED)[:, 0]
    rows, columns = (out == 0).any(2).sum(1), (out == 0).any(1).sum(1)
    assert (
        int(rows.max()) == 4 and int(rows.min()) == 2 and torch.equal((out == 0).sum((1, 2)), rows * columns)
    )


def test_erased_area_and_probability():
    out = Erase(0.5)(torch.ones(2000, 1, 32, 32), SEED)[:, 0]
    area = (out == 0).float().mean((1, 2))
    assert float((area > 0).float().mean()) == pytest.approx(0.5, abs=0.04)
    some = area[area > 0]
    assert (
        float(some.min()) >= 0.015
        and float(some.max()) <= 0.36
        and float(some.mean()) == pytest.approx(0.17, abs=0.02)
    )


def test_crop_shift_keeps_one_box_of_the_image():
    x = 1 + torch.arange(144.0).view(1, 1, 12, 12).expand(300, 1, 12, 12)
    out = CropShift(5)(x, SEED)
    lost = [(12 - int((image[0] > 0).any(1).sum()), 12 - int((image[0] > 0).any(0).sum())) for image in out]
    assert {a + b for a, b in lost} == set(range(6)) and {a for a, _ in lost} == {b for _, b in lost} == set(
        range(6)
    )
    for image in out[:50, 0]:
        at = (image > 0).nonzero()
        box = image[at[:, 0].min() : at[:, 0].max() + 1, at[:, 1].min() : at[:, 1].max() + 1]
        assert bool((box[:, 1:] - box[:, :-1] == 1).all()) and bool((box[1:] - box[:-1] == 12).all())


def test_colours_change_by_the_factor():
    """On a grey image of one value contrast, saturation and sharpness change nothing, and brightness is the
    factor.
    """
    out = Colour(0.5, 0.5, 1.5)(torch.full((400, 3, 6, 6), 0.4), SEED)
    factors = out[:, 0, 0, 0] / 0.4
    torch.testing.assert_close(out, out[:, :1, :1, :1].expand_as(out))
    changed = (factors - 1).abs() > 1e-4
    assert float(changed.float().mean()) == pytest.approx(0.25, abs=0.06)
    assert float(factors.min()) >= 0.5 and float(factors.max()) <= 1.5 + 1e-6


def _picture():
    """A picture of 32 x 32 whose red is dim, as a tensor (1, 3, 32, 32) and by Pillow."""
    pixels = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0))
    pixels[0] = pixels[0] // 2 + 30
    pixels = pixels.to(torch.uint8)
    return pixels[None].float() / 255, Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _shorn(picture, across, down):
    """By Pillow, about the middle: (x, y) comes from (x + across y, y + down x)."""
    matrix = (1, across, -16 * across, down, 1, -16 * down)
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix)


PILLOW = [
    *[("saturation", s, False, lambda p, s: ImageEnhance.Color(p).enhance(s)) for s in (0.3, 1.7)],
    *[("brightness", s, False, lambda p, s: ImageEnhance.Brightness(p).enhance(s)) for s in (0.6, 1.7)],
    *[("contrast", s, False, lambda p, s: ImageEnhance.Contrast(p).enhance(s)) for s in (0.6, 1.7)],
    *[("sharpness", s, False, lambda p, s: ImageEnhance.Sharpness(p).enhance(s)) for s in (0.3, 1.7)],
    ("autocontrast", 0.0, False, lambda p, s: ImageOps.autocontrast(p)),
    ("equalise", 0.0, False, lambda p, s: ImageOps.equalize(p)),
    *[("shear", s, False, lambda p, s: _shorn(p, math.tan(s), 0)) for s in (-0.05, 0.3)],
    *[("shear", s, True, lambda p, s: _shorn(p, 0, math.tan(s))) for s in (-0.05, 0.3)],
    *[("rotation", s, False, lambda p, s: p.rotate(-s)) for s in (7.0, -10.0, 30.0)],
]


@pytest.mark.parametrize(("name", "strength", "vertical", "pillow"), PILLOW)
def test_the_eight_operations_are_those_of_pillow(name, strength, vertical, pillow):
    """Which computes in bytes and rounds on the way; a pixel on an edge may come from either side."""
    x, picture = _picture()
    operation, strengths = torch.tensor([OPERATIONS.index(name)]), torch.tensor([strength])
    ours = 255 * changed(x, operation, strengths, torch.tensor([vertical]))[0].permute(1, 2, 0).numpy()
    away = np.abs(ours - np.asarray(pillow(picture, strength), float))
    assert np.mean(away > 1.3) < 0.003, f"{name} {strength}: {away.max()}"


@pytest.mark.parametrize(
    ("bias", "often", "shear", "degrees"),
    [
        ("colour", [1 / 8] * 8, (0.05, 0.15), 10),
        ("shape", [0.08, 0.08, 0.04, 0.08, 0.04, 0.08, 0.3, 0.3], (0.05, 0.35), 30),
    ],
)
def test_operations_and_strengths_come_as_often_as_they_should(monkeypatch, bias, often, shear, degrees):
    drawn = []
    monkeypatch.setattr(colour_shape, "changed", lambda x, *rest: drawn.extend(rest) or x)
    ColourShape(bias)(torch.zeros(8000, 1, 1, 1), SEED)
    operation, strength, vertical = drawn
    counts = torch.bincount(operation, minlength=8) / 8000
    torch.testing.assert_close(counts, torch.tensor(often), atol=0.015, rtol=0)
    ranges = [(0.1, 1.9), (0.5, 1.9), (0.5, 1.9), (0.1, 1.9), None, None, shear]
    for number, ends in enumerate(ranges):
        if ends is not None:
            found = strength[operation == number].abs()
            assert ends[0] <= float(found.min()) < ends[0] + 0.02 and ends[1] - 0.02 < float(found.max())
            assert float(found.max()) <= ends[1]
    turns = strength[operation == 7]
    assert sorted(set(turns.tolist())) == [d for d in range(-degrees, degrees + 1) if d]
    assert 0.4 < float((strength[operation == 6] > 0).float().mean()) < 0.6
    assert 0.4 < float(vertical.float().mean()) < 0.6


def test_a_bias_that_is_none():
    with pytest.raises(InputError, match="bias: expected colour or shape"):
        ColourShape("size")


def test_a_resized_crop_is_that_of_torch():
    """Each box, resized by itself; larger and smaller than the result."""
    x = torch.rand(40, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    for augment, sides in ((RandomResizedCrop(), (24, 20)), (RandomResizedCrop().sized(9), (9, 9))):
        out = augment(x, SEED)
        boxes = torch.stack(augment.boxes(40, 24, 20, SEED, x.device)).T.int().tolist()
        for image, found, (top, left, height, width) in zip(x, out, boxes, strict=True):
            part = image[None, :, top : top + height, left : left + width]
            assert part.shape[2:] == (height, width), "it lies within the image"
            expected = F.interpolate(part, sides, mode="bilinear", antialias=True)[0]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_boxes_of_resized_crops():
    """Areas from 0.08 on, ratios from 3/4 to 4/3; in a strip a box of the middle where nothing fits."""
    top, left, height, width = RandomResizedCrop().boxes(4000, 200, 200, SEED, torch.device("cpu"))
    area, ratio = height * width / 200**2, width / height
    assert 0.075 < float(area.min()) < 0.1 and float(area.max()) <= 1
    assert 0.74 < float(ratio.min()) < 0.76 and 1.32 < float(ratio.max()) < 1.35
    assert float(area.mean()) == pytest.approx(0.5, abs=0.04)  # 0.54 but for large ones that do not fit
    assert float(left[width < 60].mean()) == pytest.approx(70, abs=10)
    assert float(top.min()) == 0 and float((top + height).max()) == 200
    whole = RandomResizedCrop(1.0).boxes(50, 10, 40, SEED, torch.device("cpu"))
    assert [set(part.tolist()) for part in whole] == [{0.0}, {13.0}, {10.0}, {13.0}]
    with pytest.raises(InputError, match="min_area"):
        RandomResizedCrop(0.0)


def test_the_set_for_svhn_erases_up_to_half():
    out = Erase(1.0, max_area=0.5)(torch.ones(1000, 1, 32, 32), SEED)[:, 0]
    area = (out == 0).float().mean((1, 2))
    assert 0.45 < float(area.max()) <= 0.53
    with pytest.raises(InputError, match="max_area"):
        Erase(max_area=0.0)


def _two(n=30, m=20):
    own = sr.images_from_tensors((torch.rand(n, 3, 8, 8) * 100).to(torch.uint8), torch.arange(n) % 3)
    return own, sr.images_from_tensors(0.5 + 0.5 * torch.rand(m, 3, 8, 8), torch.arange(m) % 3)


def test_a_mixture_has_its_share_in_every_batch():
    own, extra = _two()
    mixed = mixture(own, extra, 0.7)
    batches = list(mixed.batches(10, seed=as_seed(0)))
    assert [len(rows) for rows in batches] == [10, 10, 10] and mixed.epoch_size == 30
    for rows in batches:
        assert int((rows >= 30).sum()) == 7
        x, y = mixed.batch(rows)
        for row, image, label in zip(rows.tolist(), x, y, strict=True):
            source, at = (own, row) if row < 30 else (extra, row - 30)
            expected, expected_label = source.batch(torch.tensor([at]))
            assert torch.equal(image, expected[0]) and label == expected_label[0]
    seen = torch.cat(batches)
    assert len(set(seen[seen >= 30].tolist())) == 20  # 21 wanted of 20: gone through before one comes again
    assert not torch.equal(torch.cat(list(mixed.batches(10, seed=as_seed(1)))), seen)


def test_training_on_a_mixture():
    own, extra = _two()
    training = Training(
        objective=Adversarial(), attack=sr.PGD(sr.Linf(2 / 255), steps=1), epochs=1, batch_size=10
    )
    steps = []
    trained = training(
        sr.build_model("resnet8", 3, 0.125, image_size=8),
        mixture(own, extra, 0.5),
        on_step=lambda name, i, n: steps.append((i, n)),
    )
    assert steps == [(1, 3), (2, 3), (3, 3)] and trained.logs[0].loss > 0


def test_mixtures_that_are_refused():
    own, extra = _two()
    other = sr.images_from_tensors(torch.rand(4, 3, 9, 9), torch.arange(4) % 3)
    more = sr.images_from_tensors(torch.rand(5, 3, 8, 8), torch.arange(5))
    for second, share, message in (
        (extra, 1.0, "extra_share"),
        (other, 0.5, "of shape"),
        (more, 0.5, "at most the 3 classes"),
    ):
        with pytest.raises(InputError, match=message):
            mixture(own, second, share)
    assert mixture(own, extra, 0) is own


def test_stored_perturbations_need_an_augmentation_that_only_moves():
    with pytest.raises(InputError, match="only moves pixels"):
        Training(
            objective=Adversarial(),
            attack=sr.PGD(sr.Linf(8 / 255)),
            hooks=(StoredStarts(),),
            augment="idbh-weak",
        )


def test_images_may_live_on_another_device():
    own, _ = _two()
    assert own.on(torch.device("cpu")) is own
    elsewhere = own.on(torch.device("meta"))
    assert (
        elsewhere.pixels.device.type == "meta"
        and elsewhere.pixels.dtype == torch.uint8
        and elsewhere.epoch_size == 30
    )
    mixed = mixture(own, own, 0.5)
    assert mixed.on(torch.device("meta")) is mixed

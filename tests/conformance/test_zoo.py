"""What every source of networks must do; the packages are stand-ins, and the real ones where they are."""

import importlib.util
import sys

import pytest
import torch

from semirobust.cli.flags import MODEL
from semirobust.core.errors import InputError
from semirobust.zoo import ZOO
from semirobust.zoo.base.named import build_named, card_of, source_of
from semirobust.zoo.base.source import Wanted
from tests.helpers import untouched
from tests.stand_ins import CLASSES, OWN, STAND_INS, put_in

FINISHED = {"onnx"}  # a file, of which no network is built anew: tests/oracle/test_export.py
EVERY = pytest.mark.parametrize("source", sorted(set(ZOO.names()) - FINISHED))
PACKAGES = {"hf": "transformers", "robustbench": "robustbench", "timm": "timm", "torchvision": "torchvision"}
OF_A_PACKAGE = pytest.mark.parametrize("source", PACKAGES)


def _wanted(source, **more):
    outputs = 10 if source == "robustbench" else 5
    return Wanted(**{"outputs": outputs, "channels": 3, "image_size": (12, 16), **more})


def test_every_source_has_a_stand_in_and_is_named_in_the_help():
    assert set(ZOO.names()) == set(STAND_INS) | FINISHED
    assert all(ZOO.make(name).shown in MODEL.help for name in ZOO.names())


@EVERY
def test_a_network_is_built_by_name_and_seed(source, monkeypatch):
    put_in(monkeypatch, source)
    name = STAND_INS[source][1]
    state = torch.get_rng_state()
    first, again, other = (build_named(name, _wanted(source), seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first["conv.weight"], again["conv.weight"])
    assert not torch.equal(first["conv.weight"], other["conv.weight"])
    model = build_named(name, _wanted(source, own_weights=True))
    assert not model.training and bool((model.head.bias == OWN).all())
    x = torch.rand(2, 3, 12, 16)
    with untouched(model):
        assert model(x).shape == (2, _wanted(source).outputs)


@OF_A_PACKAGE
def test_the_card_has_what_the_configuration_says(source, monkeypatch):
    put_in(monkeypatch, source)
    card = card_of(STAND_INS[source][1], {})
    if source == "robustbench":
        assert (card.outputs, card.image_size, card.mean, card.std) == (10, (32, 32), (0, 0, 0), (1, 1, 1))
        assert card.classes[3] == ("cat",)
        return
    assert (card.outputs, card.image_size, card.channels) == (5, (12, 12), 3)
    assert card.mean == pytest.approx((0.4, 0.5, 0.6)) and card.std == pytest.approx((0.2, 0.25, 0.3))
    assert all(name in names for name, names in zip(CLASSES, card.classes, strict=True))


@OF_A_PACKAGE
def test_a_missing_package_is_one_sentence_with_the_line_of_pip(source, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGES[source], None)
    for module in list(sys.modules):
        if module.startswith(f"{PACKAGES[source]}."):
            monkeypatch.delitem(sys.modules, module)
    with pytest.raises(InputError, match=rf"pip install 'semirobust\[{source}\]'") as caught:
        build_named(STAND_INS[source][1], _wanted(source))
    assert "\n" not in str(caught.value)


@OF_A_PACKAGE
def test_a_package_that_fails_on_import_is_one_sentence(source, monkeypatch, tmp_path):
    package = PACKAGES[source]
    for module in list(sys.modules):
        if module.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, module)
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"cannot be imported \(RuntimeError: operator .* fits PyTorch"):
        build_named(STAND_INS[source][1], _wanted(source))


@EVERY
def test_weights_that_cannot_be_had_are_said_with_what_to_do(source, monkeypatch):
    put_in(monkeypatch, source)
    lost = STAND_INS[source][2]
    if lost is None:
        return
    with pytest.raises(InputError, match=r"--checkpoint.*--set model.options.pretrained=false"):
        build_named(lost, _wanted(source, own_weights=True))
    assert build_named(lost, _wanted(source)) is not None


@EVERY
def test_a_wrong_name_or_option_is_one_sentence(source, monkeypatch):
    put_in(monkeypatch, source)
    name = STAND_INS[source][1]
    with pytest.raises(InputError, match="tiny|nope"):
        build_named(f"{name[:-4]}nope", _wanted(source))
    with pytest.raises(InputError, match="nonsense"):
        build_named(name, _wanted(source, options={"nonsense": 1}))


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("timm:tiny", "checkpoint_path"),
        ("timm:tiny", "pretrained_cfg"),
        ("timm:tiny", "pretrained_cfg_overlay"),
        ("torchvision:tiny", "weights"),
        ("hf:owner/tiny", "trust_remote_code"),
        ("hf:owner/tiny", "auto_map"),
        ("hf:owner/tiny", "_attn_implementation"),
    ],
)
def test_options_that_read_files_or_name_code_are_refused(name, option, monkeypatch):
    put_in(monkeypatch, name.partition(":")[0])
    with pytest.raises(InputError, match=option):
        build_named(name, _wanted("timm", options={option: "x"}))


def test_only_names_on_timms_own_list_are_taken(monkeypatch):
    put_in(monkeypatch, "timm")
    for name in ("hf_hub:owner/name", "local-dir:/tmp", "tny"):
        with pytest.raises(InputError, match=f"there is no {name!r}"):
            card_of(f"timm:{name}", {})
    with pytest.raises(InputError, match="did you mean tiny"):
        card_of("timm:tny", {})


def test_timms_networks_of_one_size_are_told_which(monkeypatch):
    put_in(monkeypatch, "timm")
    assert build_named("timm:square", _wanted("timm")).img_size == (12, 16)
    assert build_named("timm:square", _wanted("timm", image_size=(12, 12))).img_size is None
    assert build_named("timm:tiny", _wanted("timm", options={"wide": 3})).wide == 3


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ({"do_normalize": False}, 0.5),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, 0.0),
        ({"image_mean": 0.5, "image_std": 0.25}, 0.0),
        ({"do_rescale": False, "image_mean": [100.0] * 3, "image_std": [10.0] * 3}, (127.5 - 100) / 10),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}, 0.0),
        ({"image_mean": [0.25] * 3, "image_std": [0.5] * 3, "include_top": True}, 1.0),
    ],
)
def test_what_transformers_does_to_a_pixel_becomes_mean_and_deviation(said, seen):
    from semirobust.zoo.hf import _normalisation

    mean, std = _normalisation(said)
    assert (0.5 - mean[0]) / std[0] == pytest.approx(seen)


def test_a_configuration_without_preprocessing_or_names_says_so(monkeypatch):
    put_in(monkeypatch, "hf")
    assert card_of("hf:owner/plain", {}).mean is None
    with pytest.raises(InputError, match="since a file may not name a folder"):
        card_of("hf:.", {}, offline=True)


def test_a_factory_gets_what_it_asks_for_and_what_the_user_gives(monkeypatch):
    put_in(monkeypatch, "package.module")
    asked = {}
    module = sys.modules["mine"]
    module.all = lambda num_classes, image_size, pretrained=True, **more: (
        asked.update(locals()) or module.tiny(num_classes, 3)
    )
    build_named("mine:all", _wanted("factory", options={"x": 1}))
    assert asked["num_classes"] == 5 and asked["image_size"] == (12, 16)
    assert asked["pretrained"] is True and asked["more"] == {"x": 1}
    build_named("mine:all", _wanted("factory", options={"num_classes": 7}))
    assert asked["num_classes"] == 7


def test_what_a_colon_stands_for():
    assert type(source_of("timm:resnet18")[0]).__name__ == "Timm"
    assert source_of("a.b:c")[1] == "a.b:c" and source_of("hf:a/b")[1] == "a/b"


def test_a_network_of_robustbench_has_the_classes_of_its_data(monkeypatch):
    put_in(monkeypatch, "robustbench")
    with pytest.raises(InputError, match="has 10 outputs, as cifar10 has classes"):
        build_named("robustbench:tiny", _wanted("timm"))
    for options in ({"dataset": "mnist"}, {"threat_model": "L7"}):
        with pytest.raises(InputError, match="expected a dataset of cifar10"):
            card_of("robustbench:tiny", options)
    assert card_of("robustbench:tiny", {"dataset": "imagenet"}).image_size == (224, 224)


@pytest.mark.parametrize("name", ["timm:resnet10t", "torchvision:resnet18"])
def test_the_real_package(name):
    package = name.partition(":")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    card = card_of(name, {})
    assert card.outputs == 1000 and "tench" in card.classes[0] and len(card.mean) == 3
    model = build_named(name, Wanted(outputs=4, channels=3, image_size=(32, 48)))
    assert model(torch.rand(2, 3, 32, 48)).shape == (2, 4)

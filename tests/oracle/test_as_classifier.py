"""Any network as one that takes pixels and gives logits."""

import copy
import io

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.outputs import notes, noting
from tests.helpers import SmallResidual, untouched

X = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BALL = sr.Linf(0.1)


class Gives(SmallResidual):
    """Returns what ``kind`` says."""

    def __init__(self, kind, classes=3):
        super().__init__(classes)
        self.kind = kind

    def forward(self, x):
        z = super().forward(x)
        return {
            "logits": lambda: z,
            "probabilities": lambda: z.softmax(1),
            "log-probabilities": lambda: z.log_softmax(1),
            "one": lambda: z[:, 1] - z[:, 0],
            "column": lambda: (z[:, 1] - z[:, 0])[:, None],
            "sigmoid": (z[:, 1] - z[:, 0]).sigmoid,
            "field": lambda: {"scores": z, "deep": z @ z.T},
            "list": lambda: [z.roll(1, 1), z],
            "probabilities in a field": lambda: {"scores": z.softmax(1)},
        }[self.kind]()


def _gives(kind, classes=3):
    torch.manual_seed(0)
    return Gives(kind, classes).eval()


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        ("logits", "logits"),
        ("probabilities", "probabilities"),
        ("log-probabilities", "log-probabilities"),
        ("field", "scores"),
        ("list", 1),
        ("list", -1),
    ],
)
def test_logits_come_back_with_the_same_softmax(kind, output):
    net = sr.as_classifier(_gives(kind), output=output)
    assert torch.allclose(net(X).softmax(1), _gives("logits")(X).softmax(1), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "output"), [("one", "binary"), ("column", "binary"), ("sigmoid", "binary-probabilities")]
)
def test_one_logit_becomes_two(kind, output):
    net = sr.as_classifier(_gives(kind, classes=2), output=output)
    assert torch.allclose(net(X).softmax(1), _gives("logits", classes=2)(X).softmax(1), atol=1e-6)


def test_a_conversion_may_follow_a_choice():
    chosen = sr.as_classifier(_gives("probabilities in a field"), output="scores")
    net = sr.as_classifier(chosen, output="probabilities")
    assert torch.allclose(net(X).softmax(1), chosen(X), atol=1e-6)


def test_saturated_probabilities_stay_finite_and_others_do_not_pass():
    class Said(nn.Module):
        def forward(self, x):
            return x

    net = sr.as_classifier(Said(), output="probabilities")
    assert torch.isfinite(net(torch.tensor([[1.0, 0.0]]))).all()
    assert net(torch.tensor([[1.5, -0.5]])).isnan().any()


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("probabilities", 'output="probabilities"'),
        ("one", 'output="binary"'),
        ("column", 'output="binary"'),
        ("sigmoid", "binary-probabilities"),
        ("field", 'output="scores"'),
        ("list", "0 or 1, by .*output=1"),
    ],
)
def test_what_is_no_logits_is_refused_with_its_remedy(kind, remedy):
    net, y = _gives(kind), torch.zeros(6, dtype=torch.long)
    for call in (
        lambda: sr.evaluate(net, X, y),
        lambda: sr.PGD(BALL)(net, X, y),
        lambda: sr.harden(net, sr.images_from_tensors(X, y), "adversarial", threat=BALL, epochs=1),
    ):
        with pytest.raises(InputError, match=remedy):
            call()


def test_names_and_tensors_stay_those_of_the_network():
    net = _gives("field")
    with untouched(net):
        adapted = sr.as_classifier(net, output="scores", mean=[0.5] * 3, std=[0.25] * 3)
        assert adapted.state_dict().keys() == net.state_dict().keys()
        assert [layer.name for layer in sr.layer_map(adapted, X)] == [
            "conv1",
            "block.conv2",
            "block.conv3",
            "linear",
        ]
        assert all(a is b for a, b in zip(adapted.parameters(), net.parameters(), strict=True))
    assert isinstance(net(X), dict)


def test_training_the_one_trains_the_other_and_keeps_modes_alike():
    net = _gives("field")
    adapted, before = sr.as_classifier(net, output="scores"), net.conv1.weight.detach().clone()
    adapted.train()
    assert net.training and net.bn1.training
    images = sr.images_from_tensors(X, torch.tensor([0, 1, 2] * 2))
    trained = sr.harden(adapted, images, "adversarial", threat=BALL, epochs=1, batch_size=6)
    assert trained.model is adapted and not net.training and not net.bn1.training
    assert not torch.equal(net.conv1.weight, before)
    net.load_state_dict(trained.best)


def test_pixels_are_normalised_in_front():
    net = _gives("logits")
    adapted = sr.as_classifier(net, mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4])
    expected = sr.Normalised(net, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])(X)
    assert torch.allclose(adapted(X), expected)
    assert torch.allclose(adapted(x=X), expected)
    with pytest.raises(InputError, match="3 channels"):
        adapted(torch.rand(2, 1, 8, 8))


def test_copies_files_and_parallel_modules_stay_classifiers(tmp_path):
    net = sr.as_classifier(_gives("field"), output="scores", mean=[0.5] * 3, std=[0.25] * 3)
    expected, stream = net(X), io.BytesIO()
    torch.save(net, stream)
    stream.seek(0)
    for other in (
        copy.deepcopy(net),
        torch.load(stream, weights_only=False),
        nn.DataParallel(net),
        nn.Sequential(net),
    ):
        assert torch.equal(other(X), expected)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin.conv1.weight.zero_()
    assert torch.equal(net(X), expected)
    sr.save_model(net, tmp_path / "m.safetensors")
    other = sr.load_checkpoint(Gives("field"), tmp_path / "m.safetensors")
    assert torch.equal(other(X)["scores"], _gives("field")(X)["scores"])


def test_what_was_turned_into_logits_is_noted():
    y = _gives("logits")(X).argmax(1)
    found = sr.evaluate(sr.as_classifier(_gives("probabilities"), output="probabilities"), X, y)
    assert "gradient is lost" in found.notes[0] and "Note:" in str(found.summary())
    assert sr.evaluate(_gives("logits"), X, y).notes == ()
    with noting():
        sr.as_classifier(_gives("one", 2), output="binary")(X)
        assert "two classes" in notes()[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "resnet"}, "expected a torch.nn.Module"),
        ({"output": ""}, "output: expected"),
        ({"output": 1.5}, "output: expected"),
        ({"mean": [0.5]}, "both or none"),
        ({"mean": [0.5], "std": [0.0]}, "std above 0"),
    ],
)
def test_wrong_arguments_are_refused(given, said):
    given = {"model": _gives("logits"), **given}
    with pytest.raises(InputError, match=said):
        sr.as_classifier(given.pop("model"), **given)
    with pytest.raises(InputError, match=r"'scores' in what the model returns, got dict|'nothing'"):
        sr.as_classifier(_gives("field"), output="nothing")(X)


def test_a_module_compiled_in_place_is_adapted_too():
    net = _gives("field")
    net.compile(backend="eager")
    net(X)
    adapted = sr.as_classifier(net, output="scores")
    assert torch.equal(adapted(X), _gives("logits")(X))
    assert sr.evaluate(adapted, X, adapted(X).argmax(1)).clean.all()


def test_masks_and_files_of_a_compiled_network_have_its_own_names(tmp_path):
    net = torch.compile(_gives("logits"), backend="eager")
    net(X)
    masks = sr.Masks.full(net, sr.layer_map(net, X))
    assert next(iter(masks.by_name)) == "conv1.weight"
    with torch.no_grad():
        net._orig_mod.conv1.weight[0] = 0
    fewer = masks.without_zeros(net)
    assert fewer.remaining == masks.remaining - net._orig_mod.conv1.weight[0].numel()
    fewer.apply(net)
    with fewer.enforced(net):
        pass
    fewer.to_torch(net)
    assert sr.Masks.from_torch(net._orig_mod).remaining == fewer.remaining
    sr.save_model(torch.compile(_gives("logits"), backend="eager"), tmp_path / "m.safetensors")
    assert sr.load_checkpoint(_gives("logits"), tmp_path / "m.safetensors") is not None
    from safetensors.torch import load_file

    assert "conv1.weight" in load_file(tmp_path / "m.safetensors")

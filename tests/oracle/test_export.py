"""Networks as files for other programs: onnxruntime and torch.export.load are the judges."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.zoo.base.named import build_named, card_of
from semirobust.zoo.base.source import Wanted
from tests.helpers import SmallResidual, untouched

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = [
    pytest.mark.xdist_group("onnx"),
]


@pytest.fixture(scope="module")
def model():
    return sr.build_model("resnet8", 10, 0.25, in_channels=1, image_size=8, mean=(0.2,), std=(0.5,))


@pytest.fixture(scope="module")
def x():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def file(model, x, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    names = [f"digit {i}" for i in range(10)]
    with untouched(model):
        assert sr.export(model, x, path, classes=names) == path
    return path


def test_onnxruntime_gives_the_same_logits_for_batches_of_any_size(model, x, file):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for n in (1, 2, 5):
        (logits,) = session.run(["logits"], {"pixels": x[:n].numpy()})
        np.testing.assert_allclose(logits, model(x[:n]).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_it_comes_back_as_a_network_without_gradients(model, x, file):
    network = sr.load_onnx(file)
    assert network.outputs == 10 and network.image_shape == (1, 8, 8) and network.classes[3] == "digit 3"
    torch.testing.assert_close(network(x), model(x).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(x.double()).float(), network(x))
    assert network(x[:0]).shape == (0, 10)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(x), network(x))
    y = model(x).argmax(1)
    with pytest.raises(InputError, match="no gradient in its input; use an attack that needs none"):
        sr.PGD(sr.Linf(0.1), steps=2)(network, x, y)
    found = sr.evaluate(network, x, y, {"square": sr.Square(sr.Linf(0.3), queries=30)}, seed=0)
    same = sr.evaluate(model, x, y, {"square": sr.Square(sr.Linf(0.3), queries=30)}, seed=0)
    assert found.summary()["square"] == same.summary()["square"]


def test_a_program_comes_back_too(model, x, tmp_path):
    path = sr.export(model, x[:1], tmp_path / "net.pt2")
    again = torch.export.load(path)
    torch.testing.assert_close(again.module()(x), model(x), rtol=1e-4, atol=1e-5)
    y = model(x).argmax(1)
    attack = {"pgd": sr.PGD(sr.Linf(0.1), steps=3)}
    assert sr.evaluate(again, x, y, attack).summary() == sr.evaluate(model, x, y, attack).summary()


class _Heads(nn.Module):
    """As networks of transformers answer: a mapping, in train mode until told otherwise."""

    def __init__(self):
        super().__init__()
        self.inner = SmallResidual()

    def forward(self, x):
        return {"logits": self.inner(x)}


def test_a_network_that_answers_with_a_mapping_is_written_in_eval_mode(tmp_path):
    torch.manual_seed(0)
    model, x = _Heads(), torch.rand(2, 3, 6, 6)
    network = sr.load_onnx(sr.export(model, x, tmp_path / "heads.onnx"))
    assert model.training and model.inner.bn1.training
    torch.testing.assert_close(network(x), model.eval()(x)["logits"].detach(), rtol=1e-4, atol=1e-5)


class _Deciding(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3] * (2 if float(x.sum()) > 1 else 1)


class _Drawing(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3] + torch.rand_like(x.flatten(1)[:, :3])


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_what_cannot_be_written_or_answers_otherwise_is_refused(suffix, tmp_path):
    x = torch.rand(2, 1, 4, 4)
    with pytest.raises(InputError, match=r"export: PyTorch cannot (write|trace) "):
        sr.export(_Deciding(), x, tmp_path / f"a.{suffix}")
    with pytest.raises(InputError, match="export: the file answers differently, by"):
        sr.export(_Drawing(), x, tmp_path / f"b.{suffix}")
    with pytest.raises(InputError, match=r"export: expected images \(N, K, H, W\)"):
        sr.export(_Drawing(), x[0], tmp_path / f"c.{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_file_of_others_is_not_replaced_and_one_of_ours_is(model, x, file, tmp_path):
    foreign = tmp_path / "foreign.onnx"
    proto = onnx.load(file)
    proto.producer_name = "pytorch"
    onnx.save(proto, foreign)
    before = foreign.read_bytes()
    with pytest.raises(InputError, match="exists and was not made by semirobust"):
        sr.export(model, x, foreign)
    assert foreign.read_bytes() == before
    ours = tmp_path / "ours.onnx"
    ours.write_bytes(file.read_bytes())
    sr.export(model, x, ours)


def test_files_that_are_no_classifier_in_one_file_are_refused(model, x, file, tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(b"nothing of ONNX")
    with pytest.raises(InputError, match="onnx: expected an ONNX file, got another or a damaged one"):
        sr.load_onnx(other)
    other.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="onnx: expected an ONNX file"):
        sr.load_onnx(other)
    proto = onnx.load(file)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    other.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match="onnx: expected a file with its weights inside"):
        sr.load_onnx(other)
    flat = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["a"], ["b"])],
        "flat",
        [onnx.helper.make_tensor_value_info("a", 1, ["n", 4])],
        [onnx.helper.make_tensor_value_info("b", 1, ["n", 4])],
    )
    other.write_bytes(onnx.helper.make_model(flat, ir_version=9).SerializeToString())
    with pytest.raises(InputError, match=r"expected one input \(N, K, H, W\) and logits \(N, C\)"):
        sr.load_onnx(other)


def test_a_file_of_one_batch_size_takes_any(tmp_path):
    node = onnx.helper.make_node("ReduceMean", ["a"], ["b"], axes=[2, 3], keepdims=0)
    graph = onnx.helper.make_graph(
        [node],
        "means",
        [onnx.helper.make_tensor_value_info("a", 1, [4, 3, 2, 2])],
        [onnx.helper.make_tensor_value_info("b", 1, [4, 3])],
    )
    path = tmp_path / "means.onnx"
    opset = [onnx.helper.make_opsetid("", 13)]
    path.write_bytes(onnx.helper.make_model(graph, ir_version=9, opset_imports=opset).SerializeToString())
    x = torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    network = sr.load_onnx(path)
    assert not network.normalised and network.classes == ()
    torch.testing.assert_close(network(x), x.mean((2, 3)))
    torch.testing.assert_close(network(x.half()), x.half().mean((2, 3)), rtol=1e-2, atol=1e-2)


def test_it_is_a_network_by_name(model, x, file):
    name = f"onnx:{file}"
    card = card_of(name, {})
    assert (card.outputs, card.channels, card.image_size) == (10, 1, (8, 8))
    assert (card.mean, card.std) == ((0.0,), (1.0,)) and card.classes[0] == ("digit 0",)
    wanted = {"outputs": 10, "channels": 1, "image_size": (8, 8)}
    torch.testing.assert_close(
        build_named(name, Wanted(**wanted, own_weights=True))(x), model(x).detach(), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(InputError, match="is finished; it cannot be trained"):
        build_named(name, Wanted(**wanted))
    with pytest.raises(InputError, match="an ONNX file takes none, got depth"):
        card_of(name, {"depth": 3})
    with pytest.raises(InputError, match="onnx: cannot read .*nowhere.onnx"):
        card_of("onnx:nowhere.onnx", {})


def test_a_file_is_shown_the_examples_of_the_network_that_it_came_from(model, x, file):
    y, attack = model(x).argmax(1), sr.PGD(sr.Linf(0.2), steps=5)
    exported = sr.load_onnx(file)
    found = sr.transfer({"net": model, "exported": exported}, x, y, attack)
    assert found.sources == ("net",) and found.names == ("net", "exported")
    assert torch.equal(found.correct["net", "net"], found.correct["net", "exported"])
    assert any("exported has no gradient, so no examples are made for it" in note for note in found.notes)
    assert "exported" in str(found) and len(found.table().rows) == 2
    with pytest.raises(InputError, match="no gradient in its input"):
        sr.transfer({"exported": exported}, x, y, attack)

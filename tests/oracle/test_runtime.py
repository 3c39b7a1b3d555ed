"""Passes without a gradient in ONNX Runtime: the network's own logits and verdicts, or the reason why not."""

import sys

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.fast import policy, runtime
from semirobust.fast.policy import fast_model
from semirobust.models.export import OnnxNetwork
from tests.helpers import SmallResidual, untouched

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.xdist_group("onnx")

THREAT = sr.Linf(0.12)


@pytest.fixture
def calls(monkeypatch):
    """The images of each pass through ONNX Runtime."""
    seen, forward = [], OnnxNetwork.forward
    monkeypatch.setattr(
        OnnxNetwork, "forward", lambda self, x: (seen.append(x.shape), forward(self, x))[1], raising=True
    )
    return seen


@pytest.fixture(scope="module")
def trained():
    splits = sr.load_data("digits")
    model = sr.build_model("resnet8", in_channels=1, image_size=8, width=0.5, seed=1)
    objective, attack = sr.Adversarial(), sr.PGD(sr.Linf(0.1), steps=2)
    sr.Training(objective=objective, attack=attack, epochs=3, batch_size=64, schedule="constant")(
        model, splits.train.first(400), seed=0
    )
    return model, *splits.test.first(120).all()


class _Attention(nn.Module):
    """Patches, a layer of a transformer, and the mean of the tokens."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.layer(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def _pooled():
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 16 * 16, 10))


@pytest.mark.parametrize(
    ("build", "copied"),
    [
        (lambda: sr.build_model("resnet8", 10, 0.5), True),
        (_pooled, True),
        (_Attention, True),
        (lambda: sr.build_model("mlp_300_100_100", 10, image_size=32), False),
    ],
    ids=["residual", "pooling", "attention", "no convolution"],
)
def test_its_logits_are_those_of_the_network(build, copied, calls):
    torch.manual_seed(2)
    model = build().eval()
    x = torch.rand(13, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with untouched(model):
        form, plain = fast_model(model, x, fast="onnx"), fast_model(model, x)
    full, without = form.in_full_precision(), plain.in_full_precision()
    assert form.description.endswith(f"by ONNX Runtime {onnxruntime.__version__}") and full.is_copy
    assert form.description.startswith(plain.description) and without.is_copy == copied
    assert 0 < full.band <= policy.CANDIDATES[-1].max_deviation
    truth = model(x).detach()
    spread = float((truth.amax(1) - truth.amin(1)).mean())
    calls.clear()
    with torch.no_grad():
        for n in (13, 5, 1, 0):
            assert float((full.logits(x[:n]) - truth[:n]).abs().sum(1).sum()) <= 1e-3 * spread
    assert [shape[0] for shape in calls] == [13, 5, 1, 0]
    z = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(full.logits(z).logsumexp(1).sum(), z)
    (expected,) = torch.autograd.grad(without.logits(z).logsumexp(1).sum(), z)
    assert torch.equal(found, expected) and len(calls) == 4, "a gradient is that of the copy"


def test_verdicts_are_those_without_it(trained, calls):
    model, x, y = trained
    attacks = [sr.PGD(THREAT, steps=5), sr.FAB(THREAT, steps=10, targets=3), sr.Square(THREAT, queries=400)]
    with untouched(model):
        found = sr.evaluate(model, x, y, attacks, fast="onnx", worst_case=True, seed=1)
    assert calls and "ONNX Runtime" in found.inference and not any("ONNX" in note for note in found.notes)
    again = sr.evaluate(model, x, y, attacks, fast="onnx", worst_case=True, seed=1)
    auto = sr.evaluate(model, x, y, attacks, worst_case=True, seed=1)
    for name, stands in found.robust.items():
        assert torch.equal(stands, again.robust[name]), name
        assert int((stands != auto.robust[name]).sum()) <= 1, name
    assert 0.05 < float(found.unbroken.float().mean()) < 0.95
    assert torch.equal(found.unbroken, auto.unbroken)


def test_who_is_fooled_is_said_by_the_network(trained, monkeypatch):
    """What ONNX Runtime computes wrong, beyond what was compared, is no success."""
    model, x, y = trained
    forward = OnnxNetwork.forward
    attack = sr.Square(THREAT, queries=30)
    form = fast_model(model, x[:32], fast="onnx").in_full_precision()
    monkeypatch.setattr(OnnxNetwork, "forward", lambda self, z: forward(self, z).roll(1, 1))
    monkeypatch.setattr("semirobust.evaluation.accuracy.fast_for_evaluation", lambda *args, fast: form)
    found = sr.evaluate(model, x, y, attack, fast="onnx")
    with torch.no_grad():
        assert float((form.logits(x).argmax(1) == y).float().mean()) < 0.1
    # So nearly each is held for fooled at its first point, where the network itself says otherwise.
    assert int((found.clean & ~found.robust["square-30"]).sum()) <= 0.2 * len(x)


def test_it_has_the_weights_of_now(trained, calls):
    model = sr.build_model("resnet8", in_channels=1, image_size=8, width=0.5, seed=3)
    splits = sr.load_data("digits")
    _, x, y = trained
    attack = sr.Square(sr.Linf(0.05), queries=20)
    before = sr.evaluate(model.eval(), x, y, attack, fast="onnx")
    plain = sr.Training(objective=sr.Standard(), epochs=2, batch_size=64, fast="onnx")
    plain(model, splits.train.first(600), seed=0)
    after, auto = (sr.evaluate(model.eval(), x, y, attack, fast=fast) for fast in ("onnx", "auto"))
    assert float(after.clean.float().mean()) > float(before.clean.float().mean()) + 0.2 and calls
    assert torch.equal(after.robust["square-20"], auto.robust["square-20"])


def test_it_runs_by_as_many_threads_as_pytorch(trained):
    model, x, _ = trained
    form = fast_model(model, x[:16], fast="onnx").in_full_precision()
    threads = lambda: form.logits._runtime._session.get_session_options().intra_op_num_threads  # noqa: E731
    before = torch.get_num_threads()
    try:
        for count in (2, 1):
            torch.set_num_threads(count)
            form.logits(x[:4])
            assert threads() == count
    finally:
        torch.set_num_threads(before)


class _Branching(SmallResidual):
    """What it computes depends on a value, which an export cannot see."""

    def forward(self, x):
        return super().forward(x) * (2.0 if float(self.linear.bias.detach().sum()) > 0 else 1.0)


class _Drawing(SmallResidual):
    """Noise that no comparison of logits would see."""

    def forward(self, x):
        h = super().forward(x)
        return h + 1e-5 * torch.rand_like(h)


def _evaluated(model, fast, examples=40):
    x = torch.rand(examples, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return sr.evaluate(model, x, model(x).argmax(1), sr.Square(sr.Linf(0.1), queries=30), fast=fast, seed=2)


def _small(kind=SmallResidual):
    torch.manual_seed(0)
    return kind().eval()


def _said(result):
    return [note for note in result.notes if "ONNX Runtime was asked for and is not used" in note]


@pytest.mark.parametrize(
    ("kind", "reason"), [(_Branching, "cannot write this network as ONNX"), (_Drawing, "draws its answers")]
)
def test_a_network_that_it_cannot_run_keeps_its_copy(kind, reason):
    found = _evaluated(_small(kind), "onnx")
    (said,) = _said(found)
    assert reason in said and "ONNX" not in found.inference


def test_another_function_is_not_used(monkeypatch):
    other, model = (
        runtime.as_onnx(sr.build_model("mlp_300_100_100", 3, image_size=5).eval(), torch.rand(2, 3, 5, 5)),
        _small(),
    )
    monkeypatch.setattr(runtime, "as_onnx", lambda network, x: other)
    found, auto = _evaluated(model, "onnx"), _evaluated(model, "auto")
    (said,) = _said(found)
    assert "its logits agree on" in said and found.inference == auto.inference
    assert torch.equal(found.unbroken, auto.unbroken)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_its_packages_the_note_says_what_to_install(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    found, auto = _evaluated(_small(), "onnx"), _evaluated(_small(), "auto")
    (said,) = _said(found)
    assert package in said and "pip install 'semirobust[onnx]'" in said
    assert torch.equal(found.unbroken, auto.unbroken) and not _said(auto)


def test_it_is_used_for_those_alone_who_ask(monkeypatch, calls):
    monkeypatch.setattr(runtime, "as_onnx", lambda network, x: pytest.fail("nobody asked"))
    for fast in ("off", "auto", "graphs"):
        assert not _said(_evaluated(_small(), fast))
    (said,) = _said(_evaluated(_small(), "onnx", examples=5))
    assert "only 5 examples are attacked, and 16 must be to pay" in said and not calls


def test_images_elsewhere_than_on_the_cpu_are_refused():
    with pytest.raises(sr.InputError, match="it runs on the CPU, and the images are on meta"):
        runtime.ForwardOnly(_small(), _small(), torch.rand(2, 3, 5, 5, device="meta"))

"""The faster form of a model: the same logits, the same verdicts, and the model left as it was."""

import dataclasses

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.fast import policy
from semirobust.fast.fold import fold_batch_norm, fold_input_scale
from semirobust.fast.model import FastModel
from semirobust.fast.policy import CANDIDATES, fast_model
from semirobust.fast.strided_conv import quicken_strided
from semirobust.layers.macs import macs_by_module
from tests.helpers import SmallResidual, untouched


@pytest.fixture(scope="module")
def trained():
    """A small convolutional network on digits with real batch statistics."""
    splits = sr.load_data("digits")
    model = sr.build_model("resnet8", in_channels=1, image_size=8, seed=1)
    attack = sr.PGD(sr.Linf(0.1), steps=2)
    training = sr.Training(
        objective=sr.Adversarial(), attack=attack, epochs=3, batch_size=64, schedule="constant"
    )
    training(model, splits.train.first(600), seed=0)
    return model, *splits.test.first(200).all()


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_logits_agree(trained, candidate):
    model, x, _ = trained
    if candidate.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("needs a processor with bfloat16")
    with untouched(model):
        fast = policy._uncompared(candidate, model, x)
        with torch.no_grad():
            logits = fast.logits(x)
    truth = model(x).detach()
    error = (logits - truth).abs().amax(1) / (truth.amax(1) - truth.mean(1))
    assert float(error.max()) <= max(3 * fast.band, 1e-5)
    if candidate.dtype == torch.float32:
        assert "batch norms folded" in fast.description
        torch.testing.assert_close(logits, truth, rtol=1e-3, atol=1e-4)


def test_folding_leaves_alone_what_is_shared_or_not_a_pair():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.other = nn.Conv2d(3, 3, 3, 1, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(0.3)
            self.other.running_var.fill_(2.0)

        def forward(self, x):
            h = self.norm(self.conv(x))
            h = self.norm(self.conv(h))  # both run twice
            return self.other(h + x).mean((2, 3))

    model = Shared().eval()
    x = torch.rand(3, 3, 5, 5)
    assert fold_batch_norm(model, x) == ()
    both = SmallResidual().eval()
    truth = both(x).detach()
    assert len(fold_batch_norm(both, x)) == 4
    torch.testing.assert_close(both(x), truth)


def test_what_deviates_is_not_used(monkeypatch, trained):
    model, x, _ = trained
    wrong = FastModel(model, lambda z: model(z) * 1.2, "wrong", 1e-3)
    monkeypatch.setattr(policy, "_uncompared", lambda candidate, m, z: wrong)
    assert fast_model(model, x).description == "as it is, full precision"


class _Stubborn(SmallResidual):
    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")


def test_a_model_that_cannot_be_copied_is_used_as_it_is():
    fast = fast_model(_Stubborn().eval(), torch.rand(8, 3, 5, 5))
    assert fast.band == 0


def test_the_log_says_why_there_is_no_copy(caplog):
    """A failure is a warning with its exception, a plain reason is information."""
    torch.manual_seed(0)
    model, x = _Stubborn().eval(), torch.rand(40, 3, 5, 5)
    y = model(x).argmax(1)
    attack = sr.PGD(sr.Linf(0.1), steps=3)
    with caplog.at_level("INFO", "semirobust.fast"):
        result = sr.evaluate(model, x, y, [attack])
    assert result.inference == "as it is, full precision"
    assert torch.equal(result.worst, sr.evaluate(model, x, y, [attack], fast="off").worst)
    (record,) = [r for r in caplog.records if r.name == "semirobust.fast" and r.levelname == "WARNING"]
    assert "float32 not used because it failed" in record.message and "no copies" in str(record.exc_info[1])
    caplog.clear()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(75, 3)).eval()
    with caplog.at_level("INFO", "semirobust.fast"):
        sr.evaluate(flat, x, flat(x).argmax(1), [attack])
        sr.evaluate(flat, x[:3], flat(x[:3]).argmax(1), [attack])
    assert all(r.levelname == "INFO" for r in caplog.records)
    said = " ".join(r.message for r in caplog.records)
    assert "expected convolutions, found none" in said and "only 3 examples are attacked" in said


def test_off_takes_the_model_itself(trained):
    model, x, y = trained
    assert fast_model(model, x, fast="off").logits is model
    assert (
        sr.evaluate(model, x, y, [sr.FGSM(sr.Linf(0.1))], fast="off").inference == "as it is, full precision"
    )
    with pytest.raises(InputError, match="fast"):
        sr.evaluate(model, x, y, [sr.FGSM(sr.Linf(0.1))], fast="quick")


@pytest.fixture(scope="module")
def exact_search(trained):
    """Attacks, and their verdicts when they search in the network itself."""
    model, x, y = trained
    threat = sr.Linf(0.12)
    attacks = [
        sr.PGD(threat, steps=20),
        sr.APGD(threat, steps=30),
        sr.FAB(threat, steps=20, targets=3),
        sr.Square(threat, queries=300),
    ]
    return attacks, *(sr.evaluate(model, x, y, attacks, fast="off", seed=seed) for seed in (0, 1))


@pytest.mark.xdist_group("inference")
@pytest.mark.parametrize("candidate", CANDIDATES)
def test_verdicts_are_those_of_the_search_in_the_model_itself(monkeypatch, trained, exact_search, candidate):
    """Each faster form, forced, against the exact search: at most two of 200 verdicts apart, or as many as
    another random start is.
    """
    if candidate.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("needs a processor with bfloat16")
    model, x, y = trained
    full = policy._uncompared(CANDIDATES[-1], model, x)
    forced = lambda m, z, fast: dataclasses.replace(policy._uncompared(candidate, m, z), full=full)  # noqa: E731
    monkeypatch.setattr(policy, "fast_model", forced)
    attacks, exact, again = exact_search
    with untouched(model):
        fast = sr.evaluate(model, x, y, attacks)
    assert fast.inference != exact.inference
    for name in exact.robust:
        assert 0.2 < float(exact.robust[name].float().mean()) < 0.98
        by_start = int((again.robust[name] != exact.robust[name]).sum())
        assert int((fast.robust[name] != exact.robust[name]).sum()) <= max(2, by_start), name
    by_start = int((again.worst != exact.worst).sum())
    assert int((fast.worst != exact.worst).sum()) <= max(2, by_start)


def test_the_choice_is_by_size_and_processor_alone(monkeypatch):
    large = sr.build_model("resnet18", width=0.25)
    x = torch.rand(8, 3, 32, 32)
    assert sum(macs_by_module(large, x).values()) == pytest.approx(35e6, rel=0.05)  # 1/16 of 556 million
    monkeypatch.setattr(policy, "has_bfloat16", lambda device: False)
    assert (
        fast_model(large, x).description
        == "20 batch norms folded, normalisation folded, channels last, full precision"
    )
    small = sr.build_model("resnet8", width=0.5)
    assert (
        fast_model(small, x[:, :, :8, :8]).description
        == "9 batch norms folded, normalisation folded, channels last, full precision"
    )
    monkeypatch.setattr(policy, "has_bfloat16", lambda device: True)
    chosen = fast_model(large, x)
    assert chosen.description.endswith("bfloat16 behind the first layer") and chosen.full is not None


def test_a_model_without_visible_layers_is_used_as_it_is():
    class Functional(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1)

    fast = fast_model(Functional().eval(), torch.rand(8, 3, 5, 5))
    assert fast.description == "as it is, full precision"


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [(3, 2, 1, 8), (3, 2, 1, 9), (1, 2, 0, 7), (5, 2, 2, 11), (4, 3, 0, 10), (2, 4, 1, 9), (3, 2, 0, 6)],
)
def test_strided_convolutions_have_the_same_gradient(kernel, stride, padding, size):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 5, kernel, stride, padding)).requires_grad_(False).double()
    quick = nn.Sequential(nn.Conv2d(3, 5, kernel, stride, padding)).requires_grad_(False).double()
    quick.load_state_dict(plain.state_dict())
    assert quicken_strided(quick) == 1
    x = torch.rand(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(plain(x).shape, dtype=torch.float64)
    torch.testing.assert_close(quick(x), plain(x))
    (a,), (b,) = (torch.autograd.grad((net(x) * weights).sum(), x) for net in (quick, plain))
    torch.testing.assert_close(a, b)


def test_other_convolutions_keep_their_gradient():
    left_alone = [
        nn.Conv2d(3, 64, 3, 2),
        nn.Conv2d(4, 4, 3, 2, groups=2),
        nn.Conv2d(3, 4, 3, 2, padding_mode="reflect"),
        nn.Conv2d(3, 4, 3),
    ]
    assert quicken_strided(nn.Sequential(*left_alone)) == 0


class _Scaled(nn.Module):
    """A normalisation of its own, and what it is followed by."""

    def __init__(self, scale, *, again=False):
        super().__init__()
        self.scale, self.conv, self.again = scale, nn.Conv2d(3, 4, 3, 1, 1), again

    def forward(self, x):
        z = self.scale(x)
        h = self.conv(z).mean((2, 3))
        return h + self.scale(h[:, :3, None, None]).sum() if self.again else h


class _ByChannel(nn.Module):
    def forward(self, x):
        return (x - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.25, 0.3])[
            :, None, None
        ]


class _Quantised(nn.Module):
    def forward(self, x):
        return torch.round(x * 255) / 255


class _Gamma(nn.Module):
    def forward(self, x):
        return x**2.2


@pytest.mark.parametrize(
    ("model", "folded"),
    [
        (_Scaled(_ByChannel()), 1),
        (_Scaled(_ByChannel(), again=True), 0),
        (_Scaled(_Gamma()), 0),
        (_Scaled(_Quantised()), 0),
        (_Scaled(nn.Identity()), 0),
    ],
)
def test_a_normalisation_is_known_by_what_it_does(model, folded):
    model = model.eval().requires_grad_(False)
    x = torch.round(torch.rand(5, 3, 6, 6) * 255) / 255
    truth = model(x)
    assert (fold_input_scale(model, x) is not None) == bool(folded)
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(model(x.contiguous(memory_format=layout)), truth, rtol=1e-4, atol=1e-5)

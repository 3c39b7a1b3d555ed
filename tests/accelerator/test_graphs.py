"""Recorded launches, with a recorder in the place of CUDA's that overwrites what it gave as CUDA's does."""

import logging

import pytest
import torch

import semirobust as sr
from semirobust.core.seed import as_seed
from semirobust.fast import graphs, policy
from semirobust.fast.graphs import Replayed
from semirobust.testing.base.network import examples


class Recorder:
    """Stands for ``torch.cuda.make_graphed_callables``."""

    def __init__(self, off=0.0):
        self.recorded, self.replays, self.off = [], 0, off

    def __call__(self, run, args):
        (sample,) = args
        assert sample.requires_grad
        self.recorded.append(tuple(sample.shape))
        static = run(sample).detach().clone()
        recorder = self

        class Replay(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                assert x.shape == sample.shape and x.stride() == sample.stride()
                recorder.replays += 1
                with torch.enable_grad():
                    ctx.z = x.detach().requires_grad_()
                    ctx.out = run(ctx.z)
                static.copy_(ctx.out.detach() + recorder.off)
                return static.detach()

            @staticmethod
            def backward(ctx, gradient):
                return torch.autograd.grad(ctx.out, ctx.z, gradient)[0]

        return Replay.apply


@pytest.fixture
def network():
    with as_seed(0).globally():
        return sr.build_model("resnet8", 3, 0.25, image_size=8).eval()


def _record(monkeypatch, recorder):
    monkeypatch.setattr(policy, "can_replay", lambda device: True)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", recorder)


def test_an_evaluation_by_recorded_launches_is_that_without(monkeypatch, network):
    x, _ = examples(40, size=8)
    y = network(x).argmax(1)
    attack = sr.APGD(sr.Linf(0.01), steps=6)
    plain = sr.evaluate(network, x, y, attack, seed=1)
    recorder = Recorder()
    _record(monkeypatch, recorder)
    found = sr.evaluate(network, x, y, attack, seed=1, fast="graphs")
    assert str(found) == str(plain) and torch.equal(found.unbroken, plain.unbroken)
    assert recorder.replays > len(recorder.recorded) == len(set(recorder.recorded)) > 0


def test_nothing_is_recorded_elsewhere(monkeypatch, network):
    """Nor by default."""
    recorder = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", recorder)
    x, _ = examples(20, size=8)
    y, attack = network(x).argmax(1), sr.PGD(sr.Linf(0.01), steps=2)
    for fast in ("auto", "graphs"):
        sr.evaluate(network, x, y, attack, fast=fast)
    assert not graphs.can_replay(torch.device("cpu")) and not recorder.recorded
    with pytest.raises(sr.InputError, match="fast: expected auto, graphs, onnx or off, got 'on'"):
        sr.evaluate(network, x, y, attack, fast="on")


def test_what_a_replay_gave_stays(monkeypatch, network):
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", Recorder())
    replayed = Replayed(network.requires_grad_(False))
    batches = [examples(4, seed, size=8)[0].requires_grad_() for seed in (1, 2)]
    found = [replayed(x) for x in batches]
    for x, logits in zip(batches, found, strict=True):
        torch.testing.assert_close(logits, network(x))
    (gradient,) = torch.autograd.grad(found[1].logsumexp(1).sum(), batches[1])
    (expected,) = torch.autograd.grad(network(batches[1]).logsumexp(1).sum(), batches[1])
    torch.testing.assert_close(gradient, expected)


def _failing(run, args):
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize(
    ("recorder", "said"), [(_failing, "stream is capturing"), (Recorder(off=1.0), "gives other logits")]
)
def test_what_cannot_be_recorded_runs_as_it_is(monkeypatch, caplog, network, recorder, said):
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", recorder)
    replayed, x = Replayed(network.requires_grad_(False)), examples(4, size=8)[0].requires_grad_()
    with caplog.at_level(logging.WARNING, "semirobust.fast"):
        for _ in range(2):
            assert torch.equal(replayed(x), network(x))
    assert len(caplog.records) == 1 and said in caplog.text


def test_only_a_few_shapes_are_recorded(monkeypatch, network):
    recorder = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", recorder)
    replayed = Replayed(network.requires_grad_(False))
    for n in range(1, 12):
        x = examples(n, size=8)[0].requires_grad_()
        torch.testing.assert_close(replayed(x), network(x))
    assert len(recorder.recorded) == 8

"""AutoLoRA against a plain implementation of its authors' form, and our earlier form of it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.adapters.low_rank import branch, on_branch, without_branch
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.layers.quiet import quiet
from semirobust.methods.autolora import AutoLoRAFineTuning
from semirobust.methods.base.automatic_rate import checkpoints, lowers
from semirobust.methods.base.method import Context
from semirobust.objectives.autolora import AutoLoRA
from semirobust.objectives.autolora_ours import OurAutoLoRA
from semirobust.objectives.base.objective import Step
from tests.helpers import SmallResidual

_CONVS = ("conv1", "block.shortcut.0", "block.conv2", "block.conv3")


def _start():
    torch.manual_seed(0)
    model, x, y = SmallResidual().eval(), torch.rand(6, 3, 8, 8), torch.arange(6) % 3
    model.drop.p = 0.0
    return model, x, y, (x + 0.05 * torch.randn_like(x)).clamp(0, 1)


def _prepared(model, x, rank):
    layers = sr.layer_map(model, x)
    images = sr.images_from_tensors(x, torch.arange(len(x)) % 3)
    plan = AutoLoRAFineTuning(rank=rank).plan(Context(layers, images, sr.PGD(sr.Linf(0.1))))
    return layers, plan.prepare(model, as_seed(0))


def _plain(p, x, a=None, b=None, rank=1):
    """SmallResidual in train mode from its parameters ``p``, with updates b a / rank of the convolutions."""

    def conv(name, z, padding):
        w = p[f"{name}.weight"]
        if a is not None and name in a:
            w = w + (b[name] @ a[name]).reshape(w.shape) / rank
        return F.conv2d(z, w, p[f"{name}.bias"], padding=padding)

    def norm(name, z):
        mean, var = z.mean((0, 2, 3), keepdim=True), z.var((0, 2, 3), keepdim=True, unbiased=False)
        scale, shift = (p[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
        return (z - mean) / (var + 1e-5).sqrt() * scale + shift

    h = torch.relu(norm("bn1", conv("conv1", x, 1)))
    side = norm("block.shortcut.1", conv("block.shortcut.0", h, 0))
    h = torch.relu(norm("block.bn2", conv("block.conv2", h, 1)))
    h = torch.relu(norm("block.bn3", conv("block.conv3", h, 1)) + side)
    return h.mean((2, 3)) @ p["linear.weight"].T + p["linear.bias"]


def test_loss_and_gradients_are_those_of_the_authors():
    """Clean images give a gradient to the branch and the classifier alone; p is that of the epoch."""
    model, x, y, x_adv = _start()
    layers, prepared = _prepared(model, x, 2)
    with prepared:
        updates = {n: m for n, m in model.named_modules() if hasattr(m, "up")}
        # All convolutions but the first, the projection of the shortcut among them; not the classifier.
        assert sorted(updates) == sorted(_CONVS[1:])
        for module in updates.values():
            nn.init.normal_(module.up, std=0.1)
        a = {n: m.down.detach().clone().requires_grad_() for n, m in updates.items()}
        b = {n: m.up.detach().clone().requires_grad_() for n, m in updates.items()}
        p = {n: q.detach().clone().requires_grad_() for n, q in model.named_parameters()}
        model.train()
        step = Step(model, layers, x, y, layers.indices, measured=0.3)
        loss = AutoLoRA().outer(step, x_adv)
        loss.backward()
        masked = {n: q if n.startswith("linear.") else q.detach() for n, q in p.items()}
        clean, moved = _plain(masked, x, a, b, rank=2), _plain(p, x_adv)
        kl = (clean.softmax(1) * (clean.log_softmax(1) - moved.log_softmax(1))).sum() / len(x)
        theirs = 0.7 * F.cross_entropy(clean, y) + 0.3 * F.cross_entropy(moved, y) + 0.3 * 6 * kl
        theirs.backward()
        torch.testing.assert_close(loss, theirs, rtol=1e-5, atol=1e-6)
        for name, module in updates.items():
            torch.testing.assert_close(module.down.grad, a[name].grad, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(module.up.grad, b[name].grad, rtol=1e-3, atol=1e-5)
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2] not in ("down", "up"):
                torch.testing.assert_close(parameter.grad, p[name].grad, rtol=1e-3, atol=1e-5)


def test_what_no_clean_image_moves():
    """With the adversarial part left out, batch norm, the first convolution and the projection stay."""
    model, x, y, _ = _start()
    layers, prepared = _prepared(model, x, 1)
    with prepared:
        model.train()
        step = Step(model, layers, x, y, layers.indices, measured=0.0)
        AutoLoRA().outer(step, x).backward()
        moved = {n for n, q in model.named_parameters() if q.grad is not None and q.grad.any()}
    # ``up`` is 0 at the start, so ``down`` has no gradient yet.
    assert moved == {"linear.weight", "linear.bias", *(f"{n}.up" for n in _CONVS[1:])}


def test_the_update_is_that_of_conv_lora():
    """Rank r k between outputs x k and inputs x k, normal and 0 at the start, scale 1 / r."""
    model, x = SmallResidual().eval(), torch.rand(1, 3, 8, 8)
    _, prepared = _prepared(model, x, 8)
    with prepared:
        shapes = {n: (tuple(m.up.shape), tuple(m.down.shape), m.scale) for n, m in model.named_modules()
                  if hasattr(m, "up")}  # fmt: skip
        draws = torch.cat([m.down.detach().flatten() for m in model.modules() if hasattr(m, "down")])
        assert all(not m.up.any() for m in model.modules() if hasattr(m, "up"))
    assert shapes["block.conv2"] == ((18, 24), (24, 12), 1 / 8)  # 6 x 3, 8 x 3, 4 x 3
    assert shapes["block.shortcut.0"] == ((6, 8), (8, 4), 1 / 8)
    assert abs(float(draws.mean())) < 0.1 and float(draws.std()) == pytest.approx(1, abs=0.1)
    grouped = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, (3, 5), groups=2), nn.Flatten(), nn.Linear(6, 2)
    )
    with branch(grouped, ["1"], 2, as_seed(0), by_kernel=True), on_branch(grouped):
        assert (tuple(grouped[1].up.shape), tuple(grouped[1].down.shape)) == ((9, 10), (10, 20))
        assert grouped(torch.rand(1, 3, 3, 5)).shape == (1, 2)


def test_with_all_images_right_and_no_divergence_it_is_pgd_at():
    """p = 1 and weight 0: the gradients of the network are those of PGD-AT bit for bit."""
    model, x, y, x_adv = _start()
    plain = copy.deepcopy(model).train()
    layers, prepared = _prepared(model, x, 2)
    F.cross_entropy(plain(x_adv), y).backward()
    with prepared:
        model.train()
        AutoLoRA(0.0).outer(Step(model, layers, x, y, layers.indices, measured=1.0), x_adv).backward()
        for name, parameter in plain.named_parameters():
            assert torch.equal(model.get_parameter(name).grad, parameter.grad)


def test_p_is_the_accuracy_of_the_branch_before_the_epoch():
    model, x, y, _ = _start()
    _, prepared = _prepared(model, x, 2)
    with prepared:
        for module in model.modules():
            if hasattr(module, "up"):
                nn.init.normal_(module.up)
        with quiet(model):
            p = AutoLoRA().measure(model, [(x[:4], y[:4]), (x[4:], y[4:])])
            with on_branch(model):
                assert p == float((model(x).argmax(1) == y).double().mean())
    for x_adv in (x, 1 - x):  # outside of a training it is that of the batch
        step = Step(model, sr.layer_map(model, x), x, y, (1,))
        right = float((model(x).argmax(1) == y).float().mean())
        known = Step(model, step.layers, x, y, (1,), measured=right)
        assert torch.equal(AutoLoRA().outer(step, x_adv), AutoLoRA().outer(known, x_adv))


def test_the_rate_falls_as_in_the_code_of_the_authors():
    """Against their scheduler, stated anew epoch by epoch, for 50 epochs of scores by chance."""
    assert checkpoints(50) == (16, 24, 28, 36, 40, 42, 44, 46, 48)
    assert checkpoints(5) == (2, 3, 4) and checkpoints(1) == ()
    generator = torch.Generator().manual_seed(0)
    fell = 0
    for trend in (0.0, 0.02, 0.1):
        scores = (trend * torch.arange(50.0) + torch.rand(50, generator=generator)).tolist()
        windows, number, best, best_at = [0, *checkpoints(50), 50], 1, -1.0, [0.0] * 11
        for epoch in range(50):
            if scores[epoch] > best:
                best = best_at[number] = scores[epoch]
            falls = False
            if epoch == windows[number]:
                rises = [scores[i + 1] > scores[i] for i in range(windows[number - 1], epoch)]
                falls = sum(rises) < 0.75 * len(rises) or (
                    number > 1 and best_at[number] == best_at[number - 1]
                )
                number += 1
                best_at[number] = best_at[number - 1]
            assert lowers(scores[: epoch + 1], checkpoints(50), 0.75) == falls
            fell += falls
    assert 0 < fell < 27
    assert not lowers([0.0, 1.0, 2.0], (2,), 0.75) and lowers([0.0, 1.0, 0.5], (2,), 0.75)


def _data():
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)


def _harden(model, validate, **options):
    return sr.harden(
        model, _data(), "autolora", rank=2, threat=sr.Linf(4 / 255), learning_rate=0.05, batch_size=20,
        validate=validate, **options,
    )  # fmt: skip


def test_hardening_goes_back_to_its_best_epoch_with_half_the_rate():
    model, states = sr.build_model("resnet8", 3, 0.25, image_size=8), []
    keys = list(model.state_dict())
    scores = iter([0.1, 0.5, 0.3, 0.2, 0.1])

    def validate(network, seed):
        states.append({n: t.clone() for n, t in network.state_dict().items()})
        return {"clean": 0.5, "robust": next(scores)}

    trained = _harden(model, validate, epochs=5)
    assert [log.learning_rate for log in trained.logs] == [0.05, 0.05, 0.05, 0.025, 0.0125]
    assert list(trained.best) == keys == list(model.state_dict()) and trained.best_epoch == 2
    with pytest.raises(InputError, match="AutomaticRate: expected a validation on held-out images"):
        _harden(model, None, epochs=2)
    free = _harden(model, None, epochs=2, automatic_rate=False, schedule="step")
    assert [log.learning_rate for log in free.logs] == [0.05, pytest.approx(0.0005)]
    # With next to no rate only validation moves weights, and the fourth epoch goes on from the second.
    scores, states[:] = iter([0.1, 0.5, 0.3, 0.2]), []
    sr.harden(
        model, _data(), AutoLoRAFineTuning(rank=2), threat=sr.Linf(4 / 255), learning_rate=1e-9, epochs=4,
        batch_size=20, weight_decay=0.0, validate=lambda n, s: _rocked(n, validate(n, s)),
    )  # fmt: skip
    first = next(name for name, _ in model.named_parameters())
    torch.testing.assert_close(states[2][first], states[1][first] + 0.1, rtol=0, atol=1e-5)
    torch.testing.assert_close(states[3][first], states[2][first], rtol=0, atol=1e-5)


def _rocked(network, scores):
    """Moves the first weight after its validation, so that an epoch can be told from the others."""
    with torch.no_grad():
        next(network.parameters()).add_(0.1)
    return scores


def test_an_interrupted_run_goes_on_with_its_rate_and_its_p(tmp_path):
    from semirobust.procedures.harden import carry_out, planned

    images, start = _data(), sr.build_model("resnet8", 3, 0.25, image_size=8)
    base = sr.Training(attack=sr.PGD(sr.Linf(4 / 255), steps=1), epochs=4, batch_size=20)

    def validate(network, seed):
        return {"clean": 0.5, "robust": -float(network(images.all()[0]).detach().std())}

    def run(file, steps=None):
        def stop(task, done, total):
            if done == steps:
                raise KeyboardInterrupt

        model = copy.deepcopy(start)
        training, plan = planned(model, images, AutoLoRAFineTuning(rank=1), base)
        return carry_out(
            training, plan, model, images, seed=0, state_file=file, validate=validate, save_every=0,
            on_step=stop,
        )  # fmt: skip

    whole = run(tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts.safetensors", 7)  # within the last epoch, whose rate is lower
    parts = run(tmp_path / "parts.safetensors")
    assert [(g.loss, g.learning_rate) for g in whole.logs] == [(g.loss, g.learning_rate) for g in parts.logs]
    assert whole.logs[-1].learning_rate < whole.logs[0].learning_rate


def test_our_earlier_form_of_autolora():
    """Our earlier form against its loss written out: what has no branch trains on clean images, too."""
    torch.manual_seed(0)
    model, x, y = SmallResidual().eval(), torch.rand(6, 3, 8, 8), torch.arange(6) % 3
    x_adv = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    layers, keys = sr.layer_map(model, x), list(model.state_dict())
    names = [layer.name for layer in layers]
    before = model(x).detach()
    with branch(model, names[:-1], 2, as_seed(0)):
        for module in model.modules():
            if hasattr(module, "up"):
                nn.init.normal_(module.up, std=0.1)
        torch.testing.assert_close(model(x), before)  # the branch is off
        with on_branch(model):
            nat = model(x)
        assert not torch.allclose(nat, before, atol=1e-3)
        model.zero_grad()
        OurAutoLoRA(3.0).outer(Step(model, layers, x, y, (1,)), x_adv).backward()
        found = {name: p.grad.clone() for name, p in model.named_parameters()}
        plain = copy.deepcopy(model)
        p = float((nat.argmax(1) == y).float().mean())
        parts = {}
        for part in ("nat", "adv"):  # the gradient of the whole loss through one of the two passes
            plain.zero_grad()
            with on_branch(plain):
                clean = plain(x) if part == "nat" else nat.detach()
            moved = plain(x_adv) if part == "adv" else model(x_adv).detach()
            kl = (clean.softmax(1) * (clean.log_softmax(1) - moved.log_softmax(1))).sum(1).mean()
            ((1 - p) * F.cross_entropy(clean, y) + p * F.cross_entropy(moved, y) + 3.0 * p * kl).backward()
            parts[part] = {name: q.grad for name, q in plain.named_parameters() if q.grad is not None}
            parts[part] = {name: slope.clone() for name, slope in parts[part].items()}
        for name, slope in found.items():
            masked = [part[name] for key, part in parts.items() if name in part]
            torch.testing.assert_close(slope, sum(masked), rtol=1e-4, atol=1e-6)
        for name in (f"{n}.weight" for n in names[:-1]):  # no clean image moves a weight that has an update
            assert name not in parts["nat"] or not parts["nat"][name].any()
            assert not parts["adv"].get(name.replace("weight", "up"), torch.zeros(1)).any()
        assert list(without_branch(model.state_dict())) == keys
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(model(x), before)


def test_hardening_by_our_earlier_form():
    model = sr.build_model("resnet8", 3, 0.25, image_size=8)
    keys = list(model.state_dict())
    trained = sr.harden(
        model, _data(), "autolora-ours", rank=2, threat=sr.Linf(4 / 255), epochs=2, batch_size=20
    )
    assert len(trained.logs) == 2 and list(trained.best) == keys == list(model.state_dict())

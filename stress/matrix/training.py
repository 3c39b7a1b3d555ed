"""Checks of evaluation, training, hardening and pruning."""

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.pruning import Channels
from stress.matrix.case import Case, Wrong, bare, expect, product, tensors
from stress.matrix.measures import logits_are_finite

__all__ = ["channels", "evaluate", "harden", "lottery", "train"]

_STEPS = 5


def evaluate(case: Case) -> str:
    """Verdicts are those of gradient descent written by hand, in the fast form and in the exact one."""
    if case.network.random:
        return _repeats(case)
    network, total = case.network, len(case.x)
    epsilon, withstood = 8 / 255, None
    try:
        for epsilon in (8 / 255, 0.06, 0.12, 0.25):
            withstood = int(_by_hand(case, epsilon).sum())
            if withstood <= 0.7 * total:
                break
    except RuntimeError as error:  # no gradient comes through
        reason = str(error).splitlines()[0]
    attack, found = sr.PGD(sr.Linf(epsilon), steps=_STEPS, random_start=False), {}
    with case.unchanged():
        for fast in ("off", "auto"):
            torch.manual_seed(0)
            with product(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = sr.evaluate(case.model, case.x, case.y, attack, fast=fast, **case.batched)
            found[fast] = int(result.standing(attack.name).sum())
            expect(result.clean.all(), f"{fast}: clean verdicts differ from its own")
            if withstood is None:
                raise Wrong(
                    f"{fast}: {found[fast]} withstand, though no gradient comes through ({reason[:80]})"
                )
    slack = 3 if network.dtype == torch.bfloat16 else 0
    for fast, allowed in (("off", 1), ("auto", 2)):
        told = f"{fast}: {found[fast]} of {total} withstand, {withstood} by hand (epsilon {epsilon:.3f})"
        expect(found[fast] <= withstood + allowed + slack, told)
        expect(found[fast] >= withstood - allowed - slack, told)
    return f"{found['off']} and {found['auto']} of {total} withstand, {withstood} by hand"


def _repeats(case: Case) -> str:
    """With equal seeds a network that draws numbers gets equal verdicts, whatever was drawn before."""
    found = []
    for before in (1, 2):
        torch.manual_seed(before)
        with product():
            result = sr.evaluate(case.model, case.x, case.y, sr.PGD(sr.Linf(8 / 255), steps=_STEPS), seed=0)
        found.append((result.clean, result.worst))
    expect(all(map(torch.equal, *found)), "equal seeds give other verdicts")
    return "equal seeds, equal verdicts"


def _by_hand(case: Case, epsilon: float) -> Tensor:
    """(N,) which examples are never misclassified on the way of plain PGD from the image itself."""
    x, y, step = case.x, case.y, 2.5 * epsilon / _STEPS
    at, alive = x.clone(), torch.ones(len(x), dtype=torch.bool)
    flags = [(p, p.requires_grad) for p in case.raw.parameters()]
    for p, _ in flags:
        p.requires_grad_(False)
    for _ in range(_STEPS):
        at = at.detach().requires_grad_()
        F.cross_entropy(case.objective(case.raw, at), y, reduction="sum").backward()
        if at.grad is None:
            raise RuntimeError("no gradient reaches the image")
        moved = at.detach() + step * at.grad.sign()
        at = torch.min(torch.max(moved, x - epsilon), x + epsilon).clamp(0, 1)
        with torch.no_grad():
            alive &= case.logits(case.raw, at).argmax(1) == y
    for p, flag in flags:
        p.requires_grad_(flag)
    return alive


def _training(case: Case, **more: object) -> sr.Training:
    attack = sr.PGD(sr.Linf(8 / 255), steps=2)
    size = case.network.batch or 8
    return sr.Training(attack=attack, epochs=1, batch_size=size, learning_rate=1e-3, **more)


def _images(case: Case) -> object:
    with product():
        return sr.images_from_tensors(case.x, torch.arange(len(case.x)) % case.network.classes)


def _losses_are_finite(trained: object) -> None:
    if not trained.stopped:  # type: ignore[attr-defined]
        expect(all(math.isfinite(log.loss) for log in trained.logs), "a loss that is not finite")  # type: ignore[attr-defined]


def train(case: Case) -> str:
    """A finite loss, weights that moved, and finite logits."""
    model, training = case.fresh(), _training(case)
    before = {name: p.detach().clone() for name, p in bare(model).named_parameters()}
    frozen = not any(p.requires_grad for p in model.parameters())
    with product():
        trained = training(model, _images(case), seed=0)
    _losses_are_finite(trained)
    moved = [
        name
        for name, p in bare(trained.model).named_parameters()
        if name in before and not torch.equal(p, before[name])
    ]
    expect(moved or frozen, "no weight moved")
    logits_are_finite(trained.model, case)
    return f"loss {trained.logs[-1].loss:.3g}, {len(moved)} of {len(before)} parameters moved"


def harden(case: Case) -> str:
    """CLAT moves the layers that it chose and no others; its term has a gradient in each of them."""
    model, attack = case.fresh(), sr.PGD(sr.Linf(8 / 255), steps=2)
    state = tensors(model)
    with product():
        trained = sr.harden(
            model,
            _images(case),
            "clat",
            attack=attack,
            epochs=1,
            learning_rate=1e-3,
            seed=0,
            batch_size=case.network.batch or 8,
            k=min(2, len(case.layers) // 2) or 1,
        )
    _losses_are_finite(trained)
    layers, chosen = case.layers, trained.logs[-1].layers
    names, modules = set(layers.parameters(chosen)), set(layers.modules(chosen))
    moved = {
        n for n, p in bare(trained.model).named_parameters() if n in state and not torch.equal(p, state[n])
    }
    expect(moved <= names, f"{next(iter(moved - names), '')}: moved, though its layer was not chosen")
    for name, buffer in bare(trained.model).named_buffers():
        if name in state and name.rpartition(".")[0] not in modules:
            expect(
                torch.equal(buffer, state[name]), f"{name}: a buffer of a layer that was not chosen changed"
            )
    _has_gradient(case, chosen)
    if not trained.stopped:
        for index in chosen:
            own = layers.at(index).parameters
            expect(
                moved.intersection(own) or not own, f"layer {layers.at(index).name}: chosen, and did not move"
            )
    logits_are_finite(trained.model, case)
    return f"layers {list(chosen)}, loss {trained.logs[-1].loss:.3g}"


def _has_gradient(case: Case, chosen: tuple[int, ...]) -> None:
    """Each chosen layer has a gradient of the distance between its features."""
    model, layers, size = case.fresh(), case.layers, case.network.batch or 8
    parameters = dict(bare(model).named_parameters())
    for p in parameters.values():
        if p.is_floating_point():
            p.requires_grad_(True)
    tapes = []
    with product(), sr.features(model, layers, chosen) as tape:
        for x in (case.x[:size], case.x_adv[:size]):
            torch.manual_seed(0)
            model(x.clone())
            tapes.append(dict(tape))
    for index in chosen:
        own = [parameters[name] for name in layers.at(index).parameters if parameters[name].requires_grad]
        distance = torch.linalg.vector_norm((tapes[1][index] - tapes[0][index]).double())
        name = layers.at(index).name
        if own and float(distance.detach()) > 0:
            expect(distance.requires_grad, f"layer {name}: chosen, and CLAT's term has no gradient at all")
            found = torch.autograd.grad(distance, own, allow_unused=True, retain_graph=True)
            some = any(g is not None and bool((g != 0).any()) for g in found)
            expect(some, f"layer {name}: chosen, and CLAT's term has no gradient in it")
        expect(float(distance.detach()) > 0, f"layer {name}: chosen, and no perturbation reaches its feature")


def lottery(case: Case) -> str:
    """Half of the prunable weights are exactly 0, and the others were trained."""
    model = case.fresh()
    with product():
        levels = sr.Lottery(levels=1, fraction=0.5, whole=False)(
            model, _images(case), _training(case), seed=0
        )
    masks, last = levels[-1].masks, levels[-1].last
    expect(
        masks.remaining == masks.size - round(0.5 * masks.size), f"{masks.remaining} of {masks.size} remain"
    )
    for name, mask in masks.by_name.items():
        expect(not last[name][~mask].any(), f"{name}: a pruned weight is not 0")
        expect(
            torch.equal(bare(model).get_parameter(name), last[name]),
            f"{name}: the network is not the last level",
        )
    logits_are_finite(model, case)
    share = masks.size / max(sum(p.numel() for p in model.parameters() if p.dim() >= 2), 1)
    return f"{masks.remaining} of {masks.size} remain, {share:.0%} of all weights are prunable"


def channels(case: Case) -> str:
    """A smaller network that runs, and the old one as it was."""
    weights = sum(p.numel() for p in case.model.parameters())
    with case.unchanged(), product():
        smaller = Channels(macs=0.7, steps=10)(case.model, _images(case), seed=0)
    left = sum(p.numel() for p in smaller.parameters())
    expect(left < weights, f"{left} weights, {weights} before")
    expect(isinstance(smaller, nn.Module), "no module came back")
    logits_are_finite(smaller, case)
    if torch.equal(case.logits(case.raw, case.x), case.logits(smaller, case.x)):
        _once_it_counts(case)
    return f"{left / weights:.0%} of the weights"


def _once_it_counts(case: Case) -> None:
    """Without channels the answers are others, once parameters that are all 0 are not.

    A branch that is multiplied by 0 until it is trained has channels that change no digit.
    """
    model = case.fresh()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(torch.rand(parameter.shape, generator=draws))
    whole = case.logits(model, case.x)
    with product():
        smaller = Channels(macs=0.7, steps=10)(model, _images(case), seed=0)
    expect(
        not torch.equal(whole, case.logits(smaller, case.x)),
        "fewer weights, and the same answers to the last digit",
    )

"""Checks of the measures by layer, of usefulness, and of counted memory."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import semirobust as sr
from semirobust.measures.semirobustness import Semirobustness
from stress.matrix.case import Case, bare, expect, noised, product, spread
from stress.matrix.layers import by_hooks
from stress.zoo.network import images_for, logits_of

__all__ = ["connectivity", "criticality", "footprint", "semirobustness", "usefulness"]


def criticality(case: Case) -> str:
    """Finite or not measurable, and each number depends on its layer's weights."""
    model, layers = case.model, case.layers
    x, x_adv, y = case.x[:8], case.x_adv[:8], case.y[:8]

    def measured():
        torch.manual_seed(0)
        with product():
            return sr.criticality(model, x, y, x_adv=x_adv, layers=layers, **case.batched)

    tried = 0
    with case.unchanged():
        with product():
            own = sr.criticality(model, x[:4], y[:4], threat=sr.Linf(8 / 255), **case.batched)
        _finite_or_said("criticality", own.values, own)
        before = measured()
        _finite_or_said("criticality", before.values, before)
        weakness = dict(zip(before.indices, before.weakness, strict=True))
        _as_by_hand(case, weakness, x, x_adv)
        given = [i for i in before.indices if math.isfinite(weakness[i]) and weakness[i] == weakness[i]]
        for index in spread(given, 12):
            name = layers.at(index).name
            with noised(model, name) as any_weights:
                if any_weights:
                    after = dict(zip(before.indices, measured().weakness, strict=True))
                    tried += 1
            if any_weights:
                told = f"layer {name}: weakness {weakness[index]:.4g} whatever its weights are"
                expect(after[index] != weakness[index], told)
    left = sum(1 for value in before.values if not math.isfinite(value))
    return f"{len(given)} of {len(layers)} given, {tried} put to noise" + (
        f", {left} not measurable" if left else ""
    )


def _as_by_hand(case: Case, weakness: dict[int, float], x: torch.Tensor, x_adv: torch.Tensor) -> None:
    """Each weakness is the mean distance between features seen by plain hooks, divided by their size."""
    if case.network.batch or case.network.random:
        return
    clean, moved = by_hooks(case, x), by_hooks(case, x_adv)
    for index, value in weakness.items():
        layer = case.layers.at(index)
        merged = layer.batch_dim or (index in clean and len(clean[index]) != len(x))
        if index in clean and math.isfinite(value) and not merged:
            distance = (moved[index] - clean[index]).flatten(1).double().norm(dim=1)
            own = float(distance.mean()) / clean[index][0].numel()
            same = math.isclose(own, value, rel_tol=1e-3, abs_tol=1e-12)
            expect(same, f"layer {layer.name}: weakness {value:.5g}, {own:.5g} by hooks")


def connectivity(case: Case) -> str:
    """Finite or not measurable with a note, and about as large as between raw outputs seen by plain hooks."""
    x = images_for(case.network, 16)
    with case.unchanged(), product():
        found = sr.connectivity(case.model, x, torch.zeros(16).long(), dependence=sr.CKA(), **case.batched)
    values = found.scores()[0].values
    expect(not np.isinf(values).any(), "an infinite connectivity")
    expect(found.notes or not np.isnan(values).any(), "not-a-number without a note")
    expect(len(values) or found.notes, "no numbers, and no note")
    outputs, pairs = _raw_outputs(case, x), list(zip(found.indices, found.before, values, strict=True))
    checked = 0
    if case.network.random:  # another pass draws other numbers
        return f"{len(values)} numbers, {int(np.isnan(values).sum())} not measurable"
    for index, before, value in spread(pairs, 12):
        if index in outputs and before in outputs and math.isfinite(value):
            own, checked = _alignment(outputs[before], outputs[index]), checked + 1
            told = f"layer {case.layers.at(index).name}: {value:.3f} with the one before, {own:.3f} by hooks"
            expect(abs(own - value) < 0.1, told)
    return f"{len(values)} numbers, {int(np.isnan(values).sum())} not measurable, {checked} compared"


def _raw_outputs(case: Case, x: torch.Tensor) -> dict[int, torch.Tensor]:
    """Layer -> what its module returns at first, (N, values), where a row is an example."""
    modules, seen = dict(bare(case.model).named_modules()), {}

    def hook(index: int) -> Callable[..., None]:
        def keep(module: nn.Module, args: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and len(output) == len(x):
                seen.setdefault(index, output.flatten(1).double())

        return keep

    handles = [
        modules[layer.name].register_forward_hook(hook(layer.index))
        for layer in case.layers
        if layer.name in modules and layer.output_batch_dim == 0
    ]
    with torch.no_grad():
        case.logits(case.raw, x)
    for handle in handles:
        handle.remove()
    return seen


def _alignment(a: torch.Tensor, b: torch.Tensor) -> float:
    """Linear centred kernel alignment of (N, p) and (N, q), by kernels."""
    a, b = a - a.mean(0), b - b.mean(0)
    k, m = a @ a.T, b @ b.T
    return float((k * m).sum() / (k.norm() * m.norm()))


def usefulness(case: Case) -> str:
    """Its features are the inputs of a linear layer, and the worst case is no better than the clean one."""
    last = [module for module in case.raw.modules() if isinstance(module, nn.Linear)]
    # An attack runs the network once for each feature; where that takes too long, there is none.
    start = time.process_time()
    with torch.no_grad():
        case.logits(case.raw, case.x[:1])
    affordable = (time.process_time() - start) * (last[-1].in_features if last else 1) < 1.5
    attack = sr.FeatureAttack(sr.Linf(8 / 255), steps=1) if affordable else None
    with case.unchanged(), product():
        found = sr.usefulness(case.model, case.x[:1], case.y[:1], attack=attack, reference=case.x)
    for name in ("useful", "original", "actual", *(("robust", "original_robust") if affordable else ())):
        expect(np.isfinite(getattr(found, name)).all(), f"{name}: not finite")
    better = affordable and (found.robust > found.useful + 1e-6).any()
    expect(not better, "a feature is more useful at its worst than as it is")
    if not case.network.adapt and not case.network.random:
        _of_the_classifier(case, found)
    return f"{len(found)} features" + ("" if affordable else ", not attacked")


def _of_the_classifier(case: Case, found: sr.Usefulness) -> None:
    """Its features are the inputs of a linear layer that gives the logits, but for what all classes share."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def hook(module: nn.Module, args: tuple, kwargs: dict, output: torch.Tensor) -> None:
        seen.append((next(iter((*args, *kwargs.values()))).detach().clone(), output.detach().clone()))

    linear = [module for module in case.raw.modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(hook, with_kwargs=True) for module in linear]
    with torch.no_grad():
        logits = case.logits(case.raw, case.x[:1])
    for handle in handles:
        handle.remove()
    heads = [(f, out) for f, out in seen if f.shape[-1] == len(found) and out.shape == logits.shape]
    own = [out for f, out in heads if np.allclose((f != 0).double().mean(0).numpy(), found.active)]
    expect(own or not seen, "its features are no linear layer's inputs")
    centred = [torch.allclose(z - z.mean(1, True), logits - logits.mean(1, True), atol=1e-4) for z in own]
    expect(any(centred) or not seen, "its features belong to a linear layer that does not give the logits")


def semirobustness(case: Case) -> str:
    """Within [-1, 1], and within its interval."""
    layers = spread(case.layers.indices, 2)
    measure = Semirobustness(layers=layers, rounds=2, decays=(0.1,), resamples=100)
    attack = sr.PGD(sr.Linf(8 / 255), steps=2)
    with case.unchanged(), product():
        found = sr.semirobustness(case.model, case.x, case.y, attack=attack, measure=measure)
    values = found.values[np.isfinite(found.values)]
    expect(np.isfinite(found.values).all() or found.notes, "not-a-number without a note")
    expect((np.abs(values) <= 1 + 1e-6).all(), "outside [-1, 1]")
    expect(len(found.values) == len(layers) or found.notes, "fewer numbers than layers, without a note")
    return f"{len(found.values)} prefixes"


def footprint(case: Case) -> str:
    """At least the weights, and more for more images."""
    weights = sum(p.numel() * p.element_size() for p in case.raw.parameters())
    small = case.network.batch or 2
    with case.unchanged(), product():
        one = sr.footprint(case.model, case.x[:1], small, objective=sr.Adversarial())
        more = (
            one if case.network.batch else sr.footprint(case.model, case.x[:1], 8, objective=sr.Adversarial())
        )
        attack = sr.footprint(case.model, case.x[:1], small)
    expect(one >= weights and attack >= weights, "less than the weights take")
    expect(more > one or case.network.batch, "eight images take no more than two")
    expect(attack <= one, "an attack takes more than a training step")
    return f"{one / 1e6:.1f} MB"


def _finite_or_said(what: str, values: np.ndarray, result: object) -> None:
    expect(not np.isinf(values).any(), f"{what}: infinite for layer {int(np.isinf(values).argmax()) + 1}")
    if np.isnan(values).any():
        notes = getattr(result, "notes", ()) or result.scores().notes  # type: ignore[attr-defined]
        expect(notes, f"{what}: not-a-number without a note")


def logits_are_finite(model: nn.Module, case: Case) -> None:
    """The network gives finite logits."""
    torch.manual_seed(0)
    with torch.no_grad():
        logits = torch.cat([logits_of(model(part.clone())) for part in case.x.split(case.rows)])
    expect(torch.isfinite(logits).all(), "the network that comes back gives logits that are not finite")

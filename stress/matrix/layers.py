"""Checks of the layer map and of what is recorded, cut and frozen by it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import semirobust as sr
from stress.matrix.case import Case, Refused, bare, expect, noised, product, spread, tensors
from stress.zoo.network import logits_of

__all__ = ["by_hooks", "features", "forward_to", "layer_map", "only_trainable", "split"]


def layer_map(case: Case) -> str:
    """Names are real, shapes are those of hooks, and every parameter belongs to one layer or is reported."""
    with case.unchanged():
        layers = case.layers
    modules, parameters = dict(bare(case.model).named_modules()), dict(bare(case.model).named_parameters())
    seen: set[str] = set()
    for layer in layers:
        expect(
            layer.name in modules or layer.name in parameters, f"layer {layer.name}: there is no such module"
        )
        twice = seen.intersection(layer.parameters)
        expect(not twice, f"layer {layer.name}: {sorted(twice)[:1]} belongs to two layers")
        expect(
            set(layer.parameters) <= parameters.keys(), f"layer {layer.name}: names parameters that are not"
        )
        seen.update(layer.parameters)
    missing = parameters.keys() - seen
    expect(
        set(layers.unassigned) == missing,
        f"unassigned: {len(missing)} parameters, {len(layers.unassigned)} said",
    )
    hooked = by_hooks(case, case.x[: case.network.batch or 2])
    for layer in layers:
        found = hooked.get(layer.index)
        if found is not None:
            # One example's part of what several give, however examples are merged with other dimensions.
            size, n = layer.features, case.network.batch or 2
            told = f"layer {layer.name}: feature {list(layer.feature_shape)}, hooks see {list(found.shape)}"
            expect(found.numel() in (size * n, size), told)
    with product():
        expect(str(layers), "the map prints as nothing")
    share = sum(parameters[n].numel() for n in missing) / max(sum(p.numel() for p in parameters.values()), 1)
    return f"{len(layers)} layers" + (f", {share:.0%} of the parameters in none" if share > 0.005 else "")


def features(case: Case) -> str:
    """What is recorded equals what plain hooks see, and changes when the layer's weights become noise."""
    layers, model, x = case.layers, case.model, case.x[: case.network.batch or 2]
    with case.unchanged():
        tape = _taped(case, x)
        given = [layer for layer in layers if layer.index in tape]
        for index, seen in by_hooks(case, x).items():
            told = f"layer {layers.at(index).name}: the record is not what its place sees"
            expect(index not in tape or _same(tape[index], seen), told)
        tried = 0
        for layer in spread(given, 12):
            with noised(model, layer.name) as any_weights:
                if any_weights:
                    tried += 1
                    after, alive = _taped(case, x), _differs(case, x)
                    expect(layer.index in after, f"layer {layer.name}: recorded once, and then no more")
                    changed = not torch.equal(after[layer.index], tape[layer.index])
                    expect(
                        changed or not alive,
                        f"layer {layer.name}: its feature stays when its weights are noise",
                    )
    return f"{len(given)} of {len(layers)}, {tried} put to noise"


def forward_to(case: Case) -> str:
    """A pass that stops early gives the features of a whole pass."""
    layers, model, x = case.layers, case.model, case.x[: case.network.batch or 2]
    with case.unchanged():
        tape = _taped(case, x)
        wanted = spread([i for i in layers.indices if i in tape], 5)
        for index in [*wanted, wanted]:
            torch.manual_seed(0)
            with torch.no_grad(), product():
                found = sr.forward_to(model, layers, x.clone(), index)
            for i, value in found.items():
                expect(_same(value, tape[i]), f"layer {i}: differs from the feature of a whole pass")
            expect(
                len(found) == (1 if isinstance(index, int) else len(index)), "not as many features as asked"
            )
    return f"{len(wanted)} layers"


def split(case: Case) -> str:
    """``suffix(prefix(x))`` is what the network says, and another feature gives another answer."""
    layers, model, x = case.layers, case.model, case.x[: case.network.batch or 2]
    if len(layers) < 2:
        raise Refused("one layer only: there is nothing to cut")
    done, refusals = 0, []
    with case.unchanged(), torch.no_grad():
        whole = _answer(model, x)
        scale = whole.double().abs().max().clamp_min(1e-30)
        for after in spread(layers.indices[:-1], 5):
            try:
                with product():
                    prefix, suffix = sr.split(model, layers, after)
                    torch.manual_seed(0)
                    cut = prefix(x.clone())
                    same = logits_of(suffix(cut))
                    other = cut.feature + cut.feature.abs().mean() * torch.randn_like(cut.feature)
                    torch.manual_seed(0)
                    changed = logits_of(suffix(cut, other))
            except Refused as refused:
                refusals.append(str(refused))
                continue
            error = float((same.double() - whole.double()).abs().max() / scale)
            limit = {torch.float64: 1e-12, torch.float32: 2e-6}.get(case.network.dtype, 0.0)
            expect(
                error <= limit, f"cut {after}: the parts differ from the whole by {error:.1e} of its logits"
            )
            if torch.equal(changed, same):
                with noised(model, layers.at(after).name) as any_weights:
                    alive = any_weights and _differs(case, x)
                wrong = alive and not _makes_a_difference(case, x, after)
                expect(not wrong, f"cut {after}: another feature gives the same answer")
            done += 1
    if not done:
        raise Refused(refusals[0])
    return f"{done} cuts" + (f", {len(refusals)} refused: {refusals[0]}" if refusals else "")


def _makes_a_difference(case: Case, x: Tensor, after: int) -> bool:
    """Whether another feature gives another answer once no parameter is 0 altogether.

    A branch that begins with a gain of 0 adds nothing, whatever its feature is.
    """
    model = case.fresh()
    for p in model.parameters():
        if p.is_floating_point() and not p.any():
            p.data.add_(0.1)
    with product():
        prefix, suffix = sr.split(model, sr.layer_map(model, x), after)
        cut = prefix(x.clone())
        other = cut.feature + cut.feature.abs().mean() * torch.randn_like(cut.feature)
        return not torch.equal(logits_of(suffix(cut)), logits_of(suffix(cut, other)))


def only_trainable(case: Case) -> str:
    """After a step inside, nothing but the parameters of the given layers has changed."""
    model, layers = case.fresh(), case.layers
    chosen = sorted({layer.index for layer in spread(layers, 3)[1:]} or {1})
    names, modules = set(layers.parameters(chosen)), set(layers.modules(chosen))
    before = tensors(model)
    flags = {name: p.requires_grad for name, p in bare(model).named_parameters()}
    x, y = case.x[: case.network.batch or 8], case.mixed[: case.network.batch or 8] % case.network.classes
    with product():
        with sr.only_trainable(model, layers, chosen):
            model.train()
            trainable = [p for p in model.parameters() if p.requires_grad]
            expect(trainable or not any(flags[name] for name in names), "nothing is trainable inside")
            _step(case, model, trainable, x, y)
        model.eval()
    flags_after = {name: p.requires_grad for name, p in bare(model).named_parameters()}
    expect(flags_after == flags, "requires_grad is not as it was before")
    moved = {name for name, p in bare(model).named_parameters() if not torch.equal(p, before[name])}
    expect(moved <= names, f"{next(iter(moved - names), '')}: changed, though it belongs to no chosen layer")
    for name, buffer in bare(model).named_buffers():
        if name.rpartition(".")[0] not in modules:
            expect(torch.equal(buffer, before[name]), f"{name}: a buffer of another layer changed")
    return f"layers {chosen}: {len(moved)} parameters moved"


def _step(case: Case, model: nn.Module, trainable: list[nn.Parameter], x: Tensor, y: Tensor) -> None:
    logits = case.logits(model, x)
    if trainable and logits.requires_grad:
        F.cross_entropy(logits.double(), y).backward()
        for p in trainable:
            if p.grad is not None:
                p.data.add_(p.grad, alpha=-0.01 / (float(p.grad.double().norm()) or 1.0))
        model.zero_grad()


def _taped(case: Case, x: Tensor) -> dict[int, Tensor]:
    torch.manual_seed(0)
    with torch.no_grad(), product(), sr.features(case.model, case.layers) as tape:
        case.model(x.clone())
        return {index: value.clone() for index, value in tape.items()}


def _answer(model: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return logits_of(model(x.clone()))


def _differs(case: Case, x: Tensor) -> bool:
    """Whether the network, as it is now, answers otherwise than the untouched one."""
    clean = case.__dict__.setdefault("_clean_answer", None)
    if clean is None:
        clean = case.__dict__["_clean_answer"] = _answer(case.fresh(), x)
    return not torch.equal(_answer(case.model, x), clean)


def by_hooks(case: Case, x: Tensor) -> dict[int, Tensor]:
    """Layer -> its feature in a plain pass, where its place is a module's argument or the logits."""
    modules, seen = dict(bare(case.model).named_modules()), {}

    def keep(layer: Any) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            key = layer.feature_key
            value = args[key] if isinstance(key, int) and key < len(args) else kwargs.get(key)
            if isinstance(value, Tensor):
                seen.setdefault(layer.index, value.clone())

        return hook

    handles, last = [], []
    for layer in case.layers:
        if layer.feature_at > len(case.layers):
            last.append(layer.index)
        elif (module := modules.get(case.layers.at(layer.feature_at).name)) is not None:
            handles.append(module.register_forward_pre_hook(keep(layer), with_kwargs=True))
    try:
        answer = _answer(case.model, x)
    finally:
        for handle in handles:
            handle.remove()
    return seen | dict.fromkeys(last, answer)


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    scale = float(other.double().abs().max()) or 1.0
    return float((one.double() - other.double()).abs().max()) <= 1e-6 * scale

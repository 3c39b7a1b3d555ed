"""Cutting any module after a layer: a prefix that runs once and a suffix that goes on from there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from semirobust.layers.map import LayerMap, first_tensor

__all__ = ["Cut", "split"]


class _CutReached(Exception):
    """Raised where layer j+1 would begin."""


@dataclass(frozen=True)
class Cut:
    """What the prefix hands to the suffix.

    Attributes:
        feature: F_j, the input of layer j+1.
        x: the input, for the parts of ``forward`` that use it again.
        outputs: by module name, what each module that was done before the cut returned, call by call. Shortcuts
            that cross the cut live here, so a cut inside a residual block is exact too.
    """

    feature: Tensor
    x: Tensor
    outputs: dict[str, list[Any]] = field(repr=False)


@dataclass(frozen=True)
class Prefix:
    """``prefix(x)`` runs layers 1..j and stops."""

    model: nn.Module = field(repr=False)
    layers: LayerMap = field(repr=False)
    after: int

    def __call__(self, x: Tensor) -> Cut:
        running: list[str] = []
        outputs: dict[str, list[Any]] = {}
        feature: list[Tensor] = []
        following = self.layers.at(self.after + 1).name

        def before(name: str) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                if name == following:
                    feature.append(first_tensor((*args, *kwargs.values())))
                    raise _CutReached
                running.append(name)

            return hook

        def after(name: str) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
                running.pop()
                for inner in [key for key in outputs if key.startswith(f"{name}.")]:
                    del outputs[inner]  # only the outermost finished modules are kept
                outputs.setdefault(name, []).append(output)

            return hook

        handles = []
        try:
            for name, module in self.model.named_modules():
                if name:
                    handles.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
                    handles.append(module.register_forward_hook(after(name)))
            with suppress(_CutReached):
                self.model(x)
        finally:
            for handle in handles:
                handle.remove()
        return Cut(feature[0], x, outputs)


@dataclass(frozen=True)
class Suffix:
    """``suffix(cut)`` gives the logits; ``suffix(cut, feature)`` with another feature in place of F_j."""

    model: nn.Module = field(repr=False)
    layers: LayerMap = field(repr=False)
    after: int

    def __call__(self, cut: Cut, feature: Tensor | None = None) -> Tensor:
        with _replaying(self.model, cut), _replacing(self._following(), cut.feature if feature is None else feature):
            logits: Tensor = self.model(cut.x)
        return logits

    def _following(self) -> nn.Module:
        return self.model.get_submodule(self.layers.at(self.after + 1).name)


def split(model: nn.Module, layers: LayerMap, after: int) -> tuple[Prefix, Suffix]:
    """Cut ``model`` after layer ``after``: ``suffix(prefix(x))`` equals ``model(x)``.

    Works on any module, without knowing its ``forward``: the suffix runs it with every module that finished before
    the cut replaced by its recorded output, so only functional code of the prefix (an addition, an activation) is
    repeated. Gradients flow through the cut. Both parts share the parameters of ``model``.

    Args:
        model: the module that ``layers`` describes.
        layers: its layer map.
        after: j, from 1 to n-1.
    """
    layers.at(after)
    layers.at(after + 1)
    return Prefix(model, layers, after), Suffix(model, layers, after)


@contextmanager
def _replaying(model: nn.Module, cut: Cut) -> Iterator[None]:
    patched = []

    def replay(module: nn.Module, outputs: list[Any]) -> Any:
        left, original = list(outputs), module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            return left.pop(0) if left else original(*args, **kwargs)

        return forward

    try:
        for name, outputs in cut.outputs.items():
            module = model.get_submodule(name)
            module.__dict__["forward"] = replay(module, outputs)
            patched.append(module)
        yield
    finally:
        for module in patched:
            module.__dict__.pop("forward", None)


@contextmanager
def _replacing(module: nn.Module, feature: Tensor) -> Iterator[None]:
    pending = [feature]

    def hook(module: nn.Module, args: tuple[Any, ...]) -> Any:
        if pending and args and isinstance(args[0], Tensor):
            return (pending.pop(), *args[1:])
        return None

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()

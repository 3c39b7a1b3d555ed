"""Cutting any module after a layer: a prefix that runs once, and a suffix that continues from there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from semirobust.core.classifiers import eager, unwrapped
from semirobust.core.errors import InputError
from semirobust.core.outputs import logits_of
from semirobust.core.recomputed import check_once
from semirobust.core.typed import typed
from semirobust.layers.calls import Calls, Event, Recorded, cloned
from semirobust.layers.inputs import version
from semirobust.layers.layer import LayerMap
from semirobust.layers.sites import argument, watched
from semirobust.layers.stopping import stopping_at

__all__ = ["Cut", "split"]


class _CutReached(Exception):
    """Raised where the layer that takes F_j would begin."""


@dataclass(frozen=True)
class Cut:
    """What the prefix hands to the suffix.

    Attributes:
        feature: F_j, the input of the first layer that depends on layer j.
        x: the input, for the parts of ``forward`` that use it again.
        outputs: module name -> what each call of it returned, of the modules that finished before the cut.
            Shortcuts that cross the cut are among them, so a cut inside a residual block is exact too.
        entry: where F_j enters the modules that had not finished.
        made_by: which call of a function, among those of modules that had not finished, gave F_j; None where
            no such call did.
    """

    feature: Tensor
    x: Tensor
    outputs: dict[str, list["Recorded"]] = field(repr=False)
    entry: "_Entry" = field(repr=False)
    made_by: int | None = None


@dataclass(frozen=True)
class _Entry:
    """The outermost running module that has F_j among its arguments, and which arguments these are.

    Where only a function has it, the name is that of the layer which the function computes.
    """

    name: str
    keys: tuple[int | str, ...]  # positions and keywords


class _Pass:
    """What a pass leaves behind that stops at the cut.

    Attributes:
        running: the modules that had begun but not finished, the outermost first, and the tensors they got
            with how often each had been changed in place.
        outputs: what the modules returned that had finished, call by call.
        functions: the calls of functions.
    """

    def __init__(self) -> None:
        self.running: list[tuple[str, dict[int | str, tuple[Tensor, int]]]] = []
        self.outputs: dict[str, list[Recorded]] = {}
        self.functions = Calls()

    @contextmanager
    def noting(self, model: nn.Module) -> Iterator[None]:
        """Inside, a pass of the model is noted."""
        handles = []
        try:
            for name, module in model.named_modules():
                if name:
                    handles.append(module.register_forward_pre_hook(self._begin(name), with_kwargs=True))
                    handles.append(module.register_forward_hook(self._end(name)))
            with self.functions:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            arguments: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
            found = [(key, value) for key, value in arguments if isinstance(value, Tensor)]
            with self.functions.uncounted():
                tensors = {key: (value, version(value)) for key, value in found}
            self.running.append((name, tensors))
            self.functions.begin()

        return hook

    def _end(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            _, tensors = self.running.pop()
            self.functions.running.pop()
            # The output of a finished module stands for those of the modules inside it.
            for inner in [key for key in self.outputs if key.startswith(f"{name}.")]:
                del self.outputs[inner]
            with self.functions.uncounted():
                recorded = Recorded.of(output)
                # What the module changed in place was another tensor when the module got it.
                given = [(key, t) for key, (t, before) in tensors.items() if version(t) == before]
            self.outputs.setdefault(name, []).append(recorded)
            numbers = self.functions.numbers
            self.functions.events.append(Event(numbers(given), numbers([(0, output)]), recorded=recorded))

        return hook

    def cut(self, feature: Tensor, x: Tensor, place: _Entry) -> Cut:
        """The cut at ``feature``, which the layer at ``place`` takes."""
        # The version tells whether functional code changed the tensor in place after the module returned it.
        for recorded in (r for calls in self.outputs.values() for r in calls):
            same = recorded.original is feature and recorded.version == feature._version
            recorded.is_feature, recorded.original = same, None
        came = set(self.functions.numbers([(0, feature)]))  # F_j and what was computed from it
        for event in self.functions.events:
            if came.intersection(event.given):
                came.update(event.returned)
                if event.recorded is not None:
                    event.recorded.from_feature = True
        # The suffix will run the unfinished modules again; the first of them that got F_j is where it enters.
        entries = (
            _Entry(name, tuple(key for key, (value, _) in tensors.items() if value is feature))
            for name, tensors in self.running
        )
        entry = next((entry for entry in entries if entry.keys), place)
        return Cut(feature, x, self.outputs, entry, self.functions.maker_of(feature))


@dataclass(frozen=True)
class Prefix:
    """``prefix(x)`` runs layers 1..j, and those beside them, up to the place of F_j."""

    model: nn.Module = field(repr=False)
    layers: LayerMap = field(repr=False)
    after: int

    def __call__(self, x: Tensor) -> Cut:
        feature: list[Tensor] = []
        layer = self.layers.at(self.after)
        following = self.layers.at(layer.feature_at).name

        def reached(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            feature.append(argument(layer.feature_key, args, kwargs))
            raise _CutReached

        noted = _Pass()
        with (
            eager(),
            # Within `watched`, which calls functions of its own, as in the suffix.
            watched(self.model, {following: reached}, None, self.layers.functions),
            noted.noting(self.model),
            stopping_at(_CutReached),
        ):
            self.model(x.clone())  # since it may work in place
        if not feature:
            raise InputError(
                f"layer {self.after}: the place of its feature ({following}) was not reached; hand over the"
                " network itself, not a compiled form, and no input that leaves it early"
            )
        layer.check_rows(feature[0], len(x))
        return noted.cut(feature[0], x, _Entry(following, (layer.feature_key,)))


@dataclass(frozen=True)
class Suffix:
    """``suffix(cut)`` gives the logits; ``suffix(cut, feature)`` with another feature in place of F_j.

    The other feature goes wherever F_j goes, also into a shortcut that starts at F_j. Other values that cross
    the cut, such as the shortcut of a block that is cut in its middle, stay those of the cut.
    """

    model: nn.Module = field(repr=False)
    layers: LayerMap = field(repr=False)
    after: int

    def __call__(self, cut: Cut, feature: Tensor | None = None) -> Tensor:
        new = cut.feature if feature is None else feature

        def instead(result: Any) -> Tensor:
            check_once()
            if not isinstance(result, Tensor) or result.shape != cut.feature.shape:
                raise _others_called(self.after)
            return new

        functions = Calls({-1 if cut.made_by is None else cut.made_by: instead})
        with (
            eager(),
            _replaying(self.model, cut, new, functions),
            _replacing(self.model, self.layers, cut, new, self.after) as missed,
            functions,
        ):
            logits = logits_of(self.model(cut.x.clone()), training=self.model.training)
        if missed():
            raise _others_called(self.after)
        return logits


@typed
def split(model: nn.Module, layers: LayerMap, after: int) -> tuple[Prefix, Suffix]:
    """Cut ``model`` after layer ``after``: ``suffix(prefix(x))`` equals ``model(x)``.

    The cut is where F_j is: at the input of the first layer that depends on layer j. Layers that run before
    that beside layer j are in the prefix.

    Works on any module, whatever its ``forward``. The suffix runs the whole model, but every module that
    finished before the cut returns its recorded output. So only functional code of the prefix is repeated,
    such as an addition. Gradients flow through the cut. Both parts share the parameters of ``model``.

    Args:
        model: the module that ``layers`` describes.
        layers: its layer map.
        after: j, from 1 to n-1.

    Raises:
        InputError: no layer comes behind layer j. The suffix raises it where a module before the cut is
            computed again for the gradient (``torch.utils.checkpoint``), and where it runs in another mode in
            which other functions are called before the cut.
    """
    if layers.at(after).feature_at > len(layers):
        raise InputError(f"layer {after}: expected one with another behind it; its feature is the logits")
    model = unwrapped(model)
    return Prefix(model, layers, after), Suffix(model, layers, after)


def _others_called(after: int) -> InputError:
    """The error for a network that does not call again what it called up to the cut."""
    return InputError(
        f"layer {after}: expected the calls in front of its feature that there were at the cut, but the"
        " network makes others now, as one that does more in train mode; cut in the mode of the suffix, or"
        " behind another layer"
    )


@contextmanager
def _replaying(model: nn.Module, cut: Cut, feature: Tensor, functions: Calls) -> Iterator[None]:
    """Inside, the modules that finished before the cut return their recorded outputs, call by call."""
    patched: list[tuple[nn.Module, Any]] = []

    def replay(module: nn.Module, calls: list[Recorded]) -> Any:
        remaining, original = list(calls), module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            recorded = remaining.pop(0) if remaining else None
            # The call comes after the cut, or from F_j.
            if recorded is None or recorded.from_feature:
                return original(*args, **kwargs)
            check_once()
            with functions.uncounted():
                return feature if recorded.is_feature else cloned(recorded.value)

        return forward

    try:
        for name, calls in cut.outputs.items():
            module = model.get_submodule(name)
            forward = replay(module, calls)
            # `forward` is set on the instance, so that hooks and `__call__` work as before.
            patched.append((module, module.__dict__.get("forward")))
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, before in patched:
            if before is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = before


@contextmanager
def _replacing(
    model: nn.Module, layers: LayerMap, cut: Cut, feature: Tensor, after: int
) -> Iterator[Callable[[], bool]]:
    """Inside, the first call of the entry gets ``feature`` at its positions and keywords; gives whether the
    feature got nowhere, since there was no such call.

    Raises:
        InputError: it would get another tensor, though what gave F_j at the cut gives ``feature`` now.
    """
    pending, entry = [feature], cut.entry
    # Modules that returned F_j itself; one that also got it, such as a dropout in eval mode, runs again.
    makers = [each for calls in cut.outputs.values() for each in calls if each.is_feature]
    given = cut.made_by is not None or bool(makers)
    given &= not any(each.from_feature for each in makers)

    def swapped(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not pending:
            return None
        new = pending.pop()
        if given and not any(value is new for value in (*args, *kwargs.values())):
            raise _others_called(after)
        positions = tuple(new if position in entry.keys else value for position, value in enumerate(args))
        return positions, {key: new if key in entry.keys else value for key, value in kwargs.items()}

    with watched(model, {entry.name: swapped}, None, layers.functions):
        yield lambda: bool(pending) and not given

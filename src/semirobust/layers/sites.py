"""Where the weights of a model act: the calls of its weight layers, and of functions on its parameters."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from semirobust.core.errors import InputError

__all__ = [
    "WEIGHT_LAYERS",
    "After",
    "Before",
    "Functions",
    "Key",
    "argument",
    "first_tensor",
    "tensors_in",
    "watched",
]

WEIGHT_LAYERS = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)
"""Modules that are a layer each, with all that is inside them."""

Key = int | str
"""The position or the keyword of an argument."""
Before = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""Called with the arguments of a site; gives (args, kwargs) in their place, or None."""
After = Callable[[Any], None]
"""Called with what a site returned."""

_FUNCTIONS: dict[Any, str] = {
    F.linear: "linear",
    F.bilinear: "bilinear",
    F.conv1d: "conv1d",
    F.conv2d: "conv2d",
    F.conv3d: "conv3d",
    F.conv_transpose1d: "conv_transpose1d",
    F.conv_transpose2d: "conv_transpose2d",
    F.conv_transpose3d: "conv_transpose3d",
    F.multi_head_attention_forward: "multi_head_attention",
    torch.matmul: "matmul",
    Tensor.matmul: "matmul",
    Tensor.__matmul__: "matmul",
    Tensor.__rmatmul__: "matmul",
    torch.mm: "matmul",
    Tensor.mm: "matmul",
    torch.bmm: "matmul",
    Tensor.bmm: "matmul",
    torch.addmm: "matmul",
    torch.baddbmm: "matmul",
    torch.linalg.matmul: "matmul",
    torch.linalg.vecdot: "vecdot",
    torch.inner: "inner",
    Tensor.inner: "inner",
    torch.einsum: "einsum",
    torch.tensordot: "tensordot",
}

_BESIDE = {"add", "cat", "concat", "concatenate", "stack", "where", "__setitem__", "copy", "embedding"}
_BESIDE |= {"layer_norm", "group_norm", "expand_as", "view_as", "reshape_as", "type_as", "to"}
"""Names of functions that lay a parameter on or beside data, as positions and tokens, or normalise by it."""


def tensors_in(values: Any) -> Iterator[tuple[Key, Tensor]]:
    """The tensors among the arguments (args, kwargs) or (key, value) pairs, with their keys; those in nested
    tuples, lists and dictionaries have the key of the outermost one.
    """
    for key, value in values:
        yield from ((key, tensor) for tensor in _flat(value))


def _flat(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _flat(part)


def argument(key: Key, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The first tensor in the argument of this position or keyword."""
    value = args[key] if isinstance(key, int) and key < len(args) else kwargs.get(str(key))
    return first_tensor((value,))


def first_tensor(values: Iterable[Any]) -> Tensor:
    """The first tensor among ``values``, which may lie in nested tuples, lists and dictionaries."""
    tensor = next((tensor for value in values for tensor in _flat(value)), None)
    if tensor is None:
        raise InputError("model: expected its layers to pass on tensors, found none")
    return tensor


@dataclass(frozen=True)
class Call:
    """The call of a linear function of data and of parameters.

    Attributes:
        kind: the function's name.
        parameters: the names of the parameters that its arguments come from.
        function, args, kwargs: what is called, with what.
        weights: the ids of those of its tensors that come from parameters alone.
    """

    kind: str
    parameters: tuple[str, ...]
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    weights: frozenset[int]

    def __call__(self) -> Any:
        return self.function(*self.args, **self.kwargs)


class Functions(TorchFunctionMode):
    """Inside, ``seen`` is told of every linear function of data and of parameters outside a weight layer.

    A convolution whose weight is computed from parameters counts too. What is computed from parameters and
    buffers alone is followed through all functions between.

    Args:
        model: the module whose parameters are followed.
        seen: gets the call, and gives what it returns.

    Attributes:
        others: parameter -> the name of another function of data and of it as a matrix.
    """

    def __init__(self, model: nn.Module, seen: Callable[[Call], Any]) -> None:
        super().__init__()
        self._seen, self._inside, self._model = seen, 0, model
        self._names: dict[int, tuple[str, ...]] = {id(p): (name,) for name, p in model.named_parameters()}
        self.others: dict[str, str] = {}
        self._names |= {id(buffer): () for buffer in model.buffers()}
        self._computed: dict[int, tuple[Tensor, tuple[str, ...]]] = {}  # held, so that no id is used again

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Inside, calls of weight layers are known as such."""
        layers = [module for module in self._model.modules() if isinstance(module, WEIGHT_LAYERS)]
        handles = [self._model.register_forward_pre_hook(self._begin)]
        handles += [module.register_forward_pre_hook(self._enter) for module in layers]
        handles += [module.register_forward_hook(self._leave, always_call=True) for module in layers]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, module: nn.Module, args: Any) -> None:
        self._computed.clear()
        self._inside = 0

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._inside += 1

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._inside -= 1

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._inside:
            return func(*args, **kwargs)
        tensors = [tensor for _, tensor in tensors_in([*enumerate(args), *kwargs.items()])]
        origins = [self._origin(tensor) for tensor in tensors]
        known = tuple(dict.fromkeys(name for origin in origins if origin for name in origin))
        if origins and None not in origins:
            return self._keep(func(*args, **kwargs), known)
        matrices = any(origin and t.dim() > 1 for t, origin in zip(tensors, origins, strict=True))
        if func in _FUNCTIONS and matrices:
            weights = (id(t) for t, origin in zip(tensors, origins, strict=True) if origin is not None)
            return self._seen(Call(_FUNCTIONS[func], known, func, args, kwargs, frozenset(weights)))
        if matrices:
            self._note_other(func, args, kwargs)
        return func(*args, **kwargs)

    def _note_other(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = getattr(func, "__name__", type(func).__name__)
        if name.removesuffix("_") in _BESIDE or name in _BESIDE:
            return
        if func is F.scaled_dot_product_attention:  # the mask is added
            args, kwargs = args[:3], {key: value for key, value in kwargs.items() if key != "attn_mask"}
        for _, tensor in tensors_in([*enumerate(args), *kwargs.items()]):
            if (origin := self._origin(tensor)) and sum(size > 1 for size in tensor.shape) > 1:
                self.others |= dict.fromkeys(origin, name)

    def _origin(self, tensor: Tensor) -> tuple[str, ...] | None:
        """The parameters that a tensor is computed from; None where data are among them."""
        if id(tensor) in self._computed:
            return self._computed[id(tensor)][1]
        return self._names.get(id(tensor))

    def _keep(self, result: Any, names: tuple[str, ...]) -> Any:
        for tensor in _flat(result):
            self._computed[id(tensor)] = (tensor, names)
        return result


@contextmanager
def watched(
    model: nn.Module,
    before: Mapping[str, Before] | None = None,
    after: Mapping[str, After] | None = None,
    functions: Mapping[tuple[str, ...], str] | None = None,
) -> Iterator[None]:
    """Inside, functions are called before and after the sites of these names, whenever they run.

    Args:
        model: the module whose sites are watched.
        before, after: site name -> what to call.
        functions: for the sites that are no module, the parameters that tell them -> site name.
    """
    before, after, functions = before or {}, after or {}, functions or {}
    named = dict(model.named_modules())
    handles = []

    def entering(call: Before) -> Any:
        return lambda module, args, kwargs: call(args, kwargs)

    def leaving(call: After) -> Any:
        return lambda module, args, output: call(output)

    def seen(call: Call) -> Any:
        site = functions.get(call.parameters, "")
        if site in before and (new := before[site](call.args, call.kwargs)) is not None:
            call = replace(call, args=new[0], kwargs=new[1])
        result = call()
        if site in after:
            after[site](result)
        return result

    wanted = {*before, *after}
    functional = wanted & set(functions.values())
    with ExitStack() as stack:
        try:
            for name in wanted - functional:
                if name in before:
                    hook = entering(before[name])
                    handles.append(named[name].register_forward_pre_hook(hook, with_kwargs=True))
                if name in after:
                    handles.append(named[name].register_forward_hook(leaving(after[name])))
            if functional:
                stack.enter_context(Functions(model, seen).hooked())
            yield
        finally:
            for handle in handles:
                handle.remove()

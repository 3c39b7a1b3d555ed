"""What forward passes show of a model's weight layers: their order, arguments and results."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.core.checks import cannot_run, check_device
from semirobust.core.errors import InputError
from semirobust.core.outputs import logits_of
from semirobust.core.seed import Seed, as_seed
from semirobust.core.text import first_line
from semirobust.layers.quiet import quiet
from semirobust.layers.sites import (
    WEIGHT_LAYERS,
    Call,
    Functions,
    Key,
    first_tensor,
    tensors_in,
)

__all__ = ["Run", "Site", "observed", "traced"]

_SEED = as_seed(0) / "trace"
_LOG = logging.getLogger("semirobust.layers")


@dataclass
class Site:
    """A weight layer, as one forward pass shows it.

    Attributes:
        name: of its module; of its parameter where a function uses one that no such module has.
        kind: the class of the module, or the name of the function.
        parameters: of a site that is no module, the parameters that tell it; else none.
        module: the module that its name stands for; None for a parameter.
        arguments: what its first call got: the tensors by argument.
        result: what its first call returned.
        argument_nodes, result_nodes: of autograd: what each argument and each result (of every call) was
            computed by.
        later_nodes: the same of the arguments of all calls but the first.
        live, results: the tensors themselves, of the first call's arguments and of every result.
    """

    name: str
    kind: str
    parameters: tuple[str, ...] = ()
    module: nn.Module | None = None
    arguments: dict[Key, Tensor] = field(default_factory=dict)
    result: Tensor | None = None
    argument_nodes: dict[Key, Any] = field(default_factory=dict)
    result_nodes: list[Any] = field(default_factory=list)
    later_nodes: list[Any] = field(default_factory=list)
    live: dict[Key, Tensor] = field(default_factory=dict, repr=False)
    results: list[Tensor] = field(default_factory=list, repr=False)


@dataclass
class Run:
    """What one forward pass shows.

    Attributes:
        sites: the weight layers in the order in which they first run.
        others: the other modules with tensors of their own -> how many sites had run before, and what their
            arguments were computed by.
        taken: the parameters that functions take outside a weight layer.
        logits: what the model gave.
        logits_node, x_node: of autograd: what computed the logits, and the input.
        matrices: parameters that a function uses which is no site -> its name.
        problem: why autograd could not follow the pass; "" where it could.
    """

    sites: dict[str, Site] = field(default_factory=dict)
    others: dict[str, tuple[int, tuple[Any, ...]]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    logits: Tensor | None = None
    logits_node: Any = None
    x_node: Any = None
    matrices: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def functions(self) -> dict[tuple[str, ...], str]:
        """The parameters that tell the sites that are no module -> their names."""
        return {site.parameters: name for name, site in self.sites.items() if site.parameters}


def traced(model: nn.Module, x: Tensor) -> Run:
    """Run the model on ``x`` and note which weight layers run, in which order, on what.

    The pass records a graph of autograd, in which parameters take part; where that fails it records none.

    Raises:
        InputError: the model cannot run on ``x``.
    """
    try:
        with _differentiable(model, x) as given, _SEED.globally():
            return _pass(model, given, given.grad_fn)
    except InputError:
        raise
    except Exception as error:  # any operation may be without a gradient
        _LOG.info("no graph of autograd because %s", first_line(error))
        problem = first_line(error)
    run = observed(model, x)
    run.problem = problem
    return run


def observed(model: nn.Module, x: Tensor, seed: Seed = _SEED) -> Run:
    """Like :func:`traced`, without a graph; ``seed`` is of a model that draws numbers of its own.

    Raises:
        InputError: the model cannot run on ``x``.
    """
    try:
        with quiet(model), torch.no_grad(), seed.globally():
            return _pass(model, x, None)
    except InputError:
        raise
    except Exception as error:  # a model can fail in any way on what it was not made for
        check_device(model, x)
        raise cannot_run(x, error) from None


@contextmanager
def _differentiable(model: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Inside, the model is in eval mode and its parameters take a gradient; gives ``x`` with one too."""
    with quiet(model), torch.enable_grad():
        for parameter in model.parameters():  # `quiet` restores the flags
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.requires_grad_(True)
        # Not a leaf, because a model may normalise it in place.
        yield x.detach().requires_grad_().clone()


def _pass(model: nn.Module, x: Tensor, x_node: Any) -> Run:
    run = Run(x_node=x_node)
    handles = []
    functions = Functions(model, _function(model, run))
    try:
        for name, module in _outermost(model):
            if isinstance(module, WEIGHT_LAYERS):
                handles.append(module.register_forward_pre_hook(_before(run, name), with_kwargs=True))
                handles.append(module.register_forward_hook(_after(run, name)))
            elif _has_tensors(module):
                handles.append(module.register_forward_pre_hook(_other(run, name), with_kwargs=True))
        with functions.hooked():
            logits = logits_of(model(x))
            run.logits, run.logits_node = logits.detach(), _node(logits)
        run.matrices = functions.others
    finally:
        for handle in handles:
            handle.remove()
    return run


def _outermost(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules but those inside a weight layer, as in attention, which are part of it."""
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module in inside:
            continue
        if isinstance(module, WEIGHT_LAYERS):
            inside.update(module.modules())
        yield name, module


def _has_tensors(module: nn.Module) -> bool:
    """Whether the module has parameters or buffers outside its sub-modules."""
    return bool(module._parameters or module._buffers)


def _before(run: Run, name: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name not in run.sites:
            run.sites[name] = Site(name, type(module).__name__, module=module)
        _note_arguments(run.sites[name], args, kwargs)

    return hook


def _after(run: Run, name: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        output = _no_view(output)
        _note_result(run.sites[name], output)
        return output

    return hook


def _function(model: nn.Module, run: Run) -> Callable[[Call], Any]:
    named, parameters = dict(model.named_modules()), dict(model.named_parameters())

    def seen(call: Call) -> Any:
        run.taken.update(call.parameters)
        name, module = _named(call.parameters, named, parameters)
        result = _no_view(call())
        # A weight layer that runs as a module is known as such.
        if name not in run.sites or run.sites[name].parameters == call.parameters:
            if name not in run.sites:
                kind = type(module).__name__ if module else call.kind
                run.sites[name] = Site(name, kind, call.parameters, module)
            _note_arguments(run.sites[name], call.args, call.kwargs, call.weights)
            _note_result(run.sites[name], result)
        return result

    return seen


def _named(
    names: tuple[str, ...], named: Mapping[str, nn.Module], parameters: Mapping[str, nn.Parameter]
) -> tuple[str, nn.Module | None]:
    """The weight layer whose weights a function uses; else its largest parameter, and no module."""
    matrices = [name for name in names if parameters[name].dim() > 1]
    owners = {name.rpartition(".")[0] for name in matrices}
    layers = [owner for owner in owners if isinstance(named[owner], WEIGHT_LAYERS)]
    if len(layers) == 1:
        return layers[0], named[layers[0]]
    return max(matrices, key=lambda name: parameters[name].numel()), None


def _note_arguments(
    site: Site, args: tuple[Any, ...], kwargs: dict[str, Any], weights: frozenset[int] = frozenset()
) -> None:
    found = [(k, t) for k, t in tensors_in([*enumerate(args), *kwargs.items()]) if id(t) not in weights]
    if site.result is not None:
        site.later_nodes += [_node(tensor) for _, tensor in found]
        return
    for key, tensor in found:
        if key not in site.arguments:
            site.arguments[key], site.argument_nodes[key] = tensor.detach().clone(), _node(tensor)
            site.live[key] = tensor


def _note_result(site: Site, output: Any) -> None:
    if site.result is None:
        site.result = first_tensor((output,)).detach().clone()
    results = [tensor for _, tensor in tensors_in([(0, output)])]
    site.results += results
    site.result_nodes += map(_node, results)


def _no_view(value: Any) -> Any:
    """A result with copies of its tensors that are views and have a gradient.

    What changes a view in place, as a ReLU behind a linear layer on tokens, also replaces what computed it,
    and nothing behind it would lead to the layer.
    """
    if isinstance(value, Tensor):
        return value.clone() if value.requires_grad and value._is_view() else value
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(map(_no_view, value))
    if type(value) in (tuple, list):
        return type(value)(map(_no_view, value))
    return {key: _no_view(part) for key, part in value.items()} if type(value) is dict else value


def _node(tensor: Tensor) -> Any:
    """What computed a tensor, now: an operation in place would replace it."""
    return tensor.grad_fn


def _other(run: Run, name: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nodes = tuple(_node(t) for _, t in tensors_in([*enumerate(args), *kwargs.items()]))
        run.others.setdefault(name, (len(run.sites), nodes))

    return hook

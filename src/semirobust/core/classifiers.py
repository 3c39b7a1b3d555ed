"""Any network as the classifier that everything here works on: a batch of images in, logits out."""

import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import checkpoint as checkpointing

from semirobust.core.checks import dtype_of, is_whole
from semirobust.core.errors import InputError
from semirobust.core.given import as_tensors, check_no_dataset
from semirobust.core.one_at_a_time import one_at_a_time
from semirobust.core.outputs import is_inside, logits_of, noting
from semirobust.core.typed import arguments_of, check

__all__ = ["Around", "check_eager", "classifier", "eager", "in_eval", "on_classifiers", "unwrapped"]

_LOG = logging.getLogger("semirobust.core")
# Where torch's quantised modules are; those that imitate quantisation while they train are in qat.
_QUANTISED = re.compile(r"torch\.ao\.nn\.(\w+\.)?quantized\.")
P = ParamSpec("P")
R = TypeVar("R")
Model = TypeVar("Model", bound=nn.Module)
_NETWORKS = nn.Module | torch.export.ExportedProgram


class Around(nn.Module):
    """A module with another one inside, for one that takes no hooks itself."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.training = module.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


class _ToLogits:
    """A forward hook that gives the logits in place of whatever holds them.

    It does nothing outside the functions of this library, so a copy of a network that is made inside one and
    handed out returns what the network itself returns.
    """

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Tensor | None:
        if isinstance(output, Tensor) or not is_inside():
            return None
        return logits_of(output, training=module.training)


def unwrapped(model: Any) -> nn.Module:
    """The module whose layers and names count: the original of a compiled one, the inner of a distributed
    one, the module of an exported program.
    """
    dynamo = sys.modules.get("torch._dynamo.eval_frame")  # imported by whoever compiled anything
    while True:
        if dynamo is not None and isinstance(model, dynamo.OptimizedModule):
            _LOG.info("the model is compiled; its original module is used, which calls its hooks")
            model = model._orig_mod
        elif isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(model, torch.export.ExportedProgram):
            model = model.module()
        else:
            return model


@contextmanager
def classifier(model: Any) -> Iterator[nn.Module]:
    """What stands for ``model`` inside: it gives logits (N, C) and runs its modules one by one.

    It has the model's parameters and, but for wrappers, is the model itself, which is as before afterwards.
    """
    model = unwrapped(model)
    with noting(), eager():
        inner = Around(model) if isinstance(model, torch.jit.ScriptModule) else model
        handle = inner.register_forward_hook(_ToLogits())
        try:
            yield inner
        finally:
            handle.remove()


def in_eval(model: Model) -> Model:
    """``model``, put into eval mode; an exported program has the mode that it was exported in."""
    try:
        model.eval()
    except NotImplementedError as error:
        _LOG.info("the model stays in its mode, since it says: %s", error)
    return model


@contextmanager
def eager() -> Iterator[None]:
    """Inside, nothing compiled runs, because compiled code calls no hooks, and checkpoints give gradients of
    their inputs.
    """
    # Whoever compiled anything has imported it; importing it here would take a second.
    with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
        before = checkpointing.CheckpointFunction
        checkpointing.CheckpointFunction = _Checkpoint  # type: ignore[misc, assignment]
        try:
            yield
        finally:
            checkpointing.CheckpointFunction = before  # type: ignore[misc]


class _Checkpoint:
    """Stands for reentrant checkpoints, which refuse ``torch.autograd.grad``, by the other kind.

    That computes the same and keeps as little.
    """

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return checkpointing.checkpoint(function, *args, use_reentrant=False, preserve_rng_state=preserve)


def check_eager(model: object) -> None:
    """Raise ``InputError`` for what is no network, and for one whose layers cannot be seen."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    kind = ""
    if isinstance(model, torch.jit.ScriptModule) or isinstance(
        getattr(model, "module", None), torch.jit.ScriptModule
    ):
        kind = "a TorchScript module"
    elif isinstance(model, torch.fx.GraphModule) and "_guards_fn" in model._modules:
        kind = "an exported program"
    elif any(_QUANTISED.match(type(module).__module__) for module in model.modules()):
        kind = "a quantised network"
    if kind:
        raise InputError(
            f"model: expected a module whose layers can be seen, got {kind}, which is good for attacks and"
            " accuracy alone; hand over the module that it was made from"
        )


def on_classifiers(*names: str, layers: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function whose arguments ``names`` are networks, or mappings to networks.

    The function sees :func:`classifier` of each, and whole-number labels ``y`` as int64, whatever they are.
    Threads take turns (:func:`semirobust.core.one_at_a_time.one_at_a_time`).

    Args:
        names: of the parameters.
        layers: the function looks at layers, so what shows none is refused.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        hints = arguments_of(signature, names)

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:  # the function itself says it with its name
                for value in args[1:2]:
                    check_no_dataset(value, "x", function.__name__)
                return function(*args, **kwargs)
            if "x" in bound.arguments:
                check_no_dataset(bound.arguments["x"], "x", function.__name__)
            as_tensors(bound.arguments, _dtype_of(bound.arguments.get(names[0])))
            if isinstance(y := bound.arguments.get("y"), Tensor) and is_whole(y):
                bound.arguments["y"] = y.long()
            check(hints, bound.arguments)
            with one_at_a_time(), ExitStack() as stack:
                enter = stack.enter_context
                for name in names:
                    given = bound.arguments.get(name)
                    if isinstance(given, Mapping):
                        _check_networks(given.values())
                        bound.arguments[name] = {key: enter(classifier(m)) for key, m in given.items()}
                    elif isinstance(given, _NETWORKS):  # anything else the checks of the function refuse
                        _check_networks([given])
                        bound.arguments[name] = enter(classifier(given))
                    if layers:
                        check_eager(bound.arguments.get(name))
                return function(*bound.args, **bound.kwargs)

        return run

    return decorate


def _check_networks(models: Iterable[Any]) -> None:
    """They are networks, whose weights have values."""
    for model in models:
        if not isinstance(model, _NETWORKS):
            weights = ", as a state dict holds; bring it into its network by model.load_state_dict"
            raise InputError(
                f"model: expected a torch.nn.Module, got a mapping to {type(model).__name__}"
                + weights * isinstance(model, Tensor)
            )
        for name, parameter in model.named_parameters():
            if is_lazy(parameter):
                raise InputError(
                    f"model: expected parameters with values, but {name} has none; run a lazy model on images"
                    " once"
                )


def _dtype_of(model: Any) -> torch.dtype:
    """That of a network, or of the first of several."""
    model = next(iter(model.values()), None) if isinstance(model, Mapping) else model
    return dtype_of(model) if isinstance(model, nn.Module) else torch.float32

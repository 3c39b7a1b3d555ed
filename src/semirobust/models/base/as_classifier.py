"""Any network as one that takes pixels in [0, 1] and gives logits."""

import re
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.core.classifiers import Around, unwrapped
from semirobust.core.errors import InputError
from semirobust.core.outputs import described, field_of, logits_of, note
from semirobust.core.typed import typed
from semirobust.models.base.classifier import check_normalisation

__all__ = ["as_classifier", "normalisation_of"]

_HOOKS = re.compile(r"_\w+_hooks(_with_kwargs|_always_called)?")
_MEANINGS = ("logits", "probabilities", "log-probabilities", "binary", "binary-probabilities")


@typed
def as_classifier(
    model: nn.Module | torch.export.ExportedProgram,
    *,
    output: str | int = "logits",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """``model`` as a network that takes pixels in [0, 1] and gives logits (N, C).

    Every function of this library does by itself what ``output="logits"`` does here, so most networks can be
    handed over as they are. The result shares modules, parameters and their names with ``model``, so that
    layers, state dicts and checkpoints stay those of ``model``, and training one trains the other. ``model``
    itself goes on returning what it returned.

    Args:
        model: any network. The original of a compiled one is used, the inner one of a distributed one, and
            the module of an exported program. TorchScript, which cannot be copied so, is put inside another
            module, and its names begin with ``module.``.
        output: what the network returns. Both kinds of probabilities, and both of a binary network, are
            taken from the only tensor there is.

            - ``logits``: one tensor of logits; or the field ``logits`` of a mapping, dataclass or named
              tuple; or of a tuple or list the first tensor of two dimensions. Auxiliary heads, which some
              networks have in train mode, are left out.
            - ``probabilities`` p (N, C): back to logits log p, the same softmax. Where one class has all the
              probability, the gradient is lost to rounding: attacks find less, and the network looks more
              robust than it is. Removing the softmax is better.
            - ``log-probabilities``: valid logits, left as they are.
            - ``binary``: one logit z, (N,) or (N, 1), of class 1 of two; becomes (0, z), whose softmax is
              the sigmoid of z.
            - ``binary-probabilities``: the probability of class 1, (N,) or (N, 1); z = log(p / (1 - p)), with
              the loss of gradient as above.
            - any other name, or an index: that field of the output. For a field that does not hold logits
              call this function twice.
        mean, std: of the pixels, by channel, where the network expects normalised images; (x - mean) / std
            is computed in front of it. They are no part of the state dict.

    Raises:
        InputError: something that is no network, an empty ``output``, or a mean without a std.
    """
    inner = unwrapped(model)
    if not isinstance(inner, nn.Module):
        raise InputError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(output, bool) or not isinstance(output, str | int) or output == "":
        raise InputError(
            f"output: expected {', '.join(_MEANINGS)}, or the name or index of a field; got {output!r}"
        )
    if (mean is None) != (std is None):
        raise InputError(f"mean and std: expected both or none, got {mean} and {std}")
    adapted = Around(inner) if isinstance(inner, torch.jit.ScriptModule) else _twin(inner)
    if mean is not None and std is not None:
        # The first of all, whatever else looks at the input.
        adapted.register_forward_pre_hook(_Normalises.of(mean, std), with_kwargs=True, prepend=True)
    if output != "log-probabilities":
        adapted.register_forward_hook(_Gives(output))
    return adapted


def normalisation_of(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The mean and std that :func:`as_classifier` put in front of a network; None where it put none."""
    hooks = (hook for hook in model._forward_pre_hooks.values() if isinstance(hook, _Normalises))
    return next(((hook.mean, hook.std) for hook in hooks), None)


def _twin(model: nn.Module) -> nn.Module:
    """Another object with the modules, parameters and buffers of ``model``, and hooks of its own."""
    twin: nn.Module = object.__new__(type(model))
    for name, value in model.__dict__.items():
        if name == "_compiled_call_impl":  # of the original, whose hooks are others
            continue
        if isinstance(value, dict) and name.endswith(
            ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")
        ):
            value = value.copy()
        elif isinstance(value, types.MethodType) and value.__self__ is model:
            value = types.MethodType(value.__func__, twin)
        twin.__dict__[name] = value
    twin.__dict__.setdefault("train", _TrainsBoth(twin, model))
    return twin


class _TrainsBoth:
    """Takes the place of ``twin.train``, so that the mode of the root follows, as that of all others does."""

    def __init__(self, twin: nn.Module, model: nn.Module) -> None:
        self.twin, self.model = twin, model

    def __call__(self, mode: bool = True) -> nn.Module:
        type(self.twin).train(self.twin, mode)
        self.model.training = mode
        return self.twin


@dataclass(frozen=True)
class _Normalises:
    """A hook that normalises the images before the network sees them."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float]) -> "_Normalises":
        check_normalisation(mean, std)
        return cls(tuple(map(float, mean)), tuple(map(float, std)))

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (self._normalised(args[0]), *args[1:]), kwargs
        name = next(name for name, value in kwargs.items() if isinstance(value, Tensor))
        return args, {**kwargs, name: self._normalised(kwargs[name])}

    def _normalised(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x.shape[1] != len(self.mean) != 1:
            raise InputError(f"x: expected images of {len(self.mean)} channels, got shape {tuple(x.shape)}")
        shape = (-1, *(1,) * (x.dim() - 2))
        return (x - x.new_tensor(self.mean).view(shape)) / x.new_tensor(self.std).view(shape)


@dataclass(frozen=True)
class _Gives:
    """A hook that turns what a network returned into logits."""

    output: str | int

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Tensor:
        match self.output:
            case "probabilities":
                note(
                    "probabilities were turned back into logits by their logarithm; where one class has all"
                    " of it the gradient is lost, and attacks look weaker than they are"
                )
                return _logarithm(logits_of(output, training=module.training))
            case "binary" | "binary-probabilities":
                return _two_logits(output, probabilities=self.output != "binary")
            case "logits":
                return logits_of(output, training=module.training)
            case _:
                return self._field(output)

    def _field(self, output: Any) -> Tensor:
        if isinstance(self.output, int) and isinstance(output, Tensor):
            return output  # a network that gives several heads in train mode alone
        try:
            part = output[self.output] if isinstance(self.output, int) else field_of(output, self.output)
        except (IndexError, KeyError, TypeError):
            part = None
        if not isinstance(part, Tensor):
            raise InputError(
                f"output: expected a tensor {self.output!r} in what the model returns, got"
                f" {described(output)}"
            )
        note(f"the part {self.output!r} of what the model returns counts as its logits")
        return part


def _logarithm(p: Tensor) -> Tensor:
    """log p, finite at 0; NaN, which is refused later, where p is no probability."""
    return torch.where(p >= 0, p.clamp_min(torch.finfo(p.dtype).tiny).log(), torch.nan)


def _two_logits(output: Any, *, probabilities: bool) -> Tensor:
    if not isinstance(output, Tensor):
        named = field_of(output, "logits")
        output = named if isinstance(named, Tensor) else output
    if not isinstance(output, Tensor) or output.dim() not in (1, 2) or output.shape[1:] not in ((), (1,)):
        raise InputError(
            f"output: expected one value for each example, (N,) or (N, 1), of a binary network; got"
            f" {described(output)}"
        )
    z = output.reshape(-1)
    if probabilities:
        note(
            "probabilities of class 1 were turned back into logits; where they are 0 or 1 the gradient is"
            " lost, and attacks look weaker than they are"
        )
        z = _logarithm(z) - _logarithm(1 - z)
    else:
        note("the single logit z of the model counts as the logits (0, z) of two classes")
    return torch.stack([torch.zeros_like(z), z], 1)

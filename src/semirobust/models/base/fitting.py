"""Which tensors of a checkpoint are the weights of a network."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from semirobust.core.errors import InputError
from semirobust.core.stored import Stored, joined
from semirobust.models.base.derived import whole

__all__ = ["Target", "Trial", "fits_of", "is_count", "is_noted", "normalisations_in", "targets_in", "trials"]

# Modules that others are put into, whose names stand inside the names of weights.
_WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_PARALLEL = re.compile(r"(?<![^.])module\.")
_MEANS = ("mean", "mu", "new_mean", "pixel_mean", "image_mean", "means", "_mean")
_STDS = ("std", "sigma", "new_std", "pixel_std", "image_std", "stds", "_std")
_MAX_CHANNELS = 16
_MAX_PREFIXES = 40
# What counters of operations (thop) leave in every module, and how many networks were averaged.
_COUNTS = ("total_ops", "total_params", "n_averaged")
# What trainers note beside weights, as a single number.
_NOTED = re.compile(
    r"((best|val|valid|test|train|eval|last|final|top)_?)*"
    r"(acc|acc1|acc5|accuracy|prec|prec1|top1|top5|loss|score|metric|epoch|epochs|iter|iters|iteration|"
    r"step|steps|global_step|lr|learning_rate|seed|time|map|auc|f1)",
    re.IGNORECASE,
)


def is_count(name: str) -> bool:
    """Whether an entry counts operations or averaged networks, which no network computes with."""
    return name.rpartition(".")[2] in _COUNTS


def is_noted(name: str, tensor: Tensor) -> bool:
    """Whether an entry is a number that a trainer noted, such as ``best_acc``."""
    return not tensor.is_nested and tensor.numel() == 1 and _NOTED.fullmatch(name) is not None


def is_counter(name: str) -> bool:
    """Whether an entry is the counter of batches that batch norm keeps, which old files lack."""
    return name.rpartition(".")[2] == "num_batches_tracked"


class Target:
    """A module that may take the weights of a file.

    Attributes:
        module: it.
        expected: its entries, but for counters of batches.
        tied: for each name of them, all names of the same tensor.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        for name, parameter in module.named_parameters():
            if is_lazy(parameter) or parameter.is_meta:
                raise InputError(
                    f"model: expected parameters with values, but {name} has none; run a lazy model on images"
                    " once, and bring one of the device meta to another by model.to_empty(device='cpu')"
                )
        self.expected = {
            name: tensor
            for name, tensor in module.state_dict(keep_vars=True).items()
            if isinstance(tensor, Tensor) and not is_counter(name)
        }
        groups: dict[int, list[str]] = {}
        for name, tensor in self.expected.items():
            groups.setdefault(id(tensor), []).append(name)
        self.tied = {name: names for names in groups.values() for name in names}


@dataclass(frozen=True, eq=False)
class Trial:
    """An attempt to put some entries of a checkpoint into a module.

    Attributes:
        target: the module that may take them.
        stored: where they come from.
        prefix: what was taken away from their names, with its dot.
        weights: those under the prefix, by the names of the module.
        outside: those whose names do not begin with the prefix.
        said: what was done to the weights.
    """

    target: Target
    stored: Stored
    prefix: str
    weights: Mapping[str, Tensor]
    outside: Mapping[str, Tensor]
    said: str

    @cached_property
    def filled(self) -> dict[str, Tensor]:
        """The weights, those too that stand in the file under another name of the same tensor."""
        found = {name: tensor for name, tensor in self.weights.items() if not is_counter(name)}
        for name in self.target.expected.keys() - found.keys():
            other = next((twin for twin in self.target.tied[name] if twin in found), None)
            if other is not None:
                found[name] = found[other]
        return found

    @cached_property
    def missing(self) -> list[str]:
        return sorted(self.target.expected.keys() - self.filled.keys())

    @cached_property
    def unknown(self) -> list[str]:
        """Entries under the prefix that the module has no place for, but for harmless ones."""
        extra = self.filled.keys() - self.target.expected.keys()
        return sorted(extra - set(self.harmless))

    @cached_property
    def harmless(self) -> list[str]:
        """Entries under the prefix that no module computes with: counts, what a trainer noted, and a
        normalisation.
        """
        extra = self.filled.keys() - self.target.expected.keys()
        pairs = normalisations_in({name: self.filled[name] for name in extra})
        named = {name for pair in pairs for name in pair}
        return sorted(
            name for name in extra if is_count(name) or name in named or is_noted(name, self.filled[name])
        )

    @cached_property
    def unfit(self) -> dict[str, str]:
        """Entries that cannot fill their place, and why."""
        both = self.target.expected.keys() & self.filled.keys()
        found = {name: _unfit(self.target.expected[name], self.filled[name]) for name in sorted(both)}
        for names in self.target.tied.values():
            for name in names[1:]:
                if name in found and names[0] in found and not found[name] + found[names[0]]:
                    found[name] = _differs(self.filled[name], self.filled[names[0]], names[0])
        return {name: text for name, text in found.items() if text}

    @property
    def fits(self) -> bool:
        return bool(self.target.expected) and not (self.missing or self.unknown or self.unfit)

    @property
    def place(self) -> str:
        """The keys and the prefix that lead to the weights."""
        return joined(self.stored.key, self.prefix)


def _unfit(expected: Tensor, given: Tensor) -> str:
    """Why ``given`` cannot fill the place of ``expected``; empty where it can."""
    if odd := _odd(given):
        return f"is {odd}"
    if expected.shape != given.shape:
        return f"has shape {tuple(given.shape)} where the model has {tuple(expected.shape)}"
    kinds = [
        "complex" if t.is_complex() else "floating-point" if t.is_floating_point() else "whole"
        for t in (expected, given)
    ]
    if kinds[0] != kinds[1]:
        return f"holds {kinds[1]} numbers ({_short(given)}) where the model has {kinds[0]} ones"
    return ""


def _odd(tensor: Tensor) -> str:
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.is_quantized:
        return "a quantised tensor, to be dequantised first (tensor.dequantize())"
    if tensor.layout != torch.strided:
        return "a sparse tensor, to be made dense first (tensor.to_dense())"
    if tensor.device.type == "meta":
        return "a tensor without values (of the device meta)"
    return ""


def _short(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _differs(a: Tensor, b: Tensor, other: str) -> str:
    return "" if torch.equal(a, b) else f"differs from {other}, which is the same tensor in the model"


def normalisations_in(weights: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """The pairs of names of mean and deviation of the channels, as a normalisation holds them."""
    pairs = []
    for name in sorted(weights):
        owner, dot, last = name.rpartition(".")
        if last in _MEANS:
            other = f"{owner}{dot}{_STDS[_MEANS.index(last)]}"
            if other in weights and _is_by_channel(weights[name]) and _is_by_channel(weights[other]):
                pairs.append((name, other))
    return pairs


def _is_by_channel(tensor: Tensor) -> bool:
    sizes = [] if _odd(tensor) else [size for size in tensor.shape if size != 1]
    return (
        not _odd(tensor)
        and tensor.is_floating_point()
        and len(sizes) <= 1
        and math.prod(sizes) <= _MAX_CHANNELS
    )


def targets_in(model: nn.Module) -> list[Target]:
    """``model``, and modules inside it that hold all of its parameters: a head alone is no model."""
    everything = {id(parameter) for parameter in model.parameters()}
    return [
        Target(module)
        for module in model.modules()
        if {id(parameter) for parameter in module.parameters()} == everything
    ]


def fits_of(targets: list[Target], stored: Stored) -> list[Trial]:
    """The ways in which ``stored`` fills a target entirely, one for each place where its weights stand."""
    found: dict[str, Trial] = {}
    for trial in trials(targets, stored):
        if trial.place not in found and trial.fits:
            found[trial.place] = trial
    return list(found.values())


def trials(targets: list[Target], stored: Stored) -> Iterator[Trial]:
    """The attempts to put ``stored`` into a target, the simplest first."""
    for tensors, said in _variants(targets[0].module, stored.tensors):
        for target in targets:
            prefixes = _prefixes(list(target.expected), tensors)
            whole = [p for p in prefixes if all(f"{p}{name}" in tensors for name in target.expected)]
            for prefix in prefixes:
                # Where the weights stand under one prefix, those under a longer one are another copy of them.
                own = [f"{prefix}{name}" for name in target.expected] if prefix in whole else []
                others = tuple(p for p in whole if own and not any(name.startswith(p) for name in own))
                inner = {n for n in tensors if n.startswith(prefix) and not n.startswith(others)}
                inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n in inner}
                outside = {n: t for n, t in tensors.items() if n not in inner}
                yield Trial(target, stored, prefix, inside, outside, said)


def _variants(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[tuple[Mapping[str, Tensor], str]]:
    """``tensors`` as they are, without wrappers in their names, and with parts put together."""
    transposed = {
        f"{name}.weight"
        for name, part in model.named_modules()
        if isinstance(part, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    }

    def is_transposed(name: str) -> bool:
        # The names of one may begin with those of wrappers that the other lacks.
        return any(
            f".{a}".endswith(f".{b}") for known in transposed for a, b in ((name, known), (known, name))
        )

    seen: list[set[str]] = []
    for pattern in (None, _WRAPPERS, _PARALLEL):
        named = tensors if pattern is None else _renamed(pattern, tensors)
        if named is None or set(named) in seen:
            continue
        seen.append(set(named))
        tensors = named
        yield tensors, ""
        together, said = whole(tensors, is_transposed)
        if said:
            yield together, said


def _renamed(pattern: re.Pattern[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """``tensors`` without ``pattern`` in their names; None where two would have one name."""
    found = {pattern.sub("", name): tensor for name, tensor in tensors.items()}
    return found if len(found) == len(tensors) else None


def _prefixes(names: list[str], tensors: Mapping[str, Tensor]) -> list[str]:
    """What stands before the names of the module in those of the file, the shortest first."""
    found = {""}
    for known in names[:1] + names[-1:] + names[len(names) // 2 : len(names) // 2 + 1]:
        found |= {name.removesuffix(known) for name in tensors if name.endswith(f".{known}")}
    shared = ""
    while rest := {name[len(shared) :].partition(".")[0::2] for name in tensors}:
        if len({first for first, _ in rest}) > 1 or not all(after for _, after in rest):
            break
        shared += f"{next(iter(rest))[0]}."
        found.add(shared)
    return sorted(found, key=lambda prefix: (len(prefix), prefix))[:_MAX_PREFIXES]

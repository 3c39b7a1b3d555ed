"""What a removal of channels takes from each tensor of a network, and whether it changes what is computed."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.outputs import logits_of
from semirobust.core.seed import Seed
from semirobust.core.text import first_line
from semirobust.pruning.resize import resized, update_sizes

__all__ = ["Check", "Part", "Removal", "own_tensors"]

Part = tuple[str, int]
"""The name of a tensor and one of its dimensions."""

_TOLERANCE = {torch.float64: 1e-6}  # of other types 1e-3; channels in the wrong order change far more


@dataclass(frozen=True)
class Removal:
    """Indices that are removed, by tensor and dimension, in the numbering of the whole network.

    Attributes:
        shapes: of all tensors of the whole network.
        removed: part -> indices.
    """

    shapes: Mapping[str, torch.Size] = field(repr=False)
    removed: Mapping[Part, frozenset[int]]

    @classmethod
    def none(cls, model: nn.Module) -> "Removal":
        """Nothing is removed from ``model``."""
        return cls({name: t.shape for name, t in model.state_dict().items() if isinstance(t, Tensor)}, {})

    def __or__(self, other: Mapping[Part, frozenset[int]]) -> "Removal":
        empty: frozenset[int] = frozenset()
        return Removal(
            self.shapes, {**self.removed, **{k: self.removed.get(k, empty) | v for k, v in other.items()}}
        )

    def size(self, part: Part) -> int:
        """How many indices a tensor has before the removal."""
        return self.shapes[part[0]][part[1]]

    def left(self, part: Part) -> int:
        """How many it has afterwards."""
        return self.size(part) - len(self.removed.get(part, ()))

    def kept(self, part: Part) -> Tensor:
        """The indices that stay, in order."""
        stays = torch.ones(self.size(part), dtype=torch.bool)
        stays[list(self.removed.get(part, ()))] = False
        return stays.nonzero().flatten()

    def sliced(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``state`` without what is removed."""
        small = dict(state)
        for name, dim in self.removed:
            small[name] = small[name].index_select(dim, self.kept((name, dim)).to(small[name].device))
        return small

    @contextmanager
    def zeroed(self, model: nn.Module) -> Iterator[None]:
        """Inside, what is removed is 0 in ``model``, and norms over channels look at those that stay."""
        parameters = dict(model.named_parameters(remove_duplicate=False))
        before, handles = dict[str, Tensor](), list[Any]()
        try:
            with torch.no_grad():
                for (name, dim), indices in self.removed.items():
                    if name in parameters:
                        before.setdefault(name, parameters[name].detach().clone())
                        gone = torch.tensor(sorted(indices), dtype=torch.long, device=parameters[name].device)
                        parameters[name].index_fill_(dim, gone, 0)
            for name, module in model.named_modules():
                part = (f"{name}.weight", 0)
                if isinstance(module, nn.LayerNorm | nn.GroupNorm) and part in self.removed:
                    handles.append(module.register_forward_hook(_norm_of_kept(module, self.kept(part))))
            yield
        finally:
            for handle in handles:
                handle.remove()
            with torch.no_grad():
                for name, tensor in before.items():
                    parameters[name].copy_(tensor)


def own_tensors(model: nn.Module) -> tuple[frozenset[str], dict[str, str]]:
    """Names of parameters that one module alone has, and for the others why not."""
    owners: dict[int, list[str]] = {}
    for module_name, module in model.named_modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(f"{module_name}.{attribute}".lstrip("."))
    own, shared = set[str](), dict[str, str]()
    for names in owners.values():
        if len(names) == 1:
            own.add(names[0])
        else:
            shared |= dict.fromkeys(names, f"{names[0]} and {names[1]} are one tensor")
    return frozenset(own), shared


def _norm_of_kept(module: nn.Module, kept: Tensor) -> Any:
    """A hook that gives what a norm over channels gives when it sees only some of them, and 0 elsewhere."""
    index = kept.to(next(module.parameters()).device)
    small = copy.deepcopy(module)
    for name, parameter in module.named_parameters(recurse=False):
        small._parameters[name] = nn.Parameter(parameter.detach().index_select(0, index))
    update_sizes(small)

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x, last = args[0], isinstance(module, nn.LayerNorm)
        # Layer norms of images, which are classes of their own, have their channels in front.
        dim = x.dim() - 1 if last and (type(module) is nn.LayerNorm or x.dim() != 4) else 1
        return torch.zeros_like(output).index_copy(dim, index, small(x.index_select(dim, index)))

    return hook


@dataclass
class Check:
    """Whether a network without some channels computes what it computes when they are 0.

    Attributes:
        model: a network of the same structure, with weights that leave no part without effect; it stays as it
            is between checks.
        x: examples (N, ...) for it.
        train: also whether it still runs in train mode, where heads run that else do not.
    """

    model: nn.Module
    x: Tensor
    train: bool = False

    @classmethod
    def of(cls, model: nn.Module, x: Tensor, seed: Seed, *, train: bool = False) -> "Check":
        """A check with weights that are moved at random, so that a part that has no effect now has one.

        It calculates in double precision where the model can.
        """
        noise = torch.rand(x.shape, generator=(seed / "images").generator())
        for dtype in (torch.float64, torch.float32):
            moved = copy.deepcopy(model).eval().requires_grad_(False)
            generator = (seed / "weights").generator()
            try:
                moved = moved.to(dtype)
                for parameter in moved.parameters():
                    if parameter.is_floating_point():
                        parameter.add_(_noise(parameter, generator))
                check = cls(moved, noise.to(x.device, dtype))
                if bool(torch.isfinite(logits_of(check.model(check.x))).all()):
                    break
            except (RuntimeError, TypeError, ValueError):
                continue  # it calculates in another type somewhere inside
        else:
            check = cls(copy.deepcopy(model).eval().requires_grad_(False), x)
        check.train = train and not check.problem(Removal.none(model), train=True)
        return check

    def problem(self, removal: Removal, *, train: bool = False) -> str:
        """What is wrong with the smaller network; empty where nothing is."""
        state = self.model.state_dict()
        try:
            with torch.no_grad():
                small = resized(self.model, removal.sliced(state)).eval()
                found = logits_of(small(self.x))
                with removal.zeroed(self.model):
                    expected = logits_of(self.model(self.x))
                if train or self.train:
                    small.train()(torch.cat([self.x, self.x.flip(-1)]))
        except InputError as error:
            return str(error)
        except Exception as error:  # a network can fail in any way on widths that it was not made for
            return f"it fails with fewer channels: {first_line(error, with_type=True)}"
        if found.shape != expected.shape:
            return "with fewer channels it gives logits of another shape"
        scale = expected.abs().max().clamp_min(1e-30)
        difference = float((found - expected).abs().max() / scale)
        if difference <= _TOLERANCE.get(self.x.dtype, 1e-3):
            return ""
        return "without channels it gives other logits than with zeros in their place"


def _noise(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of the size of the values, or of what is usual for the shape where those are small."""
    usual = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.1
    size = max(float(parameter.detach().abs().mean()), usual)
    noise = torch.randn(parameter.shape, generator=generator).to(parameter.device, parameter.dtype)
    return noise * (0.5 * size)

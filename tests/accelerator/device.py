"""A device that is not the CPU, over tensors of the CPU.

``torch.device("simulated")`` is PyTorch's private backend, written in Python. A tensor on it holds a tensor of
the CPU and reports another device. Every ATen operation passes :func:`_run`, which

- refuses operands of two devices as CUDA does: only a CPU number without dimensions may join, and only in
  operations by element; an index on the CPU, which CUDA would copy without a word, is refused too;
- refuses a generator of another device;
- counts what the host would wait for, and what it would launch (:class:`Counts`).

The arithmetic is the CPU's, so results can be compared with the CPU's to the last digit. What it cannot show
is said in ``docs/reference/accelerators.md``.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch

__all__ = ["NAME", "Counts", "SimulatedTensor", "counting", "simulated", "to_host"]

NAME = "simulated"
_SOURCE = str(Path(__file__).resolve().parents[2] / "src" / "semirobust")
_ATEN = torch.ops.aten
_REAL_GENERATOR = torch.Generator


@dataclass
class Counts:
    """What the host did on the device.

    Attributes:
        waits: times it waited for results: a value read, a copy to the host, an operation whose size depends
            on values, such as an index by a mask.
        uploads: copies from the host that it waits for.
        launches: operations that are neither views nor allocations.
        where: place in the library -> waits and uploads there.
    """

    waits: int = 0
    uploads: int = 0
    launches: int = 0
    where: Counter[str] = field(default_factory=Counter)

    @property
    def syncs(self) -> int:
        """Waits and uploads: how often the host stands still."""
        return self.waits + self.uploads


_COUNTING: list[Counts] = []


@contextmanager
def counting() -> Iterator[Counts]:
    """Inside, what is done on the device is counted."""
    counts = Counts()
    _COUNTING.append(counts)
    try:
        yield counts
    finally:
        _COUNTING.remove(counts)


class SimulatedTensor(torch.Tensor):
    """A tensor on the simulated device; ``raw`` is what it holds."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "SimulatedTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor"
                " to host memory first."
            )
        return self.cpu().numpy(force=True)

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def __repr__(self, **given: Any) -> str:
        return f"SimulatedTensor({self.raw!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError(f"a tensor on {self.device} is not written; bring it to the CPU first")


class _Generator(_REAL_GENERATOR):
    """A generator that belongs to the simulated device, whose numbers are those of one of the CPU."""

    @property
    def device(self) -> torch.device:
        return torch.device(NAME, 0)


class _AnyGenerator(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _REAL_GENERATOR)


class _MakesGenerators(metaclass=_AnyGenerator):
    """Stands for ``torch.Generator``, which cannot be made on a backend in Python."""

    def __new__(cls, device: Any = "cpu") -> Any:
        of_device = torch.device(device).type == NAME
        return _Generator() if of_device else _REAL_GENERATOR(device=device)


_DEFAULT = _Generator()
_inside = False


class _Module:
    """What PyTorch looks for as ``torch.simulated``."""

    @staticmethod
    def is_initialized() -> bool:
        return _inside

    @staticmethod
    def is_available() -> bool:
        return _inside

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        _DEFAULT.manual_seed(seed)

    @staticmethod
    def get_rng_state(device: Any = None) -> torch.Tensor:
        return _DEFAULT.get_state()

    @staticmethod
    def set_rng_state(state: torch.Tensor, device: Any = None) -> None:
        _DEFAULT.set_state(state)

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class _Hook(torch._C._acc.PrivateUse1Hooks):
    def is_available(self) -> bool:
        return _inside

    def has_primary_context(self, device: int) -> bool:
        return _inside

    def is_built(self) -> bool:
        return True


class _Strict(TorchFunctionMode):
    """Refuses a generator of another device than the one that is drawn on; makes tensors of lists."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and _is_here(kwargs.get("device")):
            return func(*args, **{**kwargs, "device": "cpu"}).to(kwargs["device"])
        if func is torch.Tensor.new_tensor and _on_device(args[0]):
            kwargs = {"dtype": args[0].dtype, **kwargs}
            return torch.tensor(*args[1:], **kwargs).to(args[0].device)
        if (generator := kwargs.get("generator")) is not None:
            device = kwargs.get("device")
            first = next(_tensors(args), None)
            device = first.device if device is None and first is not None else torch.device(device or "cpu")
            if device.type != generator.device.type:
                raise RuntimeError(
                    f"Expected a '{device.type}' device type for generator but found '{generator.device.type}'"
                )
        return func(*args, **kwargs)


@contextmanager
def simulated() -> Iterator[torch.device]:
    """Inside, there is the device."""
    global _inside
    before, _inside, torch.Generator = _inside, True, _MakesGenerators  # type: ignore[misc, assignment]
    try:
        with _Strict():
            yield torch.device(NAME, 0)
    finally:
        _inside = before
        if not before:
            torch.Generator = _REAL_GENERATOR  # type: ignore[misc]


def to_host(value: Any) -> Any:
    """The same with tensors of the CPU, which is not counted: for the tests, not for the library."""
    if isinstance(value, SimulatedTensor):
        return value.detach().raw.clone()
    if isinstance(value, dict):
        return {key: to_host(part) for key, part in value.items()}
    return type(value)(map(to_host, value)) if isinstance(value, list | tuple) else value


# What reads its result, or a size, from the device before it returns.
_READS = {
    *("aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select", "aten::allclose"),
    *("aten::_unique", "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive"),
    *("aten::unique_dim_consecutive", "aten::bincount", "aten::histc", "aten::repeat_interleave"),
    *("aten::multinomial", "aten::is_nonzero", "aten::_linalg_check_errors", "aten::_linalg_eigh"),
    *("aten::_linalg_svd", "aten::linalg_eig", "aten::linalg_lstsq"),
}
_FREE = {
    *("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty"),
    *("aten::new_empty_strided", "aten::detach", "aten::alias", "aten::lift_fresh", "aten::_unsafe_view"),
    *("aten::_reshape_alias", "aten::resize_", "aten::set_", "aten::is_pinned"),
}
# PyTorch makes these by resizing an empty tensor, which a tensor that wraps another cannot do.
_MADE_ANEW = (
    *("arange", "arange.start", "arange.start_step", "linspace", "logspace", "eye", "eye.m", "randperm"),
    *("randperm.generator", "tril_indices", "triu_indices"),
)
# Sorting, for which PyTorch asks for the number of different values.
_SMALL_SETS = (10.0, 0.145)


def _on_device(value: Any) -> bool:
    return isinstance(value, SimulatedTensor)


def _is_here(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _raw(value: Any) -> Any:
    if isinstance(value, SimulatedTensor):
        return value.raw
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == NAME else value
    return type(value)(map(_raw, value)) if isinstance(value, list | tuple) else value


def _check_mixture(func: Any, given: list[torch.Tensor]) -> None:
    here = any(map(_on_device, given))
    for tensor in given:
        if not here or _on_device(tensor) or func._schema.name in ("aten::copy_", "aten::_copy_from"):
            continue
        if tensor.dim() or torch.Tag.pointwise not in func.tags:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices,"
                f" {NAME}:0 and {tensor.device}! (in {func})"
            )


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    given = [*_tensors(args), *_tensors(tuple(kwargs.values()))]
    _check_mixture(func, given)
    name = func._schema.name
    if _COUNTING:
        _count(func, name, args, kwargs)
    plain = {key: _raw(value) for key, value in kwargs.items()}
    if kwargs.get("generator") is None and "generator" in {a.name for a in func._schema.arguments}:
        plain["generator"] = _DEFAULT  # those of a CPU would be drawn from else
    result = func(*map(_raw, args), **plain)
    if name == "aten::_to_copy" and _leaves(kwargs):
        return result
    known = {id(tensor.raw): tensor for tensor in given if isinstance(tensor, SimulatedTensor)}
    known |= {id(tensor): tensor for tensor in given if not isinstance(tensor, SimulatedTensor)}
    if torch.Tag.inplace_view in func.tags and name != "aten::resize_":
        with no_dispatch():  # to the shape of the tensor itself, beside that of what it holds
            func(*args, **kwargs)
    for tensor in known.values():
        same = not isinstance(tensor, SimulatedTensor) or tensor.shape == tensor.raw.shape
        assert same, f"{func} changes a shape in place, which is not simulated"
    return _wrapped(result, known)


def _wrapped(result: Any, known: dict[int, torch.Tensor]) -> Any:
    if isinstance(result, torch.Tensor):
        return known[id(result)] if id(result) in known else SimulatedTensor(result)
    if isinstance(result, list | tuple):
        parts = [_wrapped(part, known) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def _leaves(kwargs: Any) -> bool:
    device = kwargs.get("device")
    return device is not None and torch.device(device).type != NAME


def _count(func: Any, name: str, args: Any, kwargs: Any) -> None:
    wait, upload, launch = _cost(func, name, args, kwargs)
    for counts in _COUNTING:
        counts.waits, counts.uploads, counts.launches = (
            counts.waits + wait,
            counts.uploads + upload,
            counts.launches + launch,
        )
        if wait or upload:
            counts.where[f"{_place()} {func}"] += 1


def _cost(func: Any, name: str, args: Any, kwargs: Any) -> tuple[bool, bool, bool]:
    """Whether the operation waits, uploads and launches."""
    if name == "aten::copy_":
        target, source = args[:2]
        if not _on_device(target):
            return True, False, False
        blocks = (
            not _on_device(source) and source.dim() > 0 and not (args[2:] or [kwargs.get("non_blocking")])[0]
        )
        return False, blocks, True
    if name == "aten::_to_copy" and _leaves(kwargs):
        return True, False, False
    if name in _FREE or func.is_view:
        return False, False, False
    if name == "aten::_local_scalar_dense":
        return True, False, False
    return name in _READS or _by_mask(name, args) or _sorts(name, args), False, True


def _by_mask(name: str, args: Any) -> bool:
    """Whether a mask is an index, of which the device counts the marks; not where one number is put there."""
    if name not in ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"):
        return False
    masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
    return bool(masks) and not (len(args) > 2 and args[2].numel() == 1)


def _sorts(name: str, args: Any) -> bool:
    """Whether the search for elements of a set is done by sorting both."""
    if name != "aten::isin" or not all(isinstance(arg, torch.Tensor) for arg in args[:2]):
        return False
    factor, power = _SMALL_SETS
    return args[1].numel() >= int(factor * args[0].numel() ** power)


def _place() -> str:
    """File and line of the library that asked."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_SOURCE):
            return f"{file[len(_SOURCE) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside"


def _maker(func: Any) -> Any:
    return lambda *args, **kwargs: _run(func, args, kwargs)


def _register() -> None:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module(), hook=_Hook())
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "PrivateUse1")
    own = torch.library.Library("aten", "IMPL")
    for name in _MADE_ANEW:
        operation, _, overload = name.partition(".")
        func = getattr(getattr(_ATEN, operation), overload or "default")
        own.impl(name, _maker(func), "PrivateUse1")
    _KEPT.extend((library, own))  # they take back what they registered when they go


_KEPT: list[Any] = []
_register()

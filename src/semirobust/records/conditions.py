"""What the last digits of a number depend on beside its settings: versions, threads, processor, device."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from semirobust.records import origin

__all__ = ["Conditions", "spoken"]


@dataclass(frozen=True)
class Conditions:
    """What must be equal for two runs of equal settings to be equal bit for bit.

    Attributes:
        version: of this library, with its commit where it runs from a checkout.
        pytorch: its version.
        threads: of PyTorch within one operation.
        device: the processor, or the accelerator.
        instructions: those of the processor that PyTorch uses, such as AVX2.
        arithmetic: the default type, the precision of products, and whether algorithms must be
            deterministic.
        code: hash of the user's own code (:func:`semirobust.core.own_code.code_of`); empty for none.
    """

    version: str = ""
    pytorch: str = ""
    threads: int = 0
    device: str = ""
    instructions: str = ""
    arithmetic: str = ""
    code: str = ""

    @classmethod
    def now(cls, device: torch.device | None = None, code: str = "") -> "Conditions":
        """Those of this process, computing on ``device``."""
        return cls(
            version=origin.code_version(),
            pytorch=str(torch.__version__),
            threads=torch.get_num_threads(),
            device=origin.device_name(_accelerator(device)),
            instructions=torch.backends.cpu.get_cpu_capability(),
            arithmetic=_arithmetic(device),
            code=code,
        )

    @classmethod
    def read(cls, content: object) -> "Conditions":
        """From what :meth:`plain` gave; what it does not say, as a file of an earlier version, stays
        empty.
        """
        known = {field.name for field in fields(cls)}
        found = content if isinstance(content, Mapping) else {}
        return cls(**{name: value for name, value in found.items() if name in known})

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @property
    def place(self) -> str:
        """The device with the threads, as the origin of a record has it."""
        if not self.device:
            return "unknown"
        return f"{self.device}, {self.threads} thread{'s' * (self.threads != 1)}"

    def words(self, names: Sequence[str]) -> str:
        """Some of them in words."""
        return " and ".join(_words(name, getattr(self, name)) for name in names)


def spoken(parts: Sequence[tuple[str, Conditions]]) -> str:
    """A sentence that says what was computed under which conditions; empty where all are the same.

    Args:
        parts: what it is, such as ``epochs 1 to 3``, and its conditions, in order.
    """
    names = [f.name for f in fields(Conditions) if len({getattr(each, f.name) for _, each in parts}) > 1]
    if not names:
        return ""
    said = ", ".join(f"{what} by {conditions.words(names)}" for what, conditions in parts)
    return f"computed under several conditions: {said}; one run under one of them may differ from it"


def _words(name: str, value: Any) -> str:
    if name == "code":
        return f"code {value} of your own" if value else "no code of your own"
    if not value:
        return f"{name} that was not noted"
    if name == "threads":
        return f"{value} thread{'s' if value > 1 else ''}"
    return f"PyTorch {value}" if name == "pytorch" else f"{name} {value}"


def _accelerator(device: torch.device | None) -> str:
    if device is None or device.type == "cpu":
        return ""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _arithmetic(device: torch.device | None) -> str:
    parts = [str(torch.get_default_dtype()).removeprefix("torch.")]
    if torch.are_deterministic_algorithms_enabled():
        parts.append("deterministic algorithms")
    if device is not None and device.type == "cuda":
        flags = torch.backends.cudnn
        parts.append(f"products of precision {_product_precision()}")
        parts += [name for name in ("benchmark", "deterministic") if getattr(flags, name)]
    return ", ".join(parts)


def _product_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set in a newer way, that the older question does not know
        return str(getattr(torch.backends.cuda.matmul, "fp32_precision", "unknown"))

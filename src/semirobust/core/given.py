"""Examples as users have them: arrays of NumPy as tensors, and what to do with a data set in their place."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from semirobust.core.errors import InputError

__all__ = ["as_tensors", "called", "check_no_dataset", "kind_of", "native"]

_EXAMPLES, _LABELS = ("x", "x_adv", "reference"), "y"


def called(value: object) -> str:
    """What a user calls it: its class, with the library that it is of where that is none of Python's."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library in ("builtins", "__main__") else f"{library}'s {kind.__name__}"


def kind_of(value: object) -> str:
    """The name of its class, or its own where it is a class, of which an object was meant."""
    return value.__name__ if isinstance(value, type) else type(value).__name__


def as_tensors(arguments: dict[str, Any], dtype: torch.dtype) -> None:
    """Put tensors in place of the arrays among the arguments of a function.

    Examples of the double precision that is NumPy's own come in that of the network; labels come as int64.

    Args:
        arguments: by name, of which those of examples and labels count.
        dtype: of the network.

    Raises:
        InputError: images whose channels are last.
    """
    for name in (*_EXAMPLES, _LABELS):
        if not isinstance(value := arguments.get(name), np.ndarray):
            continue
        if value.dtype == object or value.dtype.kind not in "biuf":
            raise InputError(f"{name}: expected an array of numbers, got one of {value.dtype}")
        if name != _LABELS and value.ndim == 4 and value.shape[3] in (1, 3) and value.shape[1] not in (1, 3):
            raise InputError(
                f"{name}: expected images (N, K, H, W), got shape {value.shape} with the channels last; give"
                f" {name}.transpose(0, 3, 1, 2)"
            )
        tensor = torch.from_numpy(native(value))
        arguments[name] = tensor.to(dtype) if tensor.dtype == torch.float64 else tensor


def native(array: Any) -> Any:
    """A copy in plain order, since an array may be read-only or reversed, of a type that PyTorch has."""
    kind = array.dtype.newbyteorder("=")
    return np.array(array, np.dtype("float64") if kind == np.longdouble else kind)


def check_no_dataset(value: object, name: str, function: str) -> None:
    """Raise ``InputError`` where images with their labels were given in place of a tensor.

    Args:
        value: the argument.
        name: of the argument.
        function: that was called.
    """
    if isinstance(value, Tensor | np.ndarray | str | bytes | list | tuple) or value is None:
        return
    if hasattr(value, "train") and hasattr(value, "test") and hasattr(value, "classes"):
        how = "x, y = data.test.first(1000).all()"
    elif hasattr(value, "pixels") and hasattr(value, "sampling"):
        how = "x, y = images.first(1000).all()"
    elif isinstance(value, DataLoader) or (
        hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, Mapping)
    ):
        how = "x, y = sr.images_from_dataset(data).first(1000).all()"
    else:
        return
    raise InputError(
        f"{name}: expected a tensor of examples (N, ...), got {called(value)}; {how} gives a thousand of"
        f" them with their labels for {function}(model, x, y)"
    )

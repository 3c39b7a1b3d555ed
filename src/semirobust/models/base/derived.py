"""Weights that a file holds as parts: pruned by a mask, or normalised by length or by the largest singular
value.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["whole"]

_MASK, _ORIGINAL = "_mask", "_orig"
_PARAMETRISED = ".parametrizations."


def whole(weights: Mapping[str, Tensor], transposed: Callable[[str], bool]) -> tuple[dict[str, Tensor], str]:
    """The weights with their parts put together, under the names of the whole, and what was done.

    - ``X_orig`` and ``X_mask`` (``torch.nn.utils.prune``): X is their product; a mask beside an X that is 0
      wherever the mask is changes nothing.
    - ``X_g`` and ``X_v`` (weight norm): g v / |v|, the length over all dimensions in which g has one entry.
    - ``X_orig``, ``X_u`` and ``X_v`` (spectral norm): X_orig / uᵀ W v, W its matrix, as in eval mode.
    - the same two as ``parametrizations.X.original0``, ``original1`` and ``original``, ``0._u``, ``0._v``.

    What has other parts stays as it is.

    Args:
        weights: by name.
        transposed: whether the weight of that name is that of a transposed convolution, whose matrix has the
            second dimension as its rows.
    """
    found, done = dict(weights), dict[str, int]()
    for name in list(weights):
        for kind, parts, put_together in _ways(name, transposed):
            tensors = [found[part] for part in parts if part in found and _is_plain(found[part])]
            if len(tensors) != len(parts):
                continue
            target = _target(name)
            value = put_together(*tensors) if target not in found or kind == "masks" else None
            if value is None:
                continue
            for part in parts:
                if part != target:
                    del found[part]
            found[target] = value
            done[kind] = done.get(kind, 0) + 1
            break
    said = {
        "pruned": "pruned weights were multiplied by their masks ({})",
        "masks": "masks beside weights that are already pruned changed nothing ({})",
        "weight norm": "weights were put together from length and direction, as by weight norm ({})",
        "spectral norm": "weights were divided by their spectral norm ({})",
    }
    return found, "; ".join(said[kind].format(count) for kind, count in done.items())


def _is_plain(tensor: Tensor) -> bool:
    """Whether one can compute with it, and it is no larger than what the file holds of it."""
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _target(name: str) -> str:
    """The name of the whole that a part is of."""
    before, found, after = name.rpartition(_PARAMETRISED)
    if found:
        return f"{before}.{after.partition('.')[0]}"
    before, found, after = name.rpartition("parametrizations.")
    if found and not before:
        return after.partition(".")[0]
    return name.removesuffix(_ORIGINAL).removesuffix(_MASK).removesuffix("_g")


def _ways(
    name: str, transposed: Callable[[str], bool]
) -> list[tuple[str, tuple[str, ...], Callable[..., Tensor | None]]]:
    """What the entry ``name`` may be the first part of: the kind, the names of all parts, and how they
    make the whole.
    """
    target = _target(name)

    def spectral(weight: Tensor, u: Tensor, v: Tensor) -> Tensor | None:
        return _over_norm(weight, u, v, rows=1 if transposed(target) else 0)

    if name.endswith(".original0"):
        return [("weight norm", (name, f"{name[:-1]}1"), _of_length)]
    if name.endswith(".original"):
        inside = name.removesuffix("original")
        return [("spectral norm", (name, f"{inside}0._u", f"{inside}0._v"), spectral)]
    if name.endswith(_ORIGINAL):
        return [
            ("pruned", (name, f"{target}{_MASK}"), _masked),
            ("spectral norm", (name, f"{target}_u", f"{target}_v"), spectral),
        ]
    if name.endswith("_g"):
        return [("weight norm", (name, f"{target}_v"), _of_length)]
    if name.endswith(_MASK):
        return [("masks", (target, name), _already_masked)]
    return []


def _masked(weight: Tensor, mask: Tensor) -> Tensor | None:
    # Not by a product, which would leave NaN and infinity behind a mask.
    if weight.shape != mask.shape or not ((mask == 0) | (mask == 1)).all():
        return None
    return torch.where(mask.bool(), weight, torch.zeros_like(weight))


def _already_masked(weight: Tensor, mask: Tensor) -> Tensor | None:
    if weight.shape != mask.shape or not ((mask == 0) | (mask == 1)).all():
        return None
    return weight if bool((weight[mask == 0] == 0).all()) else None


def _of_length(g: Tensor, v: Tensor) -> Tensor | None:
    if g.dim() not in (0, v.dim()) or any(n not in (1, m) for n, m in zip(g.shape, v.shape, strict=False)):
        return None
    dims = [i for i in range(v.dim()) if g.dim() == 0 or g.shape[i] == 1]
    length = torch.linalg.vector_norm(v, dim=dims, keepdim=True) if dims else v.abs()
    return v * (g / length)


def _over_norm(weight: Tensor, u: Tensor, v: Tensor, *, rows: int) -> Tensor | None:
    if weight.dim() < 2 or u.dim() != 1 or v.dim() != 1:
        return None
    matrix = weight.transpose(0, rows).flatten(1)
    if matrix.shape != (len(u), len(v)):
        return None
    return weight / torch.dot(u, torch.mv(matrix, v))

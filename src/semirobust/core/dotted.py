"""Settings by dotted key, such as ``train.epochs``, in nested tables."""

from typing import Any

from semirobust.core.errors import InputError

__all__ = ["put"]


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set one value, making the tables above it.

    Raises:
        InputError: what should be a table above it is none.
    """
    *path, last = key.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise InputError(f"recipe: unknown option {key}")
    tree[last] = value

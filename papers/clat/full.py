"""The networks behind the rows of the CLAT paper's tables at its own scale."""

from collections.abc import Mapping
from typing import Any

from .network import Network

__all__ = ["FULL"]

# Both data sets of tables 1 and 2; the second part of a network's name.
_SETS: Mapping[str, Mapping[str, Any]] = {"": {}, "cifar100-": {"data.source": "cifar100"}}
_AWP: dict[str, Any] = {"hooks": ["awp"], "hooks_options": {"awp": {"gamma": 0.01}}}
_SWA: dict[str, Any] = {"hooks": ["swa"], "hooks_options": {"swa": {"after": 0.275}}}
_FAST: dict[str, Any] = {"attack": "fgsm-rs", "attack_options": {}, "validation_attack": "pgd-10"}
# Architecture -> what is run from its base beside PGD-AT continued, CLAT and RiFT.
_ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "densenet121": ("choices", "index", "table 17"),
    "wrn_70_16": ("index",),
    "resnet50": ("choices", "index"),
    "wrn_34_10": ("lora", "choices", "index", "table 17", "slower"),
    "vgg19": ("index",),
    "resnet18": ("lora", "choices", "counts", "of authors", "after", "index", "table 17"),
}
# Base -> its objective, or the entries that it and its continuation have.
_BASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "trades": ("trades", {}),
    "mart": ("mart", {}),
    "score": ("score", {}),
    "awp": ("", _AWP),
    "swa": ("", _SWA),
    "fast": ("", _FAST),
    "idbh-weak": ("", {"augment": "idbh-weak"}),
    "idbh-strong": ("", {"augment": "idbh-strong"}),
    "standard": ("standard", {}),
}
# Tables 1, 11, 18 and 19: which bases of which architecture, and on how many of the two data sets.
_ON: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("resnet18", ("trades", "mart", "awp", "score"), 2),
    ("wrn_34_10", ("trades", "swa"), 2),
    ("wrn_34_10", ("awp",), 1),
    ("preact_resnet18", ("fast", "awp", "swa"), 2),
    ("preact_resnet18", ("idbh-weak", "idbh-strong"), 1),
    *((name, ("standard",), 1) for name in _ARCHITECTURES),
)
_SPLITS = (0, 25, 50, 70)  # epochs of the base, of 100; figures 2 and 5
# Table 15 and 16: pictures in a folder, by the name of the data set.
_PICTURES = {
    "imagenette": tuple(_ARCHITECTURES),
    "imagenet": ("densenet121", "resnet50", "wrn_34_10"),
}
_SIDE = 64  # of the pictures: the paper does not say


def _based(name: str, base: str, data: Mapping[str, Any]) -> Network:
    """An architecture whose base is not trained by PGD-AT."""
    objective, entries = _BASES[base]
    own: dict[str, Any] = {f"train.{key}": value for key, value in entries.items()}
    if objective:
        own["train.objective"] = objective
    augment = {"harden.augment": entries["augment"]} if "augment" in entries else {}
    goes_on = {f"harden__{key}": value for key, value in entries.items() if key != "augment"}
    groups = ("base", "compared", "clat-fast") if base == "fast" else ("base", "compared")
    start = "model.safetensors" if base == "swa" else "last.safetensors"
    options = {"objective": objective} if objective else {}
    return Network(
        groups, {**data, **own, **augment, "model.name": name}, start=start, goes_on=(options, goes_on)
    )


def _full() -> dict[str, Network]:
    found: dict[str, Network] = {}
    for end, data in _SETS.items():
        for name, more in _ARCHITECTURES.items():
            seeds = 1 if name == "wrn_70_16" else None
            changes = {**data, "model.name": name}
            found[f"full-{end}{name}"] = Network(("base", "compared", *more), changes, seeds=seeds)
        # Four architectures made for each other: the units of the other three come first.
        found[f"full-{end}crossed"] = Network(("crossed",), {**data})
    for name, bases, sets in _ON:
        for end, data in list(_SETS.items())[:sets]:
            for base in bases:
                found[f"full-{end}{name}-{base}"] = _based(name, base, data)
    for before in _SPLITS:
        changes = {"model.name": "wrn_34_10", "train.epochs": before, "harden.epochs": 100 - before}
        found[f"full-wrn_34_10-after-{before}"] = Network(("base", "handed-over"), changes, seeds=1)
    for source, names in _PICTURES.items():
        for name in names:
            changes = {"data.source": source, "data.image_size": _SIDE, "model.name": name}
            found[f"full-{source}-{name}"] = Network(("base", "compared"), changes, seeds=1)
    return found


FULL: Mapping[str, Network] = _full()
"""Name of the network -> what it is and what is run from it."""

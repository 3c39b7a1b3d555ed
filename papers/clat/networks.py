"""The networks that the runs of the CLAT paper start from, and what is run from each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .full import FULL
from .network import Network

__all__ = ["NETWORKS", "Network"]

_RATE = 0.05  # of the base at its start; what shares its schedule has the same
_CPU_LATE = {"data.train": 2500, "train.epochs": 40, "train.augment": "none", "harden.augment": "none"}
# Every seed has images of its own, so that intervals are over images too.
_CPU_DRAWN = {"data.draw": True, "train.watch": []}
_BASES_DRAWN = ("trades", "mart", "score", "awp", "swa", "augmented")
# Of networks whose index is taken in every reading.
_WIDTHS = {
    "densenet121": 0.125,
    "resnet50": 0.125,
    "wrn_34_10": 0.0625,
    "vgg19": 0.125,
    "preact_resnet18": 0.125,
    "resnet18": 0.125,
}
_PAPER_LATE = {"train.epochs": 150, "train.augment": "none", "harden.augment": "none"}


def _train(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in the section of the base."""
    return {f"train.{key}": value for key, value in settings.items()}


def _bases(late: Mapping[str, Any], weight: float) -> dict[str, Network]:
    """Table 1, 2, 11, 18 and 19: CLAT after other ways to train."""

    def base(
        changes: Mapping[str, Any], *, objective: str = "", start: str = "last.safetensors", **only: Any
    ) -> Network:
        own = {"train.objective": objective} if objective else {}
        options = {"objective": objective} if objective else {}
        entries = {f"harden__{key}": value for key, value in only.items()}
        return Network(("base", "compared"), {**late, **own, **changes}, weight, 1, start, (options, entries))

    rs = {"train.attack": "fgsm-rs", "train.attack_options": {}, "train.validation_attack": "pgd-10"}
    awp: dict[str, Any] = {"hooks": ["awp"], "hooks_options": {"awp": {"gamma": 0.01}}}
    swa: dict[str, Any] = {"hooks": ["swa"], "hooks_options": {"swa": {"after": 0.275}}}
    return {
        "late-trades": base({}, objective="trades"),
        "late-mart": base({}, objective="mart"),
        "late-score": base({}, objective="score"),
        "late-awp": base(_train(awp), **awp),
        "late-swa": base(_train(swa), start="model.safetensors", **swa),
        "late-fast": base(rs, attack="fgsm-rs", attack_options={}, validation_attack="pgd-10"),
        "late-augmented": base({"train.augment": "idbh-weak", "harden.augment": "idbh-weak"}),
        "late-standard": base({}, objective="standard"),
    }


def _architectures(late: Mapping[str, Any], weight: float) -> dict[str, Network]:
    """Tables 1, 4, 8 and 9: CLAT in other architectures."""
    groups = ("base", "compared", "index", "each", "across")
    names = ("vgg19", "preact_resnet18", "densenet121")
    return {f"late-{name}": Network(groups, {**late, "model.name": name}, weight, 1) for name in names}


def _allocations(late: Mapping[str, Any], weight: float) -> dict[str, Network]:
    """Figures 2 and 5: how many of all epochs train the base."""
    total, found = late["train.epochs"] + 5, {}
    for share in (0, 1, 2):
        before = total * share // 4
        changes = {**late, "train.epochs": before, "harden.epochs": total - before}
        found[f"late-after-{before}"] = Network(("base", "allocated"), changes, weight, 1)
    return found


def _forms() -> dict[str, Network]:
    """Table 8: the index in every reading, of networks that were trained and of some that were not."""
    found = {}
    for name, width in _WIDTHS.items():
        changes = {"model.name": name, "model.width": width, "train.watch": []}
        found[f"forms-{name}"] = Network(("base", "forms"), changes, seeds=3)
        untrained = {**changes, "train.epochs": 0}
        found[f"forms-{name}-untrained"] = Network(("base", "forms"), untrained, seeds=3)
    return found


def _drawn(late: Mapping[str, Any], weight: float) -> dict[str, Network]:
    """What decides the claims: the arms after robust overfitting, CLAT after other ways to train, and when to
    hand over on one schedule; seeds with images of their own.
    """
    own = {**late, **_CPU_DRAWN}
    groups = ("base", "main", "choices", "counts", "authors", "decisive", "table 17", "slower", "after")
    found = {"drawn-late": Network(groups, own, weight)}
    for name, network in _bases(own, weight).items():
        if name.removeprefix("late-") in _BASES_DRAWN:
            found[f"drawn-{name}"] = replace(network, seeds=3)
    total = late["train.epochs"] + 5
    for before in (total // 3, 2 * total // 3, late["train.epochs"]):
        shared = {
            "train.epochs": before,
            "harden.epochs": total - before,
            "harden.one_schedule": True,
            "harden.learning_rate": _RATE,
        }
        found[f"drawn-hand-over-{before}"] = Network(
            ("base", "handed-over"), {**own, **shared}, weight, seeds=3
        )
    return found


_ALL = ("base", "main", "ablations", "rivals", "index", "each", "attacks", "sweep")

NETWORKS: dict[str, dict[str, Network]] = {
    "cpu": {
        "early": Network(_ALL),
        "late": Network((*_ALL, "paper's form"), _CPU_LATE, 3.0),
        **_bases(_CPU_LATE, 3.0),
        **_architectures(_CPU_LATE, 3.0),
        **_allocations(_CPU_LATE, 3.0),
        **_forms(),
        **_drawn(_CPU_LATE, 3.0),
    },
    "paper": {
        "early": Network(_ALL),
        "late": Network((*_ALL, "paper's form"), _PAPER_LATE),
        "early-cifar100": Network(
            ("base", "main", "ablations", "index"), {"data.source": "cifar100"}, seeds=1
        ),
        **_bases(_PAPER_LATE, 1.0),
        **_architectures(_PAPER_LATE, 1.0),
        "early-wrn_34_10": Network(
            ("base", "main", "index", "attacks"), {"model.name": "wrn_34_10"}, seeds=1
        ),
        **_allocations(_PAPER_LATE, 1.0),
        **FULL,
    },
}

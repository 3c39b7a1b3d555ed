"""GPU hours of a run: passes of an image times images and epochs, times the MACs of a pass, at a stated rate.

Passes were counted on a ResNet-18 with attacks of ten steps (``tests/docs/test_rows.py`` counts some again).
What a unit does besides, such as measuring dependence, is not counted.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch

from semirobust import build_model
from semirobust.experiments.queue.study import Unit
from semirobust.experiments.recipe import Recipe
from semirobust.layers import macs_by_module

__all__ = ["GPU", "attack_passes", "hours", "method_passes", "objective_passes"]

GPU, _RATE = "NVIDIA A100: 312 TFLOP/s in bfloat16, of which a quarter is used", 312e12 / 2 / 4
# 10^9 MACs of a pass of an image of 32 pixels; the share of it up to the deepest layer that table 8 lists.
_LARGE = {
    "resnet18": (0.555, 0.62), "preact_resnet18": (0.555, 0.62), "densenet121": (0.888, 0.96),
    "resnet50": (1.298, 0.99), "wrn_34_10": (6.659, 0.82), "vgg19": (0.399, 0.62),
    "wrn_70_16": (38.764, 0.88),
}  # fmt: skip
_IMAGES = {
    "cifar10": 50_000, "cifar100": 50_000, "mnist": 60_000, "fashion-mnist": 60_000, "imagenette": 9_469,
    "imagenet": 1_281_167,
}  # fmt: skip
_TWO_DIGITS = 12_396  # of MNIST's training images, the digits 3 and 7
# Passes of an image in a step of an attack; beside its steps, of the weights' update by objective.
_STEP = 2.04
_UPDATE = {"standard": 3.0, "adversarial": 5.0, "mixed": 8.0, "trades": 10.0, "mart": 8.0, "score": 10.0}
_HOOKS = {"awp": 3.0, "swa": 1.0}
# Of methods, beside adversarial training's.
_METHODS = {
    "adversarial": 0.0, "wise": 0.0, "twins": 0.0, "twins-authors": 0.0, "lora": 0.2, "suffix": -1.0,
    "selected": -1.0, "autolora": 3.0, "autolora-authors": 3.0,
}  # fmt: skip
# AutoAttack on an image that withstands it: APGD 200 and 1,800, FAB 2,700, Square 5,000; half of them do.
_ATTACKS = {"clean": 1.0, "fgsm": 3.0, "fgsm-rs": 3.0, "autoattack": 0.5 * 9700, "fab": 300.0, "stadv": 300.0}
_PIXLE = 1000.0  # queries


def hours(unit: Unit) -> float | None:
    """Of one unit alone; None where nothing says what it does."""
    work: Any = unit.work
    if not isinstance(work, partial) or work.func.__name__ not in _WORK:
        return None
    recipe: Recipe = work.args[0]
    plain = recipe.plain()
    more = {key: value for key, value in work.keywords.items() if "__" in key}
    for key, value in more.items():
        section, _, name = key.partition("__")
        plain[section][name] = value
    passes = _WORK[work.func.__name__](plain, work.keywords)
    return passes * _macs(plain["model"]["name"], plain["data"]["image_size"] or 32) / _RATE / 3600


def attack_passes(name: str) -> float:
    """Passes of an image under an attack, clean one among them."""
    if name in _ATTACKS:
        return _ATTACKS[name]
    return _PIXLE if name == "pixle" else _STEP * _steps(name) + 3


def objective_passes(objective: str, attack: str, hooks: tuple[str, ...] = ()) -> float:
    """Passes of an image in an epoch of training everything."""
    own = _UPDATE[objective] + sum(_HOOKS.get(hook, 0.0) for hook in hooks)
    return own if objective == "standard" else own + _STEP * _steps(attack)


def method_passes(method: str, options: Mapping[str, Any], attack: str, share: float) -> float:
    """Passes of an image in an epoch of a method; ``share`` of a pass ends at the deepest layer of CLAT."""
    if method == "clat":
        return share * (_STEP * _steps(attack) + 5) + 2
    if method == "rift":
        return _UPDATE["standard"]
    objective = str(options.get("objective", "adversarial"))
    return objective_passes(objective, attack) + _METHODS[method]


@cache
def _macs(name: str, side: int) -> float:
    if name in _LARGE:
        return _LARGE[name][0] * 1e9 * (side / 32) ** 2
    channels, side = (1, 28) if name.startswith(("mlp", "capacity")) else (3, side)
    model = build_model(name, in_channels=channels, image_size=side)
    return sum(macs_by_module(model, torch.zeros(1, channels, side, side)).values())


def _steps(attack: str) -> int:
    found = re.search(r"pgd-(\d+)", attack)
    return int(found[1]) if found else 1


def _count(data: Mapping[str, Any]) -> tuple[float, float]:
    """Images that train, and that are held out."""
    total = float(_TWO_DIGITS if data["classes"] else _IMAGES[data["source"]])
    total = min(total, data["train"] or total)
    held = data["validation"] if data["validation"] >= 1 else data["validation"] * total
    return total - held, held


def _epochs(plain: Mapping[str, Any], section: str, passes: float, epochs: float | None = None) -> float:
    """Training with validation after each epoch."""
    own, (images, held) = plain[section], _count(plain["data"])
    judged = min(own["validation_examples"], held) * attack_passes(own["validation_attack"] or own["attack"])
    return (own["epochs"] if epochs is None else epochs) * (images * passes + judged)


def _evaluated(plain: Mapping[str, Any]) -> float:
    own = plain["evaluate"]
    return own["examples"] * sum(map(attack_passes, ["clean", *own["attacks"]]))


def _trained(plain: Mapping[str, Any], section: str = "train", epochs: float | None = None) -> float:
    own = plain[section]
    objective = own.get("objective", "adversarial")
    return _epochs(plain, section, objective_passes(objective, own["attack"], tuple(own["hooks"])), epochs)


def _base(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    return _trained(plain)


def _start(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    return 2 * _evaluated(plain)


def _arms(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    own = plain["harden"]
    share = _LARGE[plain["model"]["name"]][1]
    kinds = [(method, options) for _, method, options in more["runs"]]
    kinds += [("selected", {})] if more["control"] else []
    hooks = sum(_HOOKS.get(hook, 0.0) for hook in own["hooks"])
    return sum(
        _epochs(plain, "harden", method_passes(m, options, own["attack"], share) + hooks) + _evaluated(plain)
        for m, options in kinds
    )


def _attacked(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    radii = len(more["epsilons"]) * attack_passes("pgd-10")
    in_l2 = 2 * attack_passes("pgd-10") if "pgd-100" in more["attacks"] else 0.0
    each = sum(map(attack_passes, ["clean", *more["attacks"]])) + radii + in_l2
    return float(len(more["arms"]) * more["examples"] * each)


def _crossed(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    networks = len(more["networks"])
    return float(networks * more["examples"] * (attack_passes(more.get("attack") or "pgd-20") + networks))


def _measured(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    return 500.0 * (attack_passes("pgd-10") + 100)  # the index in 18 forms, and batches


def _robust(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    return _trained(plain, "harden") + _evaluated(plain)


def _recovered(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    own, sizes = plain["recover"], more.get("layers", ()) or ()
    update = method_passes("suffix", {}, own["attack"], 1.0)
    trials = own["trials"] * _epochs(plain, "recover", update)
    runs = (
        len(sizes) * trials if "trials" in more["parts"] else 2 * trials if "controls" in more["parts"] else 0
    )
    return runs + max(len(sizes), 1) * _evaluated(plain)


def _capacity(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    return _trained(plain) + _evaluated(plain)


def _tickets(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    levels = plain["prune"]["levels"] + 1
    return levels * (_trained(plain, "prune") + _evaluated(plain))


def _features(plain: Mapping[str, Any], more: Mapping[str, Any]) -> float:
    features = 100 * plain["evaluate"]["examples"] * (attack_passes("pgd-3") + attack_passes("pgd-40"))
    return _capacity(plain, more) + features


_WORK: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], float]] = {
    "run_base": _base,
    "run_start": _start,
    "run_arms_of": _arms,
    "run_attacks": _attacked,
    "run_across": _crossed,
    "run_index": _measured,
    "run_normal": _base,
    "run_robust": _robust,
    "run_recover": _recovered,
    "run_prefixes": _measured,
    "run_capacity": _capacity,
    "run_tickets": _tickets,
    "run_features": _features,
}
"""What each kind of run passes through its network, by the name of its function."""

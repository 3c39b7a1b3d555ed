"""Reading records of version 1: quantities had dotted names, and what they speak of stood in free labels."""

from collections.abc import Mapping
from typing import Any

from semirobust.records.quantity import Quantity, Topic

__all__ = ["upgraded"]

Content = dict[str, Any]

_QUANTITIES = {
    "accuracy": Quantity.ACCURACY,
    "accuracy.sweep": Quantity.ACCURACY_BY_EPSILON,
    "curve": Quantity.ACCURACY_BY_EPSILON,
    "accuracy.transfer": Quantity.TRANSFER_ACCURACY,
    "across": Quantity.TRANSFER_ACCURACY,
    "difference": Quantity.ACCURACY_DIFFERENCE,
    "train.loss": Quantity.TRAINING_LOSS,
    "train.learning_rate": Quantity.LEARNING_RATE,
    "train.seconds": Quantity.EPOCH_SECONDS,
    "train.parameters": Quantity.TRAINED_PARAMETERS,
    "train.layer": Quantity.TRAINED_LAYER,
    "train.best_epoch": Quantity.BEST_EPOCH,
    "validation.clean": Quantity.VALIDATION_CLEAN,
    "validation.robust": Quantity.VALIDATION_ROBUST,
    "validation.loss": Quantity.VALIDATION_LOSS,
    "validation.difference": Quantity.LOSS_DIFFERENCE,
    "validation.bound": Quantity.QUADRATIC_BOUND,
    "validation.distance": Quantity.PARAMETER_DISTANCE,
    "features.rank agreement": Quantity.RANK_AGREEMENT,
    "features.rank agreement.weights": Quantity.RANK_AGREEMENT,
    "stability.agreement": Quantity.STABILITY,
    "stability.same": Quantity.STABILITY_SAME,
    "stability.chance": Quantity.STABILITY_CHANCE,
    "stability.seeds": Quantity.STABILITY_SEEDS,
    "model.parameters": Quantity.PARAMETERS,
    "size.parameters": Quantity.PARAMETERS,
    "size.multiplications": Quantity.MACS,
    "cost.parameters": Quantity.PARAMETERS,
    "cost.multiplications": Quantity.MACS,
    "cost.megabytes": Quantity.MEGABYTES,
    "cost.seconds": Quantity.INFERENCE_SECONDS,
    "cost.ratio": Quantity.INFERENCE_RATIO,
    "cost.ratio.least": Quantity.INFERENCE_RATIO_MIN,
    "cost.ratio.most": Quantity.INFERENCE_RATIO_MAX,
    "prune.density": Quantity.DENSITY,
    "decided.density": Quantity.DENSITY,
    "prune.left": Quantity.WEIGHTS_LEFT,
    "prune.layer": Quantity.PARAMETER_DENSITY,
    "prune.features": Quantity.FEATURES_LEFT,
    "recover.reference": Quantity.RECOVERY_REFERENCE,
    "recover.start": Quantity.RECOVERY_START,
    "recover.best": Quantity.RECOVERY_BEST,
    "recover.difference": Quantity.RECOVERY_DIFFERENCE,
    "recover.converged": Quantity.RECOVERY_EPOCH,
    "recover.epochs": Quantity.RECOVERY_EPOCHS,
    "recover.trials_converged": Quantity.RECOVERED_TRIALS,
    "recover.threshold": Quantity.RECOVERY_THRESHOLD,
    "recover.prefix": Quantity.ROBUST_PREFIX,
    "bound.loss": Quantity.LOSS_DIFFERENCE,
    "bound.slope": Quantity.GRADIENT_TERM,
    "bound.sharpness": Quantity.SHARPNESS,
    "bound.distance": Quantity.PARAMETER_DISTANCE,
    "bound.quadratic": Quantity.QUADRATIC_BOUND,
    "bound.output": Quantity.OUTPUT_DISTANCE,
    "bound.peeling": Quantity.PEELING_BOUND,
    "bound.telescoped": Quantity.TELESCOPED_BOUND,
    "bound.buffers": Quantity.BUFFERS_DIFFER,
}
_TOPICS = {str(topic): topic for topic in Topic}
_USEFULNESS_PARTS = ("robust", "actual", "original", "original-robust")
# Labels that have another name now; all others have kept theirs.
_FIELDS = {"by": "estimator", "at": "place", "weight": "parameter", "size": "batch"}
# What a measure said of its number beside it; the label attack of a feature's number is a field.
_DETAILS = ("verdict", "ceiling", "p", "singletons", "accuracy", "clean_accuracy")


def upgraded(content: Mapping[str, Any]) -> Content:
    """The content of a version-1 line as version 2 has it.

    Nothing is lost; units that were left at "1" where the quantity has another one are corrected. A name that
    the library never wrote becomes ``Quantity.OTHER`` or ``Topic.OTHER`` with that name as its measure.
    """
    known = {key: value for key, value in content.items() if key not in ("labels", "name", "unit")}
    labels = {_FIELDS.get(key, key): value for key, value in content.get("labels", {}).items()}
    kind, name = content.get("kind"), content.get("name")
    if kind == "layer":
        known["name"] = name
    if kind == "number" and isinstance(name, str):
        known |= _number(name, labels, content)
    elif kind == "finding" and isinstance(name, str):
        known |= _finding(name, labels)
    return {**known, "schema_version": 2, "about": _about(labels)}


def _number(name: str, labels: Content, content: Mapping[str, Any]) -> Content:
    """The quantity, unit and details of a number; what its name told beside goes to the labels."""
    details = {key: labels.pop(key) for key in _DETAILS if key in labels}
    quantity = _QUANTITIES.get(name)
    if quantity is None:
        quantity = _measured(name, labels)
    if name == "features.rank agreement.weights":
        labels["part"] = "weights"
    if "of" in labels and quantity is Quantity.RECOVERY_THRESHOLD:
        labels["converged"] = labels.pop("of") == "smallest of those that converged"
    unit = quantity.unit or content.get("unit", "1")
    return {"quantity": quantity, "unit": unit, **({"details": details} if details else {})}


def _measured(name: str, labels: Content) -> Quantity:
    """The quantity of a measure's number, by the first of its dotted words."""
    family, _, rest = name.partition(".")
    measure, _, part = rest.partition(".")
    if not rest:
        labels["measure"] = name
        return Quantity.OTHER
    if family == "features":
        part, _, what = rest.rpartition(".")
        labels |= {"measure": "usefulness", "part": part if part in _USEFULNESS_PARTS else None}
        return Quantity.FEATURE_MEAN if what == "mean" else Quantity.FEATURE_POSITIVE
    if family == "feature" and rest in (*_USEFULNESS_PARTS, "useful"):
        measure, part = "usefulness", "" if rest == "useful" else rest
    families = {
        "layer": Quantity.MEASURE, "feature": Quantity.FEATURE, "validation": Quantity.VALIDATION_MEASURE,
    }  # fmt: skip
    if family not in families:
        labels["measure"] = name
        return Quantity.OTHER
    labels |= {"measure": "connectivity" if measure == "rho" else measure, "part": part or None}
    return families[family]


def _finding(name: str, labels: Content) -> Content:
    first, _, rest = name.partition(".")
    topic = _TOPICS.get(first if first in ("check", "measure") else name, Topic.OTHER)
    if topic is Topic.CHECK:
        labels["check"] = rest
    elif topic is Topic.MEASURE:
        measure, _, part = rest.partition(".")
        labels |= {"measure": measure, "part": part or None}
    elif topic is Topic.OTHER:
        labels["measure"] = name
    return {"topic": topic}


def _about(labels: Content) -> Content:
    for rule in (_attack, _arm, _unit):
        rule(labels)
    return {name: value for name, value in labels.items() if value is not None}


def _attack(labels: Content) -> None:
    """``+ pgd-20`` was an attack together with those before it."""
    attack = str(labels.get("attack", ""))
    if attack.startswith("+ "):
        labels |= {"attack": attack.removeprefix("+ "), "cumulative": True}
    if "fooled" in labels:
        labels["fooled"] = bool(labels["fooled"])


def _arm(labels: Content) -> None:
    """What names of arms told: the layer that trains, the term of the loss, whose prefix it is."""
    words = str(labels.get("arm", "")).split()
    match words:
        case ["layer", index] if index.isdecimal():
            labels["tuned_layer"] = int(index)
        case ["free" | "paper" as form, weight]:
            labels |= {"loss_form": form, "loss_weight": float(weight)}
        case ["normal", "prefix,", "suffix", size]:
            labels |= {"prefix": "normal", "suffix": int(size)}
        case [unit] if unit.startswith("suffix-"):
            _, size, *variant = unit.split("-")
            labels |= {"suffix": int(size), "variant": "-".join(variant) or "plain"}
    if "whole" in labels:
        labels["arm"] = f"whole-{str(labels.pop('whole')).replace(' ', '-')}"


def _unit(labels: Content) -> None:
    """What names of a study's units told."""
    words = str(labels.get("unit", "")).split("-")
    network = str(labels.get("network", ""))
    match words:
        case ["lambda", _, layer, *_]:
            labels |= {"variant": "sweep", "tuned_layer": int(layer)}
        case ["suffix", _, *variant]:
            labels["variant"] = "-".join(variant) or "plain"
        case [training, size] if network.startswith("capacity-") and size.isdecimal():
            labels |= {"training": training, "size": int(size)}

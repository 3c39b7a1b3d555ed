"""The leaderboard of RobustBench (Croce et al. 2021), by the names of its model zoo."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.packages import hushed, imported
from semirobust.data.cifar import CIFAR10
from semirobust.zoo import ZOO, AbstractSource
from semirobust.zoo.base.names import no_such
from semirobust.zoo.base.source import Card, Wanted

__all__ = ["RobustBench"]

_OUTPUTS = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
_SIDES = {"cifar10": 32, "cifar100": 32, "imagenet": 224}
_DEFAULTS = {"dataset": "cifar10", "threat_model": "Linf"}


@ZOO.register("robustbench")
class RobustBench(AbstractSource):
    """Robust networks of RobustBench (Croce et al. 2021), for ``robustbench:Carmon2019Unlabeled``.

    ``model.options``: ``dataset`` (``cifar10``, ``cifar100`` or ``imagenet``) and ``threat_model`` (``Linf``,
    ``L2`` or ``corruptions``). They take pixels in [0, 1] and normalise them inside. Their weights are kept
    where RobustBench keeps them, in ``models`` below the working directory.
    """

    shown = "robustbench:NAME"
    named_by_files = False  # some of its networks fetch weights as they are built

    def card(self, name: str, options: Mapping[str, Any], *, offline: bool = False) -> Card:
        dataset, _ = _which(options)
        side = _SIDES[dataset]
        classes = tuple((each,) for each in CIFAR10) if dataset == "cifar10" else ()
        return Card(
            outputs=_OUTPUTS[dataset],
            classes=classes,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            image_size=(side, side),
        )

    def build(self, name: str, wanted: Wanted) -> nn.Module:
        dataset, threat = _which(wanted.options)
        zoo = imported("robustbench.model_zoo", "robustbench")
        names = imported("robustbench.model_zoo.enums", "robustbench")
        known = zoo.model_dicts[names.BenchmarkDataset(dataset)][names.ThreatModel(threat)]
        if name not in known:
            raise no_such(f"robustbench:NAME of {dataset} under {threat}", name, list(known))
        if wanted.outputs != _OUTPUTS[dataset]:
            raise InputError(
                f"model: robustbench:{name} has {_OUTPUTS[dataset]} outputs, as {dataset} has classes, and no"
                f" other number; got {wanted.outputs} classes"
            )
        with hushed():
            if wanted.own_weights:
                utils = imported("robustbench.utils", "robustbench")
                return utils.load_model(name, dataset=dataset, threat_model=threat)
            return known[name]["model"]()


def _which(options: Mapping[str, Any]) -> tuple[str, str]:
    """The data and the threat model, the latter as RobustBench writes it."""
    if unknown := sorted(options.keys() - _DEFAULTS.keys()):
        raise InputError(f"model.options: expected dataset and threat_model, got {unknown[0]!r}")
    chosen = {**_DEFAULTS, **options}
    dataset, threat = str(chosen["dataset"]).lower(), str(chosen["threat_model"])
    threats = {"linf": "Linf", "l2": "L2", "corruptions": "corruptions"}
    if dataset not in _OUTPUTS or threat.lower() not in threats:
        raise InputError(
            f"model.options: expected a dataset of {', '.join(_OUTPUTS)} and a threat_model of"
            f" {', '.join(threats.values())}; got {dataset!r} and {threat!r}"
        )
    return dataset, threats[threat.lower()]

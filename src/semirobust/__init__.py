"""Which layers of an image classifier carry its adversarial robustness, and how little must be trained to make all of it robust.

Names are imported when first used, so that importing the package is instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semirobust.attacks.apgd import APGD as APGD
    from semirobust.attacks.autoattack import AutoAttack as AutoAttack
    from semirobust.attacks.fab import FAB as FAB
    from semirobust.attacks.fgsm import FGSM as FGSM
    from semirobust.attacks.foreign import adapt as adapt
    from semirobust.attacks.pgd import PGD as PGD
    from semirobust.attacks.pixle import Pixle as Pixle
    from semirobust.attacks.square import Square as Square
    from semirobust.attacks.stadv import StAdv as StAdv
    from semirobust.data.images import images_from_dataset as images_from_dataset
    from semirobust.data.images import images_from_tensors as images_from_tensors
    from semirobust.data.load import load_data as load_data
    from semirobust.dependence.cka import CKA as CKA
    from semirobust.dependence.distance_correlation import DistanceCorrelation as DistanceCorrelation
    from semirobust.dependence.edge import EDGE as EDGE
    from semirobust.dependence.estimate import Estimate as Estimate
    from semirobust.dependence.hsic import HSIC as HSIC
    from semirobust.dependence.infonce import InfoNCE as InfoNCE
    from semirobust.dependence.ksg import KSG as KSG
    from semirobust.errors import InputError as InputError
    from semirobust.layers.features import features as features
    from semirobust.layers.features import forward_to as forward_to
    from semirobust.layers.freeze import frozen as frozen
    from semirobust.layers.freeze import only_trainable as only_trainable
    from semirobust.layers.map import layer_map as layer_map
    from semirobust.layers.split import split as split
    from semirobust.layers.transplant import transplant as transplant
    from semirobust.measures.bounds import performance_bounds as performance_bounds
    from semirobust.measures.connectivity import connectivity as connectivity
    from semirobust.measures.criticality import criticality as criticality
    from semirobust.measures.feature_attack import FeatureAttack as FeatureAttack
    from semirobust.measures.footprint import footprint as footprint
    from semirobust.measures.footprint import largest_batch as largest_batch
    from semirobust.measures.robustness import evaluate as evaluate
    from semirobust.measures.sanity import sanity_checks as sanity_checks
    from semirobust.measures.semirobustness import semirobustness as semirobustness
    from semirobust.measures.stability import stability as stability
    from semirobust.measures.sweep import sweep as sweep
    from semirobust.measures.transfer import transfer as transfer
    from semirobust.measures.usefulness import usefulness as usefulness
    from semirobust.methods.harden import harden as harden
    from semirobust.methods.lottery import Lottery as Lottery
    from semirobust.methods.recovery import Recovery as Recovery
    from semirobust.models.base import Normalised as Normalised
    from semirobust.models.build import build_model as build_model
    from semirobust.models.checkpoint import load_checkpoint as load_checkpoint
    from semirobust.models.checkpoint import save_model as save_model
    from semirobust.objectives.adversarial import Adversarial as Adversarial
    from semirobust.objectives.clat import CLAT as CLAT
    from semirobust.objectives.mart import MART as MART
    from semirobust.objectives.score import SCORE as SCORE
    from semirobust.objectives.standard import Standard as Standard
    from semirobust.objectives.trades import TRADES as TRADES
    from semirobust.pruning.masks import Masks as Masks
    from semirobust.seed import Seed as Seed
    from semirobust.threats.flow import Flow as Flow
    from semirobust.threats.l1 import L1 as L1
    from semirobust.threats.l2 import L2 as L2
    from semirobust.threats.linf import Linf as Linf
    from semirobust.threats.rearrangement import Rearrangement as Rearrangement
    from semirobust.training.loop import Training as Training

_HOMES = {
    "MART": "objectives.mart",
    "SCORE": "objectives.score",
    "TRADES": "objectives.trades",
    "stability": "measures.stability",
    "APGD": "attacks.apgd",
    "AutoAttack": "attacks.autoattack",
    "FAB": "attacks.fab",
    "Pixle": "attacks.pixle",
    "Square": "attacks.square",
    "StAdv": "attacks.stadv",
    "adapt": "attacks.foreign",
    "CKA": "dependence.cka",
    "CLAT": "objectives.clat",
    "DistanceCorrelation": "dependence.distance_correlation",
    "EDGE": "dependence.edge",
    "Estimate": "dependence.estimate",
    "HSIC": "dependence.hsic",
    "InfoNCE": "dependence.infonce",
    "KSG": "dependence.ksg",
    "FGSM": "attacks.fgsm",
    "Flow": "threats.flow",
    "L1": "threats.l1",
    "L2": "threats.l2",
    "PGD": "attacks.pgd",
    "Adversarial": "objectives.adversarial",
    "InputError": "errors",
    "Linf": "threats.linf",
    "Rearrangement": "threats.rearrangement",
    "Normalised": "models.base",
    "Seed": "seed",
    "Standard": "objectives.standard",
    "Training": "training.loop",
    "build_model": "models.build",
    "connectivity": "measures.connectivity",
    "criticality": "measures.criticality",
    "evaluate": "measures.robustness",
    "features": "layers.features",
    "forward_to": "layers.features",
    "frozen": "layers.freeze",
    "harden": "methods.harden",
    "images_from_dataset": "data.images",
    "images_from_tensors": "data.images",
    "layer_map": "layers.map",
    "load_checkpoint": "models.checkpoint",
    "load_data": "data.load",
    "only_trainable": "layers.freeze",
    "sanity_checks": "measures.sanity",
    "save_model": "models.checkpoint",
    "split": "layers.split",
    "sweep": "measures.sweep",
    "transfer": "measures.transfer",
    "transplant": "layers.transplant",
    "FeatureAttack": "measures.feature_attack",
    "footprint": "measures.footprint",
    "largest_batch": "measures.footprint",
    "usefulness": "measures.usefulness",
    "Lottery": "methods.lottery",
    "Masks": "pruning.masks",
    "Recovery": "methods.recovery",
    "performance_bounds": "measures.bounds",
    "semirobustness": "measures.semirobustness",
}

__all__ = [*_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'semirobust' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"semirobust.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOMES)

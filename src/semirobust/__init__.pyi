"""Which layers of an image classifier carry its robustness, and how little must be trained for all of it.

The public names; ``__init__.py`` imports each from here when it is first used.
"""

from .attacks.apgd import APGD as APGD
from .attacks.autoattack import AutoAttack as AutoAttack
from .attacks.base.adapters import adapt as adapt
from .attacks.base.targeted import Targeted as Targeted
from .attacks.fab import FAB as FAB
from .attacks.fgsm import FGSM as FGSM
from .attacks.latent import LatentAttack as LatentAttack
from .attacks.pgd import PGD as PGD
from .attacks.pixle import Pixle as Pixle
from .attacks.square import Square as Square
from .attacks.stadv import StAdv as StAdv
from .core.errors import InputError as InputError
from .core.plugins import load_plugin as load_plugin
from .core.seed import Seed as Seed
from .cost.memory import footprint as footprint
from .cost.memory import largest_batch as largest_batch
from .data.base.dataset import images_from_dataset as images_from_dataset
from .data.base.images import images_from_tensors as images_from_tensors
from .data.base.load import load_data as load_data
from .dependence.base.estimate import Estimate as Estimate
from .dependence.cka import CKA as CKA
from .dependence.distance_correlation import DistanceCorrelation as DistanceCorrelation
from .dependence.edge import EDGE as EDGE
from .dependence.hsic import HSIC as HSIC
from .dependence.infonce import InfoNCE as InfoNCE
from .dependence.ksg import KSG as KSG
from .evaluation.accuracy import evaluate as evaluate
from .evaluation.bounds import performance_bounds as performance_bounds
from .evaluation.sanity import sanity_checks as sanity_checks
from .evaluation.sweep import sweep as sweep
from .evaluation.transfer import transfer as transfer
from .experiments.compared import compare as compare
from .experiments.families import register as register
from .experiments.loaded import load_run as load_run
from .experiments.saved_result import load_result as load_result
from .layers.features import features as features
from .layers.features import forward_to as forward_to
from .layers.freeze import frozen as frozen
from .layers.freeze import only_trainable as only_trainable
from .layers.map import layer_map as layer_map
from .layers.split import split as split
from .layers.transplant import transplant as transplant
from .measures.base.feature_attack import FeatureAttack as FeatureAttack
from .measures.connectivity import connectivity as connectivity
from .measures.criticality import criticality as criticality
from .measures.semirobustness import semirobustness as semirobustness
from .measures.stability import stability as stability
from .measures.usefulness import Usefulness as Usefulness
from .measures.usefulness import usefulness as usefulness
from .models.base.as_classifier import as_classifier as as_classifier
from .models.base.build import build_model as build_model
from .models.base.classifier import Normalised as Normalised
from .models.checkpoint import load_checkpoint as load_checkpoint
from .models.checkpoint import save_model as save_model
from .models.export import export as export
from .models.export import load_onnx as load_onnx
from .objectives.adversarial import Adversarial as Adversarial
from .objectives.clat import CLAT as CLAT
from .objectives.mart import MART as MART
from .objectives.score import SCORE as SCORE
from .objectives.standard import Standard as Standard
from .objectives.trades import TRADES as TRADES
from .procedures.audit import audit as audit
from .procedures.harden import harden as harden
from .procedures.lottery import Lottery as Lottery
from .procedures.recovery import Recovery as Recovery
from .pruning.masks import Masks as Masks
from .threats.flow import Flow as Flow
from .threats.l1 import L1 as L1
from .threats.l2 import L2 as L2
from .threats.linf import Linf as Linf
from .threats.rearrangement import Rearrangement as Rearrangement
from .training.callbacks import Callback as Callback
from .training.training import Training as Training

__all__ = [
    "APGD",
    "CKA",
    "CLAT",
    "EDGE",
    "FAB",
    "FGSM",
    "HSIC",
    "KSG",
    "L1",
    "L2",
    "MART",
    "PGD",
    "SCORE",
    "TRADES",
    "Adversarial",
    "AutoAttack",
    "Callback",
    "DistanceCorrelation",
    "Estimate",
    "FeatureAttack",
    "Flow",
    "InfoNCE",
    "InputError",
    "LatentAttack",
    "Linf",
    "Lottery",
    "Masks",
    "Normalised",
    "Pixle",
    "Rearrangement",
    "Recovery",
    "Seed",
    "Square",
    "StAdv",
    "Standard",
    "Targeted",
    "Training",
    "Usefulness",
    "adapt",
    "as_classifier",
    "audit",
    "build_model",
    "compare",
    "connectivity",
    "criticality",
    "evaluate",
    "export",
    "features",
    "footprint",
    "forward_to",
    "frozen",
    "harden",
    "images_from_dataset",
    "images_from_tensors",
    "largest_batch",
    "layer_map",
    "load_checkpoint",
    "load_data",
    "load_onnx",
    "load_plugin",
    "load_result",
    "load_run",
    "only_trainable",
    "performance_bounds",
    "register",
    "sanity_checks",
    "save_model",
    "semirobustness",
    "split",
    "stability",
    "sweep",
    "transfer",
    "transplant",
    "usefulness",
]

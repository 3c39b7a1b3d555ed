"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .build import Devices as Devices
from .build import load_best as load_best
from .build import make_fabric as make_fabric
from .commands.evaluate import accuracy_records as accuracy_records
from .commands.evaluate import attacks_of as attacks_of
from .commands.evaluate import evaluation_records as evaluation_records
from .commands.harden import harden_subject as harden_subject
from .commands.profile import layer_scores as layer_scores
from .commands.profile import score_records as score_records
from .commands.prune import prune_fresh as prune_fresh
from .commands.prune import prune_subject as prune_subject
from .commands.recover import Part as Part
from .commands.recover import recover_subject as recover_subject
from .commands.shrink import shrink_subject as shrink_subject
from .commands.train import train as train
from .comparison import Arm as Arm
from .comparison import Budget as Budget
from .comparison import Trial as Trial
from .comparison import budget_of as budget_of
from .comparison import run_arms as run_arms
from .inputs import Inputs as Inputs
from .provenance import origin_of as origin_of
from .provenance import settings_record as settings_record
from .queue.runner import study_source as study_source
from .queue.study import AbstractStudy as AbstractStudy
from .queue.study import LeftOut as LeftOut
from .queue.study import Row as Row
from .queue.study import Unit as Unit
from .queue.study import Work as Work
from .recipe import Recipe as Recipe
from .recipe import read_recipe as read_recipe
from .recipe import with_changes as with_changes
from .subject import Subject as Subject
from .subject import build_subject as build_subject

__all__ = [
    "AbstractStudy",
    "Arm",
    "Budget",
    "Devices",
    "Inputs",
    "LeftOut",
    "Part",
    "Recipe",
    "Row",
    "Subject",
    "Trial",
    "Unit",
    "Work",
    "accuracy_records",
    "attacks_of",
    "budget_of",
    "build_subject",
    "evaluation_records",
    "harden_subject",
    "layer_scores",
    "load_best",
    "make_fabric",
    "origin_of",
    "prune_fresh",
    "prune_subject",
    "read_recipe",
    "recover_subject",
    "run_arms",
    "score_records",
    "settings_record",
    "shrink_subject",
    "study_source",
    "train",
    "with_changes",
]

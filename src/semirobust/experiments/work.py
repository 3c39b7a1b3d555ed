"""The trainings of a command in their order: what progress calls each, and its epochs."""

from semirobust.experiments.comparison import controls_of, labelled
from semirobust.experiments.recipe import Recipe
from semirobust.methods import METHODS

__all__ = ["Work", "arm_names", "hardening_work", "pruning_work", "recovery_work", "training_work"]

Work = list[tuple[str, int]]


def training_work(recipe: Recipe) -> Work:
    """Of ``train``."""
    return [("train", recipe.train.training.epochs)]


def hardening_work(recipe: Recipe, seeds: int) -> Work:
    """Of ``harden``: the method and its controls, for each seed."""
    method = recipe.harden.method
    name = METHODS.name_of(method)
    arms = [arm.name for arm in controls_of(name, method)] if recipe.harden.controls else [name]
    epochs = recipe.harden.training.epochs
    return [(labelled(arm, number, seeds), epochs) for number in range(seeds) for arm in arms]


def arm_names(recipe: Recipe) -> list[str]:
    """What is pruned side by side, by the names in tables."""
    rewind = recipe.prune.lottery.rewind
    name = {"initial": "ticket", "reinitialise": "fresh weights", "none": "pruned"}[rewind]
    return list(dict.fromkeys([name, *["fresh weights", "random weights"] * recipe.prune.controls]))


def pruning_work(recipe: Recipe, seeds: int) -> Work:
    """Of ``prune``: every level of every arm, for each seed; of channels one training."""
    epochs, lottery = recipe.prune.training.epochs, recipe.prune.lottery
    if recipe.prune.macs is not None:
        return [("train", epochs)]
    return [
        (labelled(f"{arm}, level {level}", number, seeds), epochs if level or lottery.whole else 0)
        for number in range(seeds)
        for arm in arm_names(recipe)
        for level in range(lottery.levels + 1)
    ]


def recovery_work(recipe: Recipe) -> Work:
    """Of ``recover``: every trial at every cut, and the controls; none where bisection decides how many."""
    settings = recipe.recover
    if settings.layers == "auto":
        return []
    epochs, sizes = settings.recovery.training.epochs, sorted(set(settings.layers))
    work = [
        (f"suffix {size}, trial {trial + 1}", epochs)
        for size in sizes
        for trial in range(settings.recovery.trials)
    ]
    if settings.controls:
        work += [("everything", epochs), *((f"normal prefix, suffix {size}", epochs) for size in sizes)]
    return work

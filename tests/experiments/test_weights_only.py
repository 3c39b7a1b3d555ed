"""The controls of a method that trains weights alone."""

import semirobust as sr
from semirobust.core.seed import as_seed
from semirobust.experiments import Trial, budget_of, origin_of, read_recipe, run_arms
from semirobust.experiments.comparison import controls_of
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.clat import CriticalFineTuning


def test_the_control_trains_as_much_as_the_method():
    """PGD-AT of the same layers has the weights alone, too, and so have random layers."""
    changes = {
        "data.source": "digits", "data.train": 60, "data.test": 20, "data.validation": 20,
        "model.name": "resnet8", "model.width": 0.25, "harden.epochs": 1, "harden.attack": "pgd-1",
        "harden.validation_attack": "pgd-1", "evaluate.attacks": ["fgsm"], "evaluate.examples": 20,
    }  # fmt: skip
    recipe = read_recipe(None, changes)
    start = sr.build_model("resnet8", 10, 0.25, image_size=8, in_channels=1)
    arms = controls_of("clat", CriticalFineTuning(LayerChoice(layers=[4], trains="weights")))
    trial = Trial(as_seed(0), 0, as_seed(1), origin_of(recipe, "test"))
    records, _ = run_arms(start, arms, budget_of(recipe), trial)
    counts = {r.about.arm: r.value for r in records if getattr(r, "quantity", "") == "trained_parameters"}
    weight = sr.layer_map(start, budget_of(recipe).test.first(1).all()[0]).at(4).weights
    assert counts["clat"] == counts["PGD-AT of clat's layers"] == start.get_parameter(*weight).numel()
    sizes = {p.numel() for name, p in start.named_parameters() if p.dim() > 1}
    assert counts["clat, random layers"] in sizes
    assert counts["PGD-AT continued"] == sum(p.numel() for p in start.parameters())

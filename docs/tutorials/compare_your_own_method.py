# %% [markdown]
# # Compare your own method
#
# You have an idea which layers should train, or by which loss.
# Here it becomes a method with a name, and is compared with others at equal budget over several seeds.
# The idea of this tutorial: train the first and the last layer, and nothing between them.
#
# ## Write it
#
# A method is a frozen dataclass.
# Its `plan` says which objective the training loop lowers, and which layers train.
# It stands in a file of its own, so that the command line can use it, too.

# %%
from pathlib import Path

import semirobust as sr

Path("ends.py").write_text(
    '''"""A method of my own."""

from dataclasses import dataclass

import semirobust as sr
from semirobust.methods.base.method import AbstractMethod, Plan
from semirobust.training.trainable import Fixed


@sr.register("methods", "ends")
@dataclass(frozen=True)
class Ends(AbstractMethod):
    """PGD-AT of the first and the last layers.

    Args:
        count: how many at each end.
    """

    count: int = 1

    def plan(self, context):
        indices = context.layers.indices
        return Plan(sr.Adversarial(), Fixed((*indices[: self.count], *indices[-self.count :])))
'''
)
plugin = sr.load_plugin("ends")

# %% [markdown]
# ## Check it
#
# The library tests its own methods by a suite of demands, and the same suite runs on yours.
# It trains small networks: the model stays what it is outside of the planned layers, equal seeds give equal
# weights, and a transformer can be hardened, too.

# %%
from semirobust.testing import checks

for check in checks("methods", "ends"):
    check()
    print("met:", check)

# %% [markdown]
# ## A base, and the rivals
#
# Two seeds here, to be quick.
# Each seed trains a base of its own by PGD adversarial training.
# From the same base, for the same epochs and on the same images, three methods go on.

# %%
import copy

data = sr.load_data("digits")
images, (x, y) = data.train.first(600), data.test.first(200).all()
threat = sr.Linf(0.15)
attack, judge = sr.PGD(threat, steps=3), sr.PGD(threat, steps=20)
methods = {
    "ends (mine)": ("ends", {"count": 1}),
    "CLAT, one layer": ("clat", {"k": 1}),
    "PGD-AT of everything": ("adversarial", {}),
}

accuracies: dict[str, list[float]] = {name: [] for name in ("start", *methods)}
for seed in (0, 1):
    base = sr.build_model("resnet8", 10, 0.5, in_channels=1, image_size=8, seed=seed)
    train = sr.Training(objective=sr.Adversarial(), attack=attack, epochs=5, batch_size=32)
    train(base, images, seed=seed)
    networks = {"start": base}
    for name, (method, options) in methods.items():
        networks[name] = copy.deepcopy(base)
        sr.harden(networks[name], images, method, attack=attack, epochs=3, seed=seed, **options)
    for name, network in networks.items():
        found = sr.evaluate(network, x, y, judge, seed=seed).summary()
        accuracies[name].append(float(found["pgd-20"]))

for name, values in accuracies.items():
    print(f"{name:22}", "  ".join(f"{value:6.1%}" for value in values))

# %% [markdown]
# ## Compare by pairs
#
# Seeds differ more than methods do, since each has another base.
# So the difference is taken seed by seed, and the picture shows every seed.

# %% My method less each rival, in points under PGD-20, for two seeds
from semirobust.figures import Points, points

rivals = [name for name in accuracies if name not in ("start", "ends (mine)")]
mine = accuracies["ends (mine)"]
points(
    [f"mine less {name}" for name in ("start", *rivals)],
    [
        Points(f"seed {seed}", [100 * (mine[seed] - accuracies[name][seed]) for name in ("start", *rivals)])
        for seed in (0, 1)
    ],
    x_label="points under PGD-20",
    percent=False,
    references=[("equal", 0.0)],
)

# %% [markdown]
# Two seeds give no interval worth the name.
# Whatever the picture shows, it decides nothing yet.
#
# ## The same with controls, seeds and a verdict
#
# The command line knows the method by `--plugin`.
# `--controls` adds adversarial training of everything.
# For a method that chooses its layers by a measure it also adds that of exactly these layers,
# and the method on random ones; yours names its layers, so it has the first control alone.
# The report says which claims the numbers allow, with paired intervals.
# It takes all images, more epochs and stronger attacks by default, so its numbers differ from those above.
#
# ```
# semirobust train --data digits --model resnet8 --width 0.5 --eps 0.15 --epochs 5 --out runs/base
# semirobust harden --from runs/base --plugin ends --method ends --controls --seeds 5 --out runs/mine
# semirobust harden --from runs/base --method clat --controls --seeds 5 --out runs/clat
# semirobust report runs/mine runs/clat --out comparison.html
# ```
#
# ## Next
#
# - [Add your own attack, method or measure](../how-to/plug-ins.md): entry points,
#   so that a package of yours is found.
# - [Studies](../how-to/studies.md): many runs behind the tables of a paper.
# - [Contributing](../../CONTRIBUTING.md): what a member of each family supplies.

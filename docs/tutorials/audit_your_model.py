# %% [markdown]
# # Audit your model
#
# In ten minutes you know how often an attacker can fool your network, how sure that number is,
# and which layers add most of the weakness.
# You need a trained `nn.Module` and some images with labels.
#
# Here the network is a small one, trained in a plain loop on scikit-learn's handwritten digits.
# Nothing of that loop belongs to `semirobust`: it stands for your own.

# %%
import torch
from torch import nn

import semirobust as sr

data = sr.load_data("digits")
x, y = data.train.first(800).all()
mean, std = x.mean().item(), x.std().item()

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1, stride=2),
    nn.ReLU(),
    nn.Conv2d(32, 32, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(512, 10),
)
optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
for _ in range(8):
    for batch in torch.randperm(len(x)).split(64):
        loss = nn.functional.cross_entropy(network((x[batch] - mean) / std), y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

# %% [markdown]
# ## Put the normalisation inside
#
# An attacker changes pixels, so every function takes pixels from 0 to 1.
# Your network expects normalised images.
# `sr.as_classifier` puts the normalisation in front of it.
# The network stays your own: the result shares its modules and names.

# %%
model = sr.as_classifier(network.eval(), mean=[mean], std=[std])

# %% [markdown]
# ## The first honest number
#
# The attacker may move every pixel by up to 0.1, a tenth of the range: the ball `sr.Linf(0.1)`.
# Usual radii are 8/255 for CIFAR-10, 4/255 for ImageNet and 0.3 for MNIST.
# Where you know none, look at several ([below](#how-strong-must-the-attacker-be)).
# Two attacks look for a point in that ball that is classified wrongly.

# %%
x, y = data.test.first(200).all()
threat = sr.Linf(0.1)
found = sr.evaluate(model, x, y, [sr.FGSM(threat), sr.PGD(threat, steps=20, restarts=2)], seed=0)
found

# %% [markdown]
# Read the row `worst`: an example counts as robust only if every attack failed on it.
# The interval says how far the number can be off because there are only 200 images.
# It does not say how far a stronger attack would get, so robust accuracy is an upper bound.
#
# The chart shows the same.

# %% Accuracy without an attack, under FGSM and under PGD, each with its 95 % interval
found.plot()

# %% [markdown]
# ## How strong must the attacker be?
#
# A single radius hides where a network breaks.
# `sr.sweep` evaluates several.

# %% Robust accuracy by the radius of the ball: it falls without a jump
curve = sr.sweep(model, x, y, sr.PGD(threat, steps=10), [0.02, 0.05, 0.1, 0.15], seed=0)
curve.plot()

# %% [markdown]
# Accuracy falls without a jump. A curve that stays high at a radius where a person would no longer recognise
# the image is a sign that the attack, and not the network, is the problem.
#
# ## Which layers add the weakness?
#
# Criticality says by which factor a layer enlarges the change that the attack makes.

# %%
profile = sr.criticality(model, x, y, threat=threat, seed=0)
profile

# %% Criticality of the four layers: the last is far above the others
profile.plot()

# %% [markdown]
# The last layer, number 4, is far above the others.
# Be careful with that: the printed index divides by the size of the feature,
# so layers that shrink their input read high for that alone.
# [What the numbers by layer mean](../explanation/measures.md#criticality) says how to check it.
#
# ## All of it, within some minutes
#
# `sr.audit` does all of this by itself, as far as the time allows.
# It measures how fast the network is, takes the strongest attack that fits in,
# and runs sanity checks of the attack.
# With more minutes it takes more images.

# %%
audit = sr.audit(model, data, threat, minutes=0.1, seed=0)
print(audit)

# %% [markdown]
# ## The same from the command line
#
# On the command line your model has a name: a file of weights with an architecture, a function of yours,
# or a network of timm, torchvision, transformers or RobustBench.
#
# ```
# semirobust audit --model mynets:build --checkpoint weights.pth --data pictures/ --eps 4/255 --out runs/audit
# semirobust audit torchvision:resnet18 --data pictures/ --eps 4/255 --minutes 10
# ```
#
# A function of yours gets pixels from 0 to 1, and has no normalisation by itself.
# If it expects normalised images, add `--normalisation imagenet`, or `--model-mean` and `--model-std`;
# where it takes larger ones than 32 x 32 pixels, add `--image-size 224`.
# Of a folder without a part for testing a random fifth is attacked.
#
# It writes the records and a report, goes on if it is interrupted,
# and adds to what it found when it is run again with more minutes.
#
# ## Next
#
# - [Harden it cheaply](harden-it-cheaply.md), the next tutorial.
# - [Use your own network](../how-to/own-network.md) and [your own data](../how-to/own-data.md).
# - [Attack and evaluate](../how-to/evaluate.md): AutoAttack, transfer, what is counted.

"""Evaluate a network of your own under attack: ``python -m examples.evaluate_your_model``.

Any ``nn.Module`` that gives logits for pixels in [0, 1] will do. If yours expects normalised images, wrap it
in ``sr.Normalised(model, mean, std)``; ``sr.load_checkpoint(model, file)`` reads its weights.
"""

import torch
from torch import nn

import semirobust as sr


def main() -> None:
    """Train a small network as anybody would, then see what attacks leave of its accuracy."""
    torch.manual_seed(0)
    data = sr.load_data("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    x, y = data.train.first(1000).all()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()

    threat = sr.Linf(0.1)  # each pixel may change by 0.1 of the range from black to white
    x, y = data.test.first(200).all()
    result = sr.evaluate(model.eval(), x, y, attacks=[sr.FGSM(threat), sr.PGD(threat, steps=20)], seed=0)
    for name, accuracy in result.summary().items():
        print(f"{name:8} {float(accuracy):6.1%}")


if __name__ == "__main__":
    main()

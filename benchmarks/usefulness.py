"""Robust usefulness of 100 features on 1,000 images: all pairs side by side against a loop of PGD attacks,
feature by feature.
"""

import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import semirobust as sr
from benchmarks.subjects import SHARED
from semirobust.layers.features import forward_to
from semirobust.measures.base.feature_attack import FeatureAttack
from semirobust.measures.usefulness import usefulness

__all__ = ["looped", "run"]

_IMAGES, _THREAT = 1000, sr.Linf(0.3)


def run(runs: int, features: int = 5) -> Iterator[str]:
    """The paper's network: two convolutions of few channels and 100 features, told 3 from 7; loops of two
    batch sizes.

    The loop is timed on ``features`` of the 100 in each run.
    """
    model, x, y, what = _subject()
    yield f"{what}, {len(x)} images, accuracy {float((model(x).argmax(1) == y).double().mean()):.1%}"
    for attack in (FeatureAttack(_THREAT, lift=False), FeatureAttack(_THREAT, steps=40, step_size=None)):
        ours: list[float] = []
        loops: dict[int, list[float]] = {128: [], len(x): []}
        apart = 0.0
        for turn in range(runs):
            started = time.perf_counter()
            found = usefulness(model, x, y, attack=attack)
            ours.append(time.perf_counter() - started)
            chosen = range(turn, len(found), len(found) // features)
            for batch, spent in loops.items():
                started = time.perf_counter()
                values = {i: looped(model, x, y, i, attack, batch) for i in chosen}
                spent.append((time.perf_counter() - started) / len(values) * len(found))
            apart = max(apart, *(abs(value - found.robust[i]) for i, value in values.items()))
        for batch, spent in loops.items():
            ratios = sorted(b / a for a, b in zip(ours, spent, strict=True))
            yield (
                f"{attack.steps:>2} steps: {statistics.median(ours):6.1f} s, a loop in batches of {batch:<4} "
                f"{statistics.median(spent):7.1f} s: {statistics.median(ratios):.1f} times as fast "
                f"({ratios[0]:.1f} to {ratios[-1]:.1f}); values at most {apart:.0e} apart; "
                f"{found.robustly_useful} of {len(found)} features robustly useful"
            )


def _subject() -> tuple[nn.Module, Tensor, Tensor, str]:
    model = sr.build_model("capacity_cnn_0", 2, in_channels=1, image_size=28)
    if not (SHARED / "mnist").is_dir():
        x = torch.rand(_IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        return model, x, torch.arange(_IMAGES) % 2, "an untrained network on noise"
    splits = sr.load_data("mnist", root=str(SHARED))
    (a, b), (x, y) = (
        (images.batch(_either(images.y)[:count]))
        for images, count in ((splits.train, 4000), (splits.test, _IMAGES))
    )
    training = sr.Training(objective=sr.Standard(), epochs=4, batch_size=64, learning_rate=0.05)
    training(model, sr.images_from_tensors(a, (b == 7).long()), seed=0)
    return model, x, (y == 7).long(), "a network told 3 from 7"


def _either(y: Tensor) -> Tensor:
    return ((y == 3) | (y == 7)).nonzero().flatten()


def looped(model: nn.Module, x: Tensor, y: Tensor, i: int, attack: FeatureAttack, batch: int) -> float:
    """What one would write: PGD on one feature after the other, with ``lift`` on what the layer gives."""
    layers = sr.layer_map(model, x[:1])
    last = len(layers) - 1

    def feature(z: Tensor) -> Tensor:
        return forward_to(model, layers, z, last, at="conv" if attack.lift else "input")[last].flatten(1)[
            :, i
        ]

    head = model.get_submodule(layers.at(last + 1).name)
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        w = head.weight[1, i] - head.weight[0, i]
        f = torch.cat([feature(part) for part in x.split(batch)])
        f = f.relu() if attack.lift else f
    terms = []
    for a, b, own in zip(x.split(batch), y.split(batch), f.split(batch), strict=True):
        t = 2.0 * b - 1
        sign, now, worst = torch.sign(t * w), a.clone(), None
        for step in range(attack.steps + 1):
            now.requires_grad_(True)
            value = sign * feature(now)
            worst = value.detach() if worst is None else torch.minimum(worst, value.detach())
            if step < attack.steps:
                (slope,) = torch.autograd.grad(value.sum(), now)
                now = (
                    (now.detach() - attack.step * slope.sign())
                    .clamp(a - _THREAT.epsilon, a + _THREAT.epsilon)
                    .clamp(0, 1)
                )
        assert worst is not None
        reached = (sign * worst).relu() if attack.lift else sign * worst
        z = (torch.where(sign != 0, reached, own) - f.mean()) / f.std(correction=0).clamp_min(1e-12)
        terms.append(t * torch.tanh(w * f.std(correction=0) * z / 2))
    return float(torch.cat(terms).mean())

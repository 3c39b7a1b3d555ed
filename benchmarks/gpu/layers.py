"""EDGE on the device and on the processor, and usefulness against a loop over features."""

import statistics

import torch

import semirobust as sr
from benchmarks.gpu.machine import Records, timed
from benchmarks.gpu.subject import SMALL, Size

__all__ = ["edge", "useful"]


def edge(size: Size, device: torch.device, records: Records) -> None:
    """One pair: estimate alone, and with null and standard error."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size.rows, size.features, generator=generator)
    weights = torch.randn(size.features, size.features, generator=generator) / size.features**0.5
    y = (x @ weights).relu()
    for what, measure in (("alone", sr.EDGE(permutations=0, groups=0)), ("with null and error", sr.EDGE())):
        found, seconds = dict[str, float](), dict[str, list[float]]()

        def estimate(place: torch.device, kept: dict[str, float] = found, of: sr.EDGE = measure) -> float:
            a, b = x.to(place), y.to(place)
            return timed(place, lambda: kept.update({str(place): of(a, b, seed=0).bits}))

        for turn in range(size.turns):
            for place in dict.fromkeys((device, torch.device("cpu"))):
                spent = estimate(place)
                if turn:
                    seconds.setdefault(str(place), []).append(spent)
        here, there = str(device), "cpu"
        records.write(
            "dependence",
            f"EDGE, {what}",
            rows=size.rows,
            features=size.features,
            seconds=statistics.median(seconds[here]),
            processor_seconds=statistics.median(seconds[there]),
            bits=found[here],
            bits_apart=abs(found[here] - found[there]),
        )


def useful(size: Size, device: torch.device, records: Records) -> None:
    """100 features of a small network: all pairs side by side, against a loop over some of them."""
    from benchmarks.usefulness import looped
    from semirobust.measures.base.feature_attack import FeatureAttack
    from semirobust.measures.usefulness import usefulness

    images, chosen = (12, 2) if size is SMALL else (1000, 5)
    model = sr.build_model("capacity_cnn_0", 2, in_channels=1, image_size=28).to(device)
    x = torch.rand(images, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(device)
    y = (torch.arange(images) % 2).to(device)
    attack, ours, theirs, apart = FeatureAttack(sr.Linf(0.3), lift=False), list[float](), list[float](), 0.0
    for turn in range(size.turns):
        found, values = [], dict[int, float]()
        spent = timed(device, lambda kept=found: kept.append(usefulness(model, x, y, attack=attack)))
        features = range(turn, len(found[0]), len(found[0]) // chosen)

        def loop(kept: dict[int, float] = values, those: range = features) -> None:
            kept.update({i: looped(model, x, y, i, attack, images) for i in those})

        each = timed(device, loop) / len(features) * len(found[0])
        if turn:
            ours.append(spent)
            theirs.append(each)
        apart = max(apart, *(abs(value - found[0].robust[i]) for i, value in values.items()))
    records.write(
        "usefulness",
        "100 features against a loop over them",
        images=images,
        seconds=statistics.median(ours),
        loop_seconds=statistics.median(theirs),
        times_as_fast=statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
        values_apart=apart,
    )

"""All benchmarks in one run: ``python -m benchmarks [RUNS] [PART ...]``.

Parts are training, pgd-step, suffix, rivals, usefulness, channels, dependence, exact, left-out, engine,
floor, autoattack, pgd, and components, which is not among those run by default."""

import sys
import tempfile
from pathlib import Path

import torch

from benchmarks import (
    channels,
    compare,
    dependence,
    engine,
    left_out,
    pgd,
    rivals,
    suffix,
    training,
    usefulness,
)
from benchmarks.floor import floor
from benchmarks.subjects import SHARED, prepare
from semirobust.records.origin import origin

_PARTS = [
    "training",
    "pgd-step",
    "suffix",
    "rivals",
    "usefulness",
    "channels",
    "dependence",
    "exact",
    "left-out",
    "engine",
    "floor",
    "autoattack",
    "pgd",
]


def main() -> None:
    """Print each comparison; the ratio is what to quote."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    wanted = sys.argv[2:] or _PARTS
    threads = torch.get_num_threads()
    print(
        f"{origin({}, seed=0, threads=threads).device}, torch {torch.__version__}; medians of {runs} runs, in"
        " turn",
        flush=True,
    )
    if "training" in wanted:
        for line in training.run(runs):
            print(line, flush=True)
    if "pgd-step" in wanted:
        for comparison in pgd.run():
            print(comparison, flush=True)
    if "suffix" in wanted:
        for line in suffix.run(runs):
            print(line, flush=True)
    if "rivals" in wanted:
        for line in rivals.run(runs):
            print(line, flush=True)
    if "usefulness" in wanted:
        for line in usefulness.run(runs):
            print(line, flush=True)
    if "channels" in wanted:
        for line in channels.run(runs):
            print(line, flush=True)
    if set(wanted) <= {"training", "pgd-step", "suffix", "rivals", "usefulness", "channels"}:
        return
    if not SHARED.is_dir():
        print("the rest is skipped: no CIFAR-10 and no checkpoints beside the checkout")
        return
    with tempfile.TemporaryDirectory(prefix="semirobust-bench-") as name:
        folder = Path(name)
        prepare(folder, models=wanted != ["dependence"])
        parts = {
            "dependence": dependence.run(folder),
            "exact": compare.exactness(folder),
            "left-out": left_out.run(folder),
            "engine": engine.run(folder, runs),
            "floor": floor(folder),
            "autoattack": compare.autoattack(folder, runs),
            "pgd": compare.pgd(folder, runs),
            "components": compare.autoattack(folder, runs, ("apgd-ce", "apgd-t", "fab-t", "square")),
        }
        for part, lines in parts.items():
            if part in wanted:
                for line in lines:
                    print(line, flush=True)


if __name__ == "__main__":
    main()

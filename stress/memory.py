"""Memory as it is counted against what a process takes: ``python -m stress.memory`` (Linux).

Each case runs in a process of its own. Its resident memory is read with every block from the system, as a
GPU's allocator would count it, and again with glibc's heap as it is by default, which keeps holes."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

import semirobust as sr
from semirobust.core.seed import as_seed
from semirobust.objectives import OBJECTIVES, AbstractObjective

__all__ = ["main"]

_CASES = [
    ("resnet18", 0.5, 32, 128),
    ("vgg19", 0.5, 32, 128),
    ("resnet50", 0.25, 32, 64),
    ("preact_resnet18", 0.25, 64, 32),
    ("densenet121", 0.25, 32, 64),
    ("wrn_28_10", 0.1, 32, 64),
    ("vit_small", 0.5, 32, 128),
]
_WORK = ["attack", "adversarial", "trades", "clat"]
_FRESH = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
_THREAT = sr.Linf(8 / 255)


def main() -> None:
    """A line for each case: counted and measured megabytes, their ratio, and how much more glibc's heap
    holds.
    """
    if len(sys.argv) > 1:
        name, width, side, batch, work = sys.argv[1:]
        _measure(name, float(width), int(side), int(batch), work)
        return
    print(
        "| network, width, pixels, batch | work | counted, MB | measured, MB | counted / measured | with"
        " glibc's heap, MB |"
    )
    print("|---" * 6 + "|")
    ratios = []
    for case in _CASES:
        for work in _WORK:
            counted, measured = _in_a_process(case, work, _FRESH)
            _, heap = _in_a_process(case, work, {})
            ratios.append(counted / measured)
            name, width, side, batch = case
            cells = (
                f"{name}, {width}, {side}, {batch}",
                work,
                *(f"{v / 1e6:.0f}" for v in (counted, measured)),
            )
            print("| " + " | ".join((*cells, f"{ratios[-1]:.2f}", f"{heap / 1e6:.0f}")) + " |", flush=True)
    within = sum(0.8 <= ratio <= 1.2 for ratio in ratios)
    print(
        f"counted / measured: {min(ratios):.2f} to {max(ratios):.2f}; {within} of {len(ratios)} within 20 %"
    )


def _in_a_process(
    case: tuple[str, float, int, int], work: str, environment: Mapping[str, str]
) -> tuple[float, float]:
    command = [sys.executable, "-m", "stress.memory", *map(str, case), work]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    counted, measured = map(float, done.stdout.split())
    return counted, measured


def _measure(name: str, width: float, side: int, batch: int, work: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = sr.build_model(name, 10, width, image_size=side)
    x, y = torch.rand(batch, 3, side, side), torch.arange(batch) % 10
    objective = None if work == "attack" else OBJECTIVES.make(work)
    run = _attack(model) if objective is None else _training(model, objective)
    run(x[:2], y[:2])  # libraries are loaded, kernels made
    model.zero_grad()
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    run(x, y)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())  # they were there before
    print(sr.footprint(model, x, batch, objective=objective), weights + peak - before)


def _attack(model: torch.nn.Module) -> Callable[[torch.Tensor, torch.Tensor], object]:
    attack = sr.PGD(_THREAT, steps=2)
    return lambda x, y: attack(model, x, y, seed=as_seed(0))


def _training(
    model: torch.nn.Module, objective: AbstractObjective
) -> Callable[[torch.Tensor, torch.Tensor], object]:
    def run(x: torch.Tensor, y: torch.Tensor) -> object:
        attack = sr.PGD(_THREAT, steps=1)
        training = sr.Training(
            objective=objective,
            attack=attack,
            epochs=1,
            batch_size=len(x),
            fast="off",
            learning_rate=1e-6,
        )
        return training(model, sr.images_from_tensors(x, y))

    return run


if __name__ == "__main__":
    main()

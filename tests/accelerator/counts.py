"""How often the host waits for the device, and what it launches there: counted, in a table, with ceilings.

Everything is done twice, once shorter, so that the difference is that of a step. ``python -m
tests.accelerator.counts`` prints the table; ``make docs`` writes it into ``docs/reference/accelerators.md``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import nn

import semirobust as sr
from semirobust.attacks import AbstractAttack
from semirobust.core.seed import as_seed
from semirobust.dependence import DEPENDENCES
from semirobust.fast.model import FastModel
from semirobust.objectives import OBJECTIVES
from semirobust.testing.base.network import examples, network, small_images
from semirobust.training.hooks import HOOKS
from semirobust.training.training import Training
from tests.accelerator.device import Counts, counting, simulated
from tests.accelerator.members import fabric_on

__all__ = ["PROCESSES", "Found", "Process", "counted", "render"]

_LINF, _L2, _L1 = sr.Linf(0.02), sr.L2(0.2), sr.L1(2.0)
_N = 8


@dataclass(frozen=True)
class Process:
    """Something that is done in steps.

    Attributes:
        step: what a step is called.
        run: does so many steps on so many examples, and counts.
        short, long: numbers of steps.
        ceiling: how often a step may wait.
        once: how often all else may wait, whatever the number of steps.
        before: how often a step waited when it was first counted; None where it was not.
    """

    step: str
    run: Callable[[int, int], Counts] = field(repr=False)
    short: int
    long: int
    ceiling: float
    once: int
    before: float | None = None


@dataclass(frozen=True)
class Found:
    """What was counted of a process.

    Attributes:
        syncs, launches: of a step.
        once: waits and uploads beside the steps.
        long: what the long run counted in all, and with four times the examples.
    """

    syncs: float
    launches: float
    once: float
    long: tuple[Counts, Counts]


@cache
def _setting(n: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network there, for which what is tried once was tried, with images that it has right."""
    model, (x, _) = network(), examples(n, size=8)
    y = model(x).argmax(1)
    with simulated() as device:
        model, x, y = model.to(device), x.to(device), y.to(device)
        sr.PGD(_LINF, 1)(model, x, y)
    return model, x, y


def _attack(
    make: Callable[[int], AbstractAttack], *, early: bool, audited: bool = False
) -> Callable[[int, int], Counts]:
    def run(steps: int, n: int) -> Counts:
        model, x, y = _setting(n)
        attack = make(steps)
        form = FastModel(model, model, "as it is", 0.0, torch.contiguous_format) if audited else None
        with simulated(), counting() as counts:
            if early:
                attack.fool(model, x, y, seed=1, form=form)
            else:
                attack(model, x, y, seed=1)
        return counts

    return run


def _training(objective: str, hook: str | None = None, fast: str = "off") -> Callable[[int, int], Counts]:
    def run(steps: int, n: int) -> Counts:
        training = Training(
            objective=OBJECTIVES.make(objective),
            attack=None if objective == "standard" else sr.PGD(sr.Linf(8 / 255), steps=2),
            hooks=() if hook is None else (HOOKS.make(hook),),
            epochs=1,
            batch_size=n,
            fast=fast,
        )
        with simulated() as device:
            model, images = network().requires_grad_().to(device), small_images(steps * n, 6)
            with counting() as counts:
                training(model, images, seed=1, fabric=fabric_on(device))
        return counts

    return run


def _estimate(name: str) -> Callable[[int, int], Counts]:
    def run(permutations: int, n: int) -> Counts:
        generator = as_seed(0).generator()
        x = torch.randn(n * 12, 9, generator=generator)
        y = x[:, :5] + 0.3 * torch.randn(n * 12, 5, generator=generator)
        options = {"permutations": permutations} | ({"steps": 3} if name == "infonce" else {})
        with simulated() as device:
            x, y = x.to(device), y.to(device)
            with counting() as counts:
                DEPENDENCES.make(name, options)(x, y, seed=1)
        return counts

    return run


PROCESSES = {
    "PGD": Process("step", _attack(lambda k: sr.PGD(_LINF, k), early=False), 5, 10, 0, 10, 6),
    "PGD that stops early": Process(
        "step", _attack(lambda k: sr.PGD(_LINF, k), early=True), 5, 10, 0.2, 10, 7
    ),
    "PGD, l2": Process("step", _attack(lambda k: sr.PGD(_L2, k), early=True), 5, 10, 0.2, 10, 7),
    "PGD, l1": Process("step", _attack(lambda k: sr.PGD(_L1, k), early=True), 5, 10, 3.2, 20, 16.2),
    "APGD": Process("step", _attack(lambda k: sr.APGD(_LINF, k), early=True), 10, 20, 0.2, 14, 8.5),
    "APGD, l1": Process("step", _attack(lambda k: sr.APGD(_L1, k), early=True), 5, 10, 4.4, 40, 24.2),
    "APGD-T, a target": Process(
        "step",
        _attack(lambda k: sr.APGD(_LINF, k, loss="dlr-targeted", targets=1), early=True),
        *(10, 20, 0.2, 14, 7.5),
    ),
    "FAB-T, a target": Process(
        "step", _attack(lambda k: sr.FAB(_LINF, k, targets=1), early=True), 5, 10, 3.2, 20, 11
    ),
    "Square": Process("query", _attack(lambda k: sr.Square(_LINF, k), early=True), 30, 60, 0.5, 40, 10.3),
    "Square that leaves out proposals": Process(
        "query",
        _attack(lambda k: sr.Square(sr.Linf(0.002), k), early=True, audited=True),
        *(100, 200, 0.8, 300, 1.46),
    ),
    "StAdv": Process("step", _attack(lambda k: sr.StAdv(steps=k), early=True), 5, 10, 0.2, 14, 7),
    "Pixle": Process(
        "round", _attack(lambda k: sr.Pixle(rounds=k, tries=3, largest=3), early=True), 2, 4, 1, 20, 4
    ),
    "training": Process("step", _training("standard"), 3, 5, 1, 80, 2),
    "PGD-AT, attack of 2 steps": Process("step", _training("adversarial"), 3, 5, 1, 80, 3),
    "the same on a fast copy": Process("step", _training("adversarial", fast="auto"), 3, 5, 1, 140),
    "TRADES": Process("step", _training("trades"), 3, 5, 1, 80, 3),
    "CLAT": Process("step", _training("clat"), 3, 5, 1, 80, 3),
    "PGD-AT with AWP": Process("step", _training("adversarial", "awp"), 3, 5, 1, 80, 3),
    "PGD-AT from stored starts": Process("step", _training("adversarial", "stored-starts"), 3, 5, 1, 80, 5),
    "free training, 8 replays": Process("step", _training("adversarial", "free"), 3, 5, 8, 90, 9),
    "EDGE": Process("permutation", _estimate("edge"), 1, 2, 2, 60, 141),
    "HSIC": Process("permutation", _estimate("hsic"), 2, 6, 1, 60, 2),
    "CKA": Process("permutation", _estimate("cka"), 2, 6, 1, 80, 2),
    "distance correlation": Process("permutation", _estimate("distance-correlation"), 2, 6, 1, 80, 2),
    "KSG": Process("permutation", _estimate("ksg"), 2, 6, 2, 40, 3),
    "InfoNCE": Process("permutation", _estimate("infonce"), 2, 6, 1, 40, 2),
}
"""What is counted, by name."""


@cache
def counted(name: str) -> Found:
    """The counts of a process."""
    process = PROCESSES[name]
    short, long = process.run(process.short, _N), process.run(process.long, _N)
    steps = process.long - process.short
    syncs = (long.syncs - short.syncs) / steps
    return Found(
        syncs,
        (long.launches - short.launches) / steps,
        short.syncs - process.short * syncs,
        (long, process.run(process.long, 4 * _N)),
    )


def table() -> str:
    """The rows of the page."""
    rows = []
    for name, process in PROCESSES.items():
        found = counted(name)
        before = "" if process.before is None else f"{process.before:g}"
        cells = (name, process.step, before, f"{found.syncs:g}", f"{found.once:g}", f"{found.launches:.0f}")
        rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    head = "| what | a step is a | waits of a step at first | now | waits beside the steps | launches of a step |"
    return f"{head}\n|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"


def render() -> str:
    """The page as it should be."""
    return _PAGE.replace("VERSION", ".".join(torch.__version__.split(".")[:2])).replace("TABLE\n", table())


_PAGE = """# On a GPU: what runs, and how often the host waits

Drawn from the tests, with PyTorch VERSION: `tests/accelerator/counts.py` counts, and its tests hold ceilings.

## What is simulated

The tests have a device that is not the CPU.
It is PyTorch's private backend, written in Python over tensors of the CPU.
Every registered norm, attack, augmentation, objective, hook, method, measure, estimator of dependence,
saliency and architecture runs on it, a new one by being registered.

- The results are those of the CPU to the last digit, but for attention (1e-4) and EDGE (1e-12), which are
  added up in another order there.
- Operands on two devices are refused, and so is a generator of another device.
  CUDA would copy an index from the host without a word; here that is refused too.
- Nothing is moved unasked.
  Attacks and measures refuse a network, images and labels on different devices, in one sentence that says
  what is where.
  `evaluate` and training bring batches to the network, never the network to the images.

## How often the host waits

The host hands operations to a device and goes on.
It waits where it reads a value, where the size of a result depends on values, such as an index by a mask,
and where it copies from ordinary memory and asks for that to be done.
Each such wait leaves the device without work.
A launch is an operation of PyTorch that is neither a view nor an allocation.
All of this is done with one network of four convolutions, so compare rows with each other alone.

TABLE

With four times the examples the numbers stay the same.
Those under l1 depend on the values of the worst example, those of Pixle and Square on how many tries fit into
a batch.
A step of training waits for its loss, since a loss that is no number must stop it before the weights move.

## What was removed

- Who is done is looked at after every fifth step, and left out of the batch then.
  Until then it goes on, and nothing changes of what is kept of it, so the points are those of a look at
  each step.
  On a CPU looking is free, and done at each step.
- Points, gradients and bests are chosen by `torch.where` rather than by lists of rows.
- Which examples had a gradient, and which were fooled, is counted on the device and read once.
- Square looks every fifth time who is done and how many proposals are kept.
  With a fast copy it waits once more, to ask the network where the copy cannot tell.
  Where it leaves out proposals it reads what it needs of a turn together, and waits 7 times a turn, not 16;
  a turn is some five queries of each run.
- The line searches of FAB-T and of the l1 ball look every 4 and 12 turns, and stop where they would have.
- A fast copy that cannot tell whether an example is fooled asks the network at a look, not at each step.
- Images stay bytes on the device, with their labels; which rows make a batch is uploaded without waiting.
- Stored perturbations of training lie beside the images.
- EDGE counts its buckets by sorting, without asking how many there are, and reads ten bucketings together.
- Whether a network overwrites its input is compared once for a network, not once for an attack.

## What an accelerator runs

- The fast copy of a network is chosen there as on a CPU, by agreement of logits and gradients and never by a
  clock: channels last, batch norms folded, bfloat16 behind the first layer where the device computes in it.
- TF32 is PyTorch's own setting, of the network and of its copy alike; a record names it.
- `--fast graphs` (`fast="graphs"`) records the launches of the copy in an evaluation on a CUDA device,
  once for each shape of a batch, and replays them as one.
  A recording that fails, or gives other logits, is not used, and the log says why.
  It is off by default, and the tests show it with a recorder in the place of CUDA's.

## What this cannot show

- How long anything takes: there are no kernels and no queue, and a launch costs nothing.
- Memory: tensors lie in that of the host.
- Errors of kernels, and how they round.
- Streams, several devices and their messages.
- Numbers drawn there: here a generator gives those of the CPU, while that of CUDA gives others.
  So equal seeds give equal results on one kind of device, not on two.
- What a network of yours does: one that reads a value in its forward pass waits each time.
"""


if __name__ == "__main__":
    print(table())

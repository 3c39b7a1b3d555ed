"""One attack by one library in a process of its own, so that time and peak memory are its alone.

``python -m benchmarks.worker LIBRARY ATTACK SUBJECT FOLDER EXAMPLES SEED`` prints one line of JSON.
"""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import semirobust as sr
from benchmarks.subjects import Subject, subject
from semirobust.attacks import ATTACKS, AbstractAttack

__all__ = ["main", "memory"]


def main() -> None:
    """Run what the command line says."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    library, attack, name, folder, examples, seed = sys.argv[1:]
    s = subject(name, Path(folder), int(examples))
    run = _LIBRARIES[library](s, attack, int(seed))
    before = memory(reset=True)
    started = time.perf_counter()
    stands = run()
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "seconds": seconds,
                "stands": stands.int().tolist(),
                "megabytes": memory() - before,
                "forward": s.passes.forward,
                "both": s.passes.both,
            }
        )
    )


def memory(*, reset: bool = False) -> float:
    """Peak of the process's memory in MB since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def _ours(s: Subject, name: str, seed: int) -> Callable[[], Tensor]:
    attack = _attack(s, name)
    if name.startswith("bare-"):
        return lambda: _verdict(s, attack(s.model, s.x, s.y, seed=seed))
    fast = "off" if name.startswith("exact-") else "auto"
    return lambda: sr.evaluate(s.model, s.x, s.y, {name: attack}, seed=seed, fast=fast).robust[name]


def _attack(s: Subject, name: str) -> AbstractAttack:
    name = name.removeprefix("bare-").removeprefix("exact-")
    parts = dict(zip(("apgd-ce", "apgd-t", "fab-t", "square"), sr.AutoAttack(s.threat).parts, strict=True))
    if name in parts:
        return parts[name]
    made = ATTACKS.make(name, threat=s.threat)
    return sr.PGD(s.threat, made.steps, step_size=2 / 255) if isinstance(made, sr.PGD) else made


def _pyautoattack(s: Subject, name: str, seed: int) -> Callable[[], Tensor]:
    from pyautoattack import AutoAttack  # type: ignore[import-not-found]

    form = {"version": "standard"} if name == "autoattack" else {"version": "custom", "attacks": [name]}
    attack = AutoAttack(s.model, eps=s.threat.epsilon, norm="Linf", seed=seed, **form)
    return lambda: _verdict(s, attack.run_standard_evaluation(s.x, s.y)[0])


def _torchattacks(s: Subject, name: str, seed: int) -> Callable[[], Tensor]:
    import torchattacks

    steps = int(name.rpartition("-")[2])
    attack = torchattacks.PGD(s.model, eps=s.threat.epsilon, alpha=2 / 255, steps=steps)
    torch.manual_seed(seed)
    return lambda: _verdict(s, attack(s.x, s.y))


def _foolbox(s: Subject, name: str, seed: int) -> Callable[[], Tensor]:
    import foolbox

    attack = foolbox.attacks.LinfPGD(abs_stepsize=2 / 255, steps=int(name.rpartition("-")[2]))
    wrapped = foolbox.models.PyTorchModel(s.model, bounds=(0, 1))
    torch.manual_seed(seed)
    return lambda: ~attack(wrapped, s.x, s.y, epsilons=s.threat.epsilon)[2]


def _verdict(s: Subject, x_adv: Tensor) -> Tensor:
    with torch.no_grad():
        return s.model(x_adv).argmax(1) == s.y


_LIBRARIES = {
    "ours": _ours,
    "pyautoattack": _pyautoattack,
    "torchattacks": _torchattacks,
    "foolbox": _foolbox,
}

if __name__ == "__main__":
    main()

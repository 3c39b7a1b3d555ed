"""AutoAttack against the authors' code, and PGD against a plain loop."""

import importlib
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import semirobust as sr
from benchmarks.gpu.machine import Records, memory_of, timed
from benchmarks.gpu.plain import pgd
from benchmarks.gpu.subject import Size, Subject

__all__ = ["against_a_plain_loop", "autoattack"]

_THREAT = sr.Linf(8 / 255)
_FEWEST = 20
_SLOWER = 3  # times as long as ours the authors' code may take, for what fits


def against_a_plain_loop(size: Size, s: Subject, device: torch.device, records: Records) -> None:
    """PGD-10: the attack alone, and a whole evaluation, each in turn with the loop."""
    attack = sr.PGD(_THREAT, steps=10, step_size=2 / 255)
    stands: dict[str, Tensor] = {}

    def loop() -> None:
        stands["loop"] = _correct(s, pgd(s.model, s.x, s.y, 10))

    def alone() -> None:
        stands["alone"] = _correct(s, attack(s.model, s.x, s.y, seed=0))

    def whole() -> None:
        stands["whole"] = sr.evaluate(s.model, s.x, s.y, {"pgd": attack}, seed=0).standing("pgd")

    ways: dict[str, Callable[[], None]] = {"loop": loop, "alone": alone, "whole": whole}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(size.turns):
        for name, work in ways.items():
            spent = timed(device, work)
            if turn:
                seconds[name].append(spent)
    for name in ("alone", "whole"):
        ratios = sorted(b / a for a, b in zip(seconds[name], seconds["loop"], strict=True))
        records.write(
            "pgd",
            f"PGD-10, {name}, against a plain loop",
            images=len(s.x),
            seconds=statistics.median(seconds[name]),
            loop_seconds=statistics.median(seconds["loop"]),
            times_as_fast=statistics.median(ratios),
            range=[ratios[0], ratios[-1]],
            robust=float(stands[name].float().mean()),
            loop_robust=float(stands["loop"].float().mean()),
            bytes=memory_of(device, ways[name]),
            loop_bytes=memory_of(device, loop),
        )


def autoattack(size: Size, s: Subject, device: torch.device, records: Records, seconds: float) -> None:
    """Standard AutoAttack on as many images as fit into the time, ours first."""
    theirs, why = _imported("pyautoattack")
    attack = sr.AutoAttack(_THREAT)
    n = _fitting(size, s, device, attack.cost, seconds / (1 + _SLOWER * bool(theirs)))
    if n < min(_FEWEST, size.images):
        records.leave_out("autoattack", f"{n} images would fit into {seconds:.0f} s, expected {_FEWEST}")
        return
    x, y, found = s.x[:n], s.y[:n], dict[str, Tensor]()

    def ours() -> None:
        found["ours"] = sr.evaluate(s.model, x, y, {"autoattack": attack}, seed=0).standing("autoattack")

    spent: dict[str, float] = {}
    used = memory_of(device, lambda: spent.update(ours=timed(device, ours)))
    if not spent:
        spent["ours"] = timed(device, ours)
    robust = float(found["ours"].float().mean())
    records.write("autoattack", "ours", images=n, seconds=spent["ours"], robust=robust, bytes=used)
    if theirs is None:
        records.leave_out(
            "autoattack", f"the authors' code needs pyautoattack, which cannot be imported ({why})"
        )
        return
    own = {"eps": _THREAT.epsilon, "norm": "Linf", "seed": 0, "version": "standard"}
    other = theirs.AutoAttack(s.model, device=device, **own)

    def reference() -> None:
        x_adv = other.run_standard_evaluation(x, y)[0]
        with torch.no_grad():
            found["theirs"] = (
                torch.cat([s.model(part).argmax(1) for part in x_adv.to(device).split(250)]).cpu() == y.cpu()
            )

    used = memory_of(device, lambda: spent.update(theirs=timed(device, reference)))
    if "theirs" not in spent:
        spent["theirs"] = timed(device, reference)
    records.write(
        "autoattack",
        "against the authors' code",
        images=n,
        seconds=spent["theirs"],
        times_as_fast=spent["theirs"] / spent["ours"],
        robust=float(found["theirs"].float().mean()),
        verdicts_equal=float((found["ours"].cpu() == found["theirs"]).float().mean()),
        bytes=used,
    )


def _imported(name: str) -> tuple[Any, str]:
    """A package that may not be there; else why not."""
    try:
        return importlib.import_module(name), ""
    except Exception as error:  # the installation of another package can be broken in any way
        return None, str(error)


def _fitting(size: Size, s: Subject, device: torch.device, cost: int, seconds: float) -> int:
    """How many images: those that stand after a quick attack take all passes of the rest."""
    few = s.x[: min(256, len(s.x))]
    with torch.no_grad():
        s.model(few)
        pace = min(timed(device, lambda: s.model(few)) for _ in range(3)) / len(few)
    quick = sr.evaluate(s.model, s.x, s.y, {"pgd": sr.PGD(_THREAT, steps=10)}, seed=0)
    share = max(float(quick.standing("pgd").float().mean()), 1 / len(s.x))
    # A pass backward takes about as long as two forward, and small batches fill no device.
    return min(size.images, int(seconds / (2 * pace * cost * share)))


def _correct(s: Subject, x_adv: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([s.model(part).argmax(1) for part in x_adv.split(250)]) == s.y

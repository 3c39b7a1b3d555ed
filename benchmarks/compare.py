"""Our attacks and others', in turn, each run in its own process."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Versus", "autoattack", "exactness", "pgd"]


@dataclass(frozen=True)
class Outcome:
    """What a worker printed."""

    seconds: float
    stands: Sequence[int]
    megabytes: float
    forward: int
    both: int


@dataclass(frozen=True)
class Versus:
    """One attack on one model, by two libraries, run by run."""

    what: str
    other: str
    ours: Sequence[Outcome]
    theirs: Sequence[Outcome]

    def __str__(self) -> str:
        pairs = list(zip(self.ours, self.theirs, strict=True))
        ratios = sorted(b.seconds / a.seconds for a, b in pairs)
        a, b = (
            statistics.mean(sum(o.stands) / len(o.stands) for o in side) for side in (self.ours, self.theirs)
        )
        equal = statistics.mean(
            sum(p == q for p, q in zip(o.stands, t.stands, strict=True)) / len(o.stands) for o, t in pairs
        )
        seconds, memory = (
            [statistics.median(getattr(o, field) for o in side) for side in (self.ours, self.theirs)]
            for field in ("seconds", "megabytes")
        )
        spread = f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        return (
            f"{self.what:<36} {statistics.median(ratios):5.2f} times as fast as {self.other:<12} {spread};"
            f" {seconds[0]:.1f} s to {seconds[1]:.1f} s; robust {a:.1%} to {b:.1%}, verdicts equal"
            f" {equal:.1%}; memory {memory[0]:.0f} MB to {memory[1]:.0f} MB"
        )


def run(library: str, attack: str, subject: str, folder: Path, examples: int, seed: int) -> Outcome:
    """One worker."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.worker",
        library,
        attack,
        subject,
        str(folder),
        str(examples),
        str(seed),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command[3:])}: {result.stderr.strip().splitlines()[-1:]}")
    return Outcome(**json.loads(result.stdout.strip().splitlines()[-1]))


def versus(
    what: str, attack: str, other: str, subject: str, folder: Path, examples: int, runs: int
) -> Versus:
    """Both libraries in turn, ``runs`` times with another seed each."""
    ours, theirs = [], []
    for seed in range(runs):
        ours.append(run("ours", attack, subject, folder, examples, seed))
        theirs.append(run(other, attack.removeprefix("bare-"), subject, folder, examples, seed))
    return Versus(what, other, ours, theirs)


def autoattack(folder: Path, runs: int, attacks: Sequence[str] = ("autoattack",)) -> Iterator[Versus]:
    """The ensemble, or parts of it, against the authors' code."""
    for subject, title, examples in (
        ("small", "small, 2/255", 300),
        ("quarter", "ResNet-18 / 4, 8/255", 100),
    ):
        for attack in attacks:
            yield versus(f"{title}, {attack}", attack, "pyautoattack", subject, folder, examples, runs)


def pgd(folder: Path, runs: int) -> Iterator[Versus]:
    """PGD on a ResNet-18 of width 1 and a well-trained ResNet-20: a whole evaluation, and the attack alone on
    all images.
    """
    for subject, title in (
        ("whole", "ResNet-18 after PGD-AT"),
        ("undefended", "ResNet-18 undefended"),
        ("clean", "ResNet-20 undefended"),
    ):
        for steps, examples in ((10, 64), (100, 16)):
            for other in ("torchattacks", "foolbox"):
                yield versus(f"{title}, PGD-{steps}", f"pgd-{steps}", other, subject, folder, examples, runs)
        yield versus(f"{title}, PGD-10 alone", "bare-pgd-10", "torchattacks", subject, folder, 64, runs)


def exactness(folder: Path, examples: int = 1000) -> Iterator[str]:
    """The fast search against the exact one: robust accuracy on many images."""
    for subject, title in (
        ("small", "small robust network, 2/255"),
        ("clean", "undefended ResNet-20, 8/255"),
    ):
        for attack in ("pgd-20", "apgd-ce"):
            fast = run("ours", attack, subject, folder, examples, 0)
            exact = run("ours", f"exact-{attack}", subject, folder, examples, 0)
            a, b = (100 * sum(o.stands) / len(o.stands) for o in (fast, exact))
            ratio = exact.seconds / fast.seconds
            yield (
                f"{title}, {attack}, {examples} images: fast {a:.1f} %, exact {b:.1f} %, {ratio:.2f} times as"
                " fast"
            )

"""Two processes over NCCL, or over gloo on a CPU: verdicts as of one, and equal weights after training.

``python -m benchmarks.gpu.processes RANK FOLDER KIND SIZE`` is one of them.
"""

import copy
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

import semirobust as sr
from benchmarks.gpu.machine import Records, described
from benchmarks.gpu.subject import FULL, SMALL, Size, subject
from semirobust.core.processes import Processes

__all__ = ["Group", "run"]

_COUNT = 2


class Group:
    """What this library asks of a launched Fabric, by ``torch.distributed`` alone: an image has no
    Lightning.
    """

    loggers: Sequence[Any] = ()
    strategy = SimpleNamespace(precision=SimpleNamespace(precision="32-true"))

    def __init__(self, rank: int, folder: Path, device: torch.device) -> None:
        self.device, self.global_rank, self.world_size = device, rank, _COUNT
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, init_method=f"file://{folder / 'meet'}", rank=rank, world_size=_COUNT
        )

    @property
    def is_global_zero(self) -> bool:
        return self.global_rank == 0

    def autocast(self) -> Any:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def barrier(self) -> None:
        dist.barrier()

    def broadcast(self, value: Any) -> Any:
        held = [value]
        dist.broadcast_object_list(held)
        return held[0]

    def all_reduce(self, value: Tensor, reduce_op: str) -> Tensor:
        kept = value.clone()
        dist.all_reduce(kept, dist.ReduceOp.MAX if reduce_op == "max" else dist.ReduceOp.SUM)
        return kept / _COUNT if reduce_op == "mean" else kept


def run(size: Size, device: torch.device, folder: Path, records: Records, seconds: float) -> None:
    """Start both, and wait for them."""
    if device.type == "cuda" and torch.cuda.device_count() < _COUNT:
        records.leave_out("processes", "NCCL needs two devices, and there is one")
        return
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.gpu.processes"]
    own = [device.type, "small" if size is SMALL else "full", str(records.path)]
    both = [
        subprocess.Popen([*command, str(rank), str(folder), *own], env={**os.environ, "OMP_NUM_THREADS": "1"})
        for rank in range(_COUNT)
    ]
    try:
        codes = [each.wait(max(seconds - (time.monotonic() - began), 1)) for each in both]
    except subprocess.TimeoutExpired:
        records.leave_out("processes", f"two processes took more than {seconds:.0f} s")
        return
    finally:
        for each in both:
            each.kill()
    if any(codes):
        records.leave_out("processes", f"they ended with the codes {codes}; what they said stands above")


def main() -> None:
    """One process."""
    rank, folder, kind, size, path = int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    wanted = SMALL if size == "small" else FULL
    s, fabric = subject(wanted, device, folder), Group(rank, folder, device)
    threat, batch = sr.Linf(8 / 255), max(len(subject(wanted, device, folder).x) // 4, 1)
    attack = {"pgd": sr.PGD(threat, steps=10)}
    alone = sr.evaluate(s.model, s.x, s.y, attack, seed=0, batch_size=batch)
    began = time.perf_counter()
    found = sr.evaluate(
        s.model,
        s.x,
        s.y,
        attack,
        seed=0,
        batch_size=batch,
        processes=Processes(fabric),  # type: ignore[arg-type]
    )
    seconds = time.perf_counter() - began
    x, y = (part[: 2 * wanted.batch].cpu() for part in s.train)
    images = sr.images_from_tensors(x, y, [str(label) for label in range(10)])
    training = sr.Training(
        objective=sr.Adversarial(), attack=sr.PGD(threat, steps=2), epochs=1, batch_size=wanted.batch
    )
    trained = training(copy.deepcopy(s.model), images, seed=0, fabric=fabric)  # type: ignore[arg-type]
    ours = torch.cat([p.detach().flatten() for p in trained.model.parameters()])
    mean = fabric.all_reduce(ours, "mean")
    if rank == 0:
        about = {key: value for key, value in described(device).items() if key != "semirobust"}
        Records(Path(path), about).write(
            "processes",
            f"two over {dist.get_backend()}",
            seconds=seconds,
            verdicts_equal=float((found.standing("pgd") == alone.standing("pgd")).float().mean()),
            weights_apart=float((ours - mean).abs().max()),
            loss_nats=trained.logs[-1].loss,
        )
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

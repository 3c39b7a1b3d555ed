"""How training went."""

from pathlib import Path
from typing import TYPE_CHECKING

from semirobust.cli.console import print_json, tell, tell_next

if TYPE_CHECKING:
    from semirobust.training.training import Trained

__all__ = ["show_training"]


def show_training(trained: "Trained", out: Path, *, as_json: bool) -> None:
    """How training went."""
    last = trained.logs[-1] if trained.logs else None
    if as_json:
        entries = [
            {"epoch": log.epoch, "loss": log.loss, "seconds": log.seconds, **log.metrics}
            | {str(key): values for key, values in log.by_layer.items()}
            for log in trained.logs
        ]
        print_json(
            {
                "out": str(out),
                "best_epoch": trained.best_epoch,
                "stopped": trained.stopped,
                "notes": trained.notes,
                "epochs": entries,
            }
        )
        return
    if last is not None:
        metrics = ", ".join(f"{name} {value:.1%}" for name, value in last.metrics.items())
        epochs = f"{len(trained.logs)} epoch{'s' * (len(trained.logs) != 1)}"
        held_out = f"held out: {metrics or 'none'}"
        tell(f"{epochs}, loss {last.loss:.4f}; {held_out}; best epoch {trained.best_epoch}")
    for note in trained.notes:
        tell(f"{note}.")
    if trained.stopped:
        tell(trained.stopped)
    tell_next(out, "evaluate", "profile", "harden --from", "report")

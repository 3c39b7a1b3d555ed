"""Who is told how a training goes: callbacks of the user, and the loggers of a fabric."""

import logging
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

from semirobust.core.errors import InputError
from semirobust.core.text import first_line
from semirobust.training.alone import Alone
from semirobust.training.run import Run
from semirobust.training.state import EpochLog

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers.logger import Logger

    from semirobust.training.training import Trained

__all__ = ["Audience", "Callback", "Listener", "values_of"]

_LOG = logging.getLogger("semirobust.training")
_METHODS = ("on_train_start", "on_epoch_end", "on_train_end")


class Callback:
    """Is told how a training goes. Subclass it and define what you need, or hand over any object that has
    some of these methods.

    In a training of several processes the first one alone calls it. An exception ends the training: what was
    trained is kept and returned, with the reason in ``Trained.stopped``. ``raise StopIteration("why")`` is
    how a callback ends it on purpose.
    """

    def on_train_start(self, run: Run) -> None:
        """Before the first epoch, also of a run that goes on; ``run.state.epoch`` are done."""

    def on_epoch_end(self, log: EpochLog) -> None:
        """After each epoch and its validation.

        Args:
            log: its number (from 1), loss in nats, learning rate, seconds, layers that trained, and
                ``log.metrics``, the scores of validation by name.
        """

    def on_train_end(self, trained: "Trained") -> None:
        """After the last epoch, also of a training that stopped early."""


Listener: TypeAlias = Union[Callback, "Logger", Callable[[EpochLog], Any]]
"""A callback, a logger of Lightning, or a function of the log of each epoch such as ``print``."""


def _is_logger(listener: object) -> "TypeGuard[Logger]":
    """Whether it is one of Lightning, of which there is none before that was imported."""
    loggers = sys.modules.get("lightning_fabric.loggers.logger")
    return loggers is not None and isinstance(listener, loggers.Logger)


@dataclass(frozen=True)
class Audience:
    """All who are told of one training.

    Args:
        listeners: in their order.
        fabric: whose loggers get the numbers of every epoch, and whose first process tells.
        name: of the training, in front of the names of these numbers; empty for one alone.
    """

    listeners: Sequence[Any]
    fabric: "Fabric | Alone"
    name: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.listeners, str) or not isinstance(self.listeners, Sequence):
            raise InputError(f"callbacks: expected a list such as [print], got {self.listeners!r}")
        for each in self.listeners:
            if isinstance(each, type) or not (callable(each) or any(hasattr(each, m) for m in _METHODS)):
                if _is_logger(each):
                    continue
                raise InputError(
                    "callbacks: expected objects with on_epoch_end(log), functions of a log, or loggers of"
                    f" Lightning; got {each!r}"
                )

    def start(self, run: Run) -> str:
        """Tell that it starts; gives why it is not to, else nothing.

        A logger that keeps each epoch once (``whole``) gets those that were done before, too.
        """
        if self.fabric.is_global_zero:
            for logger in (*self.fabric.loggers, *self.listeners):
                if _is_logger(logger) and getattr(logger, "whole", False):
                    for log in run.state.logs:
                        logger.log_metrics(values_of(log, self.name), log.epoch)
        return self._told("on_train_start", run)

    def epoch(self, log: EpochLog) -> str:
        """Tell of an epoch; gives why it was the last, else nothing."""
        loggers = [each for each in self.listeners if _is_logger(each)]
        if self.fabric.is_global_zero:
            values = values_of(log, self.name)
            for logger in (*self.fabric.loggers, *loggers):
                logger.log_metrics(values, log.epoch)
        return self._told("on_epoch_end", log)

    def end(self, trained: "Trained") -> str:
        """Tell that it is over; gives what failed, else nothing."""
        if self.fabric.is_global_zero:
            for each in (*self.fabric.loggers, *self.listeners):
                if _is_logger(each):
                    each.save()
        return self._told("on_train_end", trained)

    def _told(self, method: str, what: Any) -> str:
        said = ""
        if self.fabric.is_global_zero:
            for each in self.listeners:
                said = said or self._tell(each, method, what)
        if isinstance(self.fabric, Alone) or self.fabric.world_size == 1:
            return said
        return str(self.fabric.broadcast(said))

    def _tell(self, listener: Any, method: str, what: Any) -> str:
        if _is_logger(listener):
            return ""
        call = getattr(listener, method, None)
        if call is None and method == "on_epoch_end" and not any(hasattr(listener, m) for m in _METHODS):
            call = listener
        if call is None:
            return ""
        try:
            call(what)
        except StopIteration as stop:
            return f"a callback ended it{f': {stop.value}' if stop.value else ''}"
        except Exception as error:  # code of the user
            said = f"a callback failed in {method}: {first_line(error, with_type=True)}"
            _LOG.error("%s", said, exc_info=True)
            warnings.warn(f"the training ended, since {said}; what was trained is kept", stacklevel=2)
            return said
        return ""


def values_of(log: EpochLog, name: str = "") -> dict[str, float]:
    """The numbers of an epoch under the names that loggers have for them, without those that are none."""
    values = {
        "loss": log.loss,
        "learning_rate": log.learning_rate,
        "seconds": log.seconds,
        "trained_parameters": float(log.trained_parameters),
        **log.metrics,
        **{f"{key}.layer{i}": v for key, layers in log.by_layer.items() for i, v in layers.items()},
    }
    front = f"{name}/" if name else ""
    return {f"{front}{key}": float(value) for key, value in values.items() if not math.isnan(value)}

"""Results read again from the files that they were saved to."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semirobust.core.budget import read_json
from semirobust.core.errors import InputError
from semirobust.core.links import given_file
from semirobust.core.shown import RESULTS, AbstractResult, read_result
from semirobust.core.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SavedResult", "load_result"]

_HOMES = (
    "procedures.audit",
    "procedures.lottery",
    "procedures.recovery",
    "evaluation.bounds",
    "evaluation.sweep",
    "evaluation.transfer",
    "measures.stability",
    "measures.usefulness",
    "experiments.compared",
    "experiments.loaded",
)  # where results are; what these import brings the rest


@dataclass(frozen=True, eq=False, repr=False)
class SavedResult(AbstractResult):
    """What a result showed of itself when it was saved: its table, from which it is shown and drawn again.

    What is not in the table, such as the verdict on each example, is not in the file.

    Attributes:
        of: the kind of the result, such as ``Evaluation``.
        content: its table.
    """

    of: str
    content: Table

    @property
    def kind(self) -> str:
        return self.of

    def table(self) -> Table:
        return self.content

    def plot(self) -> "Figure":
        for home in _HOMES:
            importlib.import_module(f"semirobust.{home}")
        if self.of not in RESULTS:
            raise InputError(f"plot: {self.of} is no result of semirobust; import the package that it is of")
        if not self.content.rows:
            raise InputError(f"plot: expected a result with rows, got an empty {self.of}")
        try:
            return RESULTS[self.of].drawn(self.content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"plot: the table is not one of {self.of} ({type(error).__name__})") from None


def load_result(path: str | Path) -> SavedResult:
    """A result from the ``.json`` file that ``result.save(path)`` wrote.

    It prints, shows, draws, frames and saves itself as the result did. Nothing in the file is executed.

    Args:
        path: the file.

    Raises:
        InputError: there is none, or it holds something else.
    """
    path = given_file(path)
    try:
        return SavedResult(*read_result(read_json(path)))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"load_result: cannot read {path} ({error.strerror})") from None
    except (ValueError, RecursionError, RuntimeError, TypeError) as error:
        raise InputError(
            f"load_result: expected a .json file that a result was saved to, got {path.name} ({error})"
        ) from None

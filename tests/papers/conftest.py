"""The command line, called in this process."""

from tests.experiments.conftest import run

__all__ = ["run"]

"""The host waits for the device no more often than is promised, and never the more often the larger a batch."""

import re

import pytest
import torch

from tests.accelerator.counts import PROCESSES, counted, render
from tests.docs.tables import ACCELERATORS


@pytest.mark.parametrize("name", PROCESSES)
def test_a_step_waits_no_more_often_than_promised(name):
    process, found = PROCESSES[name], counted(name)
    assert found.syncs <= process.ceiling, found.long[0].where
    assert found.once <= process.once, found.long[0].where


@pytest.mark.parametrize("name", PROCESSES)
def test_nothing_is_done_example_by_example(name):
    """With four times the examples the same is waited for and launched, up to what their values ask for."""
    process, (few, many) = PROCESSES[name], counted(name).long
    assert many.syncs <= process.once + process.ceiling * process.long
    assert many.launches <= 2 * few.launches
    # Of these values and batches decide how many rounds.
    if "l1" not in name and not name.startswith(("Pixle", "Square")):
        assert (many.syncs, many.launches) == (few.syncs, few.launches)


def test_the_page_is_what_is_counted():
    """Of the PyTorch that it names; others divide some operations in another way."""
    page = ACCELERATORS.read_text()
    version = re.search(r"PyTorch (\d+\.\d+)", page)
    if version and torch.__version__.startswith(f"{version[1]}."):
        assert page == render(), "run `make docs`"

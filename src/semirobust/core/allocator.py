"""Keeping the memory that a loop frees, for its next pass."""

import functools

import torch

__all__ = ["keep_freed_memory"]

# glibc lets its threshold grow up to 32 MiB, header included.
_LARGEST = 32 * 2**20 - 2**16


@functools.cache
def keep_freed_memory() -> None:
    """Make glibc keep blocks of up to 32 MiB that are freed, instead of giving each back to the system at
    once.

    A block that was given back costs a page fault for every 4 KiB when it is wanted again: a third of the
    time of an attack on a CPU, and more on a virtual machine. glibc adapts by itself once a block of that
    size was freed, so one is. Other C libraries are left as they are."""
    torch.empty(_LARGEST, dtype=torch.uint8)

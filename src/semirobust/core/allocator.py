"""Keeping the memory that one pass of a loop frees for its next pass."""

import functools

import torch

__all__ = ["keep_freed_memory"]

# The threshold of glibc grows up to 32 MiB, of which the block's header takes a part.
_MAX_BLOCK = 32 * 2**20 - 2**16


@functools.cache
def keep_freed_memory() -> None:
    """Make glibc keep freed blocks of up to 32 MiB, instead of returning each to the system at once.

    A block that was returned costs a page fault for every 4 KiB when it is allocated again. On a CPU that is
    a third of the time of an attack, and more on a virtual machine. glibc raises its threshold to the size of
    the largest block that was freed, so this allocates and frees one. Other C libraries are not affected.
    """
    torch.empty(_MAX_BLOCK, dtype=torch.uint8)

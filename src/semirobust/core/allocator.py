"""Keeping the memory that one pass of a loop frees for its next pass, and giving it back after the last."""

import ctypes
import functools
import sys

import torch

__all__ = ["give_back_freed_memory", "keep_freed_memory"]

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


def give_back_freed_memory() -> None:
    """Give what :func:`keep_freed_memory` kept back to the system, so that it does not add up with what the
    next loop needs. Other C libraries than glibc are not affected.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)

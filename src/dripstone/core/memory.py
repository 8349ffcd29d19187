"""Memory for large matrices, kept for the next one of about the same size.

Fresh memory is dear: the system fills it with zeros, and a virtual machine may first have to ask its host for it, which
can take as long as what is then computed there (``python -m bench.closed_form``). So what is given up is kept for the
next matrix. Meanwhile it is marked as free (MADV_FREE): the system takes it when it runs short.
"""

from __future__ import annotations

import mmap
import weakref
from contextlib import suppress

import numpy as np
import torch

KEPT = 4
"""Pieces that are kept: a factor, the sums that the latest ones have replaced, and two portions of expanded rows."""

LARGE = 2**20
"""Numbers from which on it matters; less is left to the allocator, which keeps it itself."""

SLACK = 1.25
"""How much larger than asked for a kept piece may be: portions of rows differ a little from stage to stage."""

_CAN_KEEP = hasattr(mmap, "MADV_FREE") and hasattr(mmap, "MAP_PRIVATE")
_kept: list[mmap.mmap] = []


def room(size: int) -> torch.Tensor:
    """A float64 vector to be filled; what is in it is nobody's.

    Examples
    --------
    >>> room(3).shape, room(3).dtype
    (torch.Size([3]), torch.float64)
    """
    if size < LARGE or not _CAN_KEEP:
        return torch.from_numpy(np.empty(size))
    memory = _take(8 * size)
    values = np.frombuffer(memory, count=size)
    # The tensor, and whatever shares its storage, keeps this array alive.
    weakref.finalize(values, _keep, memory).atexit = False
    return torch.from_numpy(values)


def _take(size: int) -> mmap.mmap:
    for memory in sorted(_kept, key=len):
        if size <= len(memory) <= SLACK * size:
            with suppress(ValueError):  # another thread was faster
                _kept.remove(memory)
                return memory
    memory = _map(size)
    with suppress(AttributeError, OSError):  # a system without huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _map(size: int) -> mmap.mmap:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        return mmap.mmap(-1, size, flags)
    except OSError:  # what is kept counts where a process has a limit of its own
        _kept.clear()
    try:
        return mmap.mmap(-1, size, flags)
    except OSError as error:
        raise MemoryError(f"there are no {size} bytes for a matrix") from error


def _keep(memory: mmap.mmap) -> None:
    with suppress(OSError):  # a system too old for it: the memory goes back at once
        memory.madvise(mmap.MADV_FREE)
        _kept.append(memory)
        del _kept[:-KEPT]

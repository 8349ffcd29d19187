"""Jobs shared out to processes; results come in the order of the jobs, whoever did them."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

PROCESSES = 2
_PAUSE = 20.0

Spread = Callable[[str, Callable[[Any], Any], Sequence[Any]], list[Any]]


@contextmanager
def workers(processes: int) -> Iterator[Spread]:
    """Give ``spread(name, function, jobs)``, which returns a list of results and tells stderr how far it is.

    Examples
    --------
    >>> with workers(1) as spread:
    ...     spread("signs", abs, [-1, 2])
    [1, 2]
    """
    if processes == 1:
        yield lambda name, function, jobs: _collect(name, map(function, jobs), len(jobs))
        return
    # Started afresh, not forked, since the bench's header has loaded torch and its threads.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield lambda name, function, jobs: _collect(name, pool.imap(function, jobs), len(jobs))


def _collect(name: str, results: Iterator[Any], number: int) -> list[Any]:
    began = told = time.monotonic()
    found = []
    for result in results:
        found.append(result)
        if time.monotonic() - told > _PAUSE:
            told = time.monotonic()
            print(f"{name}: {len(found)} of {number}, {told - began:.0f} s", file=sys.stderr, flush=True)
    return found

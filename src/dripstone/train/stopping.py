"""When the loop stops: after so many steps or seconds, or when it makes no more progress."""

from __future__ import annotations

import time

from dripstone.core import processes
from dripstone.core.config import Stop


class Stopwatch:
    """Counts steps and seconds since it was made; asked between two steps.

    A stop by ``steps`` is the same everywhere. One by seconds depends on the machine and on what else it does: the same
    update, run again, need not make as many steps, and so need not give the same bits.

    Parameters
    ----------
    stop : Stop
        ``steps``, ``cpu_seconds`` (of the whole process, all threads together) and ``wall_seconds``; None asks nothing.

    Examples
    --------
    >>> watch = Stopwatch(Stop(steps=1))
    >>> watch.out_of_time()
    False
    >>> watch.step_done()
    >>> watch.out_of_time()
    True
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._steps = 0
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def step_done(self) -> None:
        """Count a step."""
        self._steps += 1

    def out_of_time(self) -> bool:
        """Whether any of the three is used up; where several processes learn together, the first one's clock counts."""
        stop = self._stop
        if stop.steps is not None and self._steps >= stop.steps:
            return True
        timed = stop.cpu_seconds is not None or stop.wall_seconds is not None
        return timed and processes.by_first(self._has_run_out, bool)

    def _has_run_out(self) -> bool:
        stop = self._stop
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        return (stop.cpu_seconds is not None and cpu >= stop.cpu_seconds) or (
            stop.wall_seconds is not None and wall >= stop.wall_seconds
        )


class Patience:
    """Early stopping: how many epochs have passed without progress on rows that are not learned.

    Parameters
    ----------
    stop : Stop
        ``patience``; None never runs out.

    References
    ----------
    Goodfellow, Bengio and Courville, "Deep Learning", 2016, algorithm 7.1.

    Examples
    --------
    >>> patience = Patience(Stop(patience=2))
    >>> [(patience.improved(loss), patience.exhausted) for loss in (0.9, 0.7, 0.8, 0.7)]
    [(True, False), (True, False), (False, False), (False, True)]
    """

    def __init__(self, stop: Stop) -> None:
        self._patience = stop.patience
        self._best = float("inf")
        self._waited = 0

    def improved(self, loss: float) -> bool:
        """Take the loss after an epoch; whether it is the lowest so far. One that is not a number never is."""
        better = loss < self._best
        self._best = loss if better else self._best
        self._waited = 0 if better else self._waited + 1
        return better

    @property
    def exhausted(self) -> bool:
        """Whether ``patience`` epochs in a row brought no progress."""
        return self._patience is not None and self._waited >= self._patience

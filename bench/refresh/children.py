"""Each learner in a process of its own, started afresh, so that its peak memory is its own."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import msgspec
import torch

from bench.refresh.data import FULL, QUICK, read_stream
from bench.refresh.loop_overhead import BATCH, measure_overhead
from bench.refresh.results import Overhead, Result
from bench.refresh.roster import INSTALL, OVERHEAD, Task, run_learner

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
_OVERHEAD_BATCHES = 25


def run_all(tasks: Sequence[Task], processes: int) -> Iterator[Result | Overhead]:
    """The results as they come. In a smoke run a process serves several learners, and peaks are of all before too."""
    os.environ.update(_ONE_THREAD)
    once = None if all(task.quick for task in tasks) else 1
    # Started afresh, not forked: a child's peak would begin at its parent's, and torch has its threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=once) as pool:
        for future in as_completed([pool.submit(run, task) for task in tasks]):
            yield future.result()


def run(task: Task) -> Result | Overhead:
    """One learner; what goes wrong with it is its result, and the others go on."""
    torch.set_num_threads(1)
    try:
        found = _overhead(task) if task.name == OVERHEAD else run_learner(task)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and task.name in INSTALL:
            return Result(task.name, problem=f"not installed ({error.name}): {INSTALL[task.name]}")
        traceback.print_exc()
        return Result(task.name, problem=f"not run: {type(error).__name__}: {error}", failed=True)
    return found if isinstance(found, Overhead) else msgspec.structs.replace(found, peak_bytes=peak_bytes())


def peak_bytes() -> int:
    """Of the resident set of this process; the kernel counts in KiB, on macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _overhead(task: Task) -> Overhead:
    stream = read_stream(task.data, task.stages, QUICK if task.quick else FULL, task.seed)
    rows = stream.everything().learned
    if task.quick:
        return measure_overhead(task.encoder, rows.first(2 * BATCH), rounds=1)
    return measure_overhead(task.encoder, rows.first(_OVERHEAD_BATCHES * BATCH))

"""Each run in a process of its own, started afresh, so that its CPU seconds and its peak memory are its own."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import torch

from bench.drift.data import read_stream
from bench.drift.encode import read_features, write_features
from bench.drift.prequential import WARM_UP, evaluate
from bench.drift.results import Result, Task, pack
from bench.drift.roster import READ_TEXTS, make
from bench.refresh.children import peak_bytes

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


def run_all(tasks: Sequence[Task], data: Path, encoder: str, processes: int) -> Iterator[Result]:
    """The results as they come. In a smoke run a process serves several learners, and peaks are of all before too."""
    os.environ.update(_ONE_THREAD)
    once = None if all(task.quick for task in tasks) else 1
    context = multiprocessing.get_context("spawn")  # torch has its threads already
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=once) as pool,
    ):
        features = Path(folder) / "features.npz"
        if encoded := [task for task in tasks if needs_features(task)]:
            one = encoded[0]
            pool.submit(write_features, one.stream, data, one.seed, one.quick, encoder, features).result()
        for future in as_completed([pool.submit(run, task, data, encoder, features) for task in tasks]):
            yield future.result()


def needs_features(task: Task) -> bool:
    """Whether a learner of numbers is to read mails."""
    return task.stream == "spam" and task.learner not in READ_TEXTS


def run(task: Task, data: Path, encoder: str, features: Path) -> Result:
    """One learner on one stream."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of learners that are not ours
    stream, spent = read_stream(task.stream, data, task.seed, task.quick), 0.0
    if needs_features(task):
        inputs, spent = read_features(features)
        stream = replace(stream, inputs=inputs)
    with tempfile.TemporaryDirectory() as folder:
        pupil = make(task.learner, stream, encoder, task.seed, Path(folder))
        began = time.process_time()
        answers = evaluate(pupil, stream, task.delay)
        seconds = time.process_time() - began
    return Result(
        task,
        len(stream),
        WARM_UP,
        pack(answers[WARM_UP:] == stream.targets[WARM_UP:]),
        seconds + spent,
        spent,
        peak_bytes(),
        list(stream.changes),
        list(getattr(pupil, "steps", [])),
    )

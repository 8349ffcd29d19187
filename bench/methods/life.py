"""One life: a method learns the stages of a stream, in a process of its own, from a version that is there already."""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import shutil
import weakref
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import peft  # noqa: F401  imported before the fork, so that no child pays for it
import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from bench.methods.streams import Row, Stream
from dripstone.core.bits import from_raw
from dripstone.learner import Learner
from dripstone.stream.columns import to_inputs
from dripstone.train.features import features_of, outputs_of


@dataclass(slots=True)
class Lived:
    """What a life has cost, and what it knew after each stage.

    ``accuracy`` has for each stage, the first version included, a share a group. ``state`` and ``peak`` are bytes, a
    number a stage: of the optimisers at most, and of the process above where it stood; the first holds code that is
    loaded as well. ``floor`` is what the places and the values of the last version's changed numbers are worth, in
    bytes, ``payload`` what they took.
    """

    method: str
    rate: float
    accuracy: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    state: list[int] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)
    delta: list[int] = field(default_factory=list)
    payload: int = 0
    floor: float = 0.0
    dense: int = 0
    moved: int = 0
    error: str = ""

    @property
    def risen(self) -> int:
        """Bytes by which the process rose at most, once the code was loaded."""
        return max(self.peak[1:])


def begin(stream: Stream, folder: Path, seed: int) -> None:
    """The version that every method starts from."""
    learner = Learner.create(folder, model=stream.model(), input="inputs", settings={"gate.mode": "off"})
    # A fixed key in place of the random one, so that the same rows are held out in every life.
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes([seed] * 32))
    Learner.open(folder, stream.first_settings).update(stream.first)


def live(stream: Stream, begun: Path, folder: Path, method: str, rate: float, *, ask: str) -> Lived:
    """Learn the stages; ``ask`` says of which rows, ``test`` or ``validation``."""
    shutil.copytree(begun, folder)
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, stream, folder, method, rate, ask))
    child.start()
    theirs.close()
    try:
        lived = mine.recv()
    except EOFError:
        lived = Lived(method, rate, error="the process ended")
    child.join()
    shutil.rmtree(folder)
    return lived


def _child(out: Connection, stream: Stream, folder: Path, method: str, rate: float, ask: str) -> None:
    torch.set_num_threads(1)
    gc.freeze()  # what was there before the fork is not looked through again at each stage
    lived = Lived(method, rate)
    try:
        _live(lived, stream, folder, ask)
    except Exception as error:  # the table names it
        lived.error = f"{type(error).__name__}: {error}"
    out.send(lived)
    out.close()


def _live(lived: Lived, stream: Stream, folder: Path, ask: str) -> None:
    settings = {**stream.settings, "select.selection": lived.method, "train.learning_rate": lived.rate}
    learner = Learner.open(folder, settings)
    groups: dict[str, list[Row]] = getattr(stream, ask)
    lived.accuracy.append(_accuracy(learner, groups))
    for stage in stream.stages:
        seen = _watch_state()
        before = _reset_peak()
        update = learner.update(stage)
        lived.peak.append(_status("VmHWM") - before)
        lived.state.append(seen.most)
        seen.remove()
        lived.seconds += update.cost.cpu_seconds
        lived.delta.append(update.delta_bytes)
        lived.accuracy.append(_accuracy(learner, groups))
    _measure_delta(lived, learner)


def _accuracy(learner: Learner, groups: dict[str, list[Row]]) -> dict[str, float]:
    champion = learner.champion()
    found = {}
    for name, rows in groups.items():
        inputs = [to_inputs(row["inputs"], "") for row in rows]
        answers = outputs_of(champion.model, features_of(champion.model, inputs)).argmax(dim=1).tolist()
        labels = [champion.task.labels[answer] for answer in answers]
        found[name] = sum(a == row["label"] for a, row in zip(labels, rows, strict=True)) / len(rows)
    return found


class _watch_state:
    """The most bytes that optimisers have held at once, counted after each of their steps."""

    def __init__(self) -> None:
        self.most = 0
        self._alive: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._hook = register_optimizer_step_post_hook(self._stepped)

    def _stepped(self, optimizer: Optimizer, *_: object) -> None:
        self._alive.add(optimizer)
        tensors = [value for one in self._alive for state in one.state.values() for value in state.values()]
        self.most = max(self.most, sum(v.numel() * v.element_size() for v in tensors if isinstance(v, torch.Tensor)))

    def remove(self) -> None:
        self._hook.remove()


def _reset_peak() -> int:
    """Forget the highest resident set, and return the present one, with what is free given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(key: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key + ":")]
    return int(line.split()[1]) * 1024


def _measure_delta(lived: Lived, learner: Learner) -> None:
    """What the last version's changed numbers took, and what their places and values are worth."""
    repository = learner.repository
    version = repository.log.head().version
    manifest = repository.manifest(version)
    old = dict(repository.each_tensor(manifest.parent)) if manifest.parent else {}
    flags = {name: p.requires_grad for name, p in learner.champion().model.named_parameters()}  # type: ignore[attr-defined]
    moving = {name: from_raw(raw) for name, raw in repository.each_tensor(version) if flags.get(name)}
    lived.dense = sum(one.numel() * one.element_size() for one in moving.values())
    objects = {entry.object for name, entry in manifest.tensors.items() if entry.base == manifest.parent}
    lived.payload = sum(len(repository.objects.get(name, 2**33)) for name in objects)
    total = sum(one.numel() for one in moving.values())
    differ = {name: from_raw(old[name]) != one for name, one in moving.items() if name in old}
    lived.moved = sum(int(one.sum()) for one in differ.values())
    lived.floor = 4 * lived.moved + _places(lived.method, differ, total, lived.moved) / 8


def _places(method: str, differ: dict[str, torch.Tensor], total: int, moved: int) -> float:
    """Bits that say which numbers have moved: which rows, where whole rows do; else which of all."""
    if not method.startswith("rows"):
        return _log2_choices(total, moved)
    rows = sum(one.shape[0] for one in differ.values())
    return _log2_choices(rows, sum(int(one.reshape(len(one), -1).any(dim=1).sum()) for one in differ.values()))


def _log2_choices(of: int, take: int) -> float:
    return (math.lgamma(of + 1) - math.lgamma(take + 1) - math.lgamma(of - take + 1)) / math.log(2)

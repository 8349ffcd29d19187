"""All learners by name, and how each is run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.refresh.data import FULL, QUICK, Stream, read_stream
from bench.refresh.learn_avalanche import Avalanche, import_torchvision
from bench.refresh.learn_dripstone import Dripstone
from bench.refresh.learn_jointly import learn_jointly
from bench.refresh.learn_network import Replay, adamw, badam, load_lora
from bench.refresh.learn_sgd import PartialFit
from bench.refresh.network import load_network
from bench.refresh.pupil import Floor, Pupil, live
from bench.refresh.results import Point, Result
from bench.refresh.settings import CHOSEN, JOINT_EPOCHS, JOINT_LORA_RATES, JOINT_RATES, Setting, train_section

REACH = 0.955
"""Accuracy that learners of all classes at once have to reach."""

SELECTIONS = ("head@ridge", "head@adamw", "suffix:1@adamw", "suffix:2@adamw", "vectors@adamw", "full@adamw", "ladder")
PEERS = ("replay full", "replay LoRA", "replay BAdam", "Avalanche DER++", "Avalanche ER-ACE", "SGDClassifier")
JOINT = tuple(f"joint full {rate:.0e}" for rate in JOINT_RATES)
JOINT_LORA = tuple(f"joint LoRA {rate:.0e}" for rate in JOINT_LORA_RATES)
AT_ONCE = ("suffix:1@adamw", "suffix:2@adamw", "ladder")
OVERHEAD = "loop overhead"
NAMES = (
    *SELECTIONS,
    *PEERS,
    *JOINT,
    *JOINT_LORA,
    *(f"at once {selection}" for selection in AT_ONCE),
    OVERHEAD,
)

QUICK_NAMES = tuple(name for name in NAMES if name not in (*JOINT[:-1], *JOINT_LORA[:-1]))
"""Of a smoke run: one learning rate is enough there."""

INSTALL = {
    "replay LoRA": "pip install --no-deps peft accelerate psutil",
    **dict.fromkeys(JOINT_LORA, "pip install --no-deps peft accelerate psutil"),
    "replay BAdam": "pip install --no-deps badam",
    "Avalanche DER++": "pip install avalanche-lib torchvision",
    "Avalanche ER-ACE": "pip install avalanche-lib torchvision",
    "SGDClassifier": "pip install scikit-learn",
}
"""What a learner needs besides."""


@dataclass(frozen=True, slots=True)
class Task:
    """One learner's run, as a child process gets it."""

    name: str
    data: Path
    encoder: str
    stages: int
    quick: bool
    seed: int


def run_learner(task: Task) -> Result:
    """Run a learner by its name, with the learning rate that was chosen for it, on the test rows."""
    if task.name.startswith("Avalanche "):
        import_torchvision()
    stream = read_stream(task.data, task.stages, QUICK if task.quick else FULL, task.seed)
    floor = Floor(task.encoder)
    if task.name.startswith("at once "):
        return _learn_at_once(task, stream, floor)
    if task.name in (*JOINT, *JOINT_LORA):
        return _learn_jointly(task, stream, floor)
    setting = quickened(CHOSEN.get(task.name, Setting(0.0)), task.quick)
    with tempfile.TemporaryDirectory() as folder:
        pupil = make_pupil(task.name, task.encoder, stream, setting, task.seed, Path(folder))
        return live(task.name, pupil, stream, floor, stream.test)


def quickened(setting: Setting, quick: bool) -> Setting:
    """One pass in a smoke run."""
    return replace(setting, epochs=1) if quick else setting


def make_pupil(name: str, encoder: str, stream: Stream, setting: Setting, seed: int, folder: Path) -> Pupil:
    """A learner that gets stage after stage; ``folder`` is empty."""
    if name in SELECTIONS:
        return Dripstone(folder / "project", encoder, stream, name, _train_section(name, setting), seed)
    if name == "SGDClassifier":
        return PartialFit(encoder, stream, setting.rate, setting.epochs, seed)
    network = load_lora(encoder, seed) if name.endswith("LoRA") else load_network(encoder, seed)
    if name.startswith("Avalanche "):
        return Avalanche(name.removeprefix("Avalanche "), network, stream, setting.rate, setting.epochs)
    optimize = badam if name == "replay BAdam" else adamw
    return Replay(network, optimize, setting.rate, setting.epochs, stream.scale.memory, seed)


def _train_section(name: str, setting: Setting) -> dict[str, Any]:
    """The ladder and the closed form run as they come."""
    return train_section(setting) if name in CHOSEN else {}


def _learn_jointly(task: Task, stream: Stream, floor: Floor) -> Result:
    epochs = 1 if task.quick else JOINT_EPOCHS
    if task.name in JOINT_LORA:
        network, rate = load_lora(task.encoder, task.seed), JOINT_LORA_RATES[JOINT_LORA.index(task.name)]
    else:
        network, rate = load_network(task.encoder, task.seed), JOINT_RATES[JOINT.index(task.name)]
    return learn_jointly(task.name, network, stream, floor, stream.test, rate, epochs, task.seed)


def _learn_at_once(task: Task, stream: Stream, floor: Floor) -> Result:
    """All rows in one update. A loop runs with one epoch, then anew with two, and so on, until it reaches the goal."""
    selection = task.name.removeprefix("at once ")
    once = replace(stream, stages=[stream.everything()])
    chosen = CHOSEN.get(selection, Setting(0.0))
    points: list[Point] = []
    result = Result(task.name)
    for epochs in range(1, 2 if task.quick or selection not in CHOSEN else chosen.epochs + 1):
        with tempfile.TemporaryDirectory() as folder:
            setting = replace(chosen, epochs=epochs)
            pupil = make_pupil(selection, task.encoder, once, setting, task.seed, Path(folder))
            result = live(task.name, pupil, once, floor, stream.test)
        points.append(Point(result.cpu_seconds, result.stages[0].accuracy))
        if points[-1].accuracy >= REACH:
            break
    (stage,) = result.stages
    return msgspec.structs.replace(
        result, stages=[], scores=None, points=points, forward_seconds=stage.forward_seconds, bytes=stage.bytes
    )

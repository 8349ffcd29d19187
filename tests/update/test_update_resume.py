"""Exact resume: an update that was killed and is run again ends with the version it would have ended with."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
import torch

from dripstone.learner import Learner
from dripstone.models import mlp
from learner_samples import blobs, make

SETTINGS = {"train.stop.epochs": 4, "train.step.carry": True, "train.step.schedule": "cosine", "task.id": "id"}
SELECTIONS = ["ladder", "suffix:1", "full@sgd", "head@muon"]


def named(rows, name):
    return [{**row, "id": f"{name}-{i}"} for i, row in enumerate(rows)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    torch.set_num_threads(1)  # a forked child cannot use its parent's thread pool
    folder = tmp_path_factory.mktemp("resume")
    learner = make(folder, SETTINGS, model=mlp(2, (8, 8), 64, dropout=0.1))
    assert learner.update(named(blobs(150, seed=0), "first")).promoted
    assert learner.update(named(blobs(60, seed=1), "second"), select="suffix:1", gate="off").promoted
    return learner.project


def version_of(project, rows, selection):
    update = Learner.open(project).update(rows, select=selection, gate="off")
    return update.version


def killed(project, rows, selection, at):
    """Run the update in a child that kills itself after so many events; whether it came that far."""
    child = os.fork()
    if child == 0:
        try:
            settings = {"select.selection": selection, "gate.mode": "off"}
            for number, _ in enumerate(Learner.open(project).update_events(rows, settings=settings)):
                if number == at:
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("selection", SELECTIONS)
def test_an_update_that_was_killed_and_is_run_again_gives_the_same_version(project, tmp_path, selection):
    rows = named(blobs(80, seed=2, labels="abc"), "third")
    whole = tmp_path / "whole"
    shutil.copytree(project, whole)
    expected = version_of(whole, rows, selection)
    moments = 0
    for at in range(20):
        again = tmp_path / f"killed-{at}"
        shutil.copytree(project, again)
        if not killed(again, rows, selection, at):
            break
        moments += 1
        assert version_of(again, rows, selection) in {expected, None}  # None: the kill came after the commit
        assert Learner.open(again).repository.log.head().version == expected
    assert moments >= 4


def test_what_is_carried_makes_a_difference(project, tmp_path):
    rows = named(blobs(80, seed=2, labels="abc"), "third")
    versions = []
    for carry in (True, False):
        copy = tmp_path / str(carry)
        shutil.copytree(project, copy)
        learner = Learner.open(copy, settings={"train.step.carry": carry})
        state = learner.repository.read_state(learner.champion().version)
        assert state.optimizer
        settings = {"train.step.carry": carry}
        versions.append(learner.update(rows, select="suffix:1", gate="off", settings=settings).version)
    assert versions[0] != versions[1]

"""Several processes: what they share comes to the same as one alone, and what becomes of them when one is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from process_samples import finish, start
from shared_cases import CASES
from sklearn.datasets import load_digits

from dripstone.core import processes
from dripstone.core.errors import ProcessError, UsageError
from dripstone.learner import Learner
from dripstone.models import mlp

SIZE = 3
EXACT = ("features", "likelihoods", "sums")
"""What is 1e-8 apart at most; a loop 1e-5."""

REMEDY = "unless 'dripstone log' has a new entry nothing has changed, run the same command again"


@pytest.fixture(scope="module")
def shared() -> list[dict]:
    """What each of three processes says of itself."""
    found = finish(start([[str(Path(__file__).with_name("shared_cases.py"))]] * SIZE))
    assert [code for code, _, _ in found] == [0] * SIZE, found[0][2]
    return [json.loads(out) for _, out, _ in found]


@pytest.mark.parametrize("name", CASES)
def test_what_is_shared_comes_to_the_same(shared, name):
    most = 1e-5 if not name.startswith(EXACT) else 1e-7 if name.startswith("features") else 1e-8
    assert [one["apart"][name] <= most for one in shared] == [True] * SIZE, shared[0]["apart"]


def test_shares_are_of_unequal_rows_and_complete(shared):
    assert [(one["rank"], one["size"], one["share"]) for one in shared] == [(0, 3, [0, 3]), (1, 3, [1]), (2, 3, [2])]


def test_the_first_one_tells_the_others_results_and_errors(shared):
    ours = "DataError data.empty: no rows; send some"
    assert shared[0]["by_first"] == ["[0, 41]", "inf", ours, "KeyError('bug')"]
    theirs = "ProcessError process.lost: the first process failed: KeyError('bug'); see its own words"
    assert shared[1]["by_first"] == shared[2]["by_first"] == ["[0, 41]", "inf", ours, theirs]


def test_all_notice_that_they_disagree(shared):
    for one in shared:
        assert one["agreement"].startswith(
            "process.differ: the processes of this update do not have the same rows; give"
        )


OPTIMISING = """
import weakref, torch, torch.distributed
from dripstone.core import processes

with processes.joined():
    weight = torch.nn.Parameter(torch.ones(2))
    weight.sum().backward()
    processes.add_up_gradients([weight], 0.0)
    torch.optim.AdamW([weight]).step()
    group = weakref.ref(torch.distributed.group.WORLD)
print("gone" if group() is None else "there")
"""
"""What keeps the group keeps its threads, which may abort a process that ends before they do."""


def test_nothing_keeps_the_group_when_it_has_ended():
    assert finish(start([["-c", OPTIMISING]] * 2)) == [(0, "gone\n", "")] * 2


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with a first version, and rows for the next update; copied by whoever uses it."""
    folder = tmp_path_factory.mktemp("processes")
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    rows = [{"inputs": (pixels[i] / 16).tolist(), "label": int(digits[i])} for i in order]
    parts = {"first": rows[:901], "more": rows[901:1302], "others": rows[901:1301], "last": rows[1302:]}
    for name, part in parts.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    learner = Learner.create(folder / "project", model=mlp(inputs=64, hidden=[32, 32]))
    assert learner.update(folder / "first.jsonl").promoted
    return folder


def goes_on(project: Path) -> bool:
    """Whether one process can go on from there."""
    return Learner.open(project).update(project.parent / "last.jsonl").verdict in ("promoted", "undecided")


def update(project: Path, *files: str, options=(), **environment):
    return start(
        [["-m", "dripstone", "-C", str(project), "update", str(project.parent / file), *options] for file in files],
        **environment,
    )


def copy(project: Path, to: Path) -> Path:
    shutil.copytree(project, to)
    return to / "project"


@pytest.mark.parametrize("select", ["head@ridge", "suffix:1", "full"])
def test_an_update_of_two_processes_is_that_of_one(project, tmp_path, select):
    one, two = (copy(project, tmp_path / name) for name in ("one", "two"))
    ((code, alone, _),) = finish(update(one, "more.jsonl", options=("--select", select)))
    first, second = finish(update(two, "more.jsonl", "more.jsonl", options=("--select", select)))
    assert code == first[0] == 0, first[2]
    assert (second[0], second[1], second[2]) == (0, "", "")
    assert [line for line in alone.splitlines() if line.split()[:1] not in (["version"], ["cost"])] == [
        line for line in first[1].splitlines() if line.split()[:1] not in (["version"], ["cost"])
    ]
    models = [Learner.open(folder).champion().model.state_dict() for folder in (one, two)]
    for name, tensor in models[0].items():
        largest = float(tensor.double().abs().max()) if tensor.numel() else 0.0
        torch.testing.assert_close(tensor, models[1][name], rtol=0.0, atol=1e-5 * largest, msg=name)
    assert len(Learner.open(two).log()) == 3
    assert goes_on(two)


def test_processes_that_are_given_unlike_rows_say_so_and_change_nothing(project, tmp_path):
    here = copy(project, tmp_path / "two")
    first, second = finish(update(here, "more.jsonl", "others.jsonl"))
    for code, out, err in (first, second):
        assert (code, out) == (3, "")
        assert "do not have the same rows; give each the same files" in err
    assert len(Learner.open(here).log()) == 2


def test_an_error_of_all_ends_all_alike(project, tmp_path):
    here = copy(project, tmp_path / "two")
    for code, _, err in finish(update(here, "none.jsonl", "none.jsonl")):
        assert code == 2
        assert "none.jsonl" in err


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_lost_ends_the_update_and_the_next_one_succeeds(project, tmp_path, signal_):
    here = copy(project, tmp_path / "two")
    options = ("--select", "full", "--set", "train.stop.epochs=100000", "--set", "train.stop.wall_seconds=60")
    started = update(here, "more.jsonl", "more.jsonl", options=options, DRIPSTONE_PATIENCE="4")
    time.sleep(8)  # by then they are in the loop
    os.kill(started[1].pid, signal_)
    ((code, out, err),) = finish(started[:1])
    started[1].kill()
    finish(started[1:])
    assert (code, out) == (3, "")
    assert "process 0 has lost another one of this update" in err
    assert REMEDY in err
    assert len(Learner.open(here).log()) == 2
    assert goes_on(here)


def test_processes_that_do_not_come_are_not_awaited_for_ever(project, tmp_path):
    here = copy(project, tmp_path / "two")
    started = update(here, "more.jsonl", "more.jsonl", DRIPSTONE_PATIENCE="4")
    started[1].kill()
    (code, _, err), _ = finish(started)
    assert code == 3
    assert REMEDY in err


@pytest.mark.parametrize(("name", "value"), [("WORLD_SIZE", "two"), ("DRIPSTONE_PATIENCE", "-1"), ("WORLD_SIZE", "")])
def test_variables_that_make_no_sense_are_named(monkeypatch, name, value):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name} is {value!r}, which is no number; start the processes with torchrun"):
        processes.joined().__enter__()


def test_alone_nothing_is_shared_or_asked(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes.joined():
        assert (processes.size(), processes.rank(), processes.is_first()) == (1, 0, True)
        processes.agree("rows", "any")
        assert processes.by_first(lambda: {1}, set) == {1}
        tensor = torch.ones(2)
        processes.add_up(tensor)
        assert processes.join_shares(tensor, 2) is tensor
    assert issubclass(ProcessError, Exception)

"""A study goes on where it was stopped, and does not believe what it reads."""

import errno
import json
import os
import pickle
import subprocess
import sys
import warnings

import msgspec
import numpy as np
import pytest

from dripstone.core.errors import RaceLostError, StoreError, UsageError
from dripstone.core.tuned import SettingsTrial
from dripstone.tune import study as studies
from dripstone.tune.space import RATE
from dripstone.tune.study import Losses, opened

optuna = pytest.importorskip("optuna")

START = {RATE: 0.001}


def one(study, loss=None):
    """Ask and tell; the loss is how far the rate is from 0.1, in decades."""
    trial = study.ask(START)
    rate = trial.suggest_float(RATE, 1e-5, 10.0, log=True)
    found = float(abs(np.log10(rate) + 1)) if loss is None else loss
    number = len(study.finished)
    study.tell(trial, SettingsTrial(number, {RATE: rate}, "complete", score=found, loss=found))
    return rate


def rates(study):
    return [trial.settings[RATE] for trial in study.finished]


def test_the_first_trial_is_what_it_starts_from(tmp_path):
    with opened(tmp_path / "tuning" / "a.log", 0) as study:
        assert one(study) == START[RATE]
        assert one(study) != START[RATE]


def test_what_is_proposed_does_not_depend_on_where_it_was_stopped(tmp_path):
    with opened(tmp_path / "whole.log", 3) as study:
        for _ in range(16):
            one(study)
        whole = rates(study)
        assert len(set(whole)) == len(whole)
    while True:
        with opened(tmp_path / "parts.log", 3) as study:
            for _ in range(3):
                if len(study.finished) < 16:
                    one(study)
            study.ask(START).suggest_float(RATE, 1e-5, 10.0, log=True)  # stopped in the middle of a trial
            if len(study.finished) == 16:
                assert rates(study) == whole
                break
    with opened(tmp_path / "other.log", 4) as study:
        for _ in range(3):
            one(study)
        assert rates(study)[1:] != whole[1:3]


def test_it_finds_what_is_better(tmp_path):
    with opened(tmp_path / "a.log", 0) as study:
        for _ in range(25):
            one(study)
        assert min(trial.loss for trial in study.finished) < 0.3 < study.finished[0].loss


def test_a_first_trial_that_was_stopped_is_made_again(tmp_path):
    with opened(tmp_path / "a.log", 0) as study:
        study.ask(START)
    with opened(tmp_path / "a.log", 0) as study:
        assert study.finished == []
        assert one(study) == START[RATE]


def test_pruned_trials_count_and_are_kept_with_their_reason(tmp_path):
    with opened(tmp_path / "a.log", 0) as study:
        one(study)
        study.tell(study.ask(START), SettingsTrial(1, {RATE: 1.0}, "pruned", reason="training diverged"))
    with opened(tmp_path / "a.log", 0) as study:
        assert [trial.state for trial in study.finished] == ["complete", "pruned"]
        assert study.finished[1].reason == "training diverged"


def test_losses_are_kept_to_the_bit(tmp_path):
    losses, weights = np.random.default_rng(0).normal(size=(2, 50))
    with opened(tmp_path / "a.log", 0) as study:
        assert study.kept(0, 0) is None
        study.keep(0, 0, Losses(losses, weights))
        study.keep(3, 2, Losses(np.empty(0), np.empty(0)))
    with opened(tmp_path / "a.log", 0) as study:
        found = study.kept(0, 0)
        assert np.array_equal(found.losses, losses)
        assert np.array_equal(found.weights, weights)
        assert len(study.kept(3, 2).losses) == 0
        assert study.kept(3, 1) is None


@pytest.mark.parametrize("wrong", [3, [1.0], [[1.0], [1.0, 2.0]], [["a"], [1.0]], None, {}])
def test_losses_that_are_none_are_an_error(tmp_path, wrong):
    with opened(tmp_path / "a.log", 0) as study:
        study._study.set_user_attr("losses 0 0", wrong)
        if wrong is None:
            assert study.kept(0, 0) is None
            return
        with pytest.raises(StoreError, match="is damaged"):
            study.kept(0, 0)


def test_two_processes_do_not_search_the_same(tmp_path):
    path = tmp_path / "a.log"
    with opened(path, 0), pytest.raises(RaceLostError, match="another process searches") as raised, opened(path, 0):
        raise AssertionError
    assert raised.value.exit_code == 3
    with opened(path, 0) as study:
        one(study)


def test_a_process_that_is_killed_loses_the_running_trial_alone(tmp_path):
    path = tmp_path / "a.log"
    script = (
        "import os, signal, sys; sys.path.insert(0, 'tests/tune')\n"
        "from test_tune_study import *\n"
        f"with opened(__import__('pathlib').Path({str(path)!r}), 0) as study:\n"
        "    one(study); one(study); study.ask(START)\n"
        "    os.symlink(path, path + '.lock') if (path := str(study.path)) else None\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert os.path.lexists(f"{path}.lock")
    with opened(path, 0) as study:
        assert len(study.finished) == 2
        one(study)
        assert len(study.finished) == 3


def test_nobody_waits_for_a_lock_that_a_killed_process_held(tmp_path, monkeypatch):
    from optuna.storages.journal import _file

    def refuse(seconds):
        raise AssertionError("it waits")

    path = tmp_path / "a.log"
    with opened(path, 0) as study:
        one(study)
    (tmp_path / "a.log.lock").symlink_to(path)
    monkeypatch.setattr(_file.time, "sleep", refuse)
    with opened(path, 0) as study:
        one(study)


def test_half_a_line_is_cut(tmp_path):
    path = tmp_path / "a.log"
    with opened(path, 0) as study:
        one(study)
        one(study)
    whole = path.read_bytes()
    for cut in (1, 7, 40):
        path.write_bytes(whole[:-cut])
        with opened(path, 0) as study:
            assert 1 <= len(study.finished) <= 2
            one(study)
        with opened(path, 0) as study:
            assert len(study.finished) >= 2


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [b"not json", *lines],
        lambda lines: [*lines, b"{}"],
        lambda lines: [*lines, b'{"op_code": 99, "worker_id": "x"}'],
        lambda lines: [line.replace(b'"complete"', b'"finished"') for line in lines],
        lambda lines: [line.replace(RATE.encode(), b"store.path") for line in lines],
        lambda lines: [line.replace(b'"number":1', b'"number":5') for line in lines],
        lambda lines: [line.replace(b'"loss"', b'"lots"') for line in lines],
        lambda lines: [pickle.dumps({"a": 1}), *lines],
    ],
)
def test_what_is_no_journal_of_ours_is_an_error_with_a_remedy(tmp_path, change):
    path = tmp_path / "a.log"
    with opened(path, 0) as study:
        one(study)
        one(study)
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))
    with pytest.raises(StoreError, match=r"is damaged.*remove that file") as raised, opened(path, 0):
        raise AssertionError
    assert raised.value.kind == "store.corrupt"


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "a.log").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="link"), opened(tmp_path / "a.log", 0):
        raise AssertionError


def test_the_journal_is_json_and_nothing_is_unpickled(tmp_path, monkeypatch):
    from optuna.storages.journal import JournalFileBackend
    from optuna.storages.journal._base import BaseJournalSnapshot

    def refuse(*args, **kwargs):
        raise AssertionError("something was pickled")

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for _ in range(2):
        with opened(tmp_path / "a.log", 0) as study:
            for _ in range(60):
                one(study)
    assert all(json.loads(line) for line in (tmp_path / "a.log").read_text().splitlines())
    assert not issubclass(JournalFileBackend, BaseJournalSnapshot)


def test_optuna_says_nothing(tmp_path, capfd):
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with opened(tmp_path / "a.log", 0) as study:
            for _ in range(12):
                one(study)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


def test_without_the_extra_an_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'dripstone\[tune\]'"), opened(tmp_path / "a.log", 0):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []


def test_a_trial_is_read_as_it_was_kept():
    trial = SettingsTrial(3, {RATE: 0.1}, "complete", "head@ridge", 0.1, 0.9, 0.1, 0.0, 0.0, 1.0)
    assert studies._read(msgspec.to_builtins(trial), 3) == trial


def test_what_the_system_says_of_the_lock_is_said(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(studies.fcntl, "flock", no_locks)
    with pytest.raises(StoreError, match="No locks available"), opened(tmp_path / "a.log", 0):
        pass


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with opened(tmp_path / "a.log", 0) as found:
        monkeypatch.setattr(found._study, "set_user_attr", full)
        with pytest.raises(StoreError, match="the disk is full"):
            found.keep(0, 0, Losses(np.ones(1), np.ones(1)))

"""Certificates that were written once must be read, and earned again, for ever."""

import shutil
from pathlib import Path

import pytest
from make_judged_store import make

from dripstone.learner import Learner
from dripstone.serve.follow import load
from dripstone.update.audit import audit

FIXTURE = Path(__file__).parent / "judged-v1"


@pytest.fixture(params=["committed", "made now"])
def learner(request, tmp_path):
    if request.param == "made now":
        return make(tmp_path / "project")
    shutil.copytree(FIXTURE, tmp_path / "project")
    return Learner.open(tmp_path / "project")


def test_every_certificate_is_earned_again(learner):
    assert list(learner.repository.verify()) == []
    assert list(audit(learner.repository, learner.config)) == []


@pytest.mark.parametrize("learner", ["committed"], indirect=True)
def test_the_log_and_its_certificates_are_the_same(learner):
    entries = list(learner.repository.log.entries())[::-1]
    assert [entry.event for entry in entries] == ["init", *["update"] * 5, "revert", "update", "promote", "update"]
    verdicts = [entry.verdict for entry in entries]
    assert verdicts == [
        None, "promoted", "promoted", "refused", "undecided", "promoted", None, "undecided", None, "undecided",
    ]  # fmt: skip
    sources = [learner.repository.certificate_of(entry).source for entry in entries]
    assert sources == ["first", *["gate"] * 7, "person", "person"]
    assert [entry.judged is not None for entry in entries] == [
        False, True, True, False, True, True, False, True, False, True,
    ]  # fmt: skip
    last = learner.repository.read_certificate(entries[-1].candidate, entries[-1].judged)
    assert last.champion == last.anchor == entries[-1].version
    assert (last.rules.tested, last.fresh.rows, last.trusted.rows) == (4, 27, 67)


def test_a_server_takes_it_and_training_goes_on(learner):
    assert load(learner.repository, learner.repository.log.head()).version == learner.champion().version
    assert learner.predict([[2.0, 0.0], [1.0, 1.7]]) == ["a", "b"]
    assert learner.update([{"inputs": [2.0, 0.1], "label": "a", "slice": "eu"}]).verdict != "unchanged"

"""A server follows an unlearning like any other move, and takes no version for it that nobody vouches for."""

import shutil

import pytest

from dripstone.core.errors import StoreError
from dripstone.learner import Learner
from dripstone.serve.follow import Follower, load
from dripstone.serve.slot import Slot
from learner_samples import blobs, make
from unlearning_samples import learned, named


@pytest.fixture
def learner(tmp_path):
    learner = make(tmp_path, {"task.id": "id"})
    for day in range(2):
        assert learner.update(named(blobs(60, seed=day), f"day{day}"), gate="off").promoted
    return learner


def test_what_is_live_without_the_rows_is_followed(learner):
    slot = Slot(keep=2)
    slot.swap(load(learner.repository, learner.repository.log.head()))
    follower = Follower(learner.repository, slot, poll_ms=10, warm=True)
    old = slot.current
    report = learner.unlearn([learned(learner)[3].id])
    assert follower.poll_once()
    assert (follower.error, slot.current.version, slot.current.number) == (None, report.version, 4)
    assert slot.current.version != old.version
    assert slot.current.task.predict(slot.current.model, [learned(learner)[0].inputs.numpy()])
    held = learned(learner, "held_out")[0].id
    assert learner.unlearn([held]).version == report.version
    assert follower.poll_once()
    assert (follower.error, slot.current.version, slot.current.number) == (None, report.version, 5)
    fresh = Slot(keep=2)
    fresh.swap(load(Learner.open(learner.project).repository, learner.repository.log.head()))
    assert fresh.current.version == report.version


def test_a_server_that_comes_late_never_sees_what_was_collected(learner, tmp_path):
    """It reads the log at its head, and the versions in between are not there any more."""
    shutil.copytree(learner.project, tmp_path / "copy")
    slot, late = Slot(keep=2), Learner.open(tmp_path / "copy")
    slot.swap(load(late.repository, late.repository.log.entry(2)))
    late.update(named(blobs(40, seed=5), "more"), gate="off")
    report = late.unlearn([learned(late)[0].id])
    follower = Follower(late.repository, slot, poll_ms=10, warm=True)
    assert follower.poll_once()
    assert (follower.error, slot.current.version) == (None, report.version)
    with pytest.raises(StoreError) as caught:
        load(late.repository, late.repository.log.entry(3))
    assert caught.value.kind == "store.collected"

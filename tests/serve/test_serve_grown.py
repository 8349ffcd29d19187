"""A server follows a model that grows: the larger version is built anew and answers the same."""

import shutil

import pytest

from dripstone.learner import Learner
from dripstone.serve.follow import Follower, load
from dripstone.serve.slot import Slot
from text_samples import make_texts, stories


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    learner = make_texts(tmp_path_factory.mktemp("serving"))
    assert learner.update(stories(60, 0), gate="off").promoted
    return learner.project


@pytest.mark.parametrize("by", [{"depth": 1}, {"ffn": 8}])
def test_growth_is_followed_and_taken_back(template, tmp_path, by):
    shutil.copytree(template, tmp_path / "p")
    learner = Learner.open(tmp_path / "p")
    slot = Slot(keep=2)
    slot.swap(load(learner.repository, learner.repository.log.head()))
    small = slot.current
    follower = Follower(learner.repository, slot, poll_ms=10, warm=True)
    entry = learner.grow(**by)
    assert follower.poll_once()
    assert (follower.error, slot.current.version) == (None, entry.version)
    before, after = (served.task.predict(served.model, ["the cat"]) for served in (small, slot.current))
    assert before[0]["prediction"] == after[0]["prediction"]
    update = learner.update(stories(40, 1), select="grown", gate="off")
    assert follower.poll_once()
    assert slot.current.version == update.version
    learner.revert(small.version)
    assert follower.poll_once()
    assert slot.current.model is small.model
    assert follower.error is None

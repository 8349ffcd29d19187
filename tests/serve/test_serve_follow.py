import logging
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from torch import nn

from dripstone.core.config import ServeConfig
from dripstone.core.errors import ModelError, StoreError
from dripstone.core.records import LogEntry, Manifest, Spec
from dripstone.serve import follow
from dripstone.serve.app import make_app
from dripstone.serve.batcher import Batcher
from dripstone.serve.follow import Follower, load
from dripstone.serve.slot import Slot
from dripstone.store.certificates import uncertified


class Repository:
    """A store in memory: what is live, and which versions cannot be read."""

    def __init__(self) -> None:
        self.number = 0
        self.live = ""
        self.damaged: set[str] = set()
        self.uncertified: set[str] = set()
        self.unreadable = False
        self.task = "classification"
        self.checkouts: list[tuple[str, str | None]] = []
        self.log = SimpleNamespace(head=self.head)

    def move(self, version: str) -> None:
        self.number += 1
        self.live = version

    def head(self) -> LogEntry:
        if self.unreadable:
            raise OSError("disk gone")
        return LogEntry(self.number, self.live, "update", "", "nonce", "")

    def certificate_of(self, entry: LogEntry) -> None:
        if entry.version in self.uncertified:
            raise uncertified(entry.version, "there is none")

    def manifest(self, version: str) -> Manifest:
        return Manifest(Spec("a:b"), self.task, [version, "other"], None, "head", "", "", {})


class Net(nn.Module):
    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version
        self.asked: list[int] = []

    def collate(self, inputs):
        return torch.from_numpy(np.stack(inputs))

    def forward(self, batch):
        if self.version == "broken":
            raise RuntimeError("cannot answer")
        self.asked.append(len(batch))
        assert torch.is_inference_mode_enabled()
        return batch


@pytest.fixture
def repository(monkeypatch) -> Repository:
    repository = Repository()

    def checkout(repository, version, current=None):
        repository.checkouts.append((version, current[0] if current else None))
        if version in repository.damaged:
            raise StoreError(f"object of {version} is damaged", remedy="run 'dripstone verify'", kind="store.damaged")
        return Net(version).eval()

    monkeypatch.setattr(follow, "checkout", checkout)
    repository.move("a")
    return repository


@pytest.fixture
def slot(repository) -> Slot:
    slot = Slot(keep=2)
    slot.swap(load(repository, repository.head()))
    repository.checkouts.clear()
    return slot


@pytest.fixture
def follower(repository, slot) -> Follower:
    return Follower(repository, slot, poll_ms=0.01, warm=True)


def test_loads_what_is_live(repository) -> None:
    served = load(repository, repository.head())
    assert (served.version, served.task.labels, served.number) == ("a", ("a", "other"), 1)
    assert served.model.version == "a"


def test_a_task_that_is_not_served_is_refused(repository) -> None:
    repository.task = "ranking"
    with pytest.raises(ModelError, match="there is no task 'ranking'"):
        load(repository, repository.head())


def test_nothing_new_checks_nothing_out(repository, slot, follower) -> None:
    before = slot.current
    assert [follower.poll_once() for _ in range(3)] == [False] * 3
    assert slot.current is before
    assert repository.checkouts == []


def test_a_new_live_is_forked_from_the_old_one(repository, slot, follower) -> None:
    repository.move("b")
    assert follower.poll_once()
    assert (slot.current.version, slot.current.number, slot.current.task.labels) == ("b", 2, ("b", "other"))
    assert repository.checkouts == [("b", "a")]
    assert follower.error is None


def test_an_empty_slot_is_filled(repository) -> None:
    slot = Slot(keep=2)
    assert Follower(repository, slot, 50, warm=True).poll_once()
    assert slot.current.version == "a"
    assert repository.checkouts == [("a", None)]


def test_a_held_version_comes_back_at_once(repository, slot, follower) -> None:
    first = slot.current.model
    repository.move("b")
    follower.poll_once()
    repository.move("a")
    assert follower.poll_once()
    assert slot.current.model is first
    assert slot.current.number == 3
    assert repository.checkouts == [("b", "a")]


def test_a_new_entry_with_the_same_version_only_moves_the_number(repository, slot, follower) -> None:
    model = slot.current.model
    repository.move("a")
    assert follower.poll_once()
    assert (slot.current.model, slot.current.number) == (model, 2)
    assert repository.checkouts == []


@pytest.mark.parametrize(("warm", "asked"), [(True, [2]), (False, [])])
def test_warms_up_on_rows_that_were_asked(repository, slot, warm: bool, asked: list[int]) -> None:
    slot.remember([np.zeros(2, dtype=np.float32)] * 2)
    repository.move("b")
    Follower(repository, slot, 50, warm=warm).poll_once()
    assert slot.current.model.asked == asked


def test_a_damaged_version_is_not_served(repository, slot, follower, caplog) -> None:
    repository.damaged.add("b")
    repository.move("b")
    for _ in range(3):
        assert not follower.poll_once()
        time.sleep(0.001)
    assert slot.current.version == "a"
    assert follower.error == "object of b is damaged; run 'dripstone verify'"
    assert caplog.text.count("object of b is damaged") == 1


def test_a_version_without_a_certificate_is_not_even_checked_out(repository, slot, follower) -> None:
    repository.uncertified.add("b")
    repository.move("b")
    assert not follower.poll_once()
    assert (slot.current.version, repository.checkouts) == ("a", [])
    assert follower.error.startswith("no certificate vouches for version b: there is none; run 'dripstone verify'")
    assert "'dripstone promote b --reason TEXT'" in follower.error


def test_a_held_version_comes_back_with_a_certificate_only(repository, slot, follower) -> None:
    repository.move("b")
    assert follower.poll_once()
    repository.uncertified.add("a")
    repository.move("a")
    assert not follower.poll_once()
    assert (slot.current.version, slot.current.number) == ("b", 2)
    assert "no certificate vouches for version a" in follower.error
    repository.uncertified.clear()
    follower._retry_at = 0.0
    assert follower.poll_once()
    assert (slot.current.version, follower.error) == ("a", None)


def test_a_version_that_cannot_answer_is_not_served(repository, slot, follower) -> None:
    slot.remember([np.zeros(2, dtype=np.float32)])
    repository.move("broken")
    assert not follower.poll_once()
    assert slot.current.version == "a"
    assert follower.error == "RuntimeError: cannot answer"


def test_a_mended_version_is_read_afresh(repository, slot, follower, caplog) -> None:
    repository.damaged.add("b")
    repository.move("b")
    follower.poll_once()
    repository.damaged.clear()
    time.sleep(0.001)
    with caplog.at_level(logging.WARNING, "dripstone.serve"):
        assert follower.poll_once()
    assert slot.current.version == "b"
    assert repository.checkouts == [("b", "a"), ("b", None)]
    assert follower.error is None
    assert "up to date" in caplog.text


def test_retries_pause_longer_and_longer(repository, slot) -> None:
    follower = Follower(repository, slot, poll_ms=1000, warm=True)
    repository.damaged.add("b")
    repository.move("b")
    for _ in range(20):
        follower.poll_once()
    assert repository.checkouts == [("b", "a")]
    assert follower.error is not None
    follower._retry_at = 0.0
    follower.poll_once()
    assert len(repository.checkouts) == 2
    assert follower._retry_at - time.monotonic() > 2.5


def test_moving_on_from_a_damaged_version_does_not_wait(repository, slot) -> None:
    follower = Follower(repository, slot, poll_ms=10_000, warm=True)
    repository.damaged.add("b")
    repository.move("b")
    assert not follower.poll_once()
    repository.move("a")
    assert follower.poll_once()
    assert (slot.current.version, slot.current.number, follower.error) == ("a", 3, None)


def test_an_unreadable_log_is_reported_and_survived(repository, slot, follower) -> None:
    repository.unreadable = True
    assert not follower.poll_once()
    assert follower.error == "OSError: disk gone"
    repository.unreadable = False
    repository.move("b")
    assert follower.poll_once()
    assert follower.error is None


def test_healthz_is_degraded_while_the_old_version_answers(repository, slot, follower) -> None:
    repository.damaged.add("b")
    repository.move("b")
    follower.poll_once()
    follower.start = lambda: None
    with TestClient(make_app(slot, Batcher(slot, 4, 1.0), ServeConfig(), follower)) as client:
        health = client.get("/healthz")
        answer = client.post("/predict", json={"inputs": [[1, 2]]})
        repository.damaged.clear()
        follower._retry_at = 0.0
        follower.poll_once()
        after = client.get("/healthz")
    assert health.status_code == 200
    assert health.json()["status"] == "degraded"
    assert "object of b is damaged" in health.json()["error"]
    assert answer.json()["version"] == "a"
    assert after.json() == {"status": "ok", "version": "b", "number": 2}


def test_the_thread_follows_until_it_is_stopped(repository, slot) -> None:
    follower = Follower(repository, slot, poll_ms=1, warm=True)
    follower.start()
    try:
        repository.move("b")
        deadline = time.monotonic() + 5
        while slot.current.version != "b" and time.monotonic() < deadline:
            time.sleep(0.001)
    finally:
        follower.stop()
    assert slot.current.version == "b"
    repository.move("c")
    time.sleep(0.02)
    assert slot.current.version == "b"
    follower.stop()

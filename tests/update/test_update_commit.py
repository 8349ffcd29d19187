"""Nothing happens before the commit, and the commit happens once: races, interruptions, full disks."""

import shutil

import pytest
import torch

from dripstone.core.errors import RaceLostError, StoreError
from dripstone.core.events import Finished
from dripstone.learner import Learner
from dripstone.update.batch import Batch
from dripstone.update.commit import MAX_REASONS, _rejections
from full_disk import Disk
from learner_samples import blobs, book_of, folder_hash, make, quarantined, relabelled, scores, trained


def step(events, count):
    for _ in range(count):
        next(events)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_the_second_writer_to_finish_loses_and_can_run_again(tmp_path, steps):
    first = trained(tmp_path)
    second = Learner.open(first.project)
    rows = blobs(40, seed=1)
    events = first.update_events(rows)
    step(events, steps)
    winner = second.update(blobs(40, seed=2))
    assert winner.promoted
    with pytest.raises(RaceLostError) as caught:
        list(events)
    assert (caught.value.exit_code, caught.value.kind) == (3, "store.race")
    assert first.log()[0].version == winner.version
    assert list(first.repository.verify()) == []
    again = first.update(rows)
    assert again.promoted
    assert again.parent == winner.version
    assert first.log()[0].number == 4


def test_the_same_rows_by_two_writers_are_learned_once(tmp_path):
    first = trained(tmp_path)
    second = Learner.open(first.project)
    rows = blobs(40, seed=1)
    events = first.update_events(rows)
    step(events, 3)
    winner = second.update(rows)
    with pytest.raises(RaceLostError):
        list(events)
    assert first.update(rows).verdict == "unchanged"
    first.revert()
    assert len(quarantined(first)) == 80
    first.revert()
    assert (quarantined(first), first.log()[0].version) == ([], winner.version)


def test_a_move_of_live_during_an_update_wins_too(tmp_path):
    learner = trained(tmp_path)
    events = learner.update_events(blobs(40, seed=1))
    step(events, 2)
    entry = Learner.open(learner.project).revert()
    with pytest.raises(RaceLostError):
        list(events)
    assert learner.log()[0] == entry


def test_an_update_that_is_given_up_changes_nothing(tmp_path):
    learner = trained(tmp_path)
    rows = blobs(40, seed=1)
    total = len(list(Learner.open(_copy(learner, tmp_path / "count")).update_events(rows)))
    before, entries = scores(learner), learner.log()
    for count in range(total):
        events = learner.update_events(rows)
        step(events, count)
        events.close()
        assert learner.log() == entries
    for count in range(1, total):
        events = learner.update_events(rows)
        step(events, count)
        with pytest.raises(KeyboardInterrupt):
            events.throw(KeyboardInterrupt())
        assert learner.log() == entries
    assert torch.equal(scores(learner), before)
    assert list(learner.repository.verify()) == []
    assert learner.update(rows).promoted


def _copy(learner, folder):
    shutil.copytree(learner.project, folder)
    return folder


def test_a_full_disk_at_any_moment_of_an_update(tmp_path):
    learner = trained(tmp_path / "start")
    rows, version = blobs(40, seed=1), learner.log()[0].version
    with pytest.MonkeyPatch.context() as patch:
        counted = Disk(patch, None)
        assert Learner.open(_copy(learner, tmp_path / "count")).update(rows).promoted
    assert counted.calls > 20
    for call in range(1, counted.calls + 1):
        other = Learner.open(_copy(learner, tmp_path / str(call)))
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, call)
            with pytest.raises(StoreError) as caught:
                other.update(rows)
        assert caught.value.kind == "store.full"
        assert list(other.repository.verify()) == []
        if call < counted.calls:
            assert other.log()[0].version == version
            assert other.update(rows).promoted
        else:  # the entry has its name already, and only the sync of its folder failed
            assert other.update(rows).verdict == "unchanged"
        assert other.log()[0].number == 3
        assert list(other.repository.verify()) == []


def test_a_killed_update_that_runs_again_from_another_file_can_be_reverted(tmp_path):
    learner = trained(tmp_path)
    lines = [f'{{"inputs": {row["inputs"]}, "label": "{row["label"]}"}}' for row in blobs(40, seed=1)]
    for name in ("one.jsonl", "two.jsonl"):
        (tmp_path / name).write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner.repository.log, "append", _killed)
        with pytest.raises(KeyboardInterrupt):
            learner.update(tmp_path / "one.jsonl")
    update = learner.update(tmp_path / "two.jsonl")
    assert update.promoted
    learner.revert()
    page = learner.repository.log.entry(3).page
    assert {place[0] for place in quarantined(learner)} == {page}
    assert len(quarantined(learner)) == 80
    learner.revert()
    assert quarantined(learner) == []


def _killed(entry):
    raise KeyboardInterrupt


def test_a_retried_batch_of_a_killed_update_leaves_pending_when_it_is_promoted_by_hand(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    rows = blobs(10, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner.repository.log, "append", _killed)
        with pytest.raises(KeyboardInterrupt):
            learner.update([{**row, "note": 1} for row in rows])
    update = learner.update([*rows, {"inputs": [0, 0], "label": None}])
    assert update.examples.pending == 20
    learner.promote(update.version, "it is fine")
    assert book_of(learner).pending == []


def test_records_and_log_agree(tmp_path):
    learner = make(tmp_path)
    reports = [learner.update(blobs(5, seed=0)), learner.update(blobs(150, seed=1))]
    reports.append(learner.update(relabelled(blobs(40, seed=2))))
    entries = learner.log()[::-1]
    assert [entry.event for entry in entries] == ["init", "update", "update", "update"]
    for report, entry in zip(reports, entries[1:], strict=True):
        assert (report.number, report.verdict, report.reason) == (entry.number, entry.verdict, entry.reason)
        assert report.version == entry.candidate
        assert entry.page is not None
        assert report.parent == learner.repository.read_page(entry.page).parent
        assert report.cost.wall_seconds > 0
        assert report.cost.peak_memory_bytes > 2**20
        if report.version:
            assert learner.repository.read_record(report.version, entry.number, entry.nonce) == report


def test_the_last_event_comes_after_the_commit(tmp_path):
    learner = make(tmp_path)
    for event in learner.update_events(blobs(5, seed=0)):
        assert learner.log()[0].number == (2 if isinstance(event, Finished) else 1)


def test_a_lost_race_leaves_only_files_that_nothing_refers_to(tmp_path):
    learner = trained(tmp_path)
    events = learner.update_events(blobs(40, seed=1))
    step(events, 2)
    Learner.open(learner.project).update(blobs(40, seed=2))
    with pytest.raises(RaceLostError):
        list(events)
    before = folder_hash(tmp_path)
    learner.evaluate(blobs(5, seed=3))
    assert folder_hash(tmp_path) == before


def test_rare_reasons_are_counted_together():
    batch = Batch(rejected=[(None, f"reason {i}") for i in range(80)] + [(None, "common")] * 3)
    counts = _rejections(batch)
    assert counts["common"] == 3
    assert counts["other reasons"] == 31
    assert len(counts) == MAX_REASONS + 1

"""Revert, promotion by hand, admitting and dropping rows."""

import msgspec
import pytest
import torch

from dripstone.core.errors import StoreError, UsageError
from dripstone.store.ledger import Book, QuarantineGroup
from dripstone.update.lineage import learned_pages
from dripstone.update.moves import admit, drop
from learner_samples import blobs, book_of, live_rows, make, quarantined, relabelled, scores, trained


def three_versions(tmp_path):
    learner = trained(tmp_path)
    second = learner.update(blobs(40, seed=1, labels="abc"), settings={"gate.mode": "off"})
    return learner, second.parent, second.version


def test_revert_twice_comes_back_with_the_same_predictions(tmp_path):
    learner, old, new = three_versions(tmp_path)
    before = {version: scores(learner, version) for version in (old, new)}
    for expected in (old, new, old, new):
        entry = learner.revert()
        assert (entry.version, entry.event, entry.verdict) == (expected, "revert", None)
        assert torch.equal(scores(learner), before[expected])
        assert torch.equal(scores(type(learner).open(learner.project)), before[expected])
    assert list(learner.repository.verify()) == []


def test_rows_of_the_left_version_are_quarantined_until_it_comes_back(tmp_path):
    learner, _old, new = three_versions(tmp_path)
    rows = {row.id for row in learned_pages(learner.repository, new)[-1]}
    learner.revert()
    groups = book_of(learner).quarantined
    assert [group.reason for group in groups] == [f"unlearned when {new[:12]} was left"]
    page = learner.repository.read_page(groups[0].page)
    assert {page.rows[index].id for index in groups[0].indices} == rows
    assert len(live_rows(learner, "train")) + len(live_rows(learner, "held_out")) == 300
    learner.revert()
    assert quarantined(learner) == []
    assert len(live_rows(learner, "train")) + len(live_rows(learner, "held_out")) == 420


def test_rows_that_are_sent_again_after_a_revert_are_learned_and_leave_quarantine(tmp_path):
    learner, _, new = three_versions(tmp_path)
    learner.revert()
    again = learner.update(blobs(40, seed=1, labels="abc"), settings={"gate.mode": "off"})
    assert again.version == new  # the same parent, rows and statistics give the same bits
    assert quarantined(learner) == []
    learner.revert()
    learner.update(blobs(40, seed=1, labels="abc")[:60], settings={"gate.mode": "off"})
    assert len(quarantined(learner)) == 60


def test_revert_to_a_named_version(tmp_path):
    learner, first, _ = three_versions(tmp_path)
    third = learner.update(blobs(30, seed=2)).version
    assert learner.revert(first[:8]).version == first
    assert len(quarantined(learner)) == 120 + 60
    assert learner.revert(third).version == third
    assert quarantined(learner) == []
    root = learner.log()[-1].version
    assert learner.revert(root).version == root
    with pytest.raises(UsageError, match="knows no label"):
        learner.predict([[0, 0]])
    assert learner.update(blobs(150, seed=3)).promoted


def test_what_cannot_be_reverted_to(tmp_path):
    learner = trained(tmp_path)
    refused = learner.update(relabelled(blobs(1200, seed=1)), settings={"gate.sense": 0.99})
    assert refused.verdict == "refused"
    before = learner.log()
    with pytest.raises(UsageError, match="never live") as caught:
        learner.revert(refused.version)
    assert caught.value.kind == "usage.never_live"
    with pytest.raises(UsageError, match="live already"):
        learner.revert("live")
    with pytest.raises(UsageError, match="no version of this store"):
        learner.revert("0" * 64)
    with pytest.raises(UsageError):
        learner.revert("")
    assert learner.log() == before


def test_there_is_nothing_before_the_first_version(tmp_path):
    with pytest.raises(UsageError, match="no other version was ever live"):
        make(tmp_path).revert()


def test_after_a_revert_training_goes_on_from_there(tmp_path):
    learner, old, _ = three_versions(tmp_path)
    learner.revert()
    update = learner.update(blobs(40, seed=5))
    assert (update.verdict, update.parent) == ("promoted", old)
    assert learner.champion().task.labels == ("a", "b")
    assert len(live_rows(learner, "train")) == len({row.id for row in live_rows(learner, "train")})


def test_a_person_promotes_an_undecided_version(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    update = learner.update(blobs(40, seed=1))
    assert (update.verdict, update.examples.pending) == ("undecided", 80)
    entry = learner.promote(update.version[:10], "  seen by hand ")
    assert (entry.event, entry.reason, entry.version) == ("promote", "seen by hand", update.version)
    book = book_of(learner)
    assert (book.pending, book.quarantined) == ([], [])
    assert learner.update(blobs(40, seed=1)).verdict == "unchanged"
    assert learner.diff(update.parent, update.version)["flips"]["rows"] == len(live_rows(learner, "held_out"))
    assert learner.update(blobs(40, seed=2), settings={"gate.mode": "steady"}).parent == update.version


def test_a_person_promotes_a_refused_version(tmp_path):
    learner = trained(tmp_path)
    refused = learner.update(relabelled(blobs(1200, seed=1)), settings={"gate.sense": 0.99})
    assert len(quarantined(learner)) == 2400
    learner.promote(refused.version, "the world has changed")
    assert quarantined(learner) == []
    earlier = sum(len(page) for page in learned_pages(learner.repository, refused.parent))
    assert len(live_rows(learner, "train")) + len(live_rows(learner, "held_out")) == earlier + 2400
    learner.revert()
    assert len(quarantined(learner)) == 2400


def test_what_cannot_be_promoted(tmp_path):
    learner = trained(tmp_path)
    with pytest.raises(UsageError, match="live already"):
        learner.promote("live", "why not")
    version = learner.repository.manifest(learner.log()[0].version).parent
    with pytest.raises(UsageError, match="needs a reason"):
        learner.promote(version, " \n")
    events = learner.update_events(blobs(40, seed=1))
    stored = next(event.version for event in events if type(event).__name__ == "Stored")
    events.close()
    with pytest.raises(UsageError, match="did not finish") as caught:
        learner.promote(stored, "it was stored")
    assert caught.value.kind == "usage.never_judged"


def test_promotion_by_hand_takes_the_overtaken_label_along(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    rows = blobs(20, seed=1)
    learner.update(rows)  # pending
    refused = learner.update(relabelled(rows) + relabelled(blobs(1200, seed=2)), settings={"gate.sense": 0.99})
    assert refused.verdict == "refused"
    assert len(book_of(learner).pending) == 40  # as they were before the refused corrections
    learner.promote(refused.version, "they are right")
    assert book_of(learner).pending == []


def test_admitted_rows_are_learned_without_the_sense_test(tmp_path):
    learner = trained(tmp_path)
    poison = relabelled(blobs(60, seed=1))
    assert learner.update(poison).verdict == "refused"
    entry = admit(learner.repository, quarantined(learner))
    assert (entry.event, entry.reason) == ("data", "120 quarantined rows admitted")
    assert all(item.admitted for item in book_of(learner).pending)
    assert quarantined(learner) == []
    update = learner.update(blobs(150, seed=0), settings={"gate.mode": "off"})  # known rows: only the admitted are news
    assert update.promoted
    assert update.examples.trained + update.examples.held_out == 120
    learner.revert()
    assert len(quarantined(learner)) == 120


def test_admitted_rows_have_one_turn(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    learner.update(relabelled(blobs(10, seed=1)))
    admit(learner.repository, quarantined(learner))
    assert learner.update(blobs(150, seed=0)).verdict == "undecided"
    assert all(item.heard for item in book_of(learner).pending)
    assert learner.update(blobs(150, seed=0)).verdict == "unchanged"


def test_admitting_an_outdated_row_corrects_only_what_a_person_means(tmp_path):
    learner = trained(tmp_path)
    learner.update(relabelled(blobs(20, seed=1)))
    places = quarantined(learner)
    admit(learner.repository, places)
    mended = learner.update(blobs(20, seed=1), settings={"gate.mode": "off"})  # the right labels, sent later
    assert mended.promoted
    book = book_of(learner)
    assert (book.pending, book.quarantined) == ([], [])
    assert len(live_rows(learner, "train")) == len({row.id for row in live_rows(learner, "train")})


def test_rows_are_dropped(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    learner.update(blobs(3, seed=1))
    learner.update(relabelled(blobs(10, seed=2)))
    places = quarantined(learner)
    pending = [(item.page, item.index) for item in book_of(learner).pending]
    entry = drop(learner.repository, [places[0], pending[0], ("0" * 64, 3)])
    assert entry.reason == "2 rows dropped"
    assert (len(quarantined(learner)), len(book_of(learner).pending)) == (19, 5)
    assert learner.log()[0].version == learner.log()[1].version


def test_rows_that_do_not_wait_are_refused(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    learner.update(blobs(3, seed=1))
    before = learner.log()
    for move in (admit, drop):
        with pytest.raises(UsageError, match="none of these rows is waiting"):
            move(learner.repository, [("0" * 64, 0)])
        with pytest.raises(UsageError):
            move(learner.repository, [])
    with pytest.raises(UsageError):  # pending rows need no admission
        admit(learner.repository, [(item.page, item.index) for item in book_of(learner).pending])
    assert learner.log() == before


def test_a_book_that_points_beyond_its_page_is_refused(tmp_path):
    learner = trained(tmp_path)
    head = learner.log()[0]
    book = Book(quarantined=[QuarantineGroup(head.page, 2, "edited", [10**6, -1])])
    name = learner.repository.write_book(book)
    entry = msgspec.structs.replace(head, number=head.number + 1, nonce="ff", book=name, event="data")
    learner.repository.log.append(entry)
    for index in (10**6, -1):
        with pytest.raises(StoreError) as caught:
            admit(learner.repository, [(head.page, index)])
        assert caught.value.kind == "store.corrupt"


def test_a_waiting_correction_goes_where_the_version_that_comes_back_says_the_same(tmp_path):
    learner = make(tmp_path)
    rows = blobs(40, seed=1)
    first = learner.update(rows, gate="off")
    wrong = relabelled(rows[:6])
    learner.update(wrong, gate="off")
    assert learner.update(rows[:6], gate="better").verdict == "undecided"
    assert len(book_of(learner).pending) == 6

    learner.promote(first.version, "the labels were right")

    assert book_of(learner).pending == []

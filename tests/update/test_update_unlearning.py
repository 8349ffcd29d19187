"""Rows leave the store and what is live: exactly, without a trace, whole after a crash, and said where it is not so."""

import shutil
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np
import pytest
import torch

from dripstone.core.errors import RaceLostError, StoreError, UsageError
from dripstone.core.fork import fork, named_tensors
from dripstone.learner import Learner
from dripstone.train.closed_form import solve_again
from dripstone.train.statistics import to_sums
from dripstone.update import flow, moves, unlearning
from dripstone.update.audit import audit, find_all
from dripstone.update.lineage import page_rows
from dripstone.update.training_state import fresh_statistics, load_state
from full_disk import Disk
from learner_samples import blobs, book_of, folder_hash, make, quarantined, relabelled, scores
from unlearning_samples import bytes_of, check, killed_at, learned, named, steps_of, traces_of, with_and_without

IDS = {"task.id": "id"}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Three updates that were promoted, of rows with ids: a and b, more of them, and c."""
    learner = make(tmp_path_factory.mktemp("unlearning"), IDS)
    for number, labels in enumerate(("ab", "ab", "abc")):
        assert learner.update(named(blobs(60, seed=number, labels=labels), f"day{number}")).promoted
    return learner.project


@pytest.fixture
def learner(template, tmp_path):
    shutil.copytree(template, tmp_path / "p")
    return Learner.open(tmp_path / "p")


def of_day(learner, day, role="train"):
    return [row for row in learned(learner, role) if row.id.startswith(f"day{day}-")]


def head_of_rows(learner, rows, penalty=None):
    """The head that these rows alone give under the live features and hyperparameters, as [classes, D + 1]."""
    champion = learner.champion()
    model = fork(champion.model, ["head.weight", "head.bias"])
    statistics = to_sums(fresh_statistics(rows, model, champion.task), model.head)
    solve_again(model.head, statistics, penalty or float(model.head.penalty), numbers=champion.task.numbers)
    return torch.cat([model.head.weight, model.head.bias[:, None]], dim=1).detach()


def live_head(learner):
    head = learner.champion().model.head
    return torch.cat([head.weight, head.bias[:, None]], dim=1).detach()


def test_the_head_is_that_of_the_rows_that_are_left(learner):
    features = named_tensors(learner.champion().model)
    gone = [of_day(learner, day)[5].id for day in (0, 1, 2)]
    rows = [row for row in learned(learner) if row.id not in gone]
    before = live_head(learner)
    report = learner.unlearn(gone)
    assert (report.exact, report.solved, report.shaped, report.inexact) == (True, True, [], "")
    assert report.version == learner.repository.log.head().version
    assert {row.id for row in learned(learner)} == {row.id for row in rows}
    live = live_head(learner)
    assert torch.allclose(live, head_of_rows(learner, rows), rtol=0, atol=1e-6)
    assert not torch.allclose(live, before, rtol=0, atol=1e-6)
    after = named_tensors(learner.champion().model)
    assert all(
        torch.equal(after[name], features[name]) for name in features if name not in ("head.weight", "head.bias")
    )
    check(learner)


def test_it_is_the_model_that_never_saw_the_rows(tmp_path):
    """Rows of a later update, whose features and hyperparameters the first one has set."""
    first, later = named(blobs(60, seed=0), "first"), named(blobs(60, seed=1), "later")
    one, other = with_and_without(tmp_path, IDS, first, later, every=3)
    assert torch.allclose(live_head(one), live_head(other), rtol=0, atol=1e-6)
    mine, theirs = (scores(learner) / learner.champion().model.head.scale for learner in (one, other))
    assert torch.allclose(mine, theirs, rtol=0, atol=1e-6)


def test_what_is_learned_later_is_what_it_would_have_been(learner, tmp_path):
    """The training state is that of the rows that are left: statistics, trusted rows and known ones."""
    gone = [row.id for row in of_day(learner, 1)[:10]] + [of_day(learner, 1, "held_out")[0].id]
    learner.unlearn(gone)
    kept = learner.repository.read_state(learner.repository.log.head().version)
    assert kept is not None
    (learner.repository.path / "training" / "state").rename(tmp_path / "state")
    again = Learner.open(learner.project)
    rebuilt = load_state(again.repository, again.config, kept.version, again.champion().model)
    assert replace(kept, statistics={}) == rebuilt
    assert learner.update(named(blobs(40, seed=9, labels="abc"), "day9")).promoted
    assert torch.allclose(live_head(learner), head_of_rows(learner, learned(learner)), rtol=0, atol=1e-6)
    check(learner)
    assert learner.update([{"id": gone[0], "inputs": [2.0, 0.0], "label": "a"}]).verdict != "unchanged"


def test_no_file_holds_a_trace(tmp_path):
    """Of rows that were learned, held out, pending, quarantined, left out and rejected."""
    policy = "screen+dedupe+drift+replay:2000"
    columns = {**IDS, "task.slice": "where", "task.time": "when", "curate.policy": policy}
    learner = make(tmp_path, {**columns, "gate.sense": 0.25})
    for day in range(2):
        rows = named(blobs(60, seed=day), f"day{day}", where="eu", when="2026-01-01")
        assert learner.update(rows, gate="off").promoted
    secret = named(blobs(30, seed=3), "SECRET", where="eu", when="SECRET-time")
    others = [{**secret[0], "id": "SECRET-copy."}, {**secret[1], "id": "SECRET-none.", "label": None}]
    assert learner.update([*secret, *others], gate="off").promoted
    poison = named(relabelled(blobs(60, seed=2)), "SECRET-poison", where="eu", when="SECRET-time")
    assert learner.update(poison).verdict == "refused"
    assert learner.update(named(blobs(3, seed=4), "SECRET-wait", where="eu", when="SECRET-time"), gate="better")
    pages = {name: learner.repository.read_page(name).rows for name in learner.repository.pages()}
    hidden = [row for rows in pages.values() for row in rows if row.id.startswith("SECRET")]
    waiting = {item.row.id for item in book_of(learner).pending}
    aside = {pages[page][index].id for page, index in quarantined(learner)}
    assert {row.role for row in hidden} == {"train", "held_out", "rejected", "quarantined"}
    assert (len(waiting), len(aside)) == (6, 120)
    wanted = [b"SECRET", *(data for row in hidden for data in bytes_of(learner, row)[1:])]
    assert {name.split("/")[1] for name in traces_of(learner.repository.path, *wanted)} >= {"ledger", "books", "state"}
    report = learner.unlearn(sorted({row.id for row in hidden}))
    assert report.exact
    assert traces_of(learner.repository.path, *wanted) == set()
    check(learner)


def test_a_row_that_only_waits_leaves_without_a_new_head(learner):
    learner.update(named(blobs(3, seed=4), "wait"), gate="better")
    waiting = [item.row.id for item in book_of(learner).pending]
    assert len(waiting) > 3
    live, candidate = learner.repository.log.head().version, learner.repository.log.head().candidate
    state = learner.repository.read_state(live)
    report = learner.unlearn(waiting[:2])
    assert (report.version, report.exact, report.solved, report.collected) == (live, True, False, [candidate])
    assert report.removed["pending"] == 2
    assert [item.row.id for item in book_of(learner).pending] == waiting[2:]
    entry = learner.repository.log.head()
    assert (entry.event, entry.verdict, entry.candidate, entry.version) == ("unlearn", "unlearned", None, live)
    assert learner.repository.read_state(live) == state  # nothing in it is about them: it is not computed anew
    check(learner)
    assert learner.update(named(blobs(40, seed=5), "more")).verdict == "promoted"
    check(learner)


def test_quarantined_rows_leave(learner):
    assert learner.update(named(relabelled(blobs(60, seed=5)), "poison")).verdict == "refused"
    live, before = learner.repository.log.head().version, len(quarantined(learner))
    report = learner.unlearn(["poison-3.", "poison-7."])
    assert (report.version, report.exact, report.removed["quarantined"]) == (live, True, 2)
    assert len(quarantined(learner)) == before - 2
    assert traces_of(learner.repository.path, b"poison-3.", b"poison-7.") == set()
    check(learner)
    moves.admit(learner.repository, quarantined(learner))
    assert "poison-3." not in {item.row.id for item in book_of(learner).pending}
    check(learner)


def test_a_held_out_row_leaves_and_the_version_stays(learner):
    row = of_day(learner, 1, "held_out")[2]
    wanted = bytes_of(learner, row)
    live = learner.repository.log.head()
    report = learner.unlearn([row.id])
    assert (report.version, report.exact, report.solved, report.collected) == (live.version, True, False, [])
    assert report.removed["trusted"] == 1
    assert learner.repository.log.head().certificate == live.certificate
    assert traces_of(learner.repository.path, *wanted) == set()
    assert learner.repository.read_state(live.version) is None
    state = load_state(learner.repository, learner.config, live.version, learner.champion().model)
    assert row.id not in {other.id for other in state.trusted}
    check(learner)
    said = [finding.text for finding in find_all(learner.repository, learner.config)]
    assert said == [
        "log entry 3: rows that it rests on were unlearned",
        "log entry 4: rows that it rests on were unlearned",
    ]
    assert learner.update(named(blobs(40, seed=6, labels="abc"), "more")).promoted
    check(learner)
    assert len(list(find_all(learner.repository, learner.config))) == 2


def test_versions_that_learned_the_rows_are_collected_and_others_stay_whole(learner):
    first, second, third = [entry.version for entry in learner.log()][-2::-1]
    learner.revert(second)
    assert learner.update(named(blobs(40, seed=7), "side")).promoted
    side = learner.repository.log.head().version
    learner.revert(third)
    gone = [of_day(learner, 1)[0].id]
    report = learner.unlearn(gone)
    assert set(report.collected) == {second, third, side}
    assert learner.repository.manifest(report.version).parent == first
    for version in (second, third, side):
        with pytest.raises(UsageError, match="was collected then") as caught:
            learner.revert(version)
        assert caught.value.kind == "usage.collected"
        with pytest.raises(UsageError, match="was collected then"):
            learner.promote(version, "I want it")
        with pytest.raises(StoreError, match="was collected by log entry 8") as refused:
            learner.predict([[0.0, 0.0]], version=version)
        assert refused.value.kind == "store.collected"
    with pytest.raises(UsageError, match="was collected then"):
        learner.revert()
    check(learner)
    for version in (first, report.version):
        learner.revert(version)
        assert learner.predict([[2.0, 0.0]]) == ["a"]
        check(learner)
    learner.revert(first)
    assert gone[0] not in {row.id for row in learned(learner)}
    assert len(quarantined(learner)) > 50
    moves.admit(learner.repository, quarantined(learner))
    assert learner.update(named(blobs(5, seed=8), "again")).promoted
    check(learner)


def test_a_missing_object_is_a_problem_but_for_a_collected_version(learner):
    report = learner.unlearn([of_day(learner, 0)[0].id])
    check(learner)
    entry = learner.repository.manifest(report.version).tensors["head.weight"]
    learner.repository.objects.path(entry.object).unlink()
    assert any(entry.object in problem for problem in learner.repository.verify())


def test_without_its_deed_nothing_is_whole(learner):
    learner.unlearn([of_day(learner, 0)[0].id])
    deed = learner.repository.path / "training" / "unlearned" / learner.repository.log.head().unlearned
    data = deed.read_bytes()
    deed.write_bytes(data.replace(b'"exact":true', b'"exact":null'))
    assert any("unlearned" in problem for problem in Learner.open(learner.project).repository.verify())
    deed.unlink()
    problems = list(Learner.open(learner.project).repository.verify())
    assert any("training/unlearned" in problem for problem in problems)


def test_the_anchor_and_the_state_are_of_versions_that_are_whole(learner):
    report = learner.unlearn([of_day(learner, 0)[3].id])
    whole = set(learner.repository.versions()) - set(report.collected)
    state = learner.repository.read_state(report.version)
    certificate = learner.repository.certificate_of(learner.repository.log.head())
    assert {state.version, state.anchor, certificate.next_anchor} <= whole
    assert (certificate.source, certificate.verdict) == ("person", "unlearned")
    assert {owner for _, owner in learner.repository.states()} == {report.version}


def test_an_earlier_anchor_stays(learner):
    rows = named(blobs(40, seed=7, labels="abc"), "day3")
    assert learner.update(rows).promoted
    anchor = load_state(
        learner.repository, learner.config, learner.repository.log.head().version, learner.champion().model
    ).anchor
    assert anchor != learner.repository.log.head().version
    report = learner.unlearn([of_day(learner, 3)[0].id])
    assert learner.repository.read_state(report.version).anchor == anchor
    check(learner)
    assert learner.update(named(blobs(40, seed=8, labels="abc"), "day4")).verdict == "promoted"
    check(learner)


def test_a_label_that_no_row_is_left_of_keeps_its_place(learner):
    gone = [row.id for role in ("train", "held_out") for row in learned(learner, role) if row.target == "c"]
    report = learner.unlearn(gone)
    assert (report.labels, report.exact) == (["c"], True)
    head = learner.champion().model.head
    assert learner.champion().task.labels == ("a", "b", "c")
    assert not head.weight[2].any()
    assert head.bias[2] == 0
    assert learner.predict([[2.0, 0.0]]) == ["a"]
    check(learner)
    # The label is known, and nothing is called by it: a person has to say that it is right.
    back = learner.update(named(blobs(40, seed=3, labels="abc"), "back"))
    assert (back.promoted, "'dripstone data admit'" in back.reason) == (False, True)
    moves.admit(learner.repository, quarantined(learner))
    assert learner.update(named(blobs(40, seed=4, labels="abc"), "again"), gate="off").promoted
    assert learner.champion().task.labels == ("a", "b", "c")
    assert learner.predict([[-1.0, 1.7]]) == ["c"]
    check(learner)


def test_nothing_is_left(learner):
    gone = [row.id for role in ("train", "held_out") for row in learned(learner, role)]
    report = learner.unlearn(gone)
    assert (report.labels, report.exact, report.trusted) == (["a", "b", "c"], True, 0)
    assert not live_head(learner).any()
    check(learner)
    assert learner.update(named(blobs(60, seed=1), "anew")).promoted
    assert learner.predict([[2.0, 0.0]]) == ["a"]
    check(learner)


def test_rows_leave_one_command_after_the_other(learner):
    """Pages are redacted again, the version after an unlearning is collected itself, and learns on."""
    everything = {row.id for row in learned(learner)}
    gone, before = set(), set()
    for number, day in enumerate((1, 2, 0, 1)):
        row = of_day(learner, day)[number]
        wanted = bytes_of(learner, row)
        last = learner.repository.log.head().version
        report = learner.unlearn([row.id])
        gone.add(row.id)
        assert before.isdisjoint(report.collected)
        before |= set(report.collected)
        assert last in report.collected or number == 0
        assert {row.id for row in learned(learner)} == everything - gone
        assert torch.allclose(live_head(learner), head_of_rows(learner, learned(learner)), rtol=0, atol=1e-6)
        assert traces_of(learner.repository.path, *wanted) == set()
        check(learner)
        assert learner.update(named(blobs(20, seed=20 + number), f"then{number}")).verdict in ("promoted", "undecided")
        everything |= {row.id for row in learned(learner)}
    check(learner)


def test_a_corrected_row_leaves_with_all_that_it_ever_was(learner):
    row = of_day(learner, 1)[4]
    again = {"id": row.id, "inputs": (row.inputs.numpy() + np.float32(0.25)).tolist(), "label": row.target}
    assert learner.update([again, *named(blobs(20, seed=11), "with")]).promoted
    wanted = [*bytes_of(learner, row), np.float32(again["inputs"]).tobytes()]
    report = learner.unlearn([row.id])
    assert report.removed["ledger"] == 2
    assert row.id not in {other.id for role in ("train", "held_out") for other in learned(learner, role)}
    assert torch.allclose(live_head(learner), head_of_rows(learner, learned(learner)), rtol=0, atol=1e-6)
    assert traces_of(learner.repository.path, *wanted) == set()
    check(learner)


def test_a_correction_that_stays_is_not_undone(learner):
    """Two rows; what corrected one of them is carried into the new version, and what it corrected is not."""
    row, other = of_day(learner, 1)[4], of_day(learner, 1)[5]
    again = {"id": row.id, "inputs": (row.inputs.numpy() + np.float32(0.25)).tolist(), "label": row.target}
    assert learner.update([again, *named(blobs(20, seed=11), "with")]).promoted
    learner.unlearn([other.id])
    found = [one for role in ("train", "held_out") for one in learned(learner, role) if one.id == row.id]
    assert [one.inputs.numpy().tolist() for one in found] == [np.float32(again["inputs"]).tolist()]
    ids = [one.id for one in page_rows(learner.repository, learner.repository.log.head().version)]
    assert len(ids) == len(set(ids))
    check(learner)


@pytest.mark.parametrize("ids", [["nobody"], ["day1-3.", "nobody"], ["day1-3.", "day1-", "x"], [""], []])
def test_an_id_that_is_nowhere_changes_nothing(learner, ids):
    before = folder_hash(learner.project)
    with pytest.raises(UsageError) as caught:
        learner.unlearn(ids)
    assert caught.value.kind == ("usage.never_learned" if ids and ids[0] else "usage.rows")
    assert folder_hash(learner.project) == before


def test_an_id_that_was_unlearned_is_nowhere(learner):
    learner.unlearn(["day1-3."])
    before = folder_hash(learner.project)
    with pytest.raises(UsageError, match="was unlearned by log entry 5") as caught:
        learner.unlearn(["day1-3."])
    assert caught.value.kind == "usage.never_learned"
    assert folder_hash(learner.project) == before


def test_a_dry_run_says_the_same_and_changes_nothing(learner):
    row = of_day(learner, 1)[3]
    before = folder_hash(learner.project)
    said = learner.unlearn([row.id], dry_run=True)
    assert folder_hash(learner.project) == before
    done = learner.unlearn([row.id])
    assert (said.dry_run, said.number, said.version) == (True, None, None)
    same = {"dry_run": False, "number": 5, "version": done.version, "delta_bytes": done.delta_bytes}
    assert msgspec.structs.replace(said, bytes_freed=done.bytes_freed, **same) == done
    assert said.bytes_freed == pytest.approx(done.bytes_freed, rel=0.1)
    assert done.bytes_freed > 1000


def test_a_lost_race_deletes_nothing(learner, monkeypatch):
    rows, real = of_day(learner, 1), unlearning._plan

    def beaten(*arguments):
        plan = real(*arguments)
        assert Learner.open(learner.project).update(named(blobs(30, seed=30), "faster")).promoted
        return plan

    monkeypatch.setattr(unlearning, "_plan", beaten)
    with pytest.raises(RaceLostError):
        learner.unlearn([rows[0].id])
    again = Learner.open(learner.project)
    check(again)
    assert rows[0].id in {row.id for row in learned(again)}
    assert all(again.repository.read_tensors(entry.version) for entry in again.log())
    monkeypatch.undo()
    assert again.unlearn([rows[0].id]).exact
    check(again)
    assert traces_of(again.repository.path, rows[0].id.encode(), rows[0].inputs.data) == set()


def test_an_update_that_was_overtaken_leaves_nothing_that_was_unlearned(learner):
    """It has stored its candidate when the rows leave; its page, book and state are not written any more."""
    learner.update(named(blobs(3, seed=4), "wait"), gate="better")
    waiting = [item for item in book_of(learner).pending if item.row.role == "train"]
    wanted = [waiting[0].row.id.encode(), waiting[0].row.inputs.data]
    other = Learner.open(learner.project)
    events = learner.update_events(named(blobs(40, seed=31), "slow"))
    for event in events:
        if type(event).__name__ == "Stored":
            break
    other.unlearn([waiting[0].row.id])
    with pytest.raises(RaceLostError):
        list(events)
    assert traces_of(learner.repository.path, *wanted) == set()
    check(other)


@pytest.mark.parametrize("label", ["honest", "nonsense"])
def test_an_update_that_was_overtaken_at_its_end_writes_no_row(learner, monkeypatch, label):
    """It is judged already; pending rows would stand in its book, trusted ones in its state."""
    learner.update(named(blobs(3, seed=4), "wait"), gate="better")
    row = book_of(learner).pending[0].row
    held = of_day(learner, 1, "held_out")[0]
    wanted = [row.id.encode(), row.inputs.data, held.id.encode(), held.inputs.data]
    real = flow.commit

    def late(*arguments):
        Learner.open(learner.project).unlearn([row.id, held.id])
        return real(*arguments)

    monkeypatch.setattr(flow, "commit", late)
    rows = blobs(40, seed=31)
    with pytest.raises(RaceLostError):
        learner.update(named(rows if label == "honest" else relabelled(rows), "slow"))
    assert traces_of(learner.repository.path, *wanted) == set()
    check(Learner.open(learner.project))


def test_moves_that_were_overtaken_write_no_row(learner, monkeypatch):
    learner.update(named(blobs(3, seed=4), "wait"), gate="better")
    one, other = book_of(learner).pending[:2]
    wanted = [one.row.id.encode(), one.row.inputs.data]
    real = moves.read_book

    def late(repository, head):
        book = real(repository, head)
        monkeypatch.setattr(moves, "read_book", real)
        Learner.open(learner.project).unlearn([one.row.id])
        return book

    monkeypatch.setattr(moves, "read_book", late)
    with pytest.raises(RaceLostError):
        moves.drop(learner.repository, [(other.page, other.index)])
    assert traces_of(learner.repository.path, *wanted) == set()


def test_how_many_rows_are_trusted_stays_what_it_was(tmp_path):
    """As the version was left with them, whatever the settings say later."""
    learner = make(tmp_path, {**IDS, "gate.trusted": 20})
    for day in range(2):
        assert learner.update(named(blobs(60, seed=day), f"day{day}"), gate="off").promoted
    learner.unlearn([of_day(learner, 0)[0].id])
    assert learner.update(named(blobs(60, seed=3), "day3"), gate="off").promoted
    for trusted in (20, 4000):
        config = learner.config.override({"gate.trusted": trusted})
        assert list(audit(learner.repository, config)) == []


def test_killed_at_any_step_it_is_the_old_store_or_the_new_one(learner, tmp_path):
    learner.update(named(blobs(3, seed=4), "wait"), gate="better")
    rows = [of_day(learner, 1)[3], of_day(learner, 2, "held_out")[0]]
    gone = [row.id for row in rows] + [book_of(learner).pending[0].row.id]
    wanted = [data for row in rows for data in bytes_of(learner, row)]
    everything = len(learned(learner))

    def copy(name):
        shutil.copytree(learner.project, tmp_path / name)
        return Learner.open(tmp_path / name)

    whole = copy("whole")
    steps = steps_of(lambda: whole.unlearn(gone))
    assert steps > 40
    expected = whole.repository.log.head()
    moved = 0
    for step in range(1, steps + 1):
        tried = copy(f"at-{step}")
        tried.champion()
        assert killed_at(step, partial(tried.unlearn, gone))
        after = Learner.open(tried.project)
        assert list(after.repository.verify()) == []
        committed = after.repository.log.last() == expected.number
        moved += committed
        assert after.repository.log.last() == expected.number - (not committed)
        assert len(learned(after)) == everything - committed * sum(row.role == "train" for row in rows)
        if step % 5 == 0 and committed:  # what was cut short stands in nobody's way
            assert after.update(named(blobs(20, seed=3), "meanwhile")).verdict in ("promoted", "undecided")
            assert list(after.repository.verify()) == []
        if committed and not after.repository.deeds.unfinished():
            with pytest.raises(UsageError, match="was unlearned by log entry 6"):
                after.unlearn(gone)
        else:
            report = after.unlearn(gone)
            assert (report.exact, report.number, report.version) == (True, expected.number, expected.version)
        assert traces_of(after.repository.path, *wanted) == set()
        assert list(after.repository.verify()) == []
        assert after.repository.deeds.unfinished() == {}
        shutil.rmtree(tried.project)
    assert 0 < moved < steps


def test_a_state_that_is_not_deleted_yet_is_not_read(learner, monkeypatch):
    held = of_day(learner, 1, "held_out")[0]
    monkeypatch.setattr(unlearning, "finish", stopped)
    with pytest.raises(KeyboardInterrupt):
        learner.unlearn([held.id])
    for again in (learner, Learner.open(learner.project)):
        live = again.repository.log.head().version
        assert live in {owner for _, owner in again.repository.states()}
        assert again.repository.read_state(live) is None
        state = load_state(again.repository, again.config, live, again.champion().model)
        assert held.id not in {row.id for row in (*state.trusted, *state.replay)}


@pytest.mark.parametrize("by", ["sweep", "update", "another unlearning"])
def test_what_was_cut_short_is_done_by_what_comes_next(learner, monkeypatch, by):
    row, other = of_day(learner, 1)[3], of_day(learner, 1)[4]
    wanted = bytes_of(learner, row)
    with monkeypatch.context() as patch:
        patch.setattr(unlearning, "finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            learner.unlearn([row.id])
    assert traces_of(learner.repository.path, *wanted)
    learner = Learner.open(learner.project)
    check(learner)
    assert row.id not in {one.id for one in learned(learner)}
    if by == "sweep":
        assert learner.repository.sweep() > 3
    elif by == "update":
        assert learner.update(named(blobs(20, seed=12), "next")).number == 6
    else:
        assert learner.unlearn([other.id]).exact
    assert traces_of(learner.repository.path, *wanted) == set()
    assert learner.repository.deeds.unfinished() == {}
    check(learner)


def stopped(repository):
    raise KeyboardInterrupt


def test_a_disk_that_fills_up_at_any_moment_loses_nothing(learner, tmp_path):
    gone = [of_day(learner, 1)[3].id, of_day(learner, 2, "held_out")[0].id]

    def copy(name):
        shutil.copytree(learner.project, tmp_path / name)
        return Learner.open(tmp_path / name)

    with pytest.MonkeyPatch.context() as patch:
        counted = Disk(patch, None)
        expected = copy("count").unlearn(gone).version
    for call in range(1, counted.calls + 1, 2):
        other = copy(str(call))
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, call)
            with pytest.raises(StoreError) as caught:
                other.unlearn(gone)
        assert caught.value.kind == "store.full"
        assert list(other.repository.verify()) == []
        if not other.repository.deeds.committed() or other.repository.deeds.unfinished():
            assert other.unlearn(gone).version == expected
        assert other.repository.log.head().version == expected
        assert list(other.repository.verify()) == []
        assert traces_of(other.repository.path, *map(str.encode, gone)) == set()
        shutil.rmtree(other.project)


def test_a_project_that_has_learned_nothing_yet(tmp_path):
    learner = make(tmp_path, IDS)
    assert learner.update(named(blobs(2, seed=0), "wait"), gate="better").verdict == "undecided"
    live = learner.repository.log.head().version
    report = learner.unlearn(["wait-1."])
    assert (report.version, report.exact, report.trusted) == (live, True, 0)
    assert traces_of(learner.repository.path, b"wait-1.") == set()
    check(learner)
    assert learner.update(named(blobs(60, seed=1), "day1")).promoted
    assert "wait-0." in {row.id for role in ("train", "held_out") for row in learned(learner, role)}
    check(learner)


@pytest.mark.parametrize("kind", ["waiting", "refused"])
def test_rows_that_come_back_can_be_learned_and_unlearned_again(tmp_path, kind):
    """The same batch on the same champion would make the very page and candidate that are gone."""
    learner = make(tmp_path, IDS)
    learner.update(named(blobs(60, seed=0), "day0"), gate="off")
    rows = named(blobs(1, seed=4) if kind == "waiting" else relabelled(blobs(60, seed=2)), "back")
    gone = [row["id"] for row in rows]
    traces = [row_id.encode() for row_id in gone]
    for _ in range(2):
        assert not learner.update(rows, gate="better" if kind == "waiting" else None).promoted
        assert traces_of(learner.project, *traces)
        page = learner.repository.read_page(learner.repository.log.head().page)
        assert {row.id for row in page.rows} == set(gone)
        check(learner)
        assert learner.unlearn(gone).exact
        assert traces_of(learner.project, *traces) == set()
        check(learner)
    assert learner.update(named(blobs(60, seed=7), "day9"), gate="off").promoted
    check(learner)


def test_a_version_that_is_trained_again_to_the_same_bits_is_another_one(tmp_path):
    learner = make(tmp_path, IDS)
    root = learner.repository.log.head().version
    rows = named(blobs(60, seed=0), "day0")
    first = learner.update(rows).version
    row = of_day(learner, 0)[0]
    learner.unlearn([row.id])
    learner.revert(root)
    again = learner.update(rows)
    assert again.promoted
    assert again.version != first
    assert row.id in {one.id for one in learned(learner)}
    check(learner)
    assert learner.unlearn([row.id]).exact
    assert row.id not in {one.id for one in learned(learner)}
    check(learner)


def test_the_penalty_is_the_one_that_the_head_was_solved_with(tmp_path):
    """Not the one that is configured by now."""
    learner = make(tmp_path, IDS)
    rows = named(blobs(60, seed=0), "day0")
    assert learner.update(rows, settings={"train.ridge": 50.0}).promoted
    row = of_day(learner, 0)[0]
    for others, gone in ((1000.0, row.id), (None, of_day(learner, 0)[1].id)):
        learner = Learner.open(learner.project, {"train.ridge": others})
        assert learner.unlearn([gone]).exact
        wanted = head_of_rows(learner, learned(learner), penalty=50.0)
        assert torch.allclose(live_head(learner), wanted, rtol=0, atol=1e-6)
    check(Learner.open(learner.project))


@pytest.mark.parametrize("policy", ["weight", "noise:weigh"])
def test_weights_that_stem_from_the_rows_are_said(tmp_path, policy):
    learner = make(tmp_path, {**IDS, "curate.policy": f"screen+{policy}", "gate.mode": "off"})
    rows = [*blobs(60, seed=0, labels="a"), *blobs(150, seed=1, labels="ab", spread=1.0)]
    assert learner.update(named(rows, "day0")).promoted
    report = learner.unlearn([of_day(learner, 0)[0].id])
    assert (report.exact, report.solved, report.weighed) == (False, True, True)
    assert "they keep the weights that curation gave them" in report.reason


def test_what_is_overtaken_before_it_is_stored_leaves_no_version(learner):
    row = of_day(learner, 1)[0]
    before = set(learner.repository.versions())
    events = learner.update_events(named(blobs(40, seed=31), "slow"))
    for event in events:
        if type(event).__name__ == "Trained":
            break
    other = Learner.open(learner.project)
    made = other.unlearn([row.id]).version
    with pytest.raises(RaceLostError):
        list(events)
    assert set(other.repository.versions()) <= {*before, made}
    check(other)


def test_studies_of_settings_are_forgotten(learner):
    folder = learner.project / "tuning"
    folder.mkdir()
    for name in ("0123456789abcdef.log", "0123456789abcdef.png", "0123456789abcdef.lock", "mine.txt"):
        (folder / name).write_text("x")
    row = of_day(learner, 1)[0]
    learner.unlearn([row.id], dry_run=True)
    assert len(list(folder.iterdir())) == 4
    learner.unlearn([row.id])
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]

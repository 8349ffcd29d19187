"""A model that grows: live at once with the answers of before, and what was added learns alone."""

import os
import shutil
import signal

import msgspec
import numpy as np
import pytest
import torch

from dripstone.checkout import checkout
from dripstone.core.bits import from_raw, to_raw
from dripstone.core.errors import ModelError, RaceLostError, UsageError
from dripstone.core.fork import named_tensors
from dripstone.learner import Learner
from dripstone.models import growth
from dripstone.update import growing
from dripstone.update.audit import audit
from dripstone.update.moves import promote
from dripstone.update.training_state import features_digest, load_state, marks_of
from learner_samples import book_of, make
from text_samples import exchanges, make_texts, stories, tiny

READ = [row["text"] for row in stories(10, 90)]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A project that has learned some stories."""
    learner = make_texts(tmp_path_factory.mktemp("growing"))
    assert learner.update(stories(120, 0)).promoted
    return learner.project


@pytest.fixture
def learner(template, tmp_path):
    shutil.copytree(template, tmp_path / "p")
    return Learner.open(tmp_path / "p")


def check(learner):
    assert list(learner.repository.verify()) == []
    assert list(audit(learner.repository, learner.config)) == []


def reads(learner):
    return learner.champion().model.read(READ)


def manifest(learner, version=None):
    return learner.repository.manifest(version or learner.repository.log.head().version)


def added(repository, version):
    """Names of the tensors that the version stored."""
    made = repository.manifest(version)
    old = repository.manifest(made.parent).tensors
    return {name for name, entry in made.tensors.items() if name not in old or entry.digest != old[name].digest}


def test_a_whole_life_with_new_blocks(learner):
    """Learn, grow, learn with what was added, go back and forth; sound at each step."""
    small, before = learner.champion(), reads(learner)
    entry = learner.grow(depth=2)
    assert (entry.event, entry.number, entry.candidate, entry.verdict) == ("grow", 3, None, None)
    assert entry.reason.startswith("2 blocks added, which change no answer; 61,792 parameters in place of 35,040, ")
    assert torch.equal(reads(learner), before)
    check(learner)
    update = learner.update(stories(80, 1), select="grown", gate="off")
    assert (update.selection, update.parent) == ("grown@adamw", entry.version)
    assert (update.parameters.trained, update.parameters.total) == (26_752, 61_792)
    assert len(added(learner.repository, update.version)) == 18
    assert all(name.split(".")[2] in "23" for name in added(learner.repository, update.version))
    assert not torch.equal(reads(learner), before)
    check(learner)
    for version, bits in ((entry.version, before), (update.version, reads(learner))):
        assert learner.revert().version == version
        assert torch.equal(reads(learner), bits)
        check(learner)
    assert learner.revert(small.version).version == small.version
    assert len(learner.champion().model.backbone.blocks) == 2
    assert torch.equal(reads(learner), before)
    check(learner)
    assert learner.update(stories(40, 2), gate="off").promoted  # what waits learns on as ever
    check(learner)


def test_new_units_and_what_moves_of_them(learner):
    before = reads(learner)
    entry = learner.grow(ffn=32)
    assert reads(learner) == pytest.approx(before.numpy(), abs=1e-6)
    assert manifest(learner).format == "dripstone-version 2"
    check(learner)
    parent = named_tensors(learner.champion().model)
    update = learner.update(stories(80, 1), select="grown", gate="off", optimizer="sgd")
    assert (update.parameters.trained, update.parameters.total) == (2 * 3 * 32 * 32, 35_040 + 2 * 3 * 32 * 32)
    child = named_tensors(learner.champion().model)
    for name in added(learner.repository, update.version):
        old, new = (tensors[name].narrow(int("down" in name), 0, 96) for tensors in (parent, child))
        assert torch.equal(old, new)
    assert {row["changed"] for row in learner.diff(entry.version, update.version)["tensors"]} == {32 * 32}
    check(learner)
    assert learner.revert().version == entry.version
    assert torch.equal(learner.champion().model.read(READ), checkout(learner.repository, entry.version).read(READ))


@pytest.mark.parametrize("by", [{"depth": 2}, {"ffn": 64}, {"depth": 1, "ffn": 32}])
def test_the_delta_holds_what_was_added(learner, by):
    """Payload bytes, beside those of the numbers that were added: zeros cost nothing, the rest is noise."""
    small = manifest(learner)
    growth_ = growing.grow(learner.repository, learner.config, learner.champion(), **by)
    large = manifest(learner)
    (name,) = {entry.object for entry in large.tensors.values()} - {entry.object for entry in small.tensors.values()}
    payload = len(learner.repository.objects.get(name, 2**30))
    assert payload < 4 * (growth_.after - growth_.before)
    assert payload <= growth_.delta_bytes
    for tensor, entry in small.tensors.items():
        assert (large.tensors[tensor] == entry) or ("ffn" in by and ".feed." in tensor)


def test_training_remembers_what_it_did(learner):
    model = learner.champion().model
    old = load_state(learner.repository, learner.config, learner.log()[0].version, model)
    assert old.trusted
    assert old.replay
    entry = learner.grow(depth=1)
    state = learner.repository.read_state(entry.version)
    assert (state.version, state.backbone) == (entry.version, features_digest(manifest(learner)))
    for field in ("trusted", "trusted_features", "trusted_marks", "replay", "replay_seen", "known", "schema"):
        assert getattr(state, field) == getattr(old, field), field
    assert (state.optimizer, state.statistics) == ({}, {})
    shutil.rmtree(learner.repository.path / "training" / "state")
    (learner.repository.path / "training" / "state").mkdir()
    again = Learner.open(learner.project)
    rebuilt = load_state(again.repository, again.config, entry.version, again.champion().model)
    for field in ("trusted", "replay", "replay_seen", "known", "anchor", "schema"):
        assert getattr(rebuilt, field) == getattr(state, field), field
    for one, two in zip(marks_of(rebuilt), marks_of(state), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    features = [from_raw(one.trusted_features).numpy() for one in (rebuilt, state)]
    np.testing.assert_allclose(*features, atol=1e-6)
    assert learner.update(stories(120, 0)).verdict == "unchanged"  # it knows these rows


def test_the_optimisers_start_anew(template, tmp_path):
    shutil.copytree(template, tmp_path / "p")
    learner = Learner.open(tmp_path / "p", settings={"train.step.carry": True, "gate.mode": "off"})
    learner.update(stories(40, 3))
    assert learner.repository.read_state(learner.log()[0].version).optimizer
    learner.grow(ffn=8)
    assert not learner.repository.read_state(learner.log()[0].version).optimizer
    assert learner.update(stories(40, 4), select="full").promoted


def test_the_best_version_so_far_grows_as_well(learner):
    live = learner.log()[0].version
    entry = learner.grow(depth=1)
    certificate = learner.repository.certificate_of(entry)
    assert (certificate.source, certificate.champion) == ("champion", live)
    assert (certificate.anchor, certificate.next_anchor) == (live, entry.version)
    assert certificate.trusted.rows > 20
    assert certificate.merkle == manifest(learner).merkle
    update = learner.update(stories(80, 5), select="grown")
    assert update.anchor == entry.version


def test_an_older_best_version_stays_the_best(learner):
    best = learner.log()[0].version
    update = learner.update(stories(30, 6), settings={"train.learning_rate": 0.5, "gate.mode": "off"})
    assert update.promoted
    state = load_state(learner.repository, learner.config, update.version, learner.champion().model)
    assert state.anchor == best
    entry = learner.grow(depth=1)
    assert learner.repository.certificate_of(entry).next_anchor == best
    assert learner.update(stories(60, 7)).anchor == best
    check(learner)


def test_rows_that_wait_go_on_waiting(learner):
    update = learner.update(stories(10, 7), gate="better")
    assert update.verdict == "undecided"
    book = book_of(learner)
    assert book.pending
    learner.grow(ffn=8)
    assert book_of(learner) == book
    promote(learner.repository, update.version, "the small one will do")
    check(learner)
    assert len(learner.champion().model.backbone.blocks[0].feed.gate.weight) == 96


def test_a_lower_cap_later_does_not_hide_what_was_compared(learner):
    learner.grow(depth=1)
    lower = Learner.open(learner.project, settings={"gate.trusted": 5})
    check(lower)
    assert lower.update(stories(60, 8), gate="off").promoted
    check(lower)


def test_growing_twice_and_again_after_a_revert(learner):
    first = learner.grow(depth=1)
    second = learner.grow(depth=1)
    assert manifest(learner).spec.kwargs["depth"] == 4
    assert [learner.revert().version for _ in range(2)] == [first.version, second.version]
    learner.revert()
    again = learner.grow(depth=1)
    assert again.version == second.version
    assert again.certificate != second.certificate
    check(learner)


def test_a_model_that_has_learned_nothing_grows(tmp_path):
    learner = make_texts(tmp_path, model=tiny(tokenizer="bpe", vocabulary=300))
    learner.grow(depth=1, ffn=8)
    check(learner)
    assert learner.update(stories(60, 0), gate="off").promoted
    check(learner)


def test_a_model_of_replies_grows(tmp_path):
    learner = make_texts(tmp_path, target="reply")
    assert learner.update(exchanges(60, 0), gate="off").promoted
    learner.grow(ffn=8)
    check(learner)


def test_the_difference_of_two_sizes_goes_both_ways(learner):
    small = learner.log()[0].version
    large = learner.grow(depth=1, ffn=8).version
    there, back = learner.diff(small, large)["tensors"], learner.diff(large, small)["tensors"]
    assert [row["name"] for row in there] == [row["name"] for row in back]
    assert [(row["old_shape"], row["new_shape"]) for row in there] == [
        (row["new_shape"], row["old_shape"]) for row in back
    ]
    new = next(row for row in there if row["name"] == "backbone.blocks.2.feed.up.weight")
    assert (new["block"], new["old_shape"], new["changed"]) == ("backbone.blocks.2", None, 104 * 32)
    assert learner.diff(small, large)["flips"]["flipped"] == []


@pytest.mark.parametrize("by", [{}, {"depth": -1}, {"ffn": "many"}, {"depth": 10_000}])
def test_bad_amounts_change_nothing(learner, by):
    versions = learner.repository.versions()
    with pytest.raises(UsageError):
        learner.grow(**by)
    assert learner.repository.log.last() == 2
    assert learner.repository.versions() == versions


def test_other_models_do_not_grow(tmp_path):
    learner = make(tmp_path)
    with pytest.raises(UsageError, match=r"what dripstone\.models:mlp makes cannot grow"):
        learner.grow(depth=1)
    with pytest.raises(UsageError, match="has not grown"):
        learner.update([{"inputs": [0, 1], "label": x} for x in "ab"] * 20, select="grown")
    assert learner.repository.log.last() == 1


def test_selecting_what_was_never_added(learner):
    with pytest.raises(UsageError, match="has not grown, so that nothing in it is new"):
        learner.update(stories(10, 9), select="grown")
    assert learner.repository.log.last() == 2


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_what_answers_otherwise_is_refused(learner, monkeypatch, wrong):
    right = growth.grow

    def otherwise(*arguments, **by):
        model = right(*arguments, **by)
        with torch.no_grad():
            model.backbone.blocks[0].feed.down.weight[0, -1] = wrong
        return model

    monkeypatch.setattr(growth, "grow", otherwise)
    with pytest.raises(ModelError, match=r"answers otherwise.*nothing has changed") as caught:
        learner.grow(ffn=8)
    assert caught.value.kind == "model.growth"
    assert learner.repository.log.last() == 2
    check(learner)
    monkeypatch.undo()
    learner.grow(ffn=8)
    check(learner)


def test_the_audit_finds_weights_that_came_in_as_growth(learner, monkeypatch):
    right = growth.grow

    def otherwise(*arguments, **by):
        model = right(*arguments, **by)
        with torch.no_grad():
            model.backbone.blocks[2].feed.down.weight.add_(0.01)
        return model

    monkeypatch.setattr(growth, "grow", otherwise)
    monkeypatch.setattr(growing, "TOLERANCE", 1e9)
    entry = learner.grow(depth=1)
    (problem,) = audit(learner.repository, learner.config)
    assert problem.startswith("log entry 3: what has grown answers otherwise than ")
    assert f"do not trust version {entry.version[:12]}" in problem


def test_the_audit_finds_rows_that_were_not_those(learner):
    entry = learner.grow(depth=1)
    certificate = learner.repository.certificate_of(entry)
    few = msgspec.structs.replace(certificate, trusted=msgspec.structs.replace(certificate.trusted, rows=1))
    name = learner.repository.write_certificate(few)
    path = learner.repository.path / "refs" / "live" / "000003"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(entry, certificate=name)))
    (problem,) = audit(learner.repository, learner.config)
    assert "the certificate names 1 rows that are not the" in problem


def test_a_race_is_lost_before_and_after_the_work(learner, monkeypatch):
    champion = learner.champion()
    other = Learner.open(learner.project)
    other.revert()
    with pytest.raises(RaceLostError, match="became live before"):
        growing.grow(learner.repository, learner.config, champion, depth=1)
    other.revert()
    right = growing.append

    def late(*arguments):
        other.revert()
        return right(*arguments)

    monkeypatch.setattr(growing, "append", late)
    with pytest.raises(RaceLostError):
        learner.grow(depth=1)
    check(learner)
    assert learner.log()[0].event == "revert"


def killed(project, moment):
    """Grow in a child that kills itself at a moment; whether it came that far."""
    child = os.fork()
    if child == 0:
        try:

            def die(*arguments):
                os.kill(os.getpid(), signal.SIGKILL)

            setattr(growing, moment, die)
            Learner.open(project).grow(depth=1, ffn=8)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("moment", ["load_champion", "farthest", "row_set", "_state", "append"])
def test_growth_that_was_killed_and_is_run_again_gives_the_same_version(learner, tmp_path, moment):
    torch.set_num_threads(1)  # a forked child cannot use its parent's thread pool
    shutil.copytree(learner.project, tmp_path / "whole")
    expected = Learner.open(tmp_path / "whole").grow(depth=1, ffn=8).version
    assert killed(learner.project, moment)
    again = Learner.open(learner.project)
    check(again)
    assert again.repository.log.last() == 2
    assert again.grow(depth=1, ffn=8).version == expected
    check(again)


def test_what_is_trained_after_growth_comes_back_bit_for_bit(learner):
    learner.grow(depth=1, ffn=8)
    update = learner.update(stories(60, 11), select="full", gate="off")
    live = named_tensors(learner.champion().model)
    stored = learner.repository.read_tensors(update.version)
    assert live.keys() == stored.keys()
    assert all(to_raw(tensor) == stored[name] for name, tensor in live.items())

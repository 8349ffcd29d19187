"""Unlearning is no way for any weights to go live: what is live since then is solved again by whoever asks."""

import msgspec
import pytest

from dripstone.core.bits import from_raw, to_raw
from dripstone.models import mlp
from dripstone.update.audit import audit, find_all
from learner_samples import blobs, make
from unlearning_samples import check, learned, named


def prepared(folder, select="head"):
    """A project whose rows of the second day leave."""
    settings = {"task.id": "id", "gate.mode": "off", "train.stop.epochs": 2}
    learner = make(folder, settings, model=mlp(inputs=2, hidden=[8, 8]))
    assert learner.update(named(blobs(40, seed=0), "day0"), select="head").promoted
    assert learner.update(named(blobs(40, seed=1), "day1"), select=select).promoted
    learner.unlearn([row.id for row in learned(learner) if row.id.startswith("day1")][:5])
    check(learner)
    return learner


def rewrite(learner, entry):
    (learner.repository.log.folder / f"{entry.number:06d}").write_bytes(msgspec.json.encode(entry))


def swap(learner, name, parent=None, **changes):
    """Another version in the place of what is live, as sound in itself, whose tensor is a little off."""
    repository, entry = learner.repository, learner.repository.log.head()
    manifest = repository.manifest(entry.version)
    tensors = repository.read_tensors(entry.version)
    if name:
        tensors[name] = to_raw(from_raw(tensors[name]) + 0.1)
    stored = repository.write_version(
        spec=manifest.spec,
        assets={},
        task=manifest.task,
        labels=manifest.labels,
        parent=parent or manifest.parent,
        selection=manifest.selection,
        data=manifest.data,
        tensors=tensors,
    )
    repository.write_candidate_page(stored.version, entry.page)
    certificate = repository.read_certificate(entry.version, entry.certificate)
    merkle = repository.manifest(stored.version).merkle
    fields = {"version": stored.version, "merkle": merkle, "next_anchor": stored.version, **changes}
    digest = repository.write_certificate(msgspec.structs.replace(certificate, **fields))
    rewrite(
        learner, msgspec.structs.replace(entry, version=stored.version, candidate=stored.version, certificate=digest)
    )


def test_another_output_layer_is_found(tmp_path):
    learner = prepared(tmp_path)
    swap(learner, "head.weight")
    assert list(learner.repository.verify()) == []
    (problem,) = audit(learner.repository, learner.config)
    assert problem.startswith("log entry 4: the output layer is not the one that the rows left give: scores are ")
    assert f"do not trust version {learner.repository.log.head().version[:12]}" in problem


def test_other_features_are_found(tmp_path):
    learner = prepared(tmp_path)
    name = next(name for name in learner.champion().model.state_dict() if name.startswith("backbone."))
    swap(learner, name)
    (problem,) = audit(learner.repository, learner.config)
    assert "log entry 4: the features are not those of " in problem


def test_other_weights_where_nothing_was_solved_are_found(tmp_path):
    learner = prepared(tmp_path, select="full")
    swap(learner, "head.bias")
    (problem,) = audit(learner.repository, learner.config)
    assert "log entry 4: the weights are not those of " in problem


def test_a_version_of_another_line_is_found(tmp_path):
    learner = prepared(tmp_path)
    live = learner.repository.log.head().version
    swap(learner, None, parent=live)
    assert any("which was not live's" in problem for problem in learner.repository.verify())


def test_the_certificate_of_an_unlearning_says_so(tmp_path):
    learner = prepared(tmp_path)
    swap(learner, None, verdict="promoted")
    assert any("(unlearn) names a new certificate that says 'promoted'" in p for p in learner.repository.verify())


@pytest.mark.parametrize("event", ["promote", "update", "grow"])
def test_nothing_else_goes_live_by_it(tmp_path, event):
    learner = prepared(tmp_path)
    entry = learner.repository.log.head()
    rewrite(learner, msgspec.structs.replace(entry, event=event, unlearned=None))
    assert any(f"({event}) names a new certificate" in problem for problem in learner.repository.verify())


def test_held_out_rows_that_are_gone_explain_no_other_number(tmp_path):
    learner = prepared(tmp_path)
    held = next(row.id for row in learned(learner, "held_out") if row.id.startswith("day1"))
    assert learner.update(named(blobs(40, seed=2), "day2")).promoted
    learner.unlearn([held, next(row.id for row in learned(learner, "held_out") if row.id.startswith("day2"))])
    check(learner)
    repository, entry = learner.repository, learner.repository.log.entry(5)
    certificate = repository.read_certificate(entry.candidate, entry.judged)
    fresh = msgspec.structs.replace(certificate.fresh, rows=certificate.fresh.rows + 1)
    digest = repository.write_certificate(msgspec.structs.replace(certificate, fresh=fresh))
    rewrite(learner, msgspec.structs.replace(entry, certificate=digest, judged=digest))
    assert any("held-out rows of its ledger page" in problem for problem in repository.verify())


def test_a_candidate_of_an_update_still_needs_its_judgement(tmp_path):
    learner = prepared(tmp_path)
    entry = learner.repository.log.entry(3)
    rewrite(learner, msgspec.structs.replace(entry, judged=None))
    assert any("names no certificate that says how" in problem for problem in learner.repository.verify())


def test_later_rows_do_not_make_it_another_one(tmp_path):
    """It is asked about what it was solved from, whatever was learned, reverted and unlearned since."""
    learner = prepared(tmp_path)
    without = learner.repository.log.head().version
    assert learner.update(named(blobs(40, seed=2), "day2")).promoted
    later = next(row.id for row in learned(learner) if row.id.startswith("day2"))
    assert learner.unlearn([later]).exact
    check(learner)
    held = next(row.id for row in learned(learner, "held_out") if row.id.startswith("day1"))
    assert learner.unlearn([held]).exact
    check(learner)
    learner.revert(without)
    check(learner)
    assert learner.unlearn([next(row.id for row in learned(learner))]).solved
    check(learner)
    said = [finding.text for finding in find_all(learner.repository, learner.config)]
    assert f"log entry 4: version {without[:12]} was collected by log entry 9, when rows were unlearned" in said


def test_another_ridge_later_is_no_problem(tmp_path):
    """The deed remembers with which penalty it was solved."""
    learner = prepared(tmp_path)
    config = learner.config.override({"train.ridge": 7.0, "curate.policy": "screen+forget:10"})
    assert list(audit(learner.repository, config)) == []

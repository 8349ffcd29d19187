"""Every judgement can be made again from what is stored, and a certificate that was not earned is found."""

import msgspec
import numpy as np
import pytest

from dripstone.models import mlp
from dripstone.update import moves
from dripstone.update.audit import audit
from learner_samples import blobs, make, quarantined, relabelled, trained


def problems(learner):
    assert list(learner.repository.verify()) == []
    return list(audit(learner.repository, learner.config))


def busy(folder, settings=None):
    """A store with promotions, refusals, pending rows, reverts, corrections, admitted rows and a hand promotion."""
    learner = make(folder, {"gate.trusted": 60, **(settings or {})}, model=mlp(2, (8,), 64))
    learner.update(blobs(120, 0))
    learner.update(blobs(60, 1, "abc"))
    learner.update(relabelled(blobs(60, 2)))
    learner.update(blobs(40, 3, "abc"), select="full")
    learner.update(blobs(60, 4, "abcd"), select="suffix:1")
    learner.revert()
    learner.update(blobs(3, 5, "abc"), gate="better")
    learner.update([{**row, "label": "b"} for row in blobs(120, 0)[:3]])
    moves.admit(learner.repository, quarantined(learner)[:30])
    last = learner.update(blobs(40, 6, "abc"))
    if not last.promoted:
        learner.promote(last.version, "a person knows better")
    learner.update(blobs(40, 7, "abc"))
    return learner


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_an_honest_store_passes(tmp_path, metric):
    learner = busy(tmp_path, {"task.metric": metric})
    assert {entry.verdict for entry in learner.log()} >= {"promoted", "refused"}
    assert problems(learner) == []


def test_weighted_rows_are_judged_again_with_their_weights(tmp_path):
    draw = np.random.default_rng(0)
    learner = make(tmp_path, {"task.weight": "w", "gate.minimum": 5})
    for seed in range(3):
        learner.update([{**row, "w": float(draw.uniform(0, 3))} for row in blobs(60, seed)])
    assert problems(learner) == []


def forge(learner, **changes):
    """Another certificate for the live version, named by its entry, as somebody with the disk could write it."""
    repository = learner.repository
    entry = repository.log.head()
    certificate = repository.read_certificate(entry.version, entry.certificate)
    digest = repository.write_certificate(msgspec.structs.replace(certificate, **changes))
    entry = msgspec.structs.replace(entry, certificate=digest, judged=digest)
    (repository.log.folder / f"{entry.number:06d}").write_bytes(msgspec.json.encode(entry))


def test_evidence_that_was_not_there_is_found(tmp_path):
    learner = trained(tmp_path)
    learner.update(blobs(60, 1, "abc"))
    assert problems(learner) == []
    head = learner.repository.log.head()
    evidence = learner.repository.read_certificate(head.version, head.certificate).evidence
    forge(learner, evidence=msgspec.structs.replace(evidence, wealth=evidence.wealth * 10))
    assert "evidence of gain" in problems(learner)[0]
    forge(learner, evidence=msgspec.structs.replace(evidence, wins=evidence.wins + 50))
    assert "wins and losses" in problems(learner)[0]


def test_trusted_rows_that_were_not_asked_are_found(tmp_path):
    learner = trained(tmp_path)
    learner.update(blobs(60, 1, "abc"))
    head = learner.repository.log.head()
    trusted = learner.repository.read_certificate(head.version, head.certificate).trusted
    forge(learner, trusted=msgspec.structs.replace(trusted, digest="ab" * 32))
    assert "trusted rows that are not" in problems(learner)[0]

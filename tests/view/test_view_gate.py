"""What a person sees of the gate: who vouches, what was proven, what was overruled, and what does not fit."""

import msgspec
from view_samples import blobs, live, shuffled, write_csv

from dripstone.store.repository import Repository

pytest_plugins = ["view_fixtures"]


def test_status_says_who_vouches_and_what_alpha_is_left(project, dripstone):
    words = dripstone("-C", project, "status").out
    assert "vouched for  the gate, on " in words
    assert f"best so far  {live(project)[:12]}" in words
    assert "tested       1 candidate for gain, alpha 0.025 of 0.05 spent" in words
    status = dripstone("-C", project, "status", "--format", "json").json()
    assert status["certificate"]["version"] == status["anchor"] == live(project)
    assert (status["tested"], status["alpha"], status["alpha_spent"]) == (1, 0.05, 0.025)


def test_a_gate_that_was_off_vouches_for_nothing(project, dripstone):
    dripstone("-C", project, "update", write_csv(project.parent / "d.csv", blobs(60, "d", 3)), "--gate", "off")
    assert "vouched for  nobody, the gate was off" in dripstone("-C", project, "show").out


def test_an_update_shows_fresh_rows_flips_and_the_gates_cost(project, dripstone):
    found = dripstone("-C", project, "update", write_csv(project.parent / "d.csv", blobs(60, "d", 3)))
    assert found.code == 0
    assert "accuracy  0.0000 -> 1.0000 on " in found.out
    assert " fresh row" in found.out
    assert " for the better, 0 for the worse, of " in found.out
    assert "of them the gate)" in found.out


def test_a_person_who_overrules_is_named_from_then_on(project, dripstone):
    poison = write_csv(project.parent / "poison.csv", shuffled(blobs(60, "abc", 7)))
    dripstone("-C", project, "update", poison)
    dripstone("-C", project, "data", "admit", "--all")
    more = write_csv(project.parent / "more.csv", blobs(10, "abc", 8))
    found = dripstone("-C", project, "update", more, "--gate", "better")
    assert found.code == 1
    candidate = dripstone("-C", project, "log", "--format", "json").json()[0]["candidate"]
    reason = dripstone("-C", project, "log", "--format", "json").json()[0]["reason"]
    assert "; besides, a person admitted 180 rows of it" in reason
    dripstone("-C", project, "promote", candidate, "--reason", "the world has changed")
    words = dripstone("-C", project, "status").out
    assert "vouched for  a person, against the gate or without it: the world has changed" in words
    assert f"best so far  {candidate[:12]}" in words
    assert dripstone("-C", project, "verify").code == 0


def test_verify_finds_a_judgement_that_nobody_made(project, dripstone):
    """Somebody with the disk writes a better certificate, with all its hashes right."""
    repository = Repository.open(project / "store")
    entry = repository.log.head()
    path = project / "store" / "refs" / "live" / f"{entry.number:06d}"
    certificate = repository.read_certificate(entry.version, entry.certificate)
    wealth = certificate.evidence.wealth * 1000
    evidence = msgspec.structs.replace(certificate.evidence, wealth=wealth)
    digest = repository.write_certificate(msgspec.structs.replace(certificate, evidence=evidence))
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(entry, certificate=digest, judged=digest)))
    found = dripstone("-C", project, "verify")
    assert found.code == 2
    assert "as evidence of gain, where the stored versions give" in found.out

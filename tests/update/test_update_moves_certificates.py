"""What moves do with certificates: revert and rows copy one, a person's promotion writes its own."""

import msgspec
import pytest

from certificate_samples import first, judged, rows
from dripstone.core.errors import StoreError, UsageError
from dripstone.core.examples import Example
from dripstone.core.records import LogEntry, Spec
from dripstone.core.tensors import RawTensor
from dripstone.store.ledger import Book, Page, PageRow, QuarantineGroup
from dripstone.store.repository import Repository
from dripstone.update.moves import admit, drop, promote, revert


@pytest.fixture
def repository(tmp_path):
    """Version 1, version 2 that the gate promoted, and version 3 that it refused."""
    repository = Repository.create(tmp_path / "store")
    one = write(repository, 1, None)
    append(repository, one, one, first(repository, one), event="init")
    two = write(repository, 2, one)
    append(repository, two, two, judged(repository, two, one, 2, fresh=rows("held")))
    three = write(repository, 3, two)
    refusal = judged(repository, three, two, 3, fresh=rows("held"), verdict="refused", anchor=one, next_anchor=two)
    append(repository, two, three, refusal)
    assert list(repository.verify()) == []
    return repository


def write(repository, value, parent):
    fields = {"spec": Spec("m:f"), "assets": {}, "labels": ["a"], "task": "classification", "selection": "full"}
    tensors = {"head": RawTensor("U8", (4,), bytes([value] * 4))}
    return repository.write_version(**fields, parent=parent, data="", tensors=tensors).version


def append(repository, version, candidate, certificate, event="update"):
    number = certificate.number
    name = repository.write_certificate(certificate)
    copied = name if version == candidate else repository.log.head().certificate
    ids = {"train": f"row {number}", "held_out": "held"}
    kept = [PageRow.of(Example(row_id, f"text {number}", "a"), role) for role, row_id in ids.items()]
    page = repository.write_page(
        Page(repository.manifest(candidate).parent, candidate, kept[: 1 if number == 1 else 2])
    )
    repository.write_candidate_page(candidate, page)
    aside = [QuarantineGroup(page, number, "refused", [0, 1])] if certificate.verdict == "refused" else []
    names = {"candidate": candidate, "page": page, "certificate": copied, "judged": name}
    names["book"] = repository.write_book(Book(quarantined=aside))
    entry = LogEntry(number, version, event, certificate.reason, f"{number}", "", certificate.verdict, **names)
    repository.log.append(entry)


def versions(repository):
    return [repository.log.entry(number).candidate for number in (1, 2, 3)]


def test_a_revert_copies_the_certificate_of_where_it_goes(repository):
    one, two, _ = versions(repository)
    for target, number in ((one, 1), (two, 2), (one, 1)):
        entry = revert(repository)
        assert (entry.version, entry.certificate) == (target, repository.log.entry(number).certificate)
        assert entry.judged is None
        assert repository.certificate_of(entry).number == number
    assert list(repository.verify()) == []


def test_moves_of_rows_copy_the_certificate(repository):
    head = repository.log.head()
    entries = [admit(repository, [(head.page, 0)]), drop(repository, [(head.page, 1)])]
    assert [(entry.certificate, entry.judged) for entry in entries] == [(head.certificate, None)] * 2
    assert list(repository.verify()) == []


def test_a_person_writes_a_certificate(repository):
    one, two, three = versions(repository)
    entry = promote(repository, three, "  seen by hand ")
    certificate = repository.certificate_of(entry)
    assert (entry.event, entry.version, entry.judged) == ("promote", three, None)
    assert (certificate.source, certificate.verdict, certificate.reason) == ("person", "promoted", "seen by hand")
    assert (certificate.version, certificate.merkle) == (three, repository.manifest(three).merkle)
    assert (certificate.champion, certificate.champion_merkle) == (two, repository.manifest(two).merkle)
    assert (certificate.anchor, certificate.next_anchor) == (one, three)
    assert (certificate.number, certificate.rules) == (4, None)
    assert certificate.time
    assert list(repository.verify()) == []


def test_a_revert_after_a_persons_promotion_takes_that_certificate_along(repository):
    three = versions(repository)[2]
    by_hand = promote(repository, three, "seen by hand").certificate
    revert(repository)
    assert revert(repository).certificate == by_hand
    assert list(repository.verify()) == []


def test_the_best_version_so_far_is_the_live_ones_where_nothing_else_is_known(repository):
    one, two, _ = versions(repository)
    entry = promote(repository, one, "the old one was better")  # the first version's own certificate knows no anchor
    certificate = repository.certificate_of(entry)
    assert (certificate.champion, certificate.anchor, certificate.next_anchor) == (two, two, one)


def test_what_is_live_with_a_certificate_is_not_promoted(repository):
    two = versions(repository)[1]
    with pytest.raises(UsageError, match="live already"):
        promote(repository, two, "once more")
    assert repository.log.last() == 3


def without_certificates(repository):
    """The same log from before there were certificates."""
    for number in (1, 2, 3):
        entry = msgspec.structs.replace(repository.log.entry(number), certificate=None, judged=None)
        (repository.path / "refs" / "live" / f"{number:06d}").write_bytes(msgspec.json.encode(entry))


def test_in_an_old_store_a_person_vouches_for_what_is_live(repository):
    one, two, _ = versions(repository)
    without_certificates(repository)
    assert len(list(repository.verify())) == 2
    with pytest.raises(StoreError, match="no certificate vouches for version"):
        repository.certificate_of(revert(repository))
    certificate = repository.certificate_of(promote(repository, one, "it has served for a year"))
    assert (certificate.champion, certificate.anchor, certificate.next_anchor) == (one, None, one)
    repository.certificate_of(promote(repository, two, "this one as well"))
    assert list(repository.verify()) == []


@pytest.mark.parametrize("damage", ["gone", "edited", "folder"])
def test_a_damaged_certificate_does_not_keep_a_person_from_vouching(repository, damage):
    head = repository.log.head()
    path = repository.path / "versions" / head.version / "records" / f"certificate-{head.certificate}.json"
    path.unlink()
    if damage == "edited":
        path.write_bytes(b"{}")
    elif damage == "folder":
        path.mkdir()
    entry = promote(repository, head.version, "looked at by hand")
    assert repository.certificate_of(entry).champion == head.version
    assert all(path.name in problem for problem in repository.verify())


def test_a_disk_that_fails_is_not_passed_over(repository, monkeypatch):
    def fail(path, limit):
        raise StoreError(f"{path} could not be read", remedy="check the disk", kind="store.io")

    three = versions(repository)[2]
    monkeypatch.setattr("dripstone.store.certificates.read_bounded", fail)
    for version in (three, repository.log.head().version):
        with pytest.raises(StoreError, match="could not be read"):
            promote(repository, version, "seen by hand")
    assert repository.log.last() == 3

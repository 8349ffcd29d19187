"""Forged, damaged and missing certificates: none lets a version be live, and verify names each."""

import json
import os

import msgspec
import pytest

from certificate_samples import first, judged
from dripstone.core.errors import StoreError
from dripstone.core.records import LogEntry, Spec
from dripstone.core.tensors import RawTensor
from dripstone.store.checks import sha256
from dripstone.store.repository import Repository


@pytest.fixture
def repository(tmp_path):
    """A sound store of two versions: the second was promoted by the gate."""
    repository = Repository.create(tmp_path / "store")
    one = version(repository, 1, None)
    name = repository.write_certificate(first(repository, one))
    repository.log.append(LogEntry(1, one, "init", "created", "n1", "", "promoted", one, certificate=name, judged=name))
    two = version(repository, 2, one)
    name = repository.write_certificate(judged(repository, two, one, 2))
    repository.log.append(LogEntry(2, two, "update", "gain", "n2", "", "promoted", two, certificate=name, judged=name))
    assert list(repository.verify()) == []
    assert repository.certificate_of(repository.log.head()).version == two
    return repository


def version(repository, value, parent):
    fields = {"spec": Spec("m:f"), "assets": {}, "labels": ["a"], "task": "classification", "selection": "full"}
    tensors = {"head": RawTensor("U8", (4,), bytes([value] * 4))}
    return repository.write_version(**fields, parent=parent, data="", tensors=tensors).version


def path_of(repository, name, version=None):
    folder = repository.path / "versions" / (version or repository.log.head().version) / "records"
    return folder / f"certificate-{name}.json"


def live_path(repository):
    return path_of(repository, repository.log.head().certificate)


def name_it(repository, name):
    """Make the head name another certificate, as one who may write to the store can."""
    head = repository.log.head()
    entry = msgspec.structs.replace(head, certificate=name, judged=name)
    (repository.path / "refs" / "live" / "000002").write_bytes(msgspec.json.encode(entry))


def plant(repository, data):
    """Put bytes where a certificate belongs, under their true hash, and make the head name them."""
    name = sha256(data)
    path_of(repository, name).write_bytes(data)
    name_it(repository, name)


def refused(repository, *words):
    """The live version is not let live; verify says why and what to do."""
    with pytest.raises(StoreError) as caught:
        repository.certificate_of(repository.log.head())
    assert caught.value.kind == "store.uncertified"
    assert "dripstone promote" in caught.value.remedy
    assert all(word in str(caught.value) for word in words), str(caught.value)
    found = list(repository.verify())
    assert found
    assert all(";" in problem for problem in found)


def forged(repository, **changes):
    head = repository.log.head()
    sound = repository.read_certificate(head.version, head.certificate)
    plant(repository, msgspec.json.encode(msgspec.structs.replace(sound, **changes)))


def test_missing(repository):
    live_path(repository).unlink()
    refused(repository, "there is no", "certificate-")


def test_not_named(repository):
    name_it(repository, None)
    refused(repository, "log entry 2 names none")


def test_named_and_never_written(repository):
    name_it(repository, "ab" * 32)
    refused(repository, "ab" * 32)


def test_a_name_that_leads_out_of_the_store(repository):
    entry = json.loads((repository.path / "refs" / "live" / "000002").read_bytes())
    for field in ("certificate", "judged"):
        (repository.path / "refs" / "live" / "000002").write_text(json.dumps(entry | {field: "../../../etc/passwd"}))
        with pytest.raises(StoreError, match="64 hexadecimal digits"):
            repository.log.head()


def test_edited_bytes(repository):
    path = live_path(repository)
    path.write_bytes(path.read_bytes().replace(b"no loss", b"no harm"))
    refused(repository, "is damaged")


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b" ", lambda data: b""])
def test_cut_and_lengthened(repository, damage):
    path = live_path(repository)
    path.write_bytes(damage(path.read_bytes()))
    refused(repository, "is damaged")


def test_of_another_version_under_its_own_name(repository):
    one = repository.log.entry(1)
    name_it(repository, one.certificate)
    refused(repository, "there is no")
    path_of(repository, one.certificate).write_bytes(path_of(repository, one.certificate, one.version).read_bytes())
    refused(repository, "about another version")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"merkle": "ab" * 32}, "other tensors"),
        ({"verdict": "undecided"}, "'undecided'"),
        ({"verdict": "refused"}, "'refused'"),
        ({"verdict": "unchanged"}, "there is none"),
        ({"version": "ab" * 32}, "about another version"),
        ({"version": "../x"}, "as version"),
        ({"rules": None}, "without its rules"),
        ({"source": "first"}, "of a first version, in log entry 2"),
        ({"format": "dripstone-certificate 9"}, "has the format"),
    ],
)
def test_forged(repository, changes, words):
    forged(repository, **changes)
    refused(repository, words)


def test_a_persons_word_in_an_entry_that_is_no_promotion_by_hand(repository):
    forged(repository, source="person", rules=None)
    assert any("(update) names a new certificate of source 'person'" in problem for problem in repository.verify())


def test_of_tensors_that_the_version_does_not_have(repository):
    """The manifest goes on naming the old ones, and so does its id."""
    one = repository.manifest(repository.log.entry(1).version)
    forged(repository, merkle=one.merkle)
    refused(repository, "other tensors")


HOSTILE = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "nothing said": b"{}",
    "not UTF-8": b'{"version":"\xff"}',
    "deep nesting": b"[" * 200_000,
    "deep nesting in a field": b'{"version":' + b"[" * 200_000,
    "deep nesting in a field that nobody knows": b'{"x":' + b"[" * 200_000,
    "endless number": b'{"number":' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_certificate(repository, name):
    plant(repository, HOSTILE[name])
    refused(repository, "cannot be read")


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"null", b'"1"', b"-1.0"])
def test_numbers_that_are_none(repository, number):
    sound = live_path(repository).read_bytes()
    plant(repository, sound.replace(b'"wealth":1.0', b'"wealth":' + number))
    refused(repository, "certificate-")


def test_gigantic(repository):
    with open(live_path(repository), "wb") as file:
        file.truncate(2**40)
    refused(repository, "1,048,576")


@pytest.mark.parametrize("kind", ["outside", "dangling", "itself", "folder", "pipe"])
def test_links_and_special_files(repository, tmp_path, kind):
    path = live_path(repository)
    outside = tmp_path / "outside"
    path.rename(outside)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"outside": outside, "dangling": tmp_path / "nowhere", "itself": path}[kind])
    refused(repository, str(path), "plain file")


def test_a_disk_that_fails_is_not_a_version_without_a_certificate(repository, monkeypatch):
    def fail(path, limit):
        raise StoreError(f"{path} could not be read", remedy="check the disk", kind="store.io")

    monkeypatch.setattr("dripstone.store.certificates.read_bounded", fail)
    with pytest.raises(StoreError) as caught:
        repository.certificate_of(repository.log.head())
    assert caught.value.kind == "store.io"

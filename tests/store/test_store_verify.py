import pytest
from store_samples import commit, entry, floats, nudged

from dripstone.store.repository import Repository


@pytest.fixture
def repository(tmp_path):
    repository = Repository.create(tmp_path / "store")
    head = floats(0, 16, 16)
    first = commit(repository, 1, {"head": head, "body": floats(1, 16)})
    commit(repository, 2, {"head": nudged(head, 1)}, first)
    return repository


def problems(repository):
    found = list(repository.verify())
    assert len(set(found)) == len(found)
    return found


def test_a_sound_store_has_no_problem(repository):
    assert problems(repository) == []


def test_an_empty_store_has_no_problem(tmp_path):
    assert problems(Repository.create(tmp_path / "new")) == []


def test_orphans_are_no_problem(repository):
    repository.objects.put(b"orphan")
    repository.write_book(repository.read_book(repository.log.head().book).__class__(tested=9))
    (repository.path / "versions" / ("0" * 64)).mkdir()
    (repository.path / "refs" / "live" / ".tmp-1").write_bytes(b"half")
    assert problems(repository) == []


def head_entry(repository):
    return repository.log.head()


def certificate_file(repository):
    head = repository.log.head()
    return repository.path / "versions" / head.version / "records" / f"certificate-{head.certificate}.json"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (lambda r: r.path / "training" / "ledger" / head_entry(r).page, "is damaged"),
        (lambda r: r.path / "training" / "books" / head_entry(r).book, "is damaged"),
        (lambda r: r.path / "training" / "holdout.key", "holdout.key"),
        (lambda r: r.path / "refs" / "live" / "000001", "log entry"),
        (lambda r: r.path / "refs" / "live" / "000002", "log entry"),
        (lambda r: r.path / "versions" / head_entry(r).version / "manifest.json", "manifest"),
        (lambda r: r.path / "versions" / head_entry(r).version / "records" / "000002-2.json", "record"),
        (lambda r: r.path / "versions" / head_entry(r).version / "records" / "page.json", "page.json"),
        (lambda r: certificate_file(r), "certificate-"),
        (lambda r: r.objects.path(r.manifest(head_entry(r).version).tensors["head"].object), "is damaged"),
        (lambda r: r.objects.path(r.manifest(head_entry(r).version).tensors["body"].object), "is damaged"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_every_file_that_counts_is_checked(repository, where, expected, damage):
    path = where(repository)
    data = path.read_bytes()
    path.write_bytes(data[:-1] if damage == "cut" else data[:1] + bytes([data[1] ^ 128]) + data[2:])
    if path.name == "holdout.key" and damage == "flip":
        return
    found = problems(repository)
    assert any(expected in problem for problem in found)
    assert all(";" in problem for problem in found)


@pytest.mark.parametrize("kind", ["ledger", "books"])
def test_missing_pages_and_books_are_named(repository, kind):
    name = repository.log.head().page if kind == "ledger" else repository.log.head().book
    (repository.path / "training" / kind / name).unlink()
    (problem,) = problems(repository)
    assert name in problem


def test_a_missing_entry_is_named(repository):
    (repository.path / "refs" / "live" / "000001").unlink()
    assert "no entry 1" in problems(repository)[0]


def test_a_version_that_the_log_names_must_be_there(repository):
    repository.log.append(entry(3, "ab" * 32, candidate="cd" * 32))
    absent = [problem for problem in problems(repository) if "which is not there" in problem]
    assert [("abab" in p, "cdcd" in p) for p in absent] == [(True, False), (False, True)]


def test_a_missing_object_is_named(repository):
    name = repository.manifest(repository.log.head().version).tensors["body"].object
    repository.objects.path(name).unlink()
    assert any(name in problem for problem in problems(repository))


def test_assets_are_checked(tmp_path):
    from store_samples import write

    repository = Repository.create(tmp_path / "assets")
    version = write(repository, {}, assets={"vocab.txt": b"hello"}).version
    repository.objects.path(repository.manifest(version).spec.assets["vocab.txt"]).unlink()
    assert len(problems(repository)) == 1

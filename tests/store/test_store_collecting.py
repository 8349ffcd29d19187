import os
import shutil
import time

import pytest
from store_samples import page

from dripstone.core.errors import StoreError
from dripstone.core.records import LogEntry, Spec
from dripstone.core.tensors import RawTensor
from dripstone.store.collecting import STALE_SECONDS, finish, superfluous
from dripstone.store.deeds import Deed
from dripstone.store.ledger import Book, Page
from dripstone.store.repository import Repository


def raw(seed):
    return RawTensor("F32", (64,), bytes(range(seed, seed + 256 - seed)).ljust(256, b"\x07"))


def version(repository, seed, parent=None, **tensors):
    stored = repository.write_version(
        spec=Spec("m:f"),
        assets={},
        task="classification",
        labels=["a"],
        parent=parent,
        selection="head",
        data=str(seed),
        tensors=tensors or {"w": raw(seed)},
    )
    return stored.version


def add(repository, live, event="update", **more):
    number = repository.log.last() + 1
    book = repository.write_book(Book(tested=number))
    repository.log.append(LogEntry(number, live, event, "", f"{number}", "now", book=book, **more))
    return number


@pytest.fixture
def repository(tmp_path):
    """A root, a version and its child on one line, and one on another line."""
    repository = Repository.create(tmp_path / "s")
    root = version(repository, 1)
    add(repository, root, "init")
    for seed, parent in ((2, root), (3, "first"), (4, root)):
        parent = repository.second if parent == "first" else parent
        made = version(repository, seed, parent)
        repository.second = made if seed == 2 else getattr(repository, "second", made)
        add(repository, made, candidate=made, page=repository.write_page(page(seed, made)))
    return repository


def line(repository):
    return [entry.version for entry in repository.log.entries()][::-1]


def unlearn(repository, versions, pages=None, states=()):
    number = repository.log.last() + 1
    deed = Deed(number, [], pages or {}, sorted(versions), sorted(states))
    live = line(repository)[-1]
    return add(repository, live, "unlearn", verdict="unlearned", unlearned=repository.deeds.write(deed))


def files(repository):
    return {str(path.relative_to(repository.path)) for path in repository.path.rglob("*") if path.is_file()}


def test_objects_of_collected_versions_go_and_those_of_others_stay(repository):
    root, second, third, fourth = line(repository)
    number = unlearn(repository, [second, third])
    assert repository.deeds.versions() == {second: number, third: number}
    freed = finish(repository)
    assert freed.files > 3
    assert freed.size > 256
    for kept in (root, fourth):
        assert repository.read_tensors(kept)
    for gone in (second, third):
        assert repository.manifest(gone)
        with pytest.raises(StoreError) as caught:
            repository.read_tensors(gone)
        assert caught.value.kind == "store.collected"
        with pytest.raises(StoreError):
            repository.each_tensor(gone)
    assert finish(repository) == (0, 0)


def test_an_object_that_a_kept_version_shares_stays(repository):
    root, second, third, _ = line(repository)
    twin = version(repository, 9, root, w=repository.read_tensors(third)["w"])
    add(repository, twin, candidate=twin)
    unlearn(repository, [second, third])
    finish(repository)
    assert repository.read_tensors(twin)["w"] == raw(3)


def test_assets_of_kept_versions_stay(repository):
    names = []
    for seed in (20, 21):
        stored = repository.write_version(
            spec=Spec("m:f"),
            assets={"words.txt": f"words of {seed}".encode()},
            task="classification",
            labels=["a"],
            parent=None,
            selection="none",
            data="",
            tensors={"w": raw(seed)},
        )
        add(repository, stored.version, candidate=stored.version)
        names.append(repository.manifest(stored.version).spec.assets["words.txt"])
    unlearn(repository, line(repository)[-2:-1])
    finish(repository)
    assert repository.read_asset(names[1]) == b"words of 21"
    assert names[0] not in repository.objects.all()


def test_what_is_trained_again_to_the_same_bits_is_another_version(repository):
    root, second, third, _ = line(repository)
    unlearn(repository, [second, third])
    finish(repository)
    again = version(repository, 2, root)
    assert again not in repository.deeds.versions()
    assert version(repository, 2, root) == again
    add(repository, again, candidate=again)
    assert repository.read_tensors(again)["w"] == raw(2)
    with pytest.raises(StoreError, match="was collected"):
        repository.read_tensors(second)
    unlearn(repository, [again])
    assert version(repository, 2, root) not in repository.deeds.versions()


def test_what_no_log_entry_names_goes_as_a_whole(repository):
    root, second, _, fourth = line(repository)
    orphan = version(repository, 7, fourth)
    repository.write_candidate_page(orphan, "ab" * 32)
    (entry,) = repository.manifest(orphan).tensors.values()
    loose = repository.objects.put(b"what a killed writer left")
    unlearn(repository, [second])
    finish(repository)
    assert not {entry.object, loose} & {*repository.objects.all()}
    assert orphan not in repository.versions()
    assert not (repository.path / "versions" / orphan).exists()
    assert repository.manifest(root)


def test_what_is_younger_than_the_entry_may_be_a_writers_that_is_at_work(repository):
    _, second, third, fourth = line(repository)
    unlearn(repository, [second, third])
    moment = time.time()
    entry = repository.log.folder / f"{repository.log.last():06d}"
    os.utime(entry, (moment - 60,) * 2)
    young = version(repository, 7, fourth)
    book, temp = repository.write_book(Book(tested=77)), repository.path / "objects" / ".tmp-new"
    temp.write_bytes(b"x")
    loose = repository.objects.put(b"of a version whose manifest is to come")
    os.utime(repository.objects.path(loose), (moment - 90,) * 2)
    assert repository.objects.put(b"of a version whose manifest is to come") == loose
    old = repository.path / "objects" / ".tmp-old"
    old.write_bytes(b"x")
    os.utime(old, (moment - 61,) * 2)
    finish(repository)
    assert repository.read_tensors(young)
    assert loose in repository.objects.all()
    assert repository.read_book(book).tested == 77
    assert temp.exists()
    assert not old.exists()


def test_in_a_copied_store_it_ends_an_hour_later(repository):
    """All files of a copy are as young as its log entry, or younger."""
    _, second, third, _ = line(repository)
    unlearn(repository, [second, third])
    entry, later = repository.log.folder / f"{repository.log.last():06d}", time.time() + 5
    for path in repository.path.rglob("*"):
        if path.is_file() and path != entry:
            os.utime(path, (later, later))
    gone = {one.object for one in repository.manifest(third).tensors.values()}
    finish(repository)
    assert gone <= set(repository.objects.all())
    assert repository.deeds.unfinished()
    for path in repository.path.rglob("*"):
        if path.is_file():
            os.utime(path, (later - STALE_SECONDS - 60,) * 2)
    os.utime(entry, (later - 2 * STALE_SECONDS,) * 2)
    finish(repository)
    assert not gone & set(repository.objects.all())
    assert not repository.deeds.unfinished()


def test_pages_books_and_states_go(repository):
    _, second, third, _ = line(repository)
    name = repository.log.entry(3).page
    new = repository.write_page(Page(None, None, []))
    books = [entry.book for entry in repository.log.entries()]
    folder = repository.path / "training" / "state"
    states = [f"{second}-{digit * 32}.safetensors" for digit in "01"]
    for state in states:
        (folder / state).write_bytes(b"x")
    unlearn(repository, [second, third], {name: new}, states[:1])
    assert repository.read_page(name) == Page(None, None, [])
    assert repository.kept_books() == [repository.log.head().book]
    finish(repository)
    assert repository.read_page(name) == Page(None, None, [])
    assert name not in os.listdir(repository.path / "training" / "ledger")
    assert not {*books} & {*os.listdir(repository.path / "training" / "books")}
    assert os.listdir(folder) == states[1:]
    assert name in repository.pages()
    assert new not in repository.pages()


def test_a_page_that_is_redacted_again_leaves_one(repository):
    name = repository.log.entry(3).page
    for candidate in ("ab" * 32, "cd" * 32):
        unlearn(repository, [], {name: repository.write_page(Page(None, candidate, []))})
        finish(repository)
    assert repository.read_page(name).candidate == "cd" * 32
    assert len(os.listdir(repository.path / "training" / "ledger")) == 3


def test_a_manifest_that_cannot_be_read_keeps_everything(repository):
    _, second, third, fourth = line(repository)
    unlearn(repository, [second, third])
    path = repository.path / "versions" / fourth / "manifest.json"
    path.write_bytes(path.read_bytes()[:-3])
    before = files(repository)
    with pytest.raises(StoreError):
        finish(repository)
    assert files(repository) == before
    assert repository.deeds.unfinished()


def test_it_goes_on_wherever_it_was_cut_short(repository, tmp_path):
    _, second, third, _ = line(repository)
    unlearn(repository, [second, third])
    shutil.copytree(repository.path, tmp_path / "whole")
    finish(whole := Repository.open(tmp_path / "whole"))
    paths = superfluous(repository, time.time()).gone
    assert len(paths) > 4
    for number in range(len(paths)):
        shutil.copytree(repository.path, tmp_path / str(number))
        part = Repository.open(tmp_path / str(number))
        for path in superfluous(part, time.time()).gone[: number + 1]:
            path.unlink()
        finish(part)
        assert files(part) == files(whole)


def test_verify_takes_a_missing_object_for_a_problem_without_a_deed(repository):
    _, second, third, fourth = line(repository)
    unlearn(repository, [third])
    finish(repository)

    def missing():
        return [problem for problem in repository.verify() if "/objects/" in problem]

    assert missing() == []
    for entry in repository.manifest(second).tensors.values():
        repository.objects.path(entry.object).unlink(missing_ok=True)
    assert len(missing()) > 0
    assert fourth in repository.versions()


def test_verify_wants_the_manifest_of_a_collected_version(repository):
    third = line(repository)[2]
    unlearn(repository, [third])
    finish(repository)
    shutil.rmtree(repository.path / "versions" / third)
    assert any("was collected, and its manifest is not there" in problem for problem in repository.verify())


def test_verify_wants_a_deed_for_each_unlearning_and_for_nothing_else(repository):
    live = line(repository)[-1]
    add(repository, live, "unlearn", verdict="unlearned")
    add(repository, live, "data", unlearned=repository.deeds.write(Deed(6)))
    add(repository, live, "unlearn", verdict="unlearned", unlearned=repository.deeds.write(Deed(9)))
    problems = list(repository.verify())
    assert any("log entry 5 (unlearn) names None as its deed" in problem for problem in problems)
    assert any("log entry 6 (data) names" in problem for problem in problems)
    assert any("log entry 7 names a deed that was written for log entry 9" in problem for problem in problems)

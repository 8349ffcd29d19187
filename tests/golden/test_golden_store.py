"""A store that was written once must read the same for ever."""

import shutil
from pathlib import Path

import pytest
from make_store import CHILD, GROWN, KEY, ROOT, SPEC, make, page_row, state

from dripstone.store.repository import Repository

FIXTURE = Path(__file__).parent / "store-v1"
IDS = [
    "395f897891f0af62f93beadf80c4bc66443ab000574cd80a9ea33bdbc2a3cd80",
    "2369d5f113a73acd1b871f03618805cec88df82e8bb7ebd01d7dcea034981463",
    "65894c6bb18999ad4da39bce1e5bc4b41e9c8af1b3fe175153c552c1cfe57c7a",
]
TENSORS = [ROOT, ROOT | CHILD, ROOT | GROWN]


COMMITTED, NOW = "committed", "made now"


@pytest.fixture(params=[COMMITTED, NOW])
def repository(request, tmp_path):
    if request.param == NOW:
        return make(tmp_path / "store")
    shutil.copytree(FIXTURE, tmp_path / "store")
    return Repository.open(tmp_path / "store")


def test_it_opens_and_lacks_only_certificates(repository):
    problems = list(repository.verify())
    for version, problem in zip(IDS, problems, strict=True):
        assert problem.startswith(f"no certificate vouches for version {version[:12]}: ")
        assert f"'dripstone promote {version[:12]} --reason TEXT'" in problem
    assert repository.holdout_key == KEY


def test_ids_and_tensors_are_the_same(repository):
    assert [entry.version for entry in repository.log.entries()] == IDS[::-1]
    assert repository.versions() == sorted(IDS)
    for version, tensors in zip(IDS, TENSORS, strict=True):
        assert repository.read_tensors(version) == tensors


def test_manifests_and_records_are_the_same(repository):
    root, _, grown = (repository.manifest(version) for version in IDS)
    assert (root.spec.factory, root.spec.kwargs, root.spec.output) == (SPEC.factory, SPEC.kwargs, SPEC.output)
    assert repository.read_asset(root.spec.assets["vocab.txt"]) == b"hello\nworld\n"
    assert grown.labels == ["a", 7, "c"]
    assert grown.parent == IDS[1]
    assert {root.tensors[n].encoding for n in root.tensors} | {grown.tensors[n].encoding for n in grown.tensors} == {
        "raw",
        "zstd",
        "xor-zstd",
    }
    assert [update.number for update in repository.records(IDS[2])] == [3]
    assert repository.read_record(IDS[0], 1, f"{1:032x}").promoted


def test_pages_and_books_are_the_same(repository):
    head = repository.log.head()
    page, book = repository.read_page(head.page), repository.read_book(head.book)
    assert page.rows == [page_row(30, "train"), page_row(31, "held_out"), page_row(5, "rejected", "no label")]
    assert page.carried[0].page == repository.page_of(IDS[1])
    assert (book.pending[0].row, book.pending[0].admitted, book.tested) == (page_row(30, "train"), True, 3)
    assert book.quarantined[0].indices == [2]
    assert repository.page_of(IDS[2]) == head.page


@pytest.mark.parametrize(("repository", "known"), [(COMMITTED, False), (NOW, True)], indirect=["repository"])
def test_a_state_from_before_there_were_anchors_is_made_anew_from_the_ledger(repository, known):
    assert repository.read_state(IDS[2]) == (state(IDS[2]) if known else None)

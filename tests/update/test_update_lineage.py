"""Ancestors, and the rows they were trained and judged on."""

import msgspec
import pytest

from dripstone.core.errors import StoreError
from dripstone.store.ledger import Book, Carried, Page
from dripstone.update.lineage import (
    ancestors,
    learned_pages,
    learned_places,
    page_rows,
    quarantined_places,
    read_rows,
)
from learner_samples import blobs, book_of, make, quarantined, relabelled, trained


def test_ancestors_come_oldest_first(tmp_path):
    learner = make(tmp_path, {"gate.mode": "off"})
    root = learner.log()[0].version
    versions = [learner.update(blobs(10, seed=seed)).version for seed in range(3)]
    assert ancestors(learner.repository, versions[-1]) == [root, *versions]
    assert ancestors(learner.repository, root) == [root]


def test_carried_rows_have_the_role_they_have_now(tmp_path):
    learner = make(tmp_path)
    learner.update(blobs(5, seed=0))
    update = learner.update(blobs(150, seed=1))
    rows = page_rows(learner.repository, update.version)
    assert len(rows) == 310
    assert {row.role for row in rows} == {"train", "held_out"}
    assert page_rows(learner.repository, learner.log()[-1].version) == []


def test_carried_rows_cost_one_read_a_page(tmp_path):
    learner = make(tmp_path)
    learner.update(blobs(5, seed=0))
    update = learner.update(blobs(150, seed=1))
    reads = []
    with pytest.MonkeyPatch.context() as patch:
        real = learner.repository.read_page
        patch.setattr(learner.repository, "read_page", lambda name: reads.append(name) or real(name))
        page_rows(learner.repository, update.version)
    assert len(reads) == len(set(reads)) == 2


def test_of_rows_with_one_id_only_the_last_is_learned(tmp_path):
    learner = trained(tmp_path)
    first = blobs(150, seed=0)[0]
    update = learner.update([{**first, "label": "b"}, *blobs(60, seed=1)])
    pages = learned_pages(learner.repository, update.version)
    assert [len(page) for page in pages] == [0, 299, 121]


def test_places_are_those_of_the_log(tmp_path):
    learner = trained(tmp_path)
    update = learner.update(blobs(40, seed=1))
    places = learned_places(learner.repository, [update.parent, update.version])
    assert {page for page, _ in places} == {entry.page for entry in learner.log()[:2]}
    assert len(places) == 380
    assert list(places.values())[:3] == [row.id for row in page_rows(learner.repository, update.parent)[:3]]
    assert learned_places(learner.repository, []) == {}


def test_quarantined_rows_are_found_by_id(tmp_path):
    learner = trained(tmp_path)
    learner.update(relabelled(blobs(20, seed=1)))
    places = quarantined(learner)
    row = read_rows(learner.repository, places[:1])[0]
    assert quarantined_places(learner.repository, book_of(learner), {row.id, "nobody"}) == {places[0]}
    assert quarantined_places(learner.repository, book_of(learner), set()) == set()
    unmarked = [msgspec.structs.replace(group, marks=b"") for group in book_of(learner).quarantined]
    assert quarantined_places(learner.repository, Book(quarantined=unmarked), {row.id}) == {places[0]}


def test_pages_of_quarantined_rows_are_read_only_where_an_id_came_again(tmp_path, monkeypatch):
    learner = trained(tmp_path)
    learner.update(relabelled(blobs(20, seed=1)))
    book = book_of(learner)
    monkeypatch.setattr(type(learner.repository), "read_page", None)
    assert quarantined_places(learner.repository, book, {"nobody"}) == set()


@pytest.mark.parametrize("index", [3, -1])
def test_a_place_beyond_its_page_is_corrupt(tmp_path, index):
    learner = trained(tmp_path)
    version = learner.log()[0].version
    empty = learner.repository.write_page(Page(None, None, []))
    name = learner.repository.write_page(Page(None, version, [], [Carried(empty, index, "train")]))
    with pytest.raises(StoreError, match=f"refers to its row {index}") as caught:
        read_rows(learner.repository, [(empty, index)])
    assert caught.value.kind == "store.corrupt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner.repository, "page_of", lambda _: name)
        with pytest.raises(StoreError):
            page_rows(learner.repository, version)

"""What verify says of certificates: each entry, each judgement, and the alpha over the life of a store."""

import msgspec
import pytest
from store_samples import commit, entry, floats, nudged, row, write

from certificate_samples import first, judged, rows
from dripstone.core.records import Evidence, RowSet, Rules
from dripstone.store.checks import sha256
from dripstone.store.ledger import Book, Carried, Page
from dripstone.store.repository import Repository

ALPHA = 0.05


class Store:
    """A store with two versions, and its next entry in the making."""

    def __init__(self, folder):
        self.repository = Repository.create(folder)
        self.head = floats(0, 16, 16)
        self.first = commit(self.repository, 1, {"head": self.head, "body": floats(1, 16)})
        self.second = commit(self.repository, 2, {"head": nudged(self.head, 1)}, self.first)

    def candidate(self, seed=7):
        return write(self.repository, {"head": nudged(self.head, seed)}, self.second).version

    def page(self, version, carried=()):
        return self.repository.write_page(Page(self.second, version, [row(50), row(51, "held_out")], list(carried)))

    def book(self, tested):
        return self.repository.write_book(Book(tested=tested))

    def judge(self, version, tested=1, number=3, **changes):
        changes = {"fresh": rows("51"), **changes}
        return judged(self.repository, version, self.second, number, tested=tested, **changes)

    def promote(self, version, judgement, number=3, **changes):
        """The entry of an update that promoted its candidate."""
        name = self.repository.write_certificate(judgement)
        fields = {"candidate": version, "verdict": "promoted", "page": self.page(version), "book": self.book(2)}
        fields |= {"certificate": name, "judged": name}
        self.repository.log.append(entry(number, version, **(fields | changes)))

    def stay(self, version, judgement, number=3, **changes):
        """The entry of an update that left the second version live."""
        head = self.repository.log.head()
        name = self.repository.write_certificate(judgement)
        fields = {"candidate": version, "verdict": judgement.verdict, "page": self.page(version)}
        fields |= {"book": self.book(2), "certificate": head.certificate, "judged": name}
        self.repository.log.append(entry(number, head.version, **(fields | changes)))

    def problem(self):
        (problem,) = self.repository.verify()
        assert ";" in problem
        return problem


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_a_promotion_is_sound(store):
    version = store.candidate()
    store.promote(version, store.judge(version))
    assert list(store.repository.verify()) == []


@pytest.mark.parametrize("verdict", ["refused", "undecided"])
def test_a_judgement_that_promotes_nothing_is_sound(store, verdict):
    version = store.candidate()
    store.stay(version, store.judge(version, verdict=verdict))
    assert list(store.repository.verify()) == []


def test_a_test_that_was_not_asked_spends_nothing(store):
    version = store.candidate()
    rules = Rules("off", ALPHA, 0.01, 50, 4000, "accuracy", 1)
    store.promote(version, store.judge(version, None, rules=rules), book=store.book(1))
    assert list(store.repository.verify()) == []


def test_carried_rows_come_first_in_the_order_of_the_page(store):
    version, old = store.candidate(), store.repository.log.head().page
    carried = [Carried(old, 1, "held_out"), Carried(old, 0, "train")]
    store.promote(version, store.judge(version, fresh=rows("3", "51")), page=store.page(version, carried))
    assert list(store.repository.verify()) == []


@pytest.mark.parametrize(
    "fresh", [rows("51", "3"), rows("3"), rows("51"), rows(), RowSet(), RowSet(2, "ab" * 32), rows("35", "1")]
)
def test_fresh_rows_are_those_of_the_page(store, fresh):
    version, old = store.candidate(), store.repository.log.head().page
    page = store.page(version, [Carried(old, 1, "held_out")])
    store.promote(version, store.judge(version, fresh=fresh), page=page)
    assert "not the 2 held-out rows of its ledger page" in store.problem()


def test_a_page_that_carries_what_is_not_there(store):
    version, old = store.candidate(), store.repository.log.head().page
    for index in (2, -1):
        page = store.page(version, [Carried(old, index, "held_out")])
        number = store.repository.log.last() + 1
        store.promote(version, store.judge(version, number - 2, number), number, page=page, book=store.book(number - 1))
    assert any(f"carries row 2 of {old[:12]}" in problem for problem in store.repository.verify())


def test_a_version_that_went_live_without_a_certificate(store):
    version = store.candidate()
    store.promote(version, store.judge(version), certificate=None)
    assert store.problem().startswith(f"no certificate vouches for version {version[:12]}: log entry 3 names none")


def test_a_version_that_went_live_by_an_older_certificate(store):
    version = store.candidate()
    older = store.repository.write_certificate(store.judge(version, number=1))
    store.promote(version, store.judge(version), certificate=older)
    found = list(store.repository.verify())
    assert any("by another certificate than the one it was judged with" in problem for problem in found)
    assert any("written for log entry 1" in problem for problem in found)


def test_a_revert_without_a_certificate_and_a_person_who_mends_it(store):
    repository = store.repository
    repository.log.append(entry(3, store.first, event="revert"))
    assert f"version {store.first[:12]}: log entry 3 names none" in store.problem()
    certificate = judged(repository, store.first, store.first, 4, source="person", rules=None)
    name = repository.write_certificate(certificate)
    repository.log.append(entry(4, store.first, event="promote", certificate=name))
    assert list(repository.verify()) == []


def test_a_candidate_that_was_judged_without_a_certificate(store):
    version = store.candidate()
    store.stay(version, store.judge(version, verdict="refused"), judged=None)
    assert f"judged version {version[:12]} and names no certificate" in store.problem()


def test_a_certificate_without_a_candidate(store):
    version = store.candidate()
    store.stay(version, store.judge(version, None, verdict="refused"), candidate=None, book=store.book(1))
    assert "names the certificate of a candidate, and no candidate" in store.problem()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"merkle": "ab" * 32}, "judged other tensors"),
        ({"champion_merkle": "ab" * 32}, "compares with other tensors"),
        ({"number": 2}, "written for log entry 2"),
        ({"verdict": "undecided"}, "where its certificate says 'undecided'"),
        ({"source": "person", "verdict": "promoted", "rules": None, "evidence": Evidence()}, "the word of a person"),
    ],
)
def test_a_judgement_that_does_not_fit(store, changes, words):
    version = store.candidate()
    certificate = store.judge(version, **({"verdict": "refused"} | changes))
    store.stay(version, certificate, verdict="refused")
    assert any(words in problem for problem in store.repository.verify())


def test_a_champion_that_was_not_live(store):
    version = store.candidate()
    store.promote(version, judged(store.repository, version, store.first, 3, tested=1, fresh=rows("51")))
    assert f"compares with {store.first[:12]}, where version {store.second[:12]} was live" in store.problem()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verdict": "undecided"}, "its certificate says 'undecided'"),
        ({"merkle": "ab" * 32}, "its certificate is about other tensors"),
    ],
)
def test_what_is_live_by_a_certificate_that_does_not_allow_it(store, changes, words):
    version = store.candidate()
    store.promote(version, store.judge(version, **changes))
    assert any(f"version {version[:12]}: log entry 3: {words}" in problem for problem in store.repository.verify())


def test_a_copy_stays_what_it_was(store):
    version = store.second
    other = store.repository.write_certificate(judged(store.repository, version, store.first, 2, reason="another"))
    store.repository.log.append(entry(3, version, event="data", certificate=other))
    found = list(store.repository.verify())
    assert any("names another certificate of version" in problem for problem in found)
    assert any("was written for log entry 2" in problem for problem in found)


@pytest.mark.parametrize("event", ["data", "revert", "update"])
def test_only_a_person_vouches_for_what_no_update_judged(store, event):
    certificate = judged(store.repository, store.first, store.second, 3, source="person", rules=None)
    name = store.repository.write_certificate(certificate)
    store.repository.log.append(entry(3, store.first, event=event, certificate=name))
    assert f"({event}) names a new certificate of source 'person'" in store.problem()


def test_a_certificate_of_another_version(store):
    head = store.repository.log.head()
    store.repository.log.append(entry(3, store.first, event="revert", certificate=head.certificate))
    assert head.certificate in store.problem()


def test_every_test_of_gain_counts(store):
    version = store.candidate()
    store.promote(version, store.judge(version), book=store.book(1))
    assert "a book that counts 1 tests of gain; the certificates count 2" in store.problem()


def test_a_turn_that_is_not_its_own(store):
    version = store.candidate()
    store.promote(version, store.judge(version, 0))
    assert "as if 0 candidates were tested before it; it was 1" in store.problem()


def test_a_share_that_is_not_its_own(store):
    version = store.candidate()
    store.promote(version, store.judge(version, evidence=Evidence(alpha_spent=0.01)))
    assert "spends an alpha of 0.01, where test 2 of 0.05" in store.problem()


def test_all_tests_keep_within_alpha(store):
    version = store.candidate()
    store.promote(version, store.judge(version, evidence=Evidence(alpha_spent=0.04)))
    assert any("have spent an alpha of 0.065, more than the 0.05" in problem for problem in store.repository.verify())


def test_books_that_were_swept_are_not_missed(store):
    head = store.head
    version = store.second
    for number in range(3, 25):
        head = nudged(head, number)
        version = commit(store.repository, number, {"head": head}, version)
    for book in (store.repository.path / "training" / "books").iterdir():
        if book.name not in store.repository.kept_books():
            book.unlink()
    assert list(store.repository.verify()) == []


def test_certificates_begin_in_an_old_store(tmp_path):
    """Two versions from before, then a person and an update with certificates."""
    store = Store(tmp_path / "old")
    folder = store.repository.path / "refs" / "live"
    for number, tested in ((1, 4), (2, 5)):
        old = msgspec.structs.replace(
            store.repository.log.entry(number), certificate=None, judged=None, book=store.book(tested)
        )
        (folder / f"{number:06d}").write_bytes(msgspec.json.encode(old))
    found = list(store.repository.verify())
    assert [problem.split(":")[0][-12:] for problem in found] == [store.first[:12], store.second[:12]]
    certificate = judged(store.repository, store.second, store.second, 3, source="person", rules=None)
    name = store.repository.write_certificate(certificate)
    store.repository.log.append(entry(3, store.second, event="promote", certificate=name, book=store.book(5)))
    version = store.candidate()
    store.promote(version, store.judge(version, 5, 4), 4, book=store.book(6))
    assert store.first[:12] in store.problem()
    repository = store.repository
    repository.log.append(entry(5, store.first, event="promote", certificate=certify_first(store), book=store.book(6)))
    assert list(repository.verify()) == []


def certify_first(store):
    live = store.repository.log.head().version
    certificate = judged(store.repository, store.first, live, 5, source="person", rules=None)
    return store.repository.write_certificate(certificate)


def test_the_first_versions_word_counts_once(store):
    late = msgspec.structs.replace(first(store.repository, store.second), number=3)
    data = msgspec.json.encode(late)
    name = sha256(data)
    folder = store.repository.path / "versions" / store.second / "records"
    (folder / f"certificate-{name}.json").write_bytes(data)
    store.repository.log.append(entry(3, store.second, event="promote", certificate=name))
    assert any("of a first version, in log entry 3" in problem for problem in store.repository.verify())

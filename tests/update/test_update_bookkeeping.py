"""Rows before and after a verdict, without a model."""

import numpy as np
import pytest

from dripstone.core.examples import Example, content_id, is_held_out
from dripstone.store.ledger import Book, PageRow, PendingRow, QuarantineGroup, decode_page, encode_page
from dripstone.update.batch import KNOWN, PENDING, SUPERSEDED, UNSTORABLE, assemble, hashes
from dripstone.update.bookkeeping import count_rows, make_page, settle, without_places
from dripstone.update.known import known_rows, merge_known

KEY = b"k" * 32
PAGE = "ab" * 32
NOTHING = np.empty((0, 2), dtype=np.int64)


def row(name, target="x", **more):
    return Example(id=name, inputs=more.pop("inputs", f"text {name}"), target=target, **more)


def join(kept, known=NOTHING, book=None, rejected=(), share=0.2, **more):
    return assemble(book or Book(), known, kept, rejected, key=KEY, share=share, **more)


def waiting(*rows, page=PAGE, admitted=False):
    return [PendingRow(page, i, 2, PageRow.of(example, "train"), admitted) for i, example in enumerate(rows)]


def end(batch, verdict, book=None, reason="why", number=3, cap=100, **more):
    flags = {"spent": False, "keep_rows": False, "share": 0.2} | more
    return settle(book or Book(), batch, "cd" * 32, number, verdict, reason, cap=cap, **flags)[0]


def reasons(batch):
    return [(example.id, why) for example, why in batch.rejected]


def test_of_rows_with_one_id_the_last_counts():
    batch = join([row("1", "old"), row("2"), row("1", "new")])
    assert [(r.example.id, r.example.target) for r in batch.rows] == [("2", "x"), ("1", "new")]
    assert reasons(batch) == [("1", SUPERSEDED)]
    assert batch.received == 3


def test_known_rows_are_recognised_by_id_and_label():
    known = known_rows([row("1", "x"), row("2", 2)])
    batch = join([row("1", "x"), row("2", "2"), row("3")], known)
    assert reasons(batch) == [("1", KNOWN)]
    assert batch.corrected() == {"2"}  # the integer 2 is not the string
    assert not batch.only_repeats()


def test_known_rows_are_sorted_and_merged_with_the_new_label_on_top():
    old, new = known_rows([row("1", "x"), row("2", "x")]), known_rows([row("2", "y"), row("3", "x")])
    both = merge_known(old, new)
    assert both.shape == (3, 2)
    assert (np.diff(both[:, 0]) > 0).all()
    again = join([row("1", "x"), row("2", "y"), row("3", "x")], both)
    assert [why for _, why in again.rejected] == [KNOWN] * 3
    assert again.only_repeats()
    assert join([row("2", "x")], both).corrected() == {"2"}


def test_of_one_id_twice_in_known_rows_the_last_label_is_kept():
    assert reasons(join([row("1", "b")], known_rows([row("1", "a"), row("1", "b")]))) == [("1", KNOWN)]


def test_pending_rows_take_part_again_and_are_told_when_sent_again():
    book = Book(pending=waiting(row("1"), row("2")))
    batch = join([row("1"), row("3")], book=book)
    assert reasons(batch) == [("1", PENDING)]
    assert [(r.example.id, r.origin) for r in batch.rows] == [("1", (PAGE, 0)), ("2", (PAGE, 1)), ("3", None)]
    assert batch.has_news()
    assert not join([row("1")], book=book).has_news()


def test_a_correction_replaces_a_pending_row():
    batch = join([row("1", "y")], book=Book(pending=waiting(row("1"), row("2"))))
    assert [(r.example.id, r.example.target) for r in batch.rows] == [("2", "x"), ("1", "y")]
    assert [item.row.target for item in batch.replaced] == ["x"]
    assert batch.corrected() == set()


def test_a_pending_correction_of_a_learned_row_is_still_a_correction():
    batch = join([row("9")], known_rows([row("1", "old")]), Book(pending=waiting(row("1", "new"))))
    assert batch.corrected() == {"1"}


def test_a_pending_correction_is_withdrawn_when_the_learned_label_comes_again():
    book = Book(pending=waiting(row("1", "wrong")))
    batch = join([row("1", "right")], known_rows([row("1", "right")]), book)
    assert reasons(batch) == [("1", KNOWN)]
    assert batch.rows == []
    assert end(batch, "unchanged", book).pending == []


def test_pending_rows_that_the_live_version_knows_leave_the_book():
    book = Book(pending=waiting(row("1"), admitted=True))
    batch = join([row("2")], known_rows([row("1")]), book)
    assert [r.example.id for r in batch.rows] == ["2"]
    assert batch.rejected == []


def test_of_pending_rows_with_one_id_the_last_counts():
    book = Book(pending=[*waiting(row("1", "a")), *waiting(row("1", "b"), page="cd" * 32)])
    assert [r.example.target for r in join([row("2")], book=book).rows] == ["b", "x"]


def test_admitted_rows_are_news():
    assert join([], book=Book(pending=waiting(row("1"), admitted=True))).has_news()


def test_a_set_aside_correction_replaces_nothing():
    batch = join([row("1", "new"), row("2", "other")], known_rows([row("1", "old")]))
    batch.set_aside("new", "not learned")
    assert batch.corrected() == set()
    assert [r.quarantined for r in batch.rows] == ["not learned", None]


def test_the_split_is_that_of_the_hash_and_stable_under_near_duplicates():
    rows = [row(str(i)) for i in range(200)]
    batch = join(rows)
    held_out = {r.example.id for r in batch.rows if r.held_out}
    assert held_out == {r.id for r in rows if is_held_out(KEY, r.inputs, 0.2)}
    assert 20 < len(held_out) < 60
    again = join([row("n" + r.id, inputs=f"  TEXT, {r.id}!") for r in rows])
    assert {r.example.id[1:] for r in again.rows if r.held_out} == held_out
    assert len(batch.training()) + len(batch.fresh()) == 200


def test_rows_of_the_file_are_held_out_in_all_later_batches_too():
    file = [row(f"f{i}") for i in range(30)]
    first = join([row("1")], held_out_file=file)
    assert {r.example.id for r in first.rows if r.held_out} >= {r.id for r in file}
    book = end(first, "promoted", held_out=hashes(KEY, file))
    twins = [row(f"g{i}", inputs=f"text f{i}.") for i in range(30)]
    assert all(r.held_out for r in join(twins, book=book).rows)
    assert not all(r.held_out for r in join(twins).rows)
    later = join([row("z")], book=end(join([row("q")], book=book), "undecided", book))
    assert {r.example.id for r in later.rows} == {"q", "z"}


def test_a_row_in_data_and_held_out_file_is_held_out():
    batch = join([row("1", "data")], held_out_file=[row("1", "file")], share=1e-9)
    assert [(r.example.target, r.held_out) for r in batch.rows] == [("file", True)]


def test_the_fingerprint_covers_what_shapes_and_judges_the_candidate():
    def of(*rows, **more):
        return join(rows, **more).fingerprint()

    assert of(row("1")) == of(row("1", origin="elsewhere:3"))
    prints = {of(row("1")), of(row("2")), of(row("1", "y")), of(row("1", 1)), of(row("1", weight=2.0)), of()}
    assert len(prints) == 6
    assert of(row("1"), share=1 - 1e-9) != of(row("1"), share=1e-9)
    aside = join([row("1"), row("2", "y")])
    aside.set_aside("y", "no")
    assert aside.fingerprint() == of(row("1"))


def test_promoted_rows_leave_the_book():
    book = Book(pending=waiting(row("1")), tested=4)
    after = end(join([row("2")], book=book), "promoted", book, spent=True)
    assert (after.pending, after.quarantined, after.tested) == ([], [], 5)


def test_undecided_rows_wait_with_their_first_number():
    book = Book(pending=waiting(row("1"), admitted=True))
    after = end(join([row("2")], book=book), "undecided", book)
    assert [(p.row.id, p.page, p.number, p.admitted, p.heard) for p in after.pending] == [
        ("1", PAGE, 2, True, True),  # it has had its turn, and is still not asked whether it makes sense
        ("2", "cd" * 32, 3, False, True),
    ]
    assert not join([], book=after).has_news()


def test_refused_rows_are_quarantined_where_they_stand():
    book = Book(pending=waiting(row("1")))
    after = end(join([row("2"), row("3")], book=book), "refused", book)
    assert after.pending == []
    assert after.quarantined == [
        QuarantineGroup.of(PAGE, 3, "why", {0: "1"}),
        QuarantineGroup.of("cd" * 32, 3, "why", {0: "2", 1: "3"}),
    ]


def test_a_refusal_that_is_not_the_rows_fault_keeps_them_pending():
    book = Book(pending=waiting(row("1"), admitted=True))
    after = end(join([row("2")], book=book), "refused", book, keep_rows=True)
    assert [(p.row.id, p.admitted, p.heard) for p in after.pending] == [("1", True, False), ("2", False, False)]
    assert after.quarantined == []


def test_a_refused_batch_does_not_erase_the_pending_rows_it_contradicts():
    book = Book(pending=waiting(row("1", "good")))
    batch = join([row("1", "poison")], book=book)
    batch.rows[0].quarantined = "nonsense"
    after = end(batch, "refused", book, keep_rows=True)
    assert [item.row.target for item in after.pending] == ["good"]
    assert [group.page for group in after.quarantined] == ["cd" * 32]


def test_rows_set_aside_are_quarantined_whatever_the_verdict():
    batch = join([row("1"), row("2", "new")])
    batch.set_aside("new", "not learned")
    for verdict, pending in (("promoted", 0), ("undecided", 1)):
        after = end(batch, verdict)
        assert (len(after.pending), after.quarantined) == (
            pending,
            [QuarantineGroup.of("cd" * 32, 3, "not learned", {1: "2"})],
        )


def test_the_cap_drops_the_oldest():
    book = Book(pending=waiting(row("1"), row("2")))
    after = end(join([row("3"), row("4")], book=book), "undecided", book, cap=3)
    assert [p.row.id for p in after.pending] == ["2", "3", "4"]


def test_places_are_taken_out_of_a_book():
    book = Book(pending=waiting(row("1"), row("2")), quarantined=[QuarantineGroup("cd" * 32, 1, "r", [0, 1])])
    after = without_places(book, {(PAGE, 0), ("cd" * 32, 0), ("cd" * 32, 1)})
    assert ([p.row.id for p in after.pending], after.quarantined) == (["2"], [])


def test_the_page_has_new_rows_in_full_and_carried_ones_by_reference():
    book = Book(pending=waiting(row("1")))
    batch = join([row("1"), row("2"), row("3", "k")], known_rows([row("3", "k")]), book, rejected=[(row("4"), "bad")])
    page = make_page(batch, None, None)
    assert [(r.id, r.reason) for r in page.rows] == [("2", ""), ("4", "bad")]
    assert [r.role for r in page.rows][1] == "rejected"
    assert [(c.page, c.index) for c in page.carried] == [(PAGE, 0)]


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (3.5, "3.5"),
        (True, "True"),
        (None, None),
        (2**63, "0x8000000000000000"),
        (-(10**5000), "-0x"),
        ("\ud800", "\\ud800"),
        (["a", {"b": 1}], "['a', {'b': 1}]"),
        ("x" * 20_000, "x" * 10_000),
    ],
    ids=["float", "bool", "none", "large", "larger than Python writes", "surrogate", "nested", "long"],
)
def test_odd_labels_reach_the_ledger(target, kept):
    page = make_page(join([], rejected=[(row("1", target), "why")]), None, None)
    stored = decode_page(encode_page(page)).rows[0].target
    assert stored == kept or stored.startswith(kept)


def test_odd_rows_reach_the_ledger_cut_to_size():
    odd = [
        row("\ud800", slice="\udfff", time="\ud801"),
        row("1", inputs="\ud800" + "y" * 30_000),
        row("2", inputs=np.zeros(30_000, np.float32)),
        row("3", inputs=np.zeros((1,) * 40, np.float32)),
        row("4", weight=float("nan")),
    ]
    page = make_page(join([], rejected=[(example, "z" * 10**6) for example in odd]), None, None)
    back = decode_page(encode_page(page)).rows
    assert [r.role for r in back] == ["rejected"] * 5
    assert back[0].id == "\\ud800"
    assert len(back[1].inputs) <= 10_010
    assert back[2].inputs.shape == [10_000]
    assert back[3].inputs.shape == [1]
    assert max(len(r.reason) for r in back) <= 300


@pytest.mark.parametrize("column", ["id", "slice", "time"])
def test_half_a_character_beside_the_inputs_rejects_one_row_only(column):
    bad = Example(**({"id": "1", "inputs": "hello", "target": "x"} | {column: "\ud800"}))
    batch = join([bad, row("2")])
    assert [why for _, why in batch.rejected] == [UNSTORABLE]
    encode_page(make_page(batch, None, None))
    assert batch.fingerprint() == join([row("2")]).fingerprint()


def test_an_unstorable_row_does_not_replace_a_pending_one():
    book = Book(pending=waiting(row("1", "good")))
    batch = join([row("1", "other", slice="\ud800")], book=book)
    assert [r.example.target for r in batch.rows] == ["good"]


def test_counts():
    book = Book(pending=waiting(row("1")))
    batch = join([row("2"), row("2", "y")], book=book, rejected=[(row("3"), "bad")])
    counts = count_rows(batch, end(batch, "undecided", book), trained=1, replayed=7, dropped=4)
    assert (counts.received, counts.rejected, counts.pending, counts.quarantined) == (3, 2, 2, 0)
    assert (counts.trained, counts.replayed, counts.held_out, counts.dropped) == (1, 7, len(batch.fresh()), 4)


def test_a_million_known_rows_are_looked_up_without_a_table():
    known = merge_known(np.column_stack([np.arange(10**6), np.zeros(10**6)]).astype(np.int64), known_rows([row("1")]))
    assert reasons(join([row("1"), row("2")], known)) == [("1", KNOWN)]


def test_content_ids_of_half_characters_do_not_break_the_hash():
    assert join([row(content_id("\ud800"))]).rows

import msgspec
import numpy as np
import pytest

from dripstone.core.examples import Example, Reply
from dripstone.store.ledger import Carried, Page, PageRow, decode_page, encode_page
from dripstone.store.redaction import redact, was

P, Q = "ab" * 32, "cd" * 32


def row(number, role="train"):
    example = Example(f"id-{number}", np.full(3, number), "label", 2.0, "then", "here", "file:7", 0.5)
    return PageRow.of(example, role, "because")


def page():
    return Page(P, Q, [row(0), row(1, "held_out"), row(2, "rejected")], [Carried(Q, 4, "train", "why", 0.5)])


def test_nothing_is_left_of_a_row_but_its_place_and_its_role():
    found = redact(P, page(), {(P, 1), (Q, 4)})
    assert found.rows[0] == page().rows[0]
    assert found.rows[2] == page().rows[2]
    assert (found.parent, found.candidate) == (P, Q)
    gone = found.rows[1]
    assert (gone.role, gone.reason, gone.inputs) == ("unlearned", "held_out", "")
    untouched = PageRow("", "", None, 0.0, None, None, "", "unlearned", "held_out")
    assert gone == untouched
    assert found.carried == [Carried(Q, 4, "unlearned", "train", 1.0)]
    assert was("held_out", gone)
    assert was("train", found.carried[0])
    assert not was("train", gone)
    assert not was("held_out", page().rows[1])
    assert decode_page(encode_page(found)) == found


def test_places_of_other_pages_are_left_alone():
    assert redact(P, page(), {(Q, 1), (P, 4)}) == page()


def test_a_row_that_is_gone_keeps_the_role_it_had():
    once = redact(P, page(), {(P, 0), (Q, 4)})
    assert redact(P, once, {(P, 0), (Q, 4)}) == once


@pytest.mark.parametrize("target", ["label", 7, 1.5, Reply("yes"), None])
def test_targets_of_every_kind_are_gone(target):
    of = Page(None, None, [msgspec.structs.replace(row(0), target=target)])
    assert redact(P, of, {(P, 0)}).rows[0].target is None

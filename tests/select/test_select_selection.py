"""The text form of a selection."""

from __future__ import annotations

import pytest

from dripstone.core.config import SelectConfig
from dripstone.core.errors import UsageError
from dripstone.select.selection import SELECTORS, Selection, parse_selection


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("head", Selection("head", None, "ridge")),
        ("head@ridge", Selection("head", None, "ridge")),
        ("head@adamw", Selection("head", None, "adamw")),
        ("suffix:1", Selection("suffix", 1, "adamw")),
        ("suffix:12@adamw", Selection("suffix", 12, "adamw")),
        ("suffix:007", Selection("suffix", 7, "adamw")),
        ("full", Selection("full", None, "adamw")),
        ("full@adamw", Selection("full", None, "adamw")),
        (" full ", Selection("full", None, "adamw")),
        (SelectConfig().selection, Selection("ladder", None, "")),
    ],
)
def test_forms(text, wanted):
    selection = parse_selection(text)
    assert selection == wanted
    assert parse_selection(str(selection)) == selection


def test_the_method_of_the_head_can_be_chosen_by_the_caller():
    assert parse_selection("head", "adamw").method == "adamw"
    assert parse_selection("head@ridge", "adamw").method == "ridge"
    assert parse_selection("full", "ridge").method == "adamw"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("haed", "there is no selection 'haed'; did you mean 'head'?"),
        ("HEAD", "there is no selection 'HEAD'; did you mean 'head'?"),
        ("sufix:1", "there is no selection 'sufix'; did you mean 'suffix'?"),
        ("head :1", "there is no selection 'head '; did you mean 'head'?"),
        ("vector", "there is no selection 'vector'; did you mean 'vectors'?"),
        ("lader", "there is no selection 'lader'; did you mean 'ladder'?"),
        ("tail", "there is no selection 'tail'; use one of ladder, head, suffix, vectors, full"),
        ("", "there is no selection ''; use one of"),
        ("ladder@ridge", "the ladder chooses selection and method itself; write ladder"),
        ("ladder:1", "the ladder chooses selection and method itself; write ladder"),
        ("@ridge", "there is no selection ''"),
        ("head@rigde", "there is no method 'rigde'; did you mean 'ridge'?"),
        ("head@", "there is no method ''"),
        ("head@ridge@ridge", "there is no method 'ridge@ridge'"),
        ("full@ridge", "ridge solves the head alone, not full; use head@ridge or full@adamw"),
        ("suffix:2@ridge", "ridge solves the head alone, not suffix:2; use head@ridge or suffix:2@adamw"),
        ("head:1", "head takes no argument; write head"),
        ("full:1@adamw", "full takes no argument; write full"),
        *((f"suffix{k}", "does not say how many blocks; write suffix:1") for k in
          ["", ":", ":0", ":-1", ":1.5", ":x", ":²", ":٣", ": 1", ":1:2", ":" + "9" * 5000]),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_what_was_meant(text, words):
    with pytest.raises(UsageError) as caught:
        parse_selection(text)
    assert words in str(caught.value)
    assert caught.value.kind == "usage.selection"


def test_every_selector_can_be_written_with_any_optimiser():
    for name in SELECTORS:
        argument = ":1" if name == "suffix" else ""
        for method in ("sgd", "torch.optim:ASGD"):
            selection = parse_selection(f"{name}{argument}@{method}")
            assert (selection.name, selection.method) == (name, method)
            assert parse_selection(str(selection)) == selection


def test_the_ladder_is_a_word_of_its_own():
    assert parse_selection(" ladder ") == Selection("ladder", None, "")
    assert str(parse_selection("ladder")) == "ladder"


def test_the_method_of_the_loop_can_be_chosen_by_the_caller():
    assert str(parse_selection("suffix:2", loop_method="sgd")) == "suffix:2@sgd"
    assert str(parse_selection("head", loop_method="sgd")) == "head@ridge"

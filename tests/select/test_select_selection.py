"""The text form of a selection."""

from __future__ import annotations

import pytest

from dripstone.core.config import SelectConfig
from dripstone.core.errors import UsageError
from dripstone.select.selection import SELECTORS, SHARES, Selection, parse_selection


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
        ("low_rank:8", Selection("low_rank", 8, "adamw")),
        ("blocks:0.5", Selection("blocks", 0.5, "adamw", "cyclic")),
        ("blocks:0.5:40@sgd", Selection("blocks", 0.5, "sgd", "cyclic", 40)),
        ("blocks:1:random", Selection("blocks", 1.0, "adamw", "random")),
        ("rows:1e-3", Selection("rows", 0.001, "adamw", "gradient")),
        ("rows:0.1:random:200", Selection("rows", 0.1, "adamw", "random", 200)),
        ("entries:0.01", Selection("entries", 0.01, "adamw", "random")),
        ("entries:0.01:20@sgd", Selection("entries", 0.01, "sgd", "random", 20)),
        ("entries:0.01:gradient", Selection("entries", 0.01, "adamw", "gradient")),
        ("entries:0.01:fisher@muon", Selection("entries", 0.01, "muon", "fisher")),
        ("ladder:suffix:1/low_rank:8", Selection("ladder", None, "", rungs=("suffix:1", "low_rank:8"))),
        ("ladder:entries:0.1", Selection("ladder", None, "", rungs=("entries:0.1:random",))),
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
        ("ladder@ridge", "the ladder chooses the method itself; write ladder"),
        ("ladder:suffix:1@sgd", "the ladder chooses the method itself; write ladder:suffix:1"),
        ("ladder:", "there is no selection ''"),
        ("full:", "full takes no argument; write full"),
        ("ladder:1", "there is no selection '1'"),
        ("ladder:suffix:1/head", "'head' is no rung of a ladder; write ladder:suffix:1/low_rank:8"),
        ("ladder:grown", "'grown' is no rung of a ladder"),
        ("ladder:ladder", "'ladder' is no rung of a ladder"),
        ("ladder:rows:0.1:random:5", "is no rung of a ladder"),
        ("ladder:suffix:1/", "there is no selection ''"),
        ("entries:0.01@ridge", "ridge solves the head alone, not entries:0.01; use head@ridge or entries:0.01@adamw"),
        ("blocks:0.5:gradeint", "blocks cannot be chosen by 'gradeint'; did you mean 'gradient'?"),
        ("rows:0.5:fisher", "rows cannot be chosen by 'fisher'; use one of gradient, random"),
        ("entries:0.1:gradient:5", "entries by gradient is chosen once an update; write entries:0.1:random:5"),
        ("entries:0.1:random:0", "does not say after how many steps; write entries:0.1:random:100"),
        ("blocks:0.1:2:3", "does not say after how many steps"),
        ("low_rank:0", "'low_rank:0' does not say how many ranks; write low_rank:8"),
        ("low_rank", "does not say how many ranks"),
        *((f"{name}:{share}", f"the share '{share}' is not above 0 and at most 1; write {name}:0.1")
          for name in SHARES for share in ["0", "-0.1", "1.01", "2", "nan", "inf", "x"]),
        *((name, f"'{name}' does not say which share; write {name}:0.1") for name in SHARES),
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
    for name in SELECTORS | SHARES:
        argument = ":1" if name in ("suffix", "low_rank") else ":0.5" if name in SHARES else ""
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

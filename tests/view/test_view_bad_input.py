"""Whatever is wrong with a command or a file: the exit code, what the message names, and that live is as it was."""

import pytest
from view_samples import INIT, blobs, live, write_csv

pytest_plugins = ["view_fixtures"]

COLUMNS = ["--input", "x", "--input", "y", "--target", "kind"]

FILES = {
    "nocolumn.csv": "x,y\n1,2\n",
    "empty.csv": "",
    "header.csv": "x,y,kind\n",
    "short.csv": "x,y,kind\n1,2,a\n1,2\n",
    "word.csv": "x,y,kind\n1,2,a\n1,two,a\n",
    "nan.csv": "x,y,kind\nnan,1,a\n1,inf,a\n",
    "rows.txt": "x y kind\n",
    "badline.jsonl": '{"x": 0, "y": 0, "kind": "a"}\n{oops\n',
    "list.jsonl": "[1, 2]\n",
    "kind.jsonl": '{"x": 0, "y": 0, "kind": 3}\n',
    "none.jsonl": '{"x": 0, "y": 0, "kind": null}\n',
}


@pytest.fixture
def files(project):
    for name, text in FILES.items():
        (project.parent / name).write_text(text)
    (project.parent / "latin.csv").write_bytes("x,y,kind\n1,2,caf\u00e9\n".encode("latin-1"))
    write_csv(project.parent / "good.csv", blobs(50, "d", 1))
    return project.parent


UPDATES = [
    (["nocolumn.csv"], "nocolumn.csv:2 has no column 'kind', only 'x', 'y'"),
    (["empty.csv"], "empty.csv holds no rows"),
    (["header.csv"], "header.csv holds no rows"),
    (["short.csv"], "short.csv:3: 2 fields under a header of 3"),
    (["word.csv"], "word.csv:3: column 'y' is not a number: 'two'"),
    (["latin.csv"], "latin.csv:2: not "),
    (["rows.txt"], "rows.txt: files ending in '.txt' are not read"),
    (["badline.jsonl"], "badline.jsonl:2: not JSON"),
    (["list.jsonl"], "list.jsonl:1: not a JSON object"),
    (["gone.csv"], "there is no file gone.csv"),
    (["good.csv", "gone.csv"], "there is no file gone.csv"),
    (["."], ". is a folder"),
    (
        ["good.csv", "--set", "train.stop.epoch=3"],
        "there is no setting 'train.stop.epoch'; did you mean 'train.stop.epochs'?",
    ),
    (["good.csv", "--set", "far.away=3"], "there is no setting 'far.away'; use one of"),
    (["good.csv", "--set", "train.stop.epochs=many"], "train.stop.epochs"),
    (["good.csv", "--set", "train.stop.epochs=0"], "train.stop.epochs"),
    (["good.csv", "--set", "store.path=elsewhere"], "p/elsewhere is no dripstone store"),
    (["good.csv", "--gate", "loose"], "Invalid enum value 'loose' - at `$.gate.mode`"),
    (["good.csv", "--select", "tail"], "there is no selection 'tail'"),
    (["good.csv", "--curate", "nothing"], "curation 'nothing'"),
    (["good.csv", "--optimizer", "adam-w"], "did you mean 'adamw'?"),
    (["good.csv", "--select", "suffix:1"], "suffix:1 asks for 1 blocks, the model has 0"),
    (["good.csv", "--select", "rows:0"], "the share '0' is not above 0 and at most 1; write rows:0.1"),
    (["good.csv", "--select", "entries:1.2"], "the share '1.2' is not above 0 and at most 1; write entries:0.1"),
    (["good.csv", "--select", "blocks:0.5"], "the model has no blocks; use head, rows:p or entries:p"),
    (["good.csv", "--select", "low_rank:8"], "PEFT knows no layer of this backbone (it has none with parameters)"),
    (["good.csv", "--select", "ladder:suffix:2"], "suffix:2 asks for 2 blocks, the model has 0"),
    (["good.csv", "--set", "train.retain.ewc=1", "--curate", "screen"], "no rows are remembered"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), UPDATES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_an_update_that_cannot_be(files, dripstone, arguments, words):
    before = live(files / "p")
    found = dripstone("-C", "p", "update", *arguments, "--format", "json")
    assert (found.code, found.out) == (2, "")
    assert words in found.err
    assert "Traceback" not in found.err
    assert live(files / "p") == before


REJECTED = [
    ("nan.csv", "2 rows rejected: the input holds NaN or infinity"),
    ("kind.jsonl", "1 row rejected: the label is an integer where this model's labels are strings"),
    ("none.jsonl", "1 row rejected: the label is missing"),
]


@pytest.mark.parametrize(("file", "words"), REJECTED)
def test_rows_that_are_all_rejected_are_2(files, dripstone, file, words):
    before = live(files / "p")
    found = dripstone("-C", "p", "update", file, "--format", "json")
    assert found.code == 2
    assert found.err == words + "\n"
    assert f"{file}:" in found.json()["reason"]
    assert live(files / "p") == before


def test_some_bad_rows_do_not_stop_the_good_ones(files, dripstone):
    found = dripstone("-C", "p", "update", "nan.csv", "good.csv", "kind.jsonl")
    assert found.code == 0
    assert sorted(found.err.splitlines()) == sorted(words for _, words in REJECTED[:2])
    assert "  rows      53 received, 3 rejected, " in found.out


def test_a_label_cannot_write_on_the_terminal(files, dripstone):
    write_csv(files / "colour.csv", [(9 + row / 100, 9, "\x1b[31mred") for row in range(60)])
    assert dripstone("-C", "p", "update", "colour.csv").code == 0
    found = [dripstone("-C", "p", *command).out for command in (["evaluate", "colour.csv"], ["show"], ["log"])]
    assert "class \\x1b[31mred" in found[0]
    assert not any("\x1b" in out for out in found)


ASKED = [
    (["predict", "empty.csv"], "empty.csv holds no rows"),
    (["predict", "gone.csv"], "there is no file gone.csv"),
    (["predict", "nan.csv"], "nan.csv:2: the input holds NaN"),
    (["predict", "good.csv", "--version", "zz"], "'zz' is neither 'live' nor 4 to 64 hexadecimal digits"),
    (["evaluate", "nocolumn.csv"], "nocolumn.csv:2 has no column 'kind'"),
    (["evaluate", "good.csv", "--version", "abcdef"], "'abcdef' is no version of this store"),
    (["show", "abcdef"], "'abcdef' is no version of this store"),
    (["diff", "abcdef"], "'abcdef' is no version of this store"),
    (["revert", "abcdef"], "'abcdef' is no version of this store"),
    (["promote", "live", "--reason", "why not"], "is live already"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), ASKED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_question_that_cannot_be_answered(files, dripstone, arguments, words):
    before = live(files / "p")
    found = dripstone("-C", "p", *arguments)
    assert (found.code, found.out) == (2, "")
    assert words in found.err
    assert live(files / "p") == before


INITS = [
    (["--model", "no.such:thing"], "no.such:thing cannot be imported: No module named 'no'"),
    (["--model", "os:system"], "os:system is not known to make a module"),
    (["--model", "dripstone.models"], "'dripstone.models' names no factory"),
    (["--model", "dripstone.models:mlp"], "missing a required argument: 'inputs'"),
    (["--model", "dripstone.models:mlp", "--model-arg", "input=2"], "call it as mlp(inputs"),
    (["--model", "dripstone.models:mlp", "--model-arg", "inputs"], "'inputs' is not NAME=VALUE"),
    ([], "Missing option '--model'"),
    ([*INIT, "--task", "dreaming"], "there is no task 'dreaming'"),
    ([*INIT, "--set", "gate.mod=off"], "did you mean 'gate.mode'?"),
    ([*INIT, "--holdout", "good.csv"], "holdout rows alone train nothing"),
    ([*INIT, *COLUMNS, "--data", "gone.csv"], "there is no file gone.csv"),
    ([*INIT, *COLUMNS, "--data", "short.csv"], "short.csv:3: 2 fields under a header of 3"),
    ([*INIT, *COLUMNS, "--data", "nan.csv"], "the first version learned nothing"),
    ([*INIT, "--data", "good.csv"], "good.csv:2 has no column 'inputs'"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), INITS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_an_init_that_cannot_be_leaves_nothing_behind(files, dripstone, arguments, words):
    found = dripstone("init", "new", *arguments)
    assert (found.code, found.out) == (2, "")
    assert words in found.err
    assert "Traceback" not in found.err
    assert not (files / "new" / "dripstone.toml").exists()
    assert not (files / "new" / "store").exists()


@pytest.mark.parametrize("command", ["status", "log", "show", "verify", "revert", "serve"])
def test_a_folder_that_is_no_project(tmp_path, dripstone, command):
    found = dripstone("-C", tmp_path, command)
    assert (found.code, found.out) == (2, "")
    assert f"{tmp_path} is not a dripstone project: it has no dripstone.toml; make one with" in found.err


def test_a_damaged_configuration_is_named(project, dripstone):
    for text, words in (
        ("x = [", "is not TOML"),
        ("[train]\nepoch = 3\n", "epoch"),
        ("[gate]\nmode = 3\n", "gate.mode"),
    ):
        (project / "dripstone.toml").write_text(text)
        found = dripstone("-C", project, "status")
        assert (found.code, found.out) == (2, "")
        assert "p/dripstone.toml" in found.err
        assert words in found.err

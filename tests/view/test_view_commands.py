"""The whole life of a project on small files, command by command."""

import json
import tomllib

import pytest
from view_samples import INIT, blobs, live, shuffled, write_csv, write_jsonl

from dripstone.core.records import Update
from dripstone.store.repository import Repository

pytest_plugins = ["view_fixtures"]

UPDATE_KEYS = {
    "version", "parent", "promoted", "verdict", "reason", "selection", "rungs", "parameters", "examples", "metrics",
    "intrusion", "evidence", "delta_bytes", "cost",
}  # fmt: skip


def test_init_makes_a_project(tmp_path, dripstone, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = dripstone("init", "p", *INIT, "--input", "x", "--input", "y", "--target", "kind")
    assert found.code == 0
    assert found.out == f"version {live(tmp_path / 'p')[:12]} of p is live; it knows 0 labels\n"
    assert found.err == "next: dripstone -C p update FILE\n"
    settings = tomllib.loads((tmp_path / "p" / "dripstone.toml").read_text())
    assert settings["task"] == {"kind": "classification", "input": ["x", "y"], "target": "kind"}
    assert settings["model"]["args"]["random_features"] == 64
    status = dripstone("-C", "p", "status").out
    assert "last update  none yet" in status
    assert "next         dripstone -C p update FILE" in status
    rows = write_csv(tmp_path / "rows.csv", blobs(5, "a", 0))
    assert dripstone("-C", "p", "evaluate", rows, "--format", "json").json()["metrics"]["accuracy"] == 0.0
    assert "the live version knows no label yet" in dripstone("-C", "p", "predict", rows).err


def test_init_trains_on_data_and_holds_a_file_out(tmp_path, dripstone):
    rows = [{"inputs": [x, y], "label": kind} for x, y, kind in blobs(60, "ab", 0)]
    data, holdout = write_jsonl(tmp_path / "data.jsonl", rows[::2]), write_jsonl(tmp_path / "held.jsonl", rows[1::2])
    options = ["--data", data, "--holdout", holdout, "--set", "gate.holdout=0.1", "--set", "gate.mode=better"]
    found = dripstone("-C", tmp_path, "init", "p", *INIT, *options, "--format", "json")
    assert (found.code, found.err) == (0, "")
    assert found.json() == {
        "project": str(tmp_path / "p"),
        "version": live(tmp_path / "p"),
        "number": 1,
        "labels": ["a", "b"],
    }
    assert tomllib.loads((tmp_path / "p" / "dripstone.toml").read_text())["gate"] == {"mode": "better", "holdout": 0.1}
    trained = dripstone("-C", tmp_path / "p", "show", "--format", "json").json()["records"][0]["examples"]
    assert trained["held_out"] >= 60
    again = dripstone("init", tmp_path / "p", *INIT)
    assert again.code == 2
    assert "is a dripstone project already" in again.err


def test_init_in_the_working_directory(tmp_path, dripstone, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = dripstone("init", ".", *INIT)
    assert (found.code, found.err) == (0, "next: dripstone update FILE\n")
    assert dripstone("verify").out == "sound: 1 version, every byte as written, every certificate as earned\n"


def test_update_promotes(project, dripstone):
    before = live(project)
    found = dripstone("-C", project, "update", write_csv(project.parent / "d.csv", blobs(150, "d", 3)))
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    assert lines[0].startswith("promoted: gain proven")
    assert f"  version   {live(project)[:12]} from {before[:12]}, delta " in found.out
    assert "  rows      150 received, 0 rejected, " in found.out
    assert "  new       1 label: d\n" in found.out
    assert "  waiting   0 pending, 0 quarantined" in found.out
    assert max(map(len, lines)) <= 100


def test_update_speaks_json(project, dripstone):
    before = live(project)
    rows = [("nan", "1", "d"), *blobs(150, "d", 3)]
    found = dripstone("-C", project, "update", write_csv(project.parent / "d.csv", rows), "--format", "json")
    assert found.code == 0
    assert found.err == "1 row rejected: the input holds NaN or infinity\n"
    report = found.json()
    assert report.keys() >= UPDATE_KEYS
    assert (report["version"], report["parent"], report["promoted"]) == (live(project), before, True)
    assert report["parameters"].keys() == {"trained", "total"}
    counts = {"received", "rejected", "trained", "replayed", "held_out", "pending", "quarantined", "dropped"}
    assert report["examples"].keys() == counts
    assert report["metrics"].keys() == {"champion", "candidate"}
    evidence = {"wealth", "threshold", "discordant", "rows", "alpha_spent", "rows_needed"}
    evidence |= {"wins", "losses", "gain_at_least"}
    assert report["harm"].keys() == {"slice", "against", "rows", "worse", "better", "wealth", "bar"}
    assert report["flips"].keys() == {"negative", "positive", "rows"}
    assert report["evidence"].keys() == evidence
    assert report["cost"].keys() == {"wall_seconds", "cpu_seconds", "gate_cpu_seconds", "peak_memory_bytes"}
    assert report["rungs"][0].keys() == {"selection", "score", "cpu_seconds"}


def test_quiet_says_nothing(project, dripstone):
    rows = write_csv(project.parent / "d.csv", blobs(20, "abc", 3))
    for command in ("log", "status", "show", "verify"):
        assert dripstone("-C", project, command, "--format", "quiet") == (0, "", "")
    for command in ("predict", "evaluate"):
        assert dripstone("-C", project, command, rows, "--format", "quiet") == (0, "", "")
    assert dripstone("-C", project, "update", rows, "--format", "quiet")[1:] == ("", "")


def test_the_same_rows_again_change_nothing(project, template, dripstone):
    found = dripstone("-C", project, "update", template.parent / "1.csv")
    assert found.code == 0
    assert found.err == "150 rows rejected: the row was learned already\n"
    assert found.out.startswith("unchanged: nothing new to learn\n")
    assert Repository.open(project / "store").log.last() == 2


def test_a_dry_run_changes_nothing(project, dripstone):
    rows = write_csv(project.parent / "d.csv", blobs(150, "d", 3))
    found = dripstone(
        "-C", project, "update", rows, "--dry-run", "--select", "full@adamw", "--set", "train.stop.epochs=1"
    )
    assert found.code == 0
    assert found.out.startswith("dry run: trained, not judged, nothing changed\n  moved  full@adamw, ")
    assert "pending" not in found.out
    assert Repository.open(project / "store").log.last() == 2


def test_poison_is_refused_and_its_rows_wait(project, dripstone):
    before = live(project)
    rows = write_csv(project.parent / "poison.csv", shuffled(blobs(60, "abc", 7)))
    found = dripstone("-C", project, "update", rows)
    assert found.code == 1
    assert found.out.startswith("refused: the batch's labels agree")
    assert live(project) == before
    assert "next         dripstone -C p data list" in dripstone("-C", project, "status").out
    listed = dripstone("-C", project, "data", "list")
    lines = listed.out.splitlines()
    assert lines[0] == "180 rows quarantined since entry 3"
    assert lines[1].startswith("  the batch's labels agree")
    assert "poison.csv:2" in listed.out
    assert max(map(len, lines)) <= 100
    rows = dripstone("-C", project, "data", "list", "--format", "json").json()
    assert len(rows) == 180
    assert rows[0].keys() == {"id", "status", "number", "target", "origin", "reason"}


def test_a_person_admits_and_drops_rows(project, dripstone):
    poison = write_csv(project.parent / "poison.csv", shuffled(blobs(60, "abc", 7)))
    dripstone("-C", project, "update", poison)
    ids = [row["id"] for row in dripstone("-C", project, "data", "list", "--format", "json").json()]
    found = dripstone("-C", project, "data", "drop", ids[0], ids[1][:8])
    assert (found.code, found.out) == (0, "2 rows dropped\n")
    for wrong in (ids[0], "", ids[2][:3], "nobody"):
        found = dripstone("-C", project, "data", "drop", wrong)
        assert (found.code, found.out) == (2, "")
        assert f"no waiting row has the id {wrong!r}; see 'dripstone data list'" in found.err
    assert "no row is named" in dripstone("-C", project, "data", "admit").err
    assert "none of these rows is waiting" in dripstone("-C", project, "data", "drop", "--update", "1").err
    found = dripstone("-C", project, "data", "admit", "--update", "3", "--format", "json")
    assert found.json() == {"number": 5, "rows": 178, "reason": "178 quarantined rows admitted"}
    status = dripstone("-C", project, "status", "--format", "json").json()
    assert (status["pending"], status["quarantined"]) == (178, 0)
    assert "no quarantined row has the id" in dripstone("-C", project, "data", "admit", ids[2]).err
    assert dripstone("-C", project, "data", "drop", "--all").out == "178 rows dropped\n"
    assert dripstone("-C", project, "data", "list").out == "no row is waiting\n"


def test_a_whole_id_names_no_longer_ones(tmp_path, dripstone, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = ["--input", "x", "--input", "y", "--target", "kind", "--set", "task.id=id"]
    dripstone("init", "p", *INIT, *columns)
    rows = ["id,x,y,kind", "1000,0,0,a", "10001,1,0,a", "10002,0,1,a", "7,1,1,a", "70,1,2,a"]
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    assert dripstone("-C", "p", "update", "rows.csv").code == 1
    assert dripstone("-C", "p", "data", "drop", "7").out.startswith("1 row")
    assert dripstone("-C", "p", "data", "drop", "1000").out.startswith("1 row")
    assert "'1000' fits the ids of 2 rows; give more digits" in dripstone("-C", "p", "data", "drop", "1000").err
    left = dripstone("-C", "p", "data", "list", "--format", "json").json()
    assert [row["id"] for row in left] == ["10001", "10002", "70"]


def test_undecided_rows_are_counted_until_a_decision(tmp_path, dripstone):
    columns = ["--input", "x", "--input", "y", "--target", "kind"]
    dripstone("init", tmp_path / "p", *INIT, *columns)
    rows = write_csv(tmp_path / "few.csv", blobs(12, "a", 0))
    found = dripstone("-C", tmp_path / "p", "update", rows)
    assert found.code == 1
    assert found.out.startswith("undecided: ")
    status = dripstone("-C", tmp_path / "p", "status", "--format", "json").json()
    assert status["pending"] == 12
    assert status["last"]["verdict"] == "undecided"
    assert status["rows_needed"] > 0
    words = dripstone("-C", tmp_path / "p", "status").out
    assert f"pending      12 rows; about {status['rows_needed']} more labelled rows would decide" in words
    assert "update FILE, with more labelled rows" in words


def test_bad_rows_beside_admitted_ones_are_no_failure():
    """Exit 2 says that there was nothing to learn from, not that this file was bad."""
    from dripstone.core.records import ExampleCounts
    from dripstone.view.commands.update import exit_code

    bad = ExampleCounts(received=2, rejected=2, trained=30)
    for verdict, code in (("promoted", 0), ("refused", 1), ("undecided", 1)):
        report = Update(version="ab" * 32, parent=None, verdict=verdict, reason="", examples=bad)
        assert exit_code(report, dry_run=False) == code
    nothing = Update(None, None, "undecided", "", examples=ExampleCounts(received=2, rejected=2))
    assert exit_code(nothing, dry_run=False) == exit_code(nothing, dry_run=True) == 2


def test_evaluate(project, dripstone):
    rows = write_csv(project.parent / "test.csv", blobs(20, "abcd", 9))
    found = dripstone("-C", project, "evaluate", rows, "--format", "json").json()
    assert found.keys() == {"version", "examples", "metrics"}
    assert (found["version"], found["examples"]) == (live(project), 80)
    assert found["metrics"]["by_slice"]["class d"] == 0.0
    assert found["metrics"]["accuracy"] == pytest.approx(0.75, abs=0.02)
    first = dripstone("-C", project, "log", "--format", "json").json()[-1]["version"]
    older = dripstone("-C", project, "evaluate", rows, "--version", first[:8], "--format", "json").json()
    assert older["version"] == first
    assert older["metrics"]["by_slice"]["class c"] == 0.0
    words = dripstone("-C", project, "evaluate", rows).out
    assert words.startswith(f"accuracy {found['metrics']['accuracy']:.4f} on 80 rows, version {live(project)[:12]}\n")
    assert "class d    0.0000" in words


def test_predict_prints_a_line_a_row(project, dripstone):
    (project.parent / "ask.csv").write_text("x,y\n0,0\n3,0\n0,3\n")
    found = dripstone("-C", project, "predict", "ask.csv", "--format", "json")
    answers = [json.loads(line) for line in found.out.splitlines()]
    assert [row["prediction"] for row in answers] == ["a", "b", "c"]
    assert answers[0].keys() == {"prediction", "scores"}
    assert sum(answers[0]["scores"].values()) == pytest.approx(1)
    lines = dripstone("-C", project, "predict", "ask.csv").out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["a", "b", "c"]
    older = dripstone("-C", project, "log", "--format", "json").json()[-1]["version"]
    found = dripstone("-C", project, "predict", "ask.csv", "--version", older, "--format", "json")
    assert json.loads(found.out.splitlines()[0])["scores"].keys() == {"a", "b"}


def test_log_is_newest_first_and_marks_what_is_live(project, dripstone):
    entries = dripstone("-C", project, "log", "--format", "json").json()
    assert [entry["number"] for entry in entries] == [2, 1]
    assert [entry["event"] for entry in entries] == ["update", "init"]
    assert entries[0].keys() == {"number", "version", "event", "verdict", "candidate", "reason", "time"}
    dripstone("-C", project, "update", write_csv(project.parent / "poison.csv", shuffled(blobs(60, "abc", 7))))
    lines = dripstone("-C", project, "log").out.splitlines()
    assert lines[0].split() == ["#", "version", "event", "verdict", "time", "(UTC)"]
    assert lines[1].split()[:4] == ["3", "-", "update", "refused"]
    marked = [line for line in lines if "*" in line]
    assert len(marked) == 1
    assert marked[0].startswith(f"2  {live(project)[:12]}*")
    assert max(map(len, lines)) <= 100
    assert len(dripstone("-C", project, "log", "-n", "1", "--format", "json").json()) == 1
    assert "*" not in dripstone("-C", project, "log", "-n", "1").out


def test_show(project, dripstone):
    found = dripstone("-C", project, "show")
    lines = found.out.splitlines()
    assert lines[0] == f"version      {live(project)} (live)"
    assert "selection    head@ridge" in lines
    assert "labels       3: a, b, c" in lines
    assert any(line.startswith("vouched for  the gate, on ") for line in lines)
    assert "judged (UTC)" in lines
    assert any(line.startswith("head.weight ") for line in lines)
    facts = dripstone("-C", project, "show", "live", "--format", "json").json()
    assert facts["certificate"]["verdict"] == "promoted"
    assert facts["records"][0]["verdict"] == "promoted"
    root = dripstone("-C", project, "show", facts["parent"][:10], "--format", "json").json()["parent"]
    words = dripstone("-C", project, "show", root).out
    assert "labels     none yet" in words
    assert "never judged" in words
    assert "(live)" not in words


def test_diff(project, dripstone):
    older = dripstone("-C", project, "log", "--format", "json").json()[-1]["version"]
    found = dripstone("-C", project, "diff", older, "--format", "json").json()
    assert (found["old"], found["new"]) == (older, live(project))
    assert {tensor["block"] for tensor in found["tensors"]} == {"head", "preprocess"}  # the columns have a new scale
    flips = found["flips"]
    assert flips["better"] == len([flip for flip in flips["flipped"] if flip["new"] == "c"])
    words = dripstone("-C", project, "diff", older, "live").out
    assert f"on {flips['rows']} trusted rows: {flips['better']} now right, 0 now wrong" in words
    assert words.splitlines()[0] == f"{older[:12]} -> {live(project)[:12]}"
    assert any(line.split()[0::2] == ["c", "c"] for line in words.splitlines())
    same = dripstone("-C", project, "diff", "live").out
    assert "no tensor differs" in same
    assert "0 now right" in same


def test_revert_twice_comes_back(project, dripstone):
    last = live(project)
    found = dripstone("-C", project, "revert")
    first = live(project)
    assert found.out == f"version {first[:12]} is live again, in place of {last[:12]}\n"
    assert dripstone("-C", project, "revert", "--format", "json").json()["version"] == last
    assert dripstone("-C", project, "revert", first[:6]).code == 0
    assert live(project) == first
    found = dripstone("-C", project, "revert", first)
    assert (found.code, found.out) == (2, "")
    assert f"version {first[:12]} is live already" in found.err


def test_promote_overrules_the_gate(project, dripstone):
    rows = write_csv(project.parent / "few.csv", blobs(8, "d", 3))
    report = dripstone("-C", project, "update", rows, "--gate", "better", "--format", "json").json()
    assert report["verdict"] == "undecided"
    candidate = report["version"]
    assert "never live" in dripstone("-C", project, "revert", candidate).err
    assert "Missing option '--reason'" in dripstone("-C", project, "promote", candidate).err
    assert "needs a reason" in dripstone("-C", project, "promote", candidate, "--reason", " ").err
    found = dripstone("-C", project, "promote", candidate[:10], "--reason", "we know these\nrows")
    assert found.out == f"version {candidate[:12]} is live, promoted by hand: we know these\\nrows\n"
    assert live(project) == candidate
    entry = dripstone("-C", project, "log", "--format", "json").json()[0]
    assert (entry["event"], entry["reason"]) == ("promote", "we know these\nrows")
    assert dripstone("-C", project, "verify", "--format", "json").json()["sound"] is True


def test_digits_from_json_lines(tmp_path, dripstone):
    """Labels that are numbers, 0 among them, through the whole life."""
    pictures, digits = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    rows = [{"inputs": x.tolist(), "label": int(y)} for x, y in zip(pictures, digits, strict=True)]
    days = [[row for row in rows[:1200] if row["label"] in some] for some in ((0, 1), (2, 3))]
    files = [write_jsonl(tmp_path / f"{number}.jsonl", day) for number, day in enumerate(days)]
    test = write_jsonl(tmp_path / "test.jsonl", [row for row in rows[1200:] if row["label"] < 4])
    model = ["--model", "dripstone.models:mlp", "--model-arg", "inputs=64", "--model-arg", "random_features=256"]
    project = tmp_path / "p"
    assert dripstone("init", project, *model).code == 0
    for file in files:
        assert dripstone("-C", project, "update", file).code == 0
    assert dripstone("-C", project, "evaluate", test, "--format", "json").json()["metrics"]["accuracy"] > 0.9
    first = json.loads(dripstone("-C", project, "predict", test, "--format", "json").out.splitlines()[0])
    assert first["prediction"] in (0, 1, 2, 3)
    versions = [entry["version"] for entry in dripstone("-C", project, "log", "--format", "json").json()]
    assert dripstone("-C", project, "show", "--format", "json").json()["labels"] == [0, 1, 2, 3]
    flips = dripstone("-C", project, "diff", versions[2], versions[1]).out.splitlines()
    assert any(line.split()[:3] == ["0", "-", "0"] for line in flips)


def test_update_every_so_many_rows(project, dripstone, tmp_path):
    rows = write_csv(tmp_path / "more.csv", blobs(60, "ab", 7))
    found = dripstone("-C", project, "update", rows, "--every", 50, "--format", "json")
    reports = [json.loads(line) for line in found.out.splitlines()]
    assert [report["examples"]["received"] for report in reports] == [50, 50, 20]
    assert found.code == max(report["verdict"] not in ("promoted", "unchanged") for report in reports)
    assert [entry["number"] for entry in dripstone("-C", project, "log", "--format", "json").json()[:3]] == [5, 4, 3]
    assert dripstone("-C", project, "update", rows, "--every", 0).code == 2


def test_show_lists_the_rows_of_a_version_and_what_became_of_them(project, dripstone, tmp_path):
    more = write_csv(tmp_path / "more.csv", [*blobs(60, "ab", 7), ("nan", 1.0, "a"), (1.0, 5000.0, "a")])
    update = dripstone("-C", project, "update", more, "--format", "json").json()
    found = dripstone("-C", project, "show", update["version"], "--examples", "--format", "json").json()
    assert found["version"] == update["version"]
    roles = [row["role"] for row in found["examples"]]
    counts = update["examples"]
    assert (roles.count("train"), roles.count("held_out")) == (counts["trained"], counts["held_out"])
    rejected = {row["origin"]: row["reason"] for row in found["examples"] if row["role"] == "rejected"}
    assert rejected["more.csv:122"] == "the input holds NaN or infinity"
    assert "column 2 of the input is far from what the first rows had" in rejected["more.csv:123"]
    assert found["examples"][0].keys() == {
        "id", "role", "reason", "target", "weight", "factor", "slice", "origin", "inputs",
    }  # fmt: skip
    text = dripstone("-C", project, "show", update["version"], "--examples").out
    assert text.startswith(f"{counts['trained']:,} train\n")
    assert "1 rejected: the input holds NaN or infinity" in text
    first = dripstone("-C", project, "log", "--format", "json").json()[-1]["version"]
    assert "row" in dripstone("-C", project, "show", first, "--examples").out

"""``dripstone tune`` on the command line."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from view_samples import blobs, live, write_csv

from dripstone.core.config import load_config

pytest.importorskip("optuna")
pytest_plugins = ["view_fixtures"]


@pytest.fixture
def harsh(project):
    """The project with settings under which the model forgets all it knows."""
    file = project / "dripstone.toml"
    text = file.read_text().replace('selection = "ladder"', 'selection = "full@adamw" # of mine')
    file.write_text(text + "\n[train]\nlearning_rate = 3.0 # steep\nbatch_size = 1\nstop = { epochs = 1 }\n")
    write_csv(project.parent / "new.csv", blobs(60, "abcd", 5))
    return project


def test_a_search_prints_the_best_the_present_and_what_was_written(harsh, dripstone):
    before = live(harsh)
    found = dripstone("-C", harsh, "tune", "new.csv", "--trials", "8")
    assert (found.code, found.err) == (
        0,
        "next: dripstone update with the same rows learns them under these settings\n",
    )
    lines = found.out.splitlines()
    assert lines[0].startswith("accuracy 1.0000 in place of 0.")
    assert lines[1].split() == ["trial", "accuracy", "again", "lead", "CPU-s", "selection", "settings"]
    table = lines[2 : next(n for n, line in enumerate(lines) if line.startswith("  rows"))]
    assert len(table) in (5, 6)
    assert sum(line.startswith("> ") for line in table) == 1
    assert sum("the project's own" in line for line in table) == 1
    assert "8 of 8" in found.out
    assert "into dripstone.toml" in found.out
    assert live(harsh) == before
    text = (harsh / "dripstone.toml").read_text()
    assert "# of mine" in text
    (picture,) = (harsh / "tuning").glob("*.png")
    assert str(picture) in found.out
    assert dripstone("-C", harsh, "update", "new.csv").code == 0


def test_json_is_one_object_with_every_trial(harsh, dripstone):
    options = ["--trials", "6", "--picture", "found.png", "--format", "json", "--dry-run"]
    found = dripstone("-C", harsh, "tune", "new.csv", *options)
    assert (found.code, found.err) == (0, "")
    report = found.json()
    assert [trial["number"] for trial in report["trials"]] == list(range(6))
    assert report["trials"][0].keys() >= {"settings", "score", "cpu_seconds", "state", "selection", "lead", "error"}
    assert report["default"] == report["trials"][0]
    assert report["written"] == {}
    assert report["changes"]
    assert report["picture"] == "found.png"
    assert (harsh.parent / "found.png").read_bytes().startswith(b"\x89PNG")
    assert load_config(harsh).train.learning_rate == 3.0
    again = dripstone("-C", harsh, "tune", "new.csv", *options).json()
    assert again == report
    quiet = dripstone("-C", harsh, "tune", "new.csv", "--trials", "6", "--format", "quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert load_config(harsh).select.selection == report["changes"].get("select.selection", "full@adamw")


def test_a_dry_run_says_what_it_would_write(harsh, dripstone):
    found = dripstone("-C", harsh, "tune", "new.csv", "--trials", "6", "--dry-run")
    assert "nothing, as it is a dry run; it would be " in " ".join(found.out.split())


def test_settings_that_are_as_good_as_any_stay(project, dripstone):
    write_csv(project.parent / "new.csv", blobs(60, "abc", 5))
    before = (project / "dripstone.toml").read_bytes()
    found = dripstone("-C", project, "tune", "new.csv", "--trials", "3", "--seconds", "1000")
    assert found.code == 0
    assert "none of 3 trials is better than the project's own settings" in found.out
    assert "written     nothing" in found.out
    assert found.err == ""
    assert (project / "dripstone.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "too few to learn some and try settings on the others; send more rows: 40"),
        (["--trials", "0"], "0 is not in the range x>=1"),
        (["--trials", "many"], "'many' is not a valid integer"),
        (["--seconds", "-1"], "is not in the range x>=0"),
        (["--picture", "a.gif"], "a.gif is no PNG file"),
        (["--picture", "none/a.png"], "there is no folder none"),
        (["--set", "train.learning_rat=1"], "did you mean 'train.learning_rate'?"),
    ],
)
def test_bad_input_changes_nothing(project, dripstone, options, words):
    few = write_csv(project.parent / "few.csv", blobs(5, "abc", 5))
    found = dripstone("-C", project, "tune", few, *options)
    assert found.code == 2
    assert words in found.err
    assert found.out == ""
    assert not (project / "tuning").exists()


def test_a_missing_file_or_none_is_an_error(project, dripstone):
    assert dripstone("-C", project, "tune").code == 2
    assert "none.csv" in dripstone("-C", project, "tune", "none.csv").err


def test_help_imports_nothing_of_the_extra():
    script = (
        "import sys\nfrom dripstone.view.cli import cli\n"
        "cli.main([*sys.argv[1:], '--help'], standalone_mode=False)\n"
        "print([m for m in ('torch', 'optuna', 'tomlkit', 'matplotlib') if m in sys.modules])"
    )
    for words in ([], ["tune"]):
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
        assert done.stdout.endswith("[]\n")
        assert "tune" in done.stdout


def test_a_search_that_is_killed_or_interrupted_goes_on(harsh):
    command = [sys.executable, "-m", "dripstone", "-C", str(harsh), "tune", "new.csv"]
    command += ["--trials", "4000", "--dry-run", "--format", "json"]
    done = 0
    for how, code in ((signal.SIGINT, 3), (signal.SIGKILL, -9)):
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while _finished(harsh) < done + 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(how)
        assert running.wait(60) == code
        running.communicate()
        done = _finished(harsh)
    command[command.index("4000")] = str(done + 2)
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ}).stdout
    report = json.loads(printed)
    assert [trial["number"] for trial in report["trials"]] == list(range(len(report["trials"])))
    assert done <= len(report["trials"]) <= done + 3


def _finished(project):
    return sum(path.read_text().count('"user_attr":{"trial"') for path in (project / "tuning").glob("*.log"))

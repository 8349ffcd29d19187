"""``dripstone unlearn`` on the command line."""

import json
import shutil

import pytest
from view_samples import live

from dripstone.core.examples import content_id
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.store.repository import Repository
from learner_samples import blobs, make
from text_samples import make_texts, stories
from unlearning_samples import named, traces_of

pytest_plugins = ["view_fixtures"]


def ids_of(project, role):
    """Ids of the live version's own rows of a role."""
    repository = Repository.open(project / "store")
    page = repository.read_page(repository.page_of(live(project)))
    return [row.id for row in page.rows if row.role == role]


def test_rows_leave_and_every_command_knows_it(project, dripstone):
    before, (one, two) = live(project), ids_of(project, "train")[:2]
    found = dripstone("-C", "p", "unlearn", one, two)
    assert (found.code, found.err) == (0, "")
    after = live(project)
    assert after != before
    assert f"2 rows; version {after[:12]} is live" in found.out
    assert f"collected     {before[:12]}" in found.out
    assert "accuracy 1 before, accuracy 1 after, on " in found.out
    assert found.out.endswith("given its features and hyperparameters\n")
    log = dripstone("-C", "p", "log", "-n", "1").out
    assert f"{after[:12]}*  unlearn  unlearned" in log
    assert one not in log
    shown = dripstone("-C", "p", "show").out
    assert "selection    unlearn@ridge" in shown
    assert f"a person, who had rows of {before[:12]} unlearned: 2 rows unlearned" in shown
    assert f"a person, who had rows of {before[:12]} unlearned" in dripstone("-C", "p", "status").out
    gone = dripstone("-C", "p", "show", before)
    assert "collected    by log entry 3: it can be used no more" in gone.out
    assert dripstone("-C", "p", "show", before, "--format", "json").json()["collected"] == 3
    assert "2 unlearned: train" in dripstone("-C", "p", "show", before, "--examples").out
    told = dripstone("-C", "p", "verify")
    assert told.code == 0
    assert "but for 1 judgement that cannot be made again:\nlog entry 2: version " in told.out
    value = dripstone("-C", "p", "verify", "--format", "json").json()
    assert (value["sound"], value["problems"], len(value["unjudged"])) == (True, [], 1)
    for command in (["revert"], ["revert", before], ["promote", before, "--reason", "x"]):
        refused = dripstone("-C", "p", *command)
        assert refused.code == 2
        assert "log entry 3 unlearned, and was collected then" in refused.err
    refused = dripstone("-C", "p", "diff", before)
    assert refused.code == 2
    assert "was collected by log entry 3" in refused.err


def test_it_speaks_json_or_nothing(project, dripstone):
    one = ids_of(project, "train")[0]
    dry = dripstone("-C", "p", "unlearn", one, "--dry-run", "--format", "json").json()
    assert (dry["dry_run"], dry["version"], dry["number"], dry["exact"]) == (True, None, None, True)
    assert "would be live" in dripstone("-C", "p", "unlearn", one, "--dry-run").out
    value = dripstone("-C", "p", "unlearn", one, "--format", "json").json()
    assert value.keys() == {
        "ids", "number", "version", "reason", "exact", "solved", "inexact", "weighed", "removed", "collected", "shaped",
        "retrain", "labels", "metrics", "trusted", "delta_bytes", "bytes_freed", "dry_run",
    }  # fmt: skip
    assert (value["ids"], value["version"], value["number"]) == ([one], live(project), 3)
    assert value["removed"] == {"ledger": 1, "pages": 1, "pending": 0, "quarantined": 0, "trusted": 0, "replay": 1}
    assert value["metrics"].keys() == {"champion", "candidate"}
    quiet = dripstone("-C", "p", "unlearn", ids_of_line(project)[0], "--format", "quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def ids_of_line(project):
    learner = Learner.open(project)
    page = learner.repository.read_page(learner.repository.page_of(live(project)))
    item = next(item for item in page.carried if item.role == "train")
    return [learner.repository.read_page(item.page).rows[item.index].id]


@pytest.mark.parametrize("ids", [["nobody"], [content_id("hello")], ["", "x"]])
def test_an_unknown_id_is_a_mistake(project, dripstone, ids):
    before = live(project)
    found = dripstone("-C", "p", "unlearn", *ids)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("dripstone: ")
    assert live(project) == before
    assert Repository.open(project / "store").log.last() == 2


def test_it_wants_an_id(project, dripstone):
    assert dripstone("-C", "p", "unlearn").code == 2


def test_what_is_not_exact_ends_with_code_1(tmp_path, monkeypatch, dripstone):
    quick = {"task.id": "id", "train.stop.epochs": 2, "gate.mode": "off"}
    learner = make(tmp_path, quick, model=mlp(inputs=2, hidden=[8, 8]))
    assert learner.update(named(blobs(40, seed=0), "day0"), select="head").promoted
    clean = learner.repository.log.head().version
    assert learner.update(named(blobs(40, seed=1), "day1"), select="suffix:1").promoted
    tuned = learner.repository.log.head().version
    assert learner.update(named(blobs(40, seed=2), "day2"), select="head").promoted
    shutil.move(learner.project, tmp_path / "p")
    monkeypatch.chdir(tmp_path)
    row = next(name for name in ("day1-2.", "day1-3.", "day1-4.") if name in trained_ids(tmp_path / "p"))
    dry = dripstone("-C", "p", "unlearn", row, "--dry-run")
    assert (dry.code, dry.err) == (1, "")
    found = dripstone("-C", "p", "unlearn", row)
    assert (found.code, found.err) == (1, "")
    assert "not exact: what is live goes back to versions that these rows shaped" in found.out
    assert f"{row}  {tuned[:12]}  suffix:1@adamw  {clean[:12]}" in found.out
    assert f"  dripstone revert {clean[:12]}\n  dripstone data admit --update N" in found.out
    assert traces_of(tmp_path / "p", row.encode()) == set()
    assert dripstone("-C", "p", "verify").code == 0


def trained_ids(project):
    repository = Repository.open(project / "store")
    return {row.id for name in repository.pages() for row in repository.read_page(name).rows if row.role == "train"}


def test_texts_on_the_command_line(tmp_path, monkeypatch, dripstone):
    learner = make_texts(tmp_path, {"task.id": "id"})
    assert learner.update(named(stories(40, 0), "one"), gate="off").promoted
    shutil.move(learner.project, tmp_path / "p")
    monkeypatch.chdir(tmp_path)
    ids = sorted(trained_ids(tmp_path / "p"))[:25]
    found = dripstone("-C", "p", "unlearn", *ids)
    assert found.code == 1
    assert "a language model's output layer is not solved in closed form" in " ".join(found.out.split())
    assert "perplexity " in found.out
    assert "and 5 others; --format json has all" in found.out
    report = dripstone("-C", "p", "log", "-n", "1", "--format", "json").json()[0]
    assert (report["event"], report["verdict"]) == ("unlearn", "unlearned")
    assert json.dumps(report).find(ids[0]) < 0


def test_what_was_cut_short_is_told(project, dripstone, monkeypatch):
    one = ids_of(project, "train")[0]
    with monkeypatch.context() as patch:
        patch.setattr("dripstone.update.unlearning.finish", stopped)
        assert dripstone("-C", "p", "unlearn", one).code == 3
    told = dripstone("-C", "p", "status").out
    assert "update FILE, which deletes what log entry 3 unlearned: that was cut short" in told
    assert dripstone("-C", "p", "verify").code == 0
    again = dripstone("-C", "p", "unlearn", one)
    assert (again.code, again.err) == (0, "")
    assert "whose deletions were cut short, and are done now" in " ".join(again.out.split())
    assert dripstone("-C", "p", "status", "--format", "json").json()["cut_short"] == []


def stopped(repository):
    raise KeyboardInterrupt

"""A search never sees a held-out row, goes on where it stopped, and writes what beats the project's own settings."""

import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from dripstone.core.config import load_config
from dripstone.core.errors import DivergedError, DripstoneError, RaceLostError, StoreError, UsageError
from dripstone.core.events import Searched, Tried, TriedAgain
from dripstone.core.examples import is_held_out
from dripstone.core.tuned import Again, SettingsTrial
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.models.classifier import Classifier
from dripstone.stream.source import read
from dripstone.train.features import result_of
from dripstone.tune import search as searching
from dripstone.tune import settings_file
from dripstone.tune import trials as making
from dripstone.tune.finalists import BEYOND
from dripstone.tune.search import _chosen, _key
from dripstone.tune.space import space_of
from dripstone.update.tried_rows import cut_rows
from learner_samples import blobs, folder_hash, make, trained
from number_samples import make_numbers, measured
from text_samples import make_texts, stories

pytest.importorskip("optuna")

HARSH = {"select.selection": "full@adamw", "train.learning_rate": 3.0, "train.stop.epochs": 2}
"""Under which a network forgets all it knows."""


def deep(folder, **settings):
    return make(folder, settings, model=mlp(2, (8, 8), 64))


def harsh(folder, learned=True):
    learner = deep(folder)
    if learned:
        assert learner.update(blobs(150, 0, "abc")).promoted
    text = (learner.project / "dripstone.toml").read_text()
    text = text.replace('selection = "ladder"', 'selection = "full@adamw"  # of mine')
    (learner.project / "dripstone.toml").write_text(
        text + "\n[train]\nlearning_rate = 3.0 # steep\nstop = { epochs = 2 }\n"
    )
    return Learner.open(learner.project)


def held_out(learner, row):
    inputs = np.array(row["inputs"], dtype=np.float32)
    return is_held_out(learner.repository.holdout_key, inputs, 0.2)


def plain(trials):
    """What must be the same whenever a trial is made again."""
    return [msgspec.structs.replace(trial, cpu_seconds=0.0) for trial in trials]


NEW = blobs(80, 1, "abcde")


def test_labels_of_held_out_rows_change_no_score_to_the_bit(tmp_path):
    found = []
    for name in ("honest", "poisoned"):
        learner = harsh(tmp_path / name)
        rows = [
            {**row, "label": "abcde"[("abcde".index(row["label"]) + 2) % 5]}
            if name == "poisoned" and held_out(learner, row)
            else row
            for row in NEW
        ]
        assert (rows == NEW) == (name == "honest")
        found.append(learner.tune(rows, trials=8))
    assert plain(found[0].trials) == plain(found[1].trials)
    assert found[0].chosen == found[1].chosen > 0
    assert found[0].written == found[1].written != {}
    assert found[0].study.rpartition("/")[2] == found[1].study.rpartition("/")[2]


def test_no_held_out_and_no_trusted_row_ever_goes_through_the_model(tmp_path, monkeypatch):
    learner = harsh(tmp_path)
    assert learner.update(NEW[:60], settings={"select.selection": "head"}, gate="better").verdict == "undecided"
    trusted = learner.repository.read_state(learner.champion().version).trusted
    assert trusted
    seen = set()
    real = Classifier.collate
    monkeypatch.setattr(
        Classifier, "collate", lambda self, rows: seen.update(np.asarray(r).tobytes() for r in rows) or real(self, rows)
    )
    learner.tune(NEW, trials=10)
    judges = {np.array(r["inputs"], dtype="f4").tobytes() for r in NEW if held_out(learner, r)}
    judges |= {row.example().inputs.tobytes() for row in trusted}
    assert len(judges) > 100
    assert len(seen) > 300
    assert not seen & judges


def test_what_wins_is_written_and_the_next_update_learns_by_it(tmp_path):
    learner = harsh(tmp_path)
    before = (learner.project / "dripstone.toml").read_text()
    head = learner.repository.log.head()
    tuned = learner.tune(NEW)
    assert len(tuned.trials) == 20
    assert tuned.default == tuned.trials[0]
    assert tuned.trials[0].settings == {}
    best = tuned.trials[tuned.best]
    assert best.score == max(trial.score for trial in tuned.trials if trial.score is not None)
    assert tuned.chosen > 0
    taken = tuned.trials[tuned.chosen].again
    assert taken.score > tuned.default.again.score
    assert taken.rows > 3 * (tuned.rows.tried + tuned.rows.remembered_tried)
    assert taken.lead > taken.error
    assert tuned.written == tuned.changes == tuned.trials[tuned.chosen].settings
    config = load_config(learner.project)
    assert learner.config == config
    for key, value in tuned.written.items():
        section, _, name = key.partition(".")
        assert getattr(getattr(config, section), name) == value
    after = (learner.project / "dripstone.toml").read_text()
    assert after != before
    for comment in ("# of mine", "# steep"):
        assert comment in after
    assert learner.repository.log.head() == head
    update = Learner.open(learner.project).update(NEW)
    assert update.promoted
    assert update.rungs[0].selection.split("@")[0] == tuned.trials[tuned.chosen].selection.split("@")[0].split(" ")[-1]


def test_what_is_not_better_beyond_chance_is_not_written(tmp_path):
    learner = trained(tmp_path)
    before = (learner.project / "dripstone.toml").read_bytes()
    tuned = learner.tune(blobs(60, 1), trials=6)
    assert tuned.chosen == 0
    assert tuned.changes == tuned.written == {}
    assert "better than the project's own" in tuned.reason or "may be chance" in tuned.reason
    assert (learner.project / "dripstone.toml").read_bytes() == before


def tried(number, loss, lead=0.0, error=0.0, again=None):
    state = "pruned" if loss is None else "complete"
    return SettingsTrial(number, {}, state, score=loss, loss=loss, lead=lead, error=error, again=again)


def again(loss, lead, error):
    return Again(100, 1 - loss, loss, lead, error)


@pytest.mark.parametrize(
    ("leads", "chosen"),
    [
        ([(0.1, 0.05)], 1),
        ([(0.1, 0.09)], None),
        ([(0.0, 0.0)], None),
        ([(-0.1, 0.01)], None),
        ([None], None),
        ([(0.1, 0.05), (0.2, 0.1), (0.3, 0.3)], 2),
    ],
)
def test_a_finalist_has_to_lead_where_it_was_not_chosen(leads, chosen):
    own = tried(0, 0.5, again=again(0.5, 0.0, 0.0))
    trials = [tried(n, 0.1, 0.4, 0.01, one and again(0.5 - one[0], *one)) for n, one in enumerate(leads, start=1)]
    found = _chosen([own, *trials])
    assert (found and found.number) == chosen
    assert BEYOND > 1.01  # one row of a hundred leads by so much


def test_the_best_is_taken_where_the_projects_own_settings_come_to_nothing():
    assert _chosen([tried(0, None), tried(1, 0.4), tried(2, 0.3)]).number == 2
    assert _chosen([tried(0, None)]) is None


def test_the_standard_error_is_that_of_paired_differences(tmp_path):
    learner = harsh(tmp_path)
    losses = []
    real = making.try_settings

    def spy(ground, config):
        losses.append((yield from real(ground, config)))
        return losses[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "try_settings", spy)
        tuned = learner.tune(NEW, trials=4)
    for trial, outcome in zip(tuned.trials, losses[:4], strict=True):
        gains = losses[0].losses - outcome.losses
        assert trial.lead == pytest.approx(gains.mean())
        assert trial.error == pytest.approx(gains.std() / len(gains) ** 0.5)
        assert trial.score == pytest.approx(1 - outcome.losses.mean())


def test_a_search_that_was_stopped_goes_on_and_ends_as_one_that_was_not(tmp_path):
    whole, parts = harsh(tmp_path / "1"), harsh(tmp_path / "2")
    wanted = whole.tune(NEW, trials=9, dry_run=True)
    events = parts.tune_events(NEW, 9, dry_run=True)
    for event in events:
        if isinstance(event, Tried) and event.trial.number == 2:
            break
    for event in events:  # into the middle of the next trial
        if not isinstance(event, Tried):
            break
    events.close()
    tried = [event.trial.number for event in parts.tune_events(NEW, 6, dry_run=True) if isinstance(event, Tried)]
    assert tried == [3, 4, 5]
    found = parts.tune(NEW, trials=9, dry_run=True)
    assert plain(found.trials) == plain(wanted.trials)
    assert parts.tune(NEW, trials=5, dry_run=True).trials == found.trials  # there are more already


def stop_at_again(learner, after):
    """A search that is given up once so many of the best trials were made again; 7 trials are finished then."""
    events = learner.tune_events(NEW, 7, dry_run=True)
    seen = 0
    for event in events:
        seen += isinstance(event, TriedAgain)
        if seen == after:
            break
    events.close()


def test_trials_that_were_made_again_are_not_made_once_more(tmp_path):
    whole, parts = harsh(tmp_path / "1"), harsh(tmp_path / "2")
    made = [str(event) for event in whole.tune_events(NEW, 7, dry_run=True) if isinstance(event, TriedAgain)]
    assert len(made) == len(set(made)) > 5
    stop_at_again(parts, 3)
    *events, last = parts.tune_events(NEW, 7, dry_run=True)
    assert [str(event) for event in events if isinstance(event, TriedAgain)] == made[3:]
    assert plain(last.tuned.trials) == plain(whole.tune(NEW, trials=7, dry_run=True).trials)
    assert sum(trial.again is not None for trial in last.tuned.trials) * (5 - 1) == len(made)


def test_trials_are_made_again_on_rows_that_they_were_not_chosen_by(tmp_path, monkeypatch):
    learner = harsh(tmp_path)
    tried = []
    real = making.try_settings

    def spy(ground, config):
        batch = ground.rows.batch
        tried.append(({row.id for row in batch.fresh()}, {row.id for row in [*batch.training(), *ground.rows.replay]}))
        return (yield from real(ground, config))

    monkeypatch.setattr(making, "try_settings", spy)
    tuned = learner.tune(NEW, trials=7, dry_run=True)
    again = [trial for trial in tuned.trials if trial.again]
    parts = [tried[0][0], *(tried[place][0] for place in range(7, len(tried), len(again)))]
    assert len(parts) == 5
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(set.union(*tried[0]))
    assert all(not fresh & learned for fresh, learned in tried)
    assert {trial.again.rows for trial in again} == {sum(map(len, parts[1:]))}


def test_a_study_is_of_one_version(tmp_path):
    learner = harsh(tmp_path)
    champion = learner.champion()
    parts = result_of(cut_rows(learner.repository, learner.config, champion, read(NEW, learner.config.task)))
    rows = parts.trying(0)
    space = space_of(learner.config, champion, rows.start.state, (), 100)
    other = replace(champion, version="ab" * 32)
    key = _key(champion, learner.config, rows, space)
    assert key == _key(champion, learner.config, parts.trying(0), space) != _key(other, learner.config, rows, space)
    assert key != _key(champion, learner.config, parts.trying(1), space)


def test_without_time_the_best_trials_are_not_made_again_and_nothing_is_written(tmp_path):
    learner = harsh(tmp_path)
    stop_at_again(learner, 1)
    tuned = learner.tune(NEW, trials=7, seconds=0)
    assert len(tuned.trials) == 7
    assert tuned.best > 0
    assert all(trial.again is None for trial in tuned.trials)
    assert (tuned.chosen, tuned.written) == (0, {})
    assert "no other rows bore it out" in tuned.reason
    assert learner.tune(NEW, trials=7).written


def test_a_study_of_other_rows_settings_or_another_champion_is_another_one(tmp_path):
    learner = harsh(tmp_path)
    studies = [learner.tune(NEW, trials=1).study]
    studies.append(learner.tune([*NEW, *blobs(10, 9)], trials=1).study)
    studies.append(
        learner.tune([{**row, "label": "abcde"[-1]} if n == 3 else row for n, row in enumerate(NEW)], 1).study
    )
    studies.append(learner.tune(NEW, trials=1, settings={"train.stop.epochs": 1}).study)
    studies.append(learner.tune(NEW, trials=1, settings={"train.seed": 1}).study)
    assert learner.update(blobs(60, 5, "abc"), select="head").promoted
    studies.append(learner.tune(NEW, trials=1).study)
    assert len(set(studies)) == len(studies)
    assert learner.tune(NEW, trials=1).study == studies[-1]


def test_no_trial_begins_after_the_time_but_the_first(tmp_path):
    learner = harsh(tmp_path)
    assert len(learner.tune(NEW, seconds=0).trials) == 1
    assert len(learner.tune(NEW, seconds=0).trials) == 1
    assert len(learner.tune(NEW, trials=3, seconds=600).trials) == 3


def test_a_dry_run_leaves_the_file_and_the_store_alone(tmp_path):
    learner = harsh(tmp_path, learned=False)
    before, store = (learner.project / "dripstone.toml").read_bytes(), folder_hash(learner.project / "store")
    config = learner.config
    tuned = learner.tune(NEW, dry_run=True)
    assert tuned.chosen > 0
    assert tuned.changes
    assert tuned.written == {}
    assert (learner.project / "dripstone.toml").read_bytes() == before
    assert folder_hash(learner.project / "store") == store
    assert learner.config == config
    assert learner.tune(NEW).written.keys() >= tuned.changes.keys() - {"model.args.activation"}


def test_trials_that_come_to_nothing_are_pruned_with_the_reason(tmp_path, monkeypatch):
    learner = harsh(tmp_path)
    real = making.try_settings

    def brittle(ground, config):
        if config.select.selection != "full@adamw":
            raise DivergedError("training diverged in epoch 1", remedy="lower train.learning_rate")
        return (yield from real(ground, config))

    monkeypatch.setattr(making, "try_settings", brittle)
    tuned = learner.tune(NEW, trials=8)
    pruned = [trial for trial in tuned.trials if trial.state == "pruned"]
    assert pruned
    assert {trial.reason for trial in pruned} == {"training diverged in epoch 1"}
    assert {trial.selection for trial in tuned.trials} == {"", "full@adamw"}


def test_where_the_projects_own_settings_diverge_any_other_is_better(tmp_path):
    learner = deep(tmp_path, **{"select.selection": "full", "train.learning_rate": 1e30})
    tuned = learner.tune(NEW, trials=5)
    assert tuned.default.state == "pruned"
    assert "diverged" in tuned.default.reason
    assert tuned.chosen > 0
    assert tuned.trials[tuned.chosen].lead is None
    assert all(trial.again is None for trial in tuned.trials)
    assert learner.update(NEW).promoted


def test_where_everything_diverges_nothing_is_written(tmp_path, monkeypatch):
    learner = harsh(tmp_path)

    def broken(ground, config):
        raise DivergedError("no luck", remedy="")
        yield

    monkeypatch.setattr(making, "try_settings", broken)
    tuned = learner.tune(NEW, trials=3)
    assert (tuned.best, tuned.chosen, tuned.written) == (None, 0, {})
    assert tuned.reason == "none of 3 trials came to a candidate; the project's own settings: no luck"


def with_activation(learner, monkeypatch, name="gelu"):
    """Let the search find that an activation is far better than the others."""
    real = making.try_settings

    def favour(ground, config):
        outcome = yield from real(ground, config)
        own = ground.champion.model.spec.kwargs.get("activation", "relu")
        return outcome._replace(losses=np.full_like(outcome.losses, 0.0 if own == name else 1.0))

    monkeypatch.setattr(making, "try_settings", favour)
    return learner.tune(NEW, trials=8)


def test_an_activation_that_wins_is_another_root_and_the_file_says_so(tmp_path, monkeypatch):
    learner = harsh(tmp_path, learned=False)
    first = learner.champion().version
    tuned = with_activation(learner, monkeypatch)
    assert tuned.changes["model.args.activation"] == tuned.written["model.args.activation"] == "gelu"
    assert tuned.version == learner.repository.log.head().version != first
    assert [entry.event for entry in learner.log()] == ["promote", "init"]
    assert "activation gelu" in learner.log()[0].reason
    learner = Learner.open(learner.project)
    assert learner.config.model.args["activation"] == "gelu"
    assert learner.repository.manifest(tuned.version).spec.kwargs["activation"] == "gelu"
    assert list(learner.repository.verify()) == []
    assert learner.update(NEW).promoted
    assert list(learner.repository.verify()) == []
    assert "relu" not in learner.tune(blobs(60, 8, "abc"), trials=1).activation


def test_a_crash_between_root_and_file_leaves_a_project_that_works_and_is_mended(tmp_path, monkeypatch):
    learner = harsh(tmp_path, learned=False)
    before = (learner.project / "dripstone.toml").read_bytes()

    def crash(*args):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "write_settings", crash)
        with pytest.raises(KeyboardInterrupt):
            with_activation(learner, patch)
    assert (learner.project / "dripstone.toml").read_bytes() == before
    learner = Learner.open(learner.project)
    assert learner.champion().model.spec.kwargs["activation"] == "gelu"
    assert list(learner.repository.verify()) == []
    assert learner.update(NEW, dry_run=True).selection == "full@adamw"
    tuned = learner.tune(NEW, trials=12)
    assert tuned.chosen > 0
    assert load_config(learner.project).model.args["activation"] == learner.champion().model.spec.kwargs.get(
        "activation", "relu"
    )


def test_somebody_who_moves_the_store_meanwhile_wins(tmp_path, monkeypatch):
    learner = harsh(tmp_path, learned=False)
    before = (learner.project / "dripstone.toml").read_bytes()
    real = searching.replace_root

    def late(repository, *args):
        Learner.open(learner.project).update(blobs(60, 3), select="head")
        return real(repository, *args)

    monkeypatch.setattr(searching, "replace_root", late)
    with pytest.raises(RaceLostError):
        with_activation(learner, monkeypatch)
    assert (learner.project / "dripstone.toml").read_bytes() == before


def test_a_file_that_cannot_be_written_loses_no_trial(tmp_path, monkeypatch):
    learner = harsh(tmp_path)

    def full(*args, **kwargs):
        raise StoreError("the disk is full", remedy="free space", kind="store.full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "write_settings", full)
        with pytest.raises(StoreError):
            learner.tune(NEW, trials=8)
    *events, last = learner.tune_events(NEW, 8)
    assert isinstance(last, Searched)
    assert not any(isinstance(event, Tried) for event in events)
    assert last.tuned.written


def test_settings_for_the_search_are_where_it_begins_and_of_those_the_searched_are_written(tmp_path):
    learner = deep(tmp_path)
    assert learner.update(blobs(150, 0, "abc")).promoted
    tuned = learner.tune(NEW, trials=14, settings=HARSH)
    assert tuned.trials[0].selection == "full@adamw"
    assert tuned.chosen > 0
    config = load_config(learner.project)
    best = tuned.trials[tuned.chosen]
    assert config.select.selection == best.settings.get("select.selection", "full@adamw")
    assert config.train.learning_rate == best.settings.get("train.learning_rate", 3.0)
    assert config.train.stop.epochs == 5


def test_numbers_and_texts_are_searched_by_their_own_scores(tmp_path):
    numbers = make_numbers(tmp_path / "n", model=mlp(2, random_features=64)).tune(measured(300, 0), trials=4)
    assert numbers.score == "rmse"
    assert numbers.trials[0].score == pytest.approx(numbers.trials[0].loss ** 0.5)
    texts = make_texts(tmp_path / "t", {"train.stop.epochs": 1}).tune(stories(80, 0), trials=3)
    assert texts.score == "token_loss"
    assert texts.trials[0].score == texts.trials[0].loss > 0
    assert texts.activation == "the model takes none that could be searched"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 0}, "0 trials try nothing"),
        ({"trials": -1}, "try nothing"),
        ({"seconds": -1.0}, "are no time"),
        ({"seconds": float("nan")}, "are no time"),
        ({"picture": "a.jpg"}, "is no PNG file"),
        ({"settings": {"train.learning": 1}}, "there is no setting"),
        ({"settings": {"select.selection": "suffix:9"}}, "the model has 2"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_computed(tmp_path, options, words):
    learner = harsh(tmp_path)
    before = folder_hash(learner.project)
    with pytest.raises(UsageError, match=words):
        learner.tune(NEW, **options)
    assert folder_hash(learner.project) == before


def test_too_few_rows_leave_nothing_behind(tmp_path):
    learner = harsh(tmp_path)
    before = folder_hash(learner.project)
    with pytest.raises(UsageError, match="too few to learn some") as raised:
        learner.tune(NEW[:30])
    assert raised.value.kind == "usage.tune"
    with pytest.raises(UsageError, match="all rows to learn from have the label") as raised:
        harsh(tmp_path / "none", learned=False).tune(blobs(100, 0, "a"))
    assert folder_hash(learner.project) == before


@pytest.mark.parametrize("package", ["optuna", "tomlkit", "matplotlib"])
def test_without_the_extra_nothing_is_computed(tmp_path, monkeypatch, package):
    learner = harsh(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"the package '{package}'.*pip install 'dripstone\[tune\]'"):
        learner.tune(NEW)
    assert not (learner.project / "tuning").exists()


def test_nothing_of_the_extra_is_imported_before_a_search():
    script = (
        "import sys, dripstone.learner; print([m for m in ('optuna', 'tomlkit', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_reading_is_shared_with_updates(tmp_path):
    learner = harsh(tmp_path)
    rows = list(read(NEW, learner.config.task))
    assert learner.tune(iter(rows), trials=1).rows == learner.tune(NEW, trials=1).rows


def test_what_cannot_be_drawn_changes_nothing(tmp_path):
    learner = harsh(tmp_path)
    before = (learner.project / "dripstone.toml").read_text()
    with pytest.raises(DripstoneError, match=r"/proc"):
        learner.tune(NEW, trials=3, picture="/proc/a.png")
    assert (learner.project / "dripstone.toml").read_text() == before
    assert learner.tune(NEW, trials=3).trials


def test_settings_that_may_not_be_written_are_not_searched_for(tmp_path, monkeypatch):
    learner = harsh(tmp_path)
    monkeypatch.setattr(settings_file.os, "access", lambda path, mode: not str(path).endswith(".toml"))
    with pytest.raises(UsageError, match=r"dripstone.toml is read-only; make it writable, or use --dry-run"):
        learner.tune(NEW, trials=3)
    assert not (learner.project / "tuning").exists()
    assert learner.tune(NEW, trials=1, dry_run=True).trials

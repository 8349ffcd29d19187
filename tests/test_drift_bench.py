"""The bench of drifting streams: its streams are as it says, nothing is learned before it is predicted, and it runs."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from bench.drift import children, tables
from bench.drift.alarms import Alarms, arrivals, match
from bench.drift.data import FIRST_HOURS, LEVELS, SIDE, Stream, bicycles, mails, permuted, read_stream, rotated
from bench.drift.goals import goal, goals
from bench.drift.plot import sliding
from bench.drift.prequential import WARM_UP, Inputs, evaluate
from bench.drift.results import Result, Step, Task, pack, read_results, write_results
from bench.drift.roster import DRIPSTONE, FOREST, LAST, MLP, PEERS, REGRESSION, SGD, SGD_WORDS, STAYS, make, tasks
from bench.drift.static import FIRST, LastLabel, Static

COUNTED = Stream("counted", np.arange(1000, dtype=np.float32)[:, None], np.arange(1000) % 7, tuple("abcdefg"))
"""Each row is its own number."""


class Diary:
    """Notes which rows it was asked, and which it had learned by then."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.learned: list[int] = []
        self.asked: list[tuple[int, int]] = []

    def learn(self, inputs: Inputs, targets: np.ndarray) -> None:
        rows = [int(row) for (row,) in inputs]
        assert (targets == np.array(rows) % 7).all()
        self.learned += rows

    def predict(self, inputs: Inputs) -> np.ndarray:
        self.asked += [(int(row), len(self.learned)) for (row,) in inputs]
        return np.array([row for (row,) in inputs], dtype=np.int64) % 7


@pytest.mark.parametrize("every", [1, 7, 100])
@pytest.mark.parametrize("delay", [0, 1, 30, 400, 5000])
def test_a_row_is_predicted_with_exactly_the_labels_that_have_arrived(every, delay):
    diary = Diary(every)
    answers = evaluate(diary, COUNTED, delay)
    assert [row for row, _ in diary.asked] == list(range(WARM_UP, 1000))
    for row, learned in diary.asked:
        late = max(row - delay - WARM_UP, 0)
        assert learned == WARM_UP + late // every * every
    assert diary.learned == list(range(len(diary.learned)))
    assert (answers[:WARM_UP] == -1).all()
    assert (answers[WARM_UP:] == COUNTED.targets[WARM_UP:]).all()


def test_the_last_label_is_that_of_the_row_before_once_it_has_arrived():
    answers = evaluate(LastLabel(), COUNTED, 0)
    assert (answers[WARM_UP:] == COUNTED.targets[WARM_UP - 1 : -1]).all()
    answers = evaluate(LastLabel(), COUNTED, 2)
    assert (answers[WARM_UP + 2 :] == COUNTED.targets[WARM_UP - 1 : -3]).all()


def test_a_static_model_has_seen_the_warm_up_and_then_the_first_rows_and_no_more():
    made: list[Diary] = []

    def new() -> Diary:
        made.append(Diary(0))
        return made[-1]

    evaluate(Static(new), COUNTED, 100)
    assert [len(diary.learned) for diary in made] == [WARM_UP, FIRST]
    assert made[0].asked[-1][0] == FIRST + 99
    assert made[1].asked[0][0] == FIRST + 100


def pictures(rows: int = 40) -> np.ndarray:
    return np.random.default_rng(0).random((rows, SIDE * SIDE), dtype=np.float32)


def test_pictures_turn_from_upright_to_upside_down():
    shown = pictures()
    stream = rotated(shown, np.arange(40) % 10)
    assert np.allclose(stream.inputs[0], shown[0])
    assert np.allclose(stream.inputs[-1], shown[-1][::-1], atol=1e-4)
    assert stream.inputs.dtype == np.float32


def test_pixels_change_places_in_every_fifth_and_stay_the_same_pixels():
    shown = pictures()
    stream = permuted(shown, np.arange(40) % 10)
    assert stream.changes == (8, 16, 24, 32)
    assert (stream.inputs[:8] == shown[:8]).all()
    assert (np.sort(stream.inputs) == np.sort(shown)).all()
    orders = {
        tuple(np.argsort(stream.inputs[start])[np.argsort(np.argsort(shown[start]))]) for start in range(0, 40, 8)
    }
    assert len(orders) == 5


def mail(day: int, label: str, **changed: object) -> dict[str, object]:
    return {
        "label": label,
        "received": f"2002-01-{day:02}T00:00:00",
        "subject": f"day {day}",
        "body": "x" * 5000,
        "group": label,
    } | changed


def test_mails_come_in_time_order_and_show_no_more_than_subject_and_body():
    stream = mails([mail(3, "spam"), mail(1, "ham"), mail(2, "spam", received=None)])
    assert [text[:6] for text in stream.inputs] == ["day 1 ", "day 3 "]
    assert stream.targets.tolist() == [0, 1]
    assert not any("ham" in text or "spam" in text for text in stream.inputs)
    assert max(map(len, stream.inputs)) == 1000


def hours(rows: int = 1500) -> list[dict[str, str]]:
    return [
        {
            "instant": str(row),
            "dteday": "1/1/2011",
            "hr": str(row % 24),
            "temp": "0.5",
            "casual": "1",
            "registered": str(row),
            "cnt": str(row + 1),
        }
        for row in range(rows)
    ]


def test_levels_of_bicycles_are_the_quintiles_of_the_first_hours_and_no_column_gives_them_away():
    stream = bicycles(hours())
    assert stream.inputs.shape == (1500, 2)
    assert np.bincount(stream.targets[:FIRST_HOURS]).tolist() == [FIRST_HOURS // LEVELS] * LEVELS
    assert (stream.targets[FIRST_HOURS:] == LEVELS - 1).all()


def test_streams_are_read_from_their_files(tmp_path):
    folder = tmp_path / "spam_assassin"
    folder.mkdir()
    with gzip.open(folder / "spam_assassin.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps(mail(day, "ham")) for day in (2, 1)))
    assert len(read_stream("spam", tmp_path, 0, quick=False)) == 2
    folder = tmp_path / "mnist10k"
    folder.mkdir()
    for digit in range(10):
        with gzip.open(folder / f"{digit}.json.gz", "wt") as file:
            json.dump({"data": [digit / 10] * 5 * SIDE * SIDE}, file)
    stream = read_stream("permuted", tmp_path, 0, quick=False)
    assert np.allclose(stream.inputs[:, 0] * 10, stream.targets, atol=1e-5)
    assert stream.targets.tolist() != sorted(stream.targets)
    assert (read_stream("rotated", tmp_path, 0, quick=False).targets == stream.targets).all()


def result(learner: str, share: float, delay: int = 0, **changed: object) -> Result:
    right = np.arange(1000) < 1000 * share
    return Result(Task("bike", delay, learner), 1200, 200, pack(right), 1.0, **changed)  # type: ignore[arg-type]


def test_the_goal_is_missed_by_what_the_best_peer_has_more():
    found = [result(DRIPSTONE, 0.7), result(SGD, 0.75), result(FOREST, 0.6), result(LAST, 0.9)]
    line = goal(found, "bike", 0)
    assert line is not None
    assert line.startswith("MISSED  bike, delay 0: 70.00 against 75.00 of the best peer, SGDClassifier: -5.00 points")
    assert goals([*found, result(DRIPSTONE, 0.6, 100), result(STAYS, 0.6, 100)])[1].startswith(
        "met     bike, delay 100"
    )
    assert goal(found[1:], "bike", 0) is None
    assert LAST not in PEERS


def test_alarms_are_held_against_the_changes_that_they_tell():
    assert match([1500, 2100, 2300, 6100], [2000, 4000, 6000], 8000, 0) == Alarms([100, None, 100], 1, 1)
    assert match([3100, 4900], [2000, 4000], 6000, 1000) == Alarms([1100, None], 0, 1)
    steps = [Step(200, "promoted", ""), Step(100, "refused", "", inputs=True)]
    assert arrivals(result(DRIPSTONE, 0.5, 30, steps=steps)) == [200, 330]


def test_results_are_kept_and_tabled(tmp_path):
    steps = [
        Step(200, "promoted", "no loss: 3 of 40", "head@ridge", trained=160),
        Step(100, "refused", "31 got worse", "head@ridge", inputs=True, rejected={"column 3 is odd": 7}, quarantined=9),
    ]
    kept = [result(DRIPSTONE, 0.5, steps=steps, changes=[250]), result(SGD, 0.6)]
    write_results(tmp_path / "all.json", kept)
    assert read_results(tmp_path / "all.json") == kept
    assert read_results(None) == []
    assert "50.00" in tables.accuracies(kept, "bike")
    row = tables.updates(kept, "bike").splitlines()[1].split()
    assert row == [*DRIPSTONE.split(), "0", "1", "1", "0", "0", "160", "9", "0", "1", "0"]
    told = "\n".join(tables.details(kept, "bike"))
    assert "7 times a row was left out: column # is odd" in told
    assert "rows from a change to the alarm of inputs: 250: 50; false 0, repeated 0" in told
    assert kept[0].late_accuracy == 0.0
    assert sliding(kept[0].right, 500)[[0, -1]].tolist() == [1.0, 0.0]


def two_clouds(rows: int = 400) -> Stream:
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 2, rows)
    return Stream("clouds", draw.normal(targets[:, None], 0.2, (rows, 4)).astype(np.float32), targets, ("a", "b"))


@pytest.mark.parametrize("name", [DRIPSTONE, SGD, MLP, FOREST, REGRESSION, STAYS])
def test_every_learner_learns_two_clouds(name, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("river")
    stream = two_clouds()
    answers = evaluate(make(name, stream, "", 0, tmp_path), stream, 0)
    assert (answers == stream.targets)[WARM_UP:].mean() > 0.9


def test_words_are_hashed_for_learners_of_mails(tmp_path):
    pytest.importorskip("sklearn")
    targets = np.arange(400) % 2
    stream = replace(two_clouds(), inputs=[("buy now", "see you")[target] for target in targets], targets=targets)
    answers = evaluate(make(SGD_WORDS, stream, "", 0, tmp_path), stream, 0)
    assert (answers == targets)[WARM_UP:].all()


def test_who_learns_what():
    names = [(task.stream, task.learner) for task in tasks(["spam", "bike"], [0], [SGD, SGD_WORDS], 0, False)]
    assert names == [("spam", SGD), ("spam", SGD_WORDS), ("bike", SGD)]
    assert children.needs_features(Task("spam", 0, SGD))
    assert not children.needs_features(Task("spam", 0, SGD_WORDS))
    assert not children.needs_features(Task("bike", 0, SGD))


def test_a_run_leaves_a_result(monkeypatch, tmp_path):
    monkeypatch.setattr(children, "read_stream", lambda *_: two_clouds())
    found = children.run(Task("clouds", 50, DRIPSTONE), tmp_path, "", tmp_path / "none")
    assert found.accuracy > 0.9
    assert [step.rows for step in found.steps] == [200, 100]  # of the 200 labels after the warm-up, 150 arrive
    assert found.cpu_seconds > 0

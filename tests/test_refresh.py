"""The bench of refreshes: what it measures is defined as it says, and every learner that needs no package learns."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from bench.refresh import children, roster, tables
from bench.refresh.data import CLASSES, HOLDOUT, VALIDATES, Rows, Scale, Stage, concatenate, make_stream, read_stream
from bench.refresh.goals import goals, reached, reference, retraining_seconds
from bench.refresh.learn_dripstone import Dripstone
from bench.refresh.learn_jointly import POINTS, learn_jointly
from bench.refresh.learn_network import Replay, adamw, moved_bytes
from bench.refresh.learn_sgd import PartialFit
from bench.refresh.loop_overhead import measure_overhead
from bench.refresh.network import Network, ask, load_network, steps_of, train
from bench.refresh.pupil import Floor, live, marks
from bench.refresh.results import Overhead, Point, Report, Result, Settings, StageResult, open_report
from bench.refresh.roster import JOINT, JOINT_LORA, NAMES, Task
from bench.refresh.scores import Scores, score
from bench.refresh.settings import CANDIDATES, CHOSEN

from dripstone.core.examples import is_held_out
from tiny_encoder import WORDS

SETTINGS = Settings(stages=2, quick=False, seed=0, encoder="tiny")
LABELS = [f"label{number:02}" for number in range(2 * CLASSES)]


def pairs(seed: int, rows: int = 30) -> list[tuple[str, str]]:
    """Texts of four words, three of them the label's own."""
    draw = np.random.default_rng(seed)
    found = []
    for number, label in enumerate(LABELS):
        own = WORDS[4 + number]
        others = draw.choice(WORDS[4:], rows, replace=False)
        found += [(f"{own} {own} {other} {own}", label) for other in others]
    return found


STREAM = make_stream(LABELS, pairs(0), pairs(1, 2), pairs(2, 5), 2, Scale(memory=100, random_features=64), seed=0)


def test_a_data_set_without_validation_rows_gives_a_tenth_of_its_training_rows(tmp_path):
    (tmp_path / "categories.json").write_text(json.dumps(LABELS))
    for split, rows in (("train", pairs(0)), ("test", pairs(2, 5))):
        lines = [f'"{text}, please",{label}' for text, label in rows]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,category", *lines]) + "\n")
    stream = read_stream(tmp_path, 2, Scale(), seed=0)
    assert stream.labels == tuple(LABELS)
    assert len(stream.val) == len(pairs(0)) // VALIDATES
    assert sum(len(stage.sent) for stage in stream.stages) == len(pairs(0)) - len(stream.val)
    assert len(stream.test) == len(pairs(2, 5))
    assert all(text.endswith(", please") for text in stream.test.texts)


def stage(cpu_seconds: float, forward_seconds: float = 1.0, learned: int = 80) -> StageResult:
    return StageResult(100, learned, cpu_seconds, forward_seconds, bytes=1000, accuracy=0.9)


def staged(name: str, accuracy: float, seconds: list[float]) -> Result:
    return Result(name, stages=[stage(spent) for spent in seconds], scores=Scores(accuracy, 0.9, 0.01, 0.02))


def joint(name: str, val: float, path: list[tuple[float, float]]) -> Result:
    return Result(name, points=[Point(*point) for point in path], val=val, forward_seconds=2.0)


def full_report() -> Report:
    results = [
        staged("ladder", 0.96, [20.0, 10.0, 10.0]),
        staged("head@ridge", 0.95, [3.0, 1.2, 1.4]),
        joint(JOINT[0], 0.95, [(50.0, 0.90), (100.0, 0.97)]),
        joint(JOINT[1], 0.97, [(60.0, 0.955), (120.0, 0.962)]),
        joint(JOINT_LORA[0], 0.95, [(40.0, 0.94), (80.0, 0.955)]),
        joint("at once ladder", 0.95, [(30.0, 0.956)]),
    ]
    return Report(SETTINGS, {result.name: result for result in results}, Overhead(10.0, 9.0, 5))


def test_accuracy_is_of_the_end_and_the_average_of_the_classes_known_then():
    targets = np.array([0, 0, 1, 1])
    found = score([np.array([1, 1, 1, 1], bool), np.array([1, 1, 0, 0], bool)], targets, [1, 2])
    assert (found.accuracy, found.average) == (0.5, 0.75)


def test_forgetting_is_the_best_less_the_last_of_classes_that_could_be_forgotten():
    targets = np.repeat(np.arange(3), 4)
    right = np.zeros((3, 12), dtype=bool)
    right[0, :4] = right[1, :2] = right[1, 4:6] = right[2, :3] = right[2, 4:8] = True
    # Class 0 went 1.0, 0.5, 0.75; class 1 went 0.5, 1.0; class 2 is new at the last stage.
    assert score(list(right), targets, [1, 2, 3]).forgetting == pytest.approx((0.25 + 0.0) / 2)


def test_flips_count_rows_of_known_classes_that_turned_wrong():
    targets = np.array([0, 0, 1, 1, 2, 2])
    right = [
        np.array([1, 1, 0, 0, 0, 0], bool),
        np.array([1, 0, 1, 1, 0, 0], bool),
        np.array([1, 1, 1, 0, 1, 1], bool),
    ]
    assert score(right, targets, [1, 2, 3]).flips == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_a_single_stage_forgets_nothing():
    assert score([np.array([True, False])], np.array([0, 0]), [1]) == Scores(0.5, 0.5, 0.0, 0.0)


def test_everybody_trains_on_exactly_the_rows_that_the_hash_leaves():
    for number, part in enumerate(STREAM.stages):
        assert set(part.sent.targets // CLASSES) == {number}
        left = [text for text in part.sent.texts if not is_held_out(STREAM.key, text, HOLDOUT)]
        assert part.learned.texts == left
        assert 0.6 < len(left) / len(part.sent) < 0.95
    assert len(STREAM.everything().sent) == sum(len(part.sent) for part in STREAM.stages) == 30 * len(LABELS)


def test_a_seed_makes_one_order_and_stages_that_are_not_reached_are_left_out():
    arguments = (LABELS, pairs(0), pairs(1, 2), pairs(2, 5), 1, Scale(rows=7, measured=3))
    one, same, other = (make_stream(*arguments, seed=seed) for seed in (0, 0, 1))
    assert one.stages[0].sent.texts == same.stages[0].sent.texts != other.stages[0].sent.texts
    assert one.labels == tuple(LABELS[:CLASSES])
    assert len(one.stages) == 1
    assert len(one.stages[0].sent) == 7 * CLASSES
    assert len(one.test) == 3 * CLASSES
    assert one.test.targets.max() == CLASSES - 1


class Parrot:
    """Answers with the class that a text begins with the name of; takes no class that it was not told of."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def learn(self, part: Stage, known: int) -> tuple[int, str]:
        self.seen.append(len(part.learned))
        return 10 * len(self.seen), "said"

    def answer(self, texts: list[str], known: int) -> np.ndarray:
        return np.array([WORDS.index(text.split()[0]) - 4 for text in texts])


def test_a_life_is_timed_and_marked_stage_by_stage(encoder_folder):
    pupil = Parrot()
    result = live("parrot", pupil, STREAM, Floor(str(encoder_folder)), STREAM.test)
    assert pupil.seen == [len(part.learned) for part in STREAM.stages] == [part.learned for part in result.stages]
    assert [part.bytes for part in result.stages] == [10, 20]
    assert result.scores == Scores(1.0, 1.0, 0.0, 0.0)
    assert all(part.forward_seconds > 0 for part in result.stages)
    assert result.cpu_seconds < result.stages[0].forward_seconds


def test_rows_of_classes_that_are_not_known_yet_are_not_asked():
    asked = marks(Parrot(), STREAM.test, CLASSES)
    assert asked.sum() == (STREAM.test.targets < CLASSES).sum()


def network_of(encoder_folder) -> Network:
    return load_network(str(encoder_folder), seed=0)


def test_a_layer_grows_and_keeps_what_it_had(encoder_folder):
    network = network_of(encoder_folder)
    network.grow(2)
    before = network.head.weight.detach().clone()
    network.grow(5)
    assert network.head.weight.shape == (5, 32)
    assert torch.equal(network.head.weight[:2], before)


def test_training_pauses_where_it_is_told_and_ends_in_eval_mode(encoder_folder):
    network = network_of(encoder_folder)
    network.grow(len(LABELS))
    rows = STREAM.stages[0].learned
    steps = steps_of(len(rows), 2)
    rates, optimizer = [], adamw(network, 1e-3, 0)
    done = []
    for step in train(network, optimizer, rows, 2, 0, range(1, steps + 1)):
        done.append(step)
        assert not network.training
        rates.append(optimizer.param_groups[0]["lr"])
    assert done == list(range(1, steps + 1))
    assert steps == 2 * math.ceil(len(rows) / 32)
    rise = max(1, round(0.1 * steps))
    assert max(rates) == rates[rise - 1] == pytest.approx(1e-3)
    assert 0 < rates[-1] < rates[-2] < 1e-3


def test_answers_do_not_depend_on_the_order_of_texts_and_stay_among_the_known(encoder_folder):
    network = network_of(encoder_folder)
    network.grow(len(LABELS))
    texts = STREAM.test.texts
    answers = ask(network, texts)
    assert (ask(network, texts[::-1])[::-1] == answers).all()
    assert ask(network, texts, known=1).max() == 0


def test_a_replaying_network_learns_both_stages(encoder_folder):
    pupil = Replay(network_of(encoder_folder), adamw, 3e-3, 8, memory=100, seed=0)
    result = live("replay", pupil, STREAM, Floor(str(encoder_folder)), STREAM.test)
    assert result.scores is not None
    assert result.scores.accuracy > 0.5
    assert [part.note for part in result.stages] == ["0 rows replayed", "100 rows replayed"]
    assert result.stages[1].bytes == moved_bytes(pupil.network) > 4 * CLASSES * 2 * 32


def test_dripstone_and_the_linear_layer_learn_stages(encoder_folder, tmp_path):
    floor = Floor(str(encoder_folder))
    ours = Dripstone(tmp_path / "project", str(encoder_folder), STREAM, "head@ridge", {}, seed=0)
    result = live("head@ridge", ours, STREAM, floor, STREAM.test)
    assert result.scores is not None
    assert result.scores.accuracy > 0.5
    assert all("promoted by head@ridge" in part.note for part in result.stages)
    assert all(f"trained on {part.learned}" in part.note for part in result.stages)
    pytest.importorskip("sklearn")
    linear = PartialFit(str(encoder_folder), STREAM, rate=1.0, epochs=5, seed=0)
    assert live("sgd", linear, STREAM, floor, STREAM.test).stages[0].accuracy > 0.7


def test_joint_training_is_measured_on_the_way(encoder_folder):
    result = learn_jointly(
        JOINT[0], network_of(encoder_folder), STREAM, Floor(str(encoder_folder)), STREAM.test, 3e-3, 8, seed=0
    )
    assert len(result.points) == POINTS
    assert [point.cpu_seconds for point in result.points] == sorted(point.cpu_seconds for point in result.points)
    assert result.accuracy == result.points[-1].accuracy > 0.6
    assert result.val is not None
    assert result.cpu_seconds == result.points[-1].cpu_seconds


def test_the_loop_and_the_bare_loop_take_the_same_steps(encoder_folder):
    rows = Rows([f"{text} {place % 7}" for place, text in enumerate(STREAM.test.texts[:64])], STREAM.test.targets[:64])
    rows = concatenate([Rows([text], rows.targets[[place]]) for place, text in enumerate(dict.fromkeys(rows.texts))])
    found = measure_overhead(str(encoder_folder), rows, random_features=16, rounds=1)
    assert found.steps == math.ceil(len(rows) / 32)
    assert found.loop_seconds > 0 < found.bare_seconds
    assert Overhead(10.0, 9.5, 5).share == pytest.approx(0.05)


def test_the_reference_is_chosen_by_validation_rows_alone():
    found = reference(full_report(), JOINT)
    assert found is not None
    assert (found.name, found.accuracy) == (JOINT[1], 0.962)
    assert reference(Report(SETTINGS), JOINT) is None


def test_retraining_is_estimated_by_rows():
    ladder = staged("ladder", 0.96, [1.0, 1.0, 1.0])
    assert retraining_seconds(joint("j", 0.9, [(90.0, 0.9)]), ladder) == pytest.approx(90 * (1 + 2 + 3) / 3)


def test_the_first_point_at_the_goal_counts():
    assert reached([joint("j", 0.9, [(1.0, 0.95), (2.0, 0.955), (3.0, 0.99)])]) == 2.0
    assert reached([joint("j", 0.9, [(1.0, 0.95)])]) is None


def test_goals_are_ratios_of_the_run():
    lines = {goal.claim.partition(" (")[0].partition(", points")[0]: goal for goal in goals(full_report())}
    found = {claim: goal.found for claim, goal in lines.items()}
    assert found["the ladder's accuracy at the end less that of joint training"] == pytest.approx(-0.2)
    assert found["CPU-s of all the ladder's stages over ONE joint training"] == pytest.approx(40 / 120)
    assert found["the same over joint training at every stage"] == pytest.approx(40 / 240)
    assert found["a closed-form stage after the first, in forward passes over its rows, mean"] == pytest.approx(1.3)
    assert found["the last closed-form stage over the second, CPU-s"] == pytest.approx(1.4 / 1.2)
    assert found["all classes at once, CPU-s of ladder to 0.955 over those of joint full fine-tuning"] == pytest.approx(
        0.5
    )
    assert found["all classes at once, CPU-s of ladder to 0.955 over those of joint LoRA"] == pytest.approx(30 / 80)
    assert found["share of the loop that is not forward, backward and step, at batch 32"] == pytest.approx(0.1)
    printed = tables.goals_text(list(lines.values()))
    assert "met      the ladder's accuracy at the end less" in printed
    assert "MISSED   the same over joint training at every stage" in printed
    assert "0.1667 <= 0.04, by 0.127" in printed


def test_goals_of_what_did_not_run_are_unknown():
    report = Report(SETTINGS, {"ladder": Result("ladder", problem="not run: UsageError: x", failed=True)})
    assert {goal.found for goal in goals(report)} == {None}
    assert all(goal.line().startswith("unknown") and goal.why_not for goal in goals(report))


def test_the_table_has_a_row_a_learner_and_names_what_did_not_run():
    report = full_report()
    report.results["replay BAdam"] = Result("replay BAdam", problem="not installed (badam): pip install badam")
    lines = tables.stages_table(report).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "head@ridge",
        "ladder",
        *JOINT[:2],
        JOINT_LORA[0],
        "at once ladder",
    ]
    (row,) = [line.split() for line in lines if line.startswith("head@ridge")]
    assert row == [
        "head@ridge",
        "95.00",
        "90.00",
        "1.00",
        "2.00",
        "5.6",
        "1.2",
        "1.4",
        "1.87",
        "1.20",
        "1.40",
        "0",
        "1,000",
    ]
    assert tables.problems(report) == "replay BAdam: not installed (badam): pip install badam"
    assert "120: 96.20" in tables.points_table(report)
    assert "stage 3" in tables.log(report.results["ladder"])


def test_results_of_learners_that_do_not_run_now_are_kept(tmp_path):
    path = tmp_path / "run.json"
    first = full_report()
    first.save(path)
    again = open_report(path, SETTINGS)
    assert again.results == first.results
    again.results["head@ridge"] = staged("head@ridge", 0.9, [1.0, 1.0])
    again.save(path)
    merged = open_report(path, SETTINGS)
    assert merged.results["ladder"] == first.results["ladder"]
    assert merged.results["head@ridge"].accuracy == 0.9
    assert merged.overhead == first.overhead
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_results_of_other_settings_are_not_mixed(tmp_path):
    path = tmp_path / "run.json"
    full_report().save(path)
    with pytest.raises(SystemExit, match="name another file"):
        open_report(path, msgspec.structs.replace(SETTINGS, seed=1))
    assert open_report(tmp_path / "none.json", SETTINGS).results == {}


def test_a_learner_without_its_package_is_named_and_a_broken_one_is_told(monkeypatch, capsys, tmp_path):
    task = Task("replay LoRA", tmp_path, "no encoder", 2, True, 0)

    def lacking(task: Task) -> Result:
        raise ModuleNotFoundError("No module named 'peft'", name="peft")

    monkeypatch.setattr(children, "run_learner", lacking)
    result = children.run(task)
    assert (result.problem, result.failed) == (f"not installed (peft): {roster.INSTALL['replay LoRA']}", False)
    assert children.run(replace(task, name="ladder")).failed
    assert "ModuleNotFoundError" in capsys.readouterr().err


def test_a_learner_is_named_once_and_has_a_learning_rate_where_it_needs_one():
    assert len(set(NAMES)) == len(NAMES)
    assert set(CHOSEN) == set(CANDIDATES) <= set(NAMES)
    assert all(setting.rate in CANDIDATES[name] for name, setting in CHOSEN.items())
    rated = {*roster.SELECTIONS, *roster.PEERS} - {"ladder", "head@ridge"}
    assert rated <= set(CHOSEN)


def test_a_stage_leaves_ten_more_classes_known():
    assert [STREAM.known(number) for number in range(2)] == [10, 20]

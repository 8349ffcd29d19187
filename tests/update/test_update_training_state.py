"""The closed form over many stages, corrections, and the state as a cache."""

import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from dripstone.core.bits import from_raw
from dripstone.core.config import Config
from dripstone.core.tensors import RawTensor
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.train.features import features_of
from dripstone.train.solve import solve
from dripstone.train.statistics import Statistics, Sums, add_rows, no_rows, read_statistics, to_sums
from dripstone.update.training_state import join_trusted, known_of, load_state, statistics_of, without_rows
from learner_samples import blobs, live_rows, make, scores, trained


def batch_statistics(learner: Learner, rows) -> Statistics:
    """Statistics of all rows at once, under the live version's features."""
    champion = learner.champion()
    examples = [row.example() for row in rows]
    return add_rows(
        no_rows(),
        champion.model.head,
        features_of(champion.model, [example.inputs for example in examples]),
        torch.from_numpy(champion.task.encode([example.target for example in examples])),
        torch.tensor([example.weight for example in examples], dtype=torch.float64),
    )


def assert_is_batch_ridge(learner: Learner) -> None:
    champion = learner.champion()
    head = champion.model.head
    solution = solve(batch_statistics(learner, live_rows(learner, "train")), head, float(head.penalty)).weights
    inputs = [np.array(row["inputs"], dtype=np.float32) for row in blobs(20, 7, "abc")]
    phi = head.expand(features_of(champion.model, inputs)).double()
    expected = head.scale * (phi @ solution[:-1] + solution[-1])
    with torch.no_grad():
        found = champion.model.head(features_of(champion.model, inputs))
    # float32 rounds relative to the terms of a score, not to their sum.
    assert float((found - expected.detach()).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))


def kept_statistics(learner: Learner) -> Statistics:
    return read_statistics(learner.repository.read_state(learner.log()[0].version).statistics)


def assert_same_statistics(learner: Learner, one: Statistics, two: Statistics) -> None:
    first, second = sums_of(learner, one), sums_of(learner, two)
    torch.testing.assert_close(first.cross, second.cross, atol=1e-6, rtol=1e-9)
    torch.testing.assert_close(first.gram, second.gram, atol=1e-6, rtol=1e-9)


def sums_of(learner: Learner, statistics: Statistics) -> Sums:
    return to_sums(statistics, learner.champion().model.head)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_five_stages_in_any_order_and_split_are_the_ridge_over_all_rows(tmp_path, order):
    draw = np.random.default_rng(order)
    rows = [rows_ for seed in range(3) for rows_ in blobs(60, seed, "abc")]
    rows = [rows[index] for index in draw.permutation(len(rows))]
    learner = make(tmp_path, {"gate.mode": "off"})
    cuts = sorted(draw.choice(np.arange(20, 520), 4, replace=False))
    for part in np.split(np.arange(len(rows)), cuts):
        assert learner.update([rows[index] for index in part]).promoted
    assert_is_batch_ridge(learner)
    assert_same_statistics(learner, kept_statistics(learner), batch_statistics(learner, live_rows(learner, "train")))
    assert len(live_rows(learner, "train")) + len(live_rows(learner, "held_out")) == len(rows)


def test_weights_count(tmp_path):
    learner = make(tmp_path, {"gate.mode": "off", "task.weight": "w"})
    for seed in (0, 1):
        learner.update([{**row, "w": 0.25 + i % 3} for i, row in enumerate(blobs(50, seed))])
    assert_is_batch_ridge(learner)


def final_labels(learner: Learner) -> dict[str, object]:
    return {row.id: row.target for role in ("train", "held_out") for row in live_rows(learner, role)}


def test_a_corrected_row_counts_as_if_it_had_only_had_its_last_label(tmp_path):
    learner = trained(tmp_path)
    before = final_labels(learner)
    rows = blobs(150, seed=0)
    other = {"a": "b", "b": "a"}
    changed = [{**row, "label": other[row["label"]]} for row in rows[:20]]  # trained and trusted ones
    update = learner.update(changed + blobs(60, seed=1), gate="off")
    assert update.promoted
    after = final_labels(learner)
    assert sum(before[name] != after[name] for name in before) == 20
    assert_same_statistics(learner, kept_statistics(learner), batch_statistics(learner, live_rows(learner, "train")))
    assert_is_batch_ridge(learner)
    state = learner.repository.read_state(update.version)
    trusted = {row.id: row.target for row in state.trusted}
    assert len(trusted) == len(state.trusted)  # no row twice: the old one has left
    assert all(after[name] == target for name, target in trusted.items())
    replayed = [row.id for row in state.replay]
    assert len(replayed) == len(set(replayed))
    assert all(after[row.id] == row.target for row in state.replay)
    assert known_of(state).shape == (len(after), 2)
    assert learner.update(changed).verdict == "unchanged"


def test_a_correction_that_waited_still_counts_once(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    row = blobs(150, seed=0)[0]
    assert learner.update([{**row, "label": "b"}]).verdict == "undecided"
    assert learner.update(blobs(60, seed=1), settings={"gate.mode": "steady"}).promoted
    assert_same_statistics(learner, kept_statistics(learner), batch_statistics(learner, live_rows(learner, "train")))
    assert len(final_labels(learner)) == 420


def test_a_correction_of_a_pending_row_is_learned_alone(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    learner.update(blobs(3, seed=1))
    changed = [{**row, "label": "c"} for row in blobs(3, seed=1)]
    assert learner.update(changed).examples.pending == 6
    assert learner.update(blobs(60, seed=2), settings={"gate.mode": "off"}).promoted
    assert sum(label == "c" for label in final_labels(learner).values()) == 6
    assert_same_statistics(learner, kept_statistics(learner), batch_statistics(learner, live_rows(learner, "train")))


def test_the_state_rebuilt_from_the_ledger_leads_to_the_same_model(tmp_path):
    learner = trained(tmp_path)
    learner.update(blobs(40, seed=1, labels="abc"))
    learner.update([{**row, "label": "b"} for row in blobs(40, seed=1, labels="abc")[:6]] + blobs(20, seed=2))
    shutil.copytree(tmp_path / "project", tmp_path / "other")
    for file in (tmp_path / "other/store/training/state").iterdir():
        file.unlink()
    other = Learner.open(tmp_path / "other")
    version = learner.log()[0].version
    kept = load_state(learner.repository, Config(), version, learner.champion().model)
    rebuilt = load_state(other.repository, Config(), version, other.champion().model)
    assert kept.statistics
    assert not rebuilt.statistics
    assert [(row.id, row.target) for row in rebuilt.trusted] == [(row.id, row.target) for row in kept.trusted]
    torch.testing.assert_close(from_raw(rebuilt.trusted_features), from_raw(kept.trusted_features))
    assert (rebuilt.known, rebuilt.replay_seen > 0) == (kept.known, True)
    one, two = learner.update(blobs(40, seed=3)), other.update(blobs(40, seed=3))
    assert one.promoted
    assert two.promoted
    # Sums are rounded in another order, so the bits may differ and with them the id.
    largest = max(1.0, float(scores(learner).abs().max()))
    assert float((scores(learner) - scores(other)).abs().max()) <= 1e-5 * largest


def test_without_corrections_the_rebuilt_state_is_the_kept_one_but_for_statistics(tmp_path):
    learner = make(tmp_path, {"gate.trusted": 30, "curate.policy": "screen+replay:25"})
    for seed in range(4):
        learner.update(blobs(60, seed), settings={"gate.mode": "off"})
    version, model = learner.log()[0].version, learner.champion().model
    kept = load_state(learner.repository, learner.config, version, model)
    for file in (learner.repository.path / "training/state").iterdir():
        file.unlink()
    rebuilt = load_state(learner.repository, learner.config, version, model)
    assert len(kept.trusted) == 30
    assert len(kept.replay) == 25
    assert replace(rebuilt, statistics=kept.statistics, trusted_features=kept.trusted_features) == kept
    torch.testing.assert_close(from_raw(rebuilt.trusted_features), from_raw(kept.trusted_features))


@pytest.mark.parametrize(
    "damage",
    [
        {"known": RawTensor("I64", (1,), b"\0" * 8)},
        {"trusted_features": None},
        {"statistics": {"gram": RawTensor("F64", (1,), b"\0" * 8), "cross": RawTensor("F64", (1, 1), b"\0" * 8)}},
        {"statistics": {"cross": RawTensor("F64", (), b"\0" * 8)}},
        {"backbone": "of another model"},
    ],
    ids=["odd", "no features", "foreign statistics", "no shape", "stale"],
)
def test_a_state_that_does_not_fit_is_rebuilt(tmp_path, damage):
    learner = trained(tmp_path)
    version, model = learner.log()[0].version, learner.champion().model
    state = learner.repository.read_state(version)
    for file in (learner.repository.path / "training/state").iterdir():
        file.unlink()
    learner.repository.write_state(replace(state, **damage))
    learner = Learner.open(learner.project)
    rebuilt = load_state(learner.repository, learner.config, version, model)
    assert rebuilt.statistics == {}
    assert replace(rebuilt, statistics=state.statistics, trusted_features=state.trusted_features) == state
    assert learner.update(blobs(30, seed=1)).promoted


def test_after_the_backbone_moved_the_closed_form_uses_its_features(tmp_path):
    learner = make(tmp_path, model=mlp(inputs=2, hidden=(8,), random_features=64))
    assert learner.update(blobs(150, seed=0)).promoted
    moved = learner.update(blobs(60, seed=1), settings={"select.selection": "suffix:1@adamw"})
    assert moved.promoted
    assert moved.examples.replayed > 0
    assert learner.repository.read_state(moved.version).statistics == {}
    names = {name for name, entry in learner.repository.manifest(moved.version).tensors.items()}
    changed = {row["name"] for row in learner.diff(moved.parent, moved.version)["tensors"]}
    assert "backbone.0.0.weight" in changed <= names
    update = learner.update(blobs(60, seed=2))
    assert update.selection == "head@ridge"
    assert update.promoted
    assert_same_statistics(learner, kept_statistics(learner), batch_statistics(learner, live_rows(learner, "train")))
    assert_is_batch_ridge(learner)


def test_statistics_without_some_rows(tmp_path):
    learner = trained(tmp_path)
    champion = learner.champion()
    state = load_state(learner.repository, learner.config, champion.version, champion.model)
    rows = live_rows(learner, "train")
    less = statistics_of(learner.repository, state, champion.model, champion.task, without={rows[0].id})
    assert_same_statistics(learner, less, batch_statistics(learner, rows[1:]))
    none = statistics_of(learner.repository, state, champion.model, champion.task, without={row.id for row in rows})
    assert float(sums_of(learner, none).gram.abs().max()) < 1e-12


def test_rows_are_taken_out_with_their_features(tmp_path):
    learner = trained(tmp_path)
    state = learner.repository.read_state(learner.log()[0].version)
    gone = {state.trusted[0].id, state.replay[3].id}
    less = without_rows(state, gone)
    assert [row.id for row in less.trusted] == [row.id for row in state.trusted[1:]]
    assert torch.equal(from_raw(less.trusted_features), from_raw(state.trusted_features)[1:])
    assert torch.equal(from_raw(less.trusted_marks), from_raw(state.trusted_marks)[1:])
    assert len(less.replay) == len(state.replay) - 1
    everything = without_rows(state, {row.id for row in state.trusted})
    assert everything.trusted == []
    assert without_rows(state, set()) is state


def test_the_cap_of_trusted_rows_keeps_classes_even(tmp_path):
    learner = trained(tmp_path)
    rows = learner.repository.read_state(learner.log()[0].version).trusted
    kept = join_trusted([], rows, 10)
    assert sorted(row.target for row in kept) == ["a"] * 5 + ["b"] * 5


def test_a_row_that_comes_again_gives_way_to_its_new_form(tmp_path):
    learner = trained(tmp_path)
    rows = learner.repository.read_state(learner.log()[0].version).trusted
    again = msgspec.structs.replace(rows[0], target="c")
    assert join_trusted(rows, [again], len(rows)) == [*rows[1:], again]
    learned = msgspec.structs.replace(rows[0], role="train")
    assert join_trusted(rows, [learned], len(rows)) == rows[1:]


def test_the_state_grows_by_the_known_rows_alone(tmp_path):
    settings = {"gate.trusted": 20, "curate.policy": "screen+replay:20", "gate.mode": "off"}
    learner = make(tmp_path, settings)
    sizes = {}
    for number in range(1, 26):
        assert learner.update(blobs(10, seed=number)).promoted
        states = list((learner.repository.path / "training/state").iterdir())
        assert len(states) <= 2
        version = learner.log()[0].version
        sizes[number] = next(file.stat().st_size for file in states if file.name.startswith(version))
    known = 16 * 20 * 20
    assert sizes[25] - sizes[5] <= known + 2000


def test_as_many_states_are_kept_as_asked_for(tmp_path):
    learner = make(tmp_path, {"store.keep_states": 3, "gate.mode": "off"})
    versions = [learner.update(blobs(10, seed=seed)).version for seed in range(5)]
    kept = [version for version in versions if learner.repository.read_state(version)]
    assert kept == versions[-3:]

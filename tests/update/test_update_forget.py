"""Under forget:N a row weighs half as much with every N rows learned after it, in every way a state is come by."""

import numpy as np
import pytest
import torch

from dripstone.core.bits import from_raw
from dripstone.core.errors import UsageError
from dripstone.curate.policy import parse_policy
from dripstone.models import mlp
from dripstone.train.features import features_of
from dripstone.train.solve import solve
from dripstone.train.statistics import KeptRows, Sums, add_rows, no_rows, read_statistics, to_sums
from dripstone.update.audit import audit
from dripstone.update.lineage import ancestors, page_rows
from dripstone.update.training_state import fresh_statistics, trained_rows
from learner_samples import blobs, live_rows, make, scores

HALF = 70
FORGET = f"screen+forget:{HALF}+replay:50"


def life(folder, stages=4, random_features=64, **given):
    learner = make(
        folder,
        {"gate.mode": "off", "task.id": "id", **given},
        curate=FORGET,
        model=mlp(inputs=2, random_features=random_features),
    )
    for stage in range(stages):
        assert learner.update(named(blobs(40, stage, "abc"), stage)).promoted
    return learner


def named(rows, stage):
    return [{**row, "id": f"{stage}-{place}"} for place, row in enumerate(rows)]


def faded_statistics(learner):
    """By the definition: of each row that still counts, its weight times 0.5^(rows learned after it / N)."""
    champion = learner.champion()
    pages = [page_rows(learner.repository, one) for one in ancestors(learner.repository, champion.version)]
    learned = [sum(row.role == "train" for row in page) for page in pages]
    last = {row.id: number for number, page in enumerate(pages) for row in page}
    examples, weights = [], []
    for number, page in enumerate(pages):
        for row in page:
            if row.role == "train" and last[row.id] == number:
                examples.append(row.example())
                weights.append(row.example().training_weight * 0.5 ** (sum(learned[number + 1 :]) / HALF))
    return add_rows(
        no_rows(),
        champion.model.head,
        features_of(champion.model, [example.inputs for example in examples]),
        torch.from_numpy(champion.task.encode([example.target for example in examples])),
        torch.tensor(weights, dtype=torch.float64),
    )


def assert_faded(learner):
    head = learner.champion().model.head
    kept = read_statistics(learner.repository.read_state(learner.log()[0].version).statistics)
    one, two = to_sums(kept, head), to_sums(faded_statistics(learner), head)
    torch.testing.assert_close(one.gram, two.gram, atol=1e-6, rtol=1e-9)
    torch.testing.assert_close(one.cross, two.cross, atol=1e-6, rtol=1e-9)
    solution = solve(faded_statistics(learner), head, float(head.penalty)).weights
    torch.testing.assert_close(head.weight.double(), solution[:-1].T, atol=1e-4, rtol=1e-4)


def forget_states(learner):
    for file in (learner.repository.path / "training/state").iterdir():
        file.unlink()


@pytest.mark.parametrize(("random_features", "form"), [(64, Sums), (2000, KeptRows)])
def test_the_head_is_the_ridge_over_faded_rows(tmp_path, random_features, form):
    learner = life(tmp_path, random_features=random_features)
    state = learner.repository.read_state(learner.log()[0].version)
    assert isinstance(read_statistics(state.statistics), form)
    assert_faded(learner)


@pytest.mark.parametrize("random_features", [64, 2000])
def test_a_correction_takes_out_what_is_left_of_a_row(tmp_path, random_features):
    learner = life(tmp_path, random_features=random_features)
    again = named(blobs(40, 0, "abc"), 0)[:30]
    changed = [{**row, "label": {"a": "b", "b": "c", "c": "a"}[row["label"]]} for row in again]
    assert learner.update(changed + named(blobs(20, 8, "abc"), 8)).promoted
    assert_faded(learner)
    assert learner.update(named(blobs(20, 9, "abc"), 9)).promoted  # the corrected ones count as learned, then and now
    assert_faded(learner)


def test_a_state_rebuilt_from_the_ledger_leads_to_the_same_model(tmp_path):
    one, two = life(tmp_path / "one"), life(tmp_path / "two")
    (two.repository.path / "training/holdout.key").write_bytes(
        (one.repository.path / "training/holdout.key").read_bytes()
    )
    forget_states(one)
    assert one.update(named(blobs(40, 7, "abc"), 7)).promoted
    assert_faded(one)
    one.revert()
    assert one.update(named(blobs(30, 8, "abc"), 8)).promoted
    assert_faded(one)


@pytest.mark.parametrize("random_features", [64, 2000])
@pytest.mark.parametrize(
    ("before", "after"),
    [(FORGET, "screen+replay:50"), ("screen+replay:50", FORGET), (FORGET, "screen+forget:1000+replay:50")],
)
def test_another_half_life_counts_for_all_rows_and_for_those_that_are_corrected(
    tmp_path, before, after, random_features
):
    learner = make(
        tmp_path,
        {"gate.mode": "off", "task.id": "id"},
        curate=before,
        model=mlp(inputs=2, random_features=random_features),
    )
    for stage in range(3):
        assert learner.update(named(blobs(40, stage, "abc"), stage)).promoted
    changed = [{**row, "label": "a"} for row in named(blobs(40, 0, "abc"), 0)[:60]]
    assert learner.update(changed + named(blobs(20, 8, "abc"), 8), curate=after).promoted
    champion, forget = learner.champion(), parse_policy(after).forget
    state = learner.repository.read_state(champion.version)
    rows = trained_rows(learner.repository, champion.version, forget=forget)
    anew = fresh_statistics(rows, champion.model, champion.task)
    one, two = (to_sums(found, champion.model.head) for found in (read_statistics(state.statistics), anew))
    assert state.forget == str(forget or "")
    torch.testing.assert_close(one.gram, two.gram, atol=1e-6, rtol=1e-9)
    torch.testing.assert_close(one.cross, two.cross, atol=1e-6, rtol=1e-9)


def along(axis, labels, count, seed):
    """Classes that differ along one of ten inputs; features that serve one axis are no good for another."""
    draw = np.random.default_rng(seed)
    points = draw.normal(0, 1, (count * len(labels), 10))
    points[:, axis] += np.tile([-4.0, 4.0], count)
    return named([{"inputs": point.tolist(), "label": labels[i % 2]} for i, point in enumerate(points)], seed)


def test_a_climb_counts_rows_as_they_have_faded(tmp_path):
    model = mlp(inputs=10, hidden=[16, 2], random_features=64)
    settings = {"gate.mode": "off", "task.id": "id", "train.learning_rate": 0.05}
    learner = make(tmp_path, settings, curate=FORGET, model=model)
    assert learner.update(along(0, "ab", 200, seed=0)).selection == "suffix:2@adamw"
    assert learner.update(along(5, "cd", 200, seed=1)).selection.startswith("suffix:")
    assert_faded(learner)


def test_the_old_is_forgotten_and_the_new_is_learned(tmp_path):
    """The labels of two places change sides: with all rows alike, as many old ones contradict."""
    right = {}
    for name, policy in (("all alike", "screen"), ("faded", FORGET)):
        learner = make(tmp_path / name.replace(" ", "-"), {"gate.mode": "off"}, curate=policy)
        for seed in range(4):
            learner.update(blobs(60, seed))
        for seed in range(4, 6):
            learner.update([{**row, "label": "ba"["ab".index(row["label"])]} for row in blobs(60, seed)])
        asked = blobs(50, 99)
        answers = learner.predict([row["inputs"] for row in asked])
        right[name] = np.mean([answer != row["label"] for answer, row in zip(answers, asked, strict=True)])
    assert right["all alike"] < 0.2
    assert right["faded"] > 0.9


def test_the_gate_trusts_the_held_out_rows_of_two_half_lives(tmp_path):
    learner = make(tmp_path, {"task.id": "id"}, curate="screen+forget:200")
    for stage in range(6):
        assert learner.update(named(blobs(60, stage), stage)).promoted
    state = learner.repository.read_state(learner.log()[0].version)
    assert len(state.trusted) == 100  # 2 * 200 rows learned, beside a fifth of all that is held out
    newest = {row.id for row in live_rows(learner, "held_out")[-90:]}
    assert len(newest & {row.id for row in state.trusted}) > 80
    entry = learner.log()[0]
    assert learner.repository.read_certificate(entry.version, entry.certificate).rules.trusted == 100
    assert list(audit(learner.repository, learner.config)) == []
    plain = make(tmp_path / "plain", {"gate.trusted": 30}, curate="screen+forget:200")
    plain.update(blobs(200, 0))
    assert len(plain.repository.read_state(plain.log()[0].version).trusted) == 30


def test_a_life_far_longer_than_the_half_life_keeps_its_numbers(tmp_path):
    learner = make(tmp_path, {"gate.mode": "off"}, curate="screen+forget:1", model=mlp(inputs=2, random_features=2000))
    for seed in range(4):
        assert learner.update(blobs(400, seed)).promoted
    statistics = read_statistics(learner.repository.read_state(learner.log()[0].version).statistics)
    weights = statistics.weights if isinstance(statistics, KeptRows) else statistics.gram
    assert torch.isfinite(weights).all()
    assert torch.isfinite(scores(learner)).all()
    assert all(torch.isfinite(from_raw(raw)).all() for raw in statistics.to_raw().values())


def test_the_loop_does_not_forget_and_says_so(tmp_path):
    learner = make(tmp_path, {"gate.mode": "off"})
    with pytest.raises(
        UsageError, match="forget:70 acts in the closed form, and suffix:1@adamw learns in the loop"
    ) as caught:
        learner.update(blobs(20, 0), curate=FORGET, select="suffix:1@adamw")
    assert caught.value.kind == "usage.curate"
    assert not learner.champion().task.labels

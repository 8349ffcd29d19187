"""The closed form: exact in any portions, stored bit for bit, calibrated as if each row had been left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dripstone.core.errors import DivergedError, StoreError
from dripstone.core.tensors import RawTensor
from dripstone.models import mlp
from dripstone.models.head import Head, Identity, RandomFourierFeatures
from dripstone.train.closed_form import (
    BLOCK,
    CALIBRATION_ROWS,
    CHUNK,
    Statistics,
    _calibration_rows,
    _left_out_scores,
    _with_constant,
    add_rows,
    fit_head,
    solve,
)
from dripstone.train.features import features_of

PENALTY = 0.05
SIZE = 6


def plain_head(classes: int) -> Head:
    return Head(Identity(SIZE), classes)


def problem(rows: int, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, targets in rising order, so that classes appear one by one, and weights from 0 to 3."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(rows) * classes // rows
    centres = torch.randn(classes, SIZE, generator=generator)
    features = centres[targets] + 0.7 * torch.randn(rows, SIZE, generator=generator)
    weights = torch.randint(0, 4, (rows,), generator=generator).double()
    return features, targets, weights


def collect(features, targets, weights, portions, head=plain_head) -> Statistics:
    """Statistics of the rows, added portion by portion while the head grows."""
    size = head(0).weight.shape[1]
    statistics, classes = Statistics.empty(size), 0
    for portion in portions:
        classes = max([classes, *(int(target) + 1 for target in targets[portion])])
        statistics = add_rows(statistics, head(classes), features[portion], targets[portion], weights[portion])
    return statistics


def at_once(phi: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, classes: int) -> torch.Tensor:
    """Ridge regression as a least-squares problem over all rows, by another route than the normal equations."""
    root = weights.sqrt()[:, None]
    one_hot = torch.nn.functional.one_hot(targets, classes).double()
    size = phi.shape[1]
    left = torch.cat([root * phi, math.sqrt(PENALTY) * torch.eye(size, dtype=torch.float64)])
    right = torch.cat([root * one_hot, torch.zeros(size, classes, dtype=torch.float64)])
    return torch.linalg.lstsq(left, right, driver="gelsd").solution


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(40)), st.sets(st.integers(0, 40), max_size=6), st.integers(0, 5))
def test_any_order_and_portions_give_the_solution_of_all_rows_at_once(order, cuts, seed):
    features, targets, weights = problem(40, seed=seed)
    expected = at_once(_with_constant(plain_head(4), features), targets, weights, 4)
    portions = [list(part) for part in np.split(np.array(order), sorted(cuts))]
    statistics = collect(features, targets, weights, portions)
    assert torch.allclose(solve(statistics, PENALTY)[0], expected, rtol=0, atol=1e-9)


def test_random_features_in_portions_give_the_solution_of_all_rows_at_once():
    features, targets, weights = problem(1300)
    expansion = RandomFourierFeatures(SIZE, 128, seed=0)
    expansion.fit(features)

    def head(classes: int) -> Head:
        return Head(expansion, classes)

    expected = at_once(_with_constant(head(4), features), targets, weights, 4)
    portions = [range(7), range(7, 7), range(7, 7 + 2 * CHUNK), range(7 + 2 * CHUNK, 1300)]
    solution, _ = solve(collect(features, targets, weights, [list(p) for p in portions], head), PENALTY)
    # The cosines are float32, and their last bit depends on how many rows are expanded at a time.
    assert torch.allclose(solution, expected, rtol=0, atol=1e-5)


def test_new_classes_leave_old_columns_as_they_were_in_what_is_summed():
    features, targets, weights = problem(40)
    old = collect(features, targets, weights, [list(range(20))])
    new = collect(features, targets, weights, [list(range(20)), list(range(20, 40))])
    assert old.cross.shape[1] == 2
    assert torch.equal(new.cross[:, :2], old.cross)
    assert new.cross[-1].tolist() == pytest.approx([float(weights[targets == label].sum()) for label in range(4)])


def test_a_class_without_rows_scores_zero():
    features, targets, weights = problem(40)
    statistics = add_rows(Statistics.empty(SIZE), plain_head(6), features, targets, weights)
    solution, _ = solve(statistics, PENALTY)
    assert solution.shape == (SIZE + 1, 6)
    assert not solution[:, 4:].any()


def test_a_row_of_weight_two_is_two_rows_and_of_weight_zero_none():
    features, targets, _ = problem(12)
    weights = torch.tensor([0.0, 1.0, 2.0] * 4)
    repeated = [row for row in range(12) for _ in range(int(weights[row]))]
    ones = torch.ones(len(repeated))
    once = add_rows(Statistics.empty(SIZE), plain_head(4), features, targets, weights)
    often = add_rows(Statistics.empty(SIZE), plain_head(4), features[repeated], targets[repeated], ones)
    for name in ("gram", "cross"):
        assert torch.allclose(getattr(once, name), getattr(often, name), rtol=0, atol=1e-12)


def test_adding_rows_leaves_what_was_given_untouched():
    features, targets, weights = problem(40)
    first = add_rows(Statistics.empty(SIZE), plain_head(4), features, targets, weights)
    before = [first.gram.clone(), first.cross.clone()]
    inputs = [features.clone(), targets.clone(), weights.clone()]
    add_rows(first, plain_head(5), features, targets, weights)
    assert all(torch.equal(a, b) for a, b in zip(before, (first.gram, first.cross), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(inputs, (features, targets, weights), strict=True))


def test_adding_no_rows_changes_no_bit():
    features, targets, weights = problem(40)
    first = add_rows(Statistics.empty(SIZE), plain_head(4), features, targets, weights)
    again = add_rows(first, plain_head(4), torch.empty(0, 0), targets[:0], weights[:0])
    assert again.to_raw() == first.to_raw()


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_statistics_come_back_bit_for_bit(rows):
    features, targets, _ = problem(max(rows, 1))
    generator = torch.Generator().manual_seed(1)
    odd_weights = torch.rand(rows, generator=generator, dtype=torch.float64)
    statistics = add_rows(
        Statistics.empty(SIZE), plain_head(4 if rows else 0), features[:rows], targets[:rows], odd_weights
    )
    back = Statistics.from_raw(statistics.to_raw())
    for name in ("gram", "cross"):
        assert torch.equal(getattr(back, name), getattr(statistics, name))
        assert getattr(back, name).dtype == torch.float64
    assert back.to_raw() == statistics.to_raw()


def test_little_more_than_half_of_the_gram_matrix_is_stored():
    (packed,) = Statistics.empty(4 * BLOCK - 1).to_raw()["gram"].shape
    assert packed == (4 * BLOCK) ** 2 * 5 / 8


def test_the_solver_reads_what_is_filled_alone():
    features, targets, weights = problem(40)
    expansion = RandomFourierFeatures(SIZE, BLOCK + 100, seed=0)
    statistics = collect(features, targets, weights, [list(range(40))], lambda classes: Head(expansion, classes))
    solution, _ = solve(statistics, PENALTY)
    statistics.gram[:BLOCK, BLOCK:] = math.nan
    assert torch.equal(solve(statistics, PENALTY)[0], solution)


DAMAGE = {
    "missing": lambda raw: {"gram": raw["gram"]},
    "more": lambda raw: {**raw, "other": raw["cross"]},
    "none": lambda raw: {},
    "short gram": lambda raw: {**raw, "gram": RawTensor("F64", (3,), bytes(24))},
    "scalar gram": lambda raw: {**raw, "gram": RawTensor("F64", (), bytes(8))},
    "flat cross": lambda raw: {**raw, "cross": RawTensor("F64", (28,), raw["cross"].data)},
    "huge and empty": lambda raw: {**raw, "cross": RawTensor("F64", (10**9, 0), b"")},
    "no features": lambda raw: {"gram": RawTensor("F64", (0,), b""), "cross": RawTensor("F64", (0, 0), b"")},
    "float32": lambda raw: {**raw, "gram": raw["gram"]._replace(dtype="F32")},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_statistics_are_refused(damage):
    features, targets, weights = problem(8)
    raw = add_rows(Statistics.empty(SIZE), plain_head(4), features, targets, weights).to_raw()
    with pytest.raises(StoreError, match="do not fit together") as caught:
        Statistics.from_raw(DAMAGE[damage](raw))
    assert caught.value.kind == "store.corrupt"


def test_more_penalty_means_smaller_weights():
    features, targets, weights = problem(40)
    statistics = add_rows(Statistics.empty(SIZE), plain_head(4), features, targets, weights)
    sizes = [float(solve(statistics, penalty)[0].norm()) for penalty in (0.01, 1.0, 100.0, 1e6)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 1e-3


def test_statistics_of_no_rows_solve_to_zero():
    statistics = add_rows(
        Statistics.empty(SIZE), plain_head(3), torch.empty(0, SIZE), torch.empty(0).long(), torch.empty(0)
    )
    assert not solve(statistics, PENALTY)[0].any()


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_numbers_that_are_not_finite_are_a_divergence_and_leave_the_head_alone(value):
    features, targets, weights = problem(40)
    statistics = add_rows(Statistics.empty(SIZE), plain_head(4), features, targets, weights)
    statistics.cross[2, 1] = value
    head = plain_head(4)
    with pytest.raises(DivergedError, match="finite"):
        fit_head(head, statistics, PENALTY, features, targets, weights)
    assert not head.weight.any()
    assert head.scale.item() == 1.0


def test_a_matrix_that_is_not_positive_definite_is_a_divergence():
    statistics = Statistics.empty(SIZE)
    statistics.gram.fill_diagonal_(-1.0)
    with pytest.raises(DivergedError, match="positive definite"):
        solve(statistics, PENALTY)


def left_out_by_retraining(features, targets, weights, rows) -> torch.Tensor:
    scores = []
    for row in rows:
        others = torch.arange(len(features)) != row
        head = plain_head(5)
        statistics = add_rows(Statistics.empty(SIZE), head, features[others], targets[others], weights[others])
        solution = solve(statistics, PENALTY)[0]
        scores.append((_with_constant(head, features[row : row + 1]) @ solution)[0])
    return torch.stack(scores)


def left_out_at_once(features, targets, weights, rows) -> torch.Tensor:
    head = plain_head(5)
    statistics = add_rows(Statistics.empty(SIZE), head, features, targets, weights)
    solution, factor = solve(statistics, PENALTY)
    phi = _with_constant(head, features[rows])
    return _left_out_scores(factor, solution, phi, targets[rows], weights[rows])


@pytest.mark.parametrize("kind", ["ones", "mixed", "heavy"])
def test_leaving_a_row_out_equals_training_without_it(kind):
    features, targets, weights = problem(40)
    targets[7] = 4  # the only row of its class
    weights = {"ones": torch.ones_like(weights), "mixed": weights, "heavy": 1 + 1e4 * weights}[kind]
    rows = torch.arange(0, 40, 3)
    assert 0 in weights[rows] or kind != "mixed"
    expected = left_out_by_retraining(features, targets, weights, rows.tolist())
    assert torch.allclose(left_out_at_once(features, targets, weights, rows), expected, rtol=0, atol=1e-6)


def test_leaving_out_the_only_row_leaves_nothing():
    features, targets = torch.ones(1, SIZE), torch.tensor([2])
    scores = left_out_at_once(features, targets, torch.tensor([1.0], dtype=torch.float64), torch.tensor([0]))
    assert torch.allclose(scores, torch.zeros(1, 5, dtype=torch.float64), atol=1e-9)


def test_the_scale_is_the_best_for_rows_left_out():
    features, targets, weights = problem(120)
    head = plain_head(5)
    statistics = add_rows(Statistics.empty(SIZE), head, features, targets, weights)
    fit_head(head, statistics, PENALTY, features, targets, weights)
    scores = left_out_by_retraining(features, targets, weights, range(120))

    def loss(scale: float) -> float:
        losses = torch.nn.functional.cross_entropy(scale * scores, targets, reduction="none")
        return float(weights @ losses)

    scales = np.logspace(0, 2.5, 41)
    assert head.scale.item() == pytest.approx(min(scales, key=loss), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 5, 256, 257, 511, 512, 3000])
def test_at_most_so_many_rows_are_looked_at_evenly(rows):
    chosen = _calibration_rows(torch.ones(rows))
    assert len(chosen) == min(rows, CALIBRATION_ROWS)
    assert chosen[0] == 0
    steps = chosen.diff()
    assert len(steps) == 0 or int(steps.max() - steps.min()) <= 1
    assert rows - int(chosen[-1]) <= max(1, math.ceil(rows / CALIBRATION_ROWS))


def test_rows_of_weight_zero_are_not_looked_at():
    assert _calibration_rows(torch.tensor([0.0, 1.0, 0.0, 2.0])).tolist() == [1, 3]
    assert len(_calibration_rows(torch.zeros(5))) == 0


@pytest.mark.parametrize(("rows", "weight"), [(0, 1.0), (20, 0.0)])
def test_without_rows_that_count_the_scale_stays(rows, weight):
    features, targets, _ = problem(20)
    head = plain_head(4)
    head.scale.fill_(7.0)
    given = torch.full((rows,), weight)
    statistics = add_rows(Statistics.empty(SIZE), head, features[:rows], targets[:rows], given)
    fit_head(head, statistics, PENALTY, features[:rows], targets[:rows], given)
    assert head.scale.item() == 7.0


@pytest.mark.parametrize("labels", ["noise", "one class", "one row each"])
def test_the_scale_is_positive_and_finite_whatever_the_labels(labels):
    features, targets, _ = problem(60)
    targets = {
        "noise": targets[torch.randperm(60, generator=torch.Generator().manual_seed(0))],
        "one class": torch.zeros_like(targets),
        "one row each": torch.arange(60),
    }[labels]
    head = plain_head(int(targets.max()) + 1)
    statistics = add_rows(Statistics.empty(SIZE), head, features, targets, torch.ones(60))
    fit_head(head, statistics, PENALTY, features, targets, torch.ones(60))
    assert 1.0 <= head.scale.item() <= 10**2.5


@pytest.mark.parametrize("rows", [60, 800])
def test_probabilities_of_digits_are_calibrated(rows):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    inputs = list(digits.data[order].astype("f4"))
    targets = torch.from_numpy(digits.target[order]).long()
    model = mlp(inputs=64, random_features=256)
    model.fit(inputs[:rows])
    features = features_of(model, inputs)
    head = model.head
    head.fit(features[:rows])
    head.grow(10)
    statistics = add_rows(
        Statistics.empty(head.weight.shape[1]), head, features[:rows], targets[:rows], torch.ones(rows)
    )
    fit_head(head, statistics, PENALTY, features[:rows], targets[:rows], torch.ones(rows))
    with torch.no_grad():
        probabilities = head(features[900:]).softmax(dim=1)
    right = (probabilities.argmax(dim=1) == targets[900:]).float()
    assert abs(float(probabilities.amax(dim=1).mean() - right.mean())) < 0.06
    assert float(right.mean()) > (0.8 if rows == 60 else 0.95)

"""Rows of a search: none that is held out, a fifth of the others tried."""

import numpy as np
import pytest

from dripstone.core.errors import RaceLostError, UsageError
from dripstone.core.examples import is_held_out
from dripstone.models import mlp
from dripstone.stream.source import read
from dripstone.train.features import result_of
from dripstone.update.tried_rows import FEWEST, PARTS, cut_rows
from learner_samples import blobs, book_of, folder_hash, make, trained
from number_samples import make_numbers, measured


def cut(learner, rows, settings=None):
    config = learner.config.override(settings or {})
    return result_of(cut_rows(learner.repository, config, learner.champion(), read(rows, config.task)))


def part(learner, rows, settings=None):
    return cut(learner, rows, settings).trying(0)


def inputs_of(rows):
    return {row.inputs.tobytes() for row in rows}


def sides(learner, rows):
    """Inputs of rows that the store holds out, and of the others."""
    key = learner.repository.holdout_key
    examples = [(row, is_held_out(key, row.inputs, 0.2)) for row in read(rows, learner.config.task)]
    return inputs_of(row for row, held in examples if held), inputs_of(row for row, held in examples if not held)


def test_new_rows_that_are_not_held_out_are_parted_one_in_five(tmp_path):
    learner, rows = make(tmp_path), blobs(100, 0)
    before = folder_hash(learner.project)
    found = part(learner, rows)
    judges, others = sides(learner, rows)
    learned, tried = inputs_of(found.batch.training()), inputs_of(found.batch.fresh())
    assert learned | tried == others
    assert not learned & tried
    assert not (learned | tried) & judges
    assert len(tried) == -(-len(others) // 5) == found.counts.tried
    assert found.counts.learned == len(learned)
    assert found.counts.remembered_learned == found.counts.remembered_tried == 0
    assert folder_hash(learner.project) == before


def test_the_parts_depend_on_the_rows_and_the_key_alone(tmp_path):
    rows = blobs(100, 0)
    one, two = part(make(tmp_path / "1"), rows), part(make(tmp_path / "2"), rows[::-1])
    assert inputs_of(one.batch.fresh()) == inputs_of(two.batch.fresh())
    learner = make(tmp_path / "3")
    (learner.repository.path / "training" / "holdout.key").write_bytes(b"another key, of 32 bytes as well!"[:32])
    assert inputs_of(part(learner, rows).batch.fresh()) != inputs_of(one.batch.fresh())


def test_every_row_is_tried_in_one_of_the_parts(tmp_path):
    learner = trained(tmp_path)
    parts = cut(learner, blobs(100, 1))
    assert parts.count == PARTS == 5
    found = [parts.trying(number) for number in range(PARTS)]
    everything = inputs_of([*found[0].batch.examples(), *found[0].replay])
    for one in found:
        learned, tried = inputs_of([*one.batch.training(), *one.replay]), inputs_of(one.batch.fresh())
        assert learned | tried == everything
        assert not learned & tried
    tried = [row.inputs.tobytes() for one in found for row in one.batch.fresh()]
    assert len(tried) == len(set(tried)) == len(everything)
    sizes = [one.counts.tried for one in found]
    assert max(sizes) - min(sizes) <= 1
    assert len({one.fingerprint() for one in found}) == PARTS
    assert parts.trying(0).fingerprint() == found[0].fingerprint()
    assert not parts.batch.corrections


@pytest.mark.parametrize(("rows", "count"), [(40, 2), (59, 2), (60, 3), (99, 4), (100, 5), (130, 5)])
def test_of_few_rows_there_are_fewer_parts(tmp_path, rows, count):
    learner = make(tmp_path)
    _, others = sides(learner, blobs(100, 0))
    few = [row for row in blobs(100, 0) if np.array(row["inputs"], dtype="f4").tobytes() in others][:rows]
    parts = cut(learner, few)
    assert parts.count == count
    assert min(parts.trying(number).counts.tried for number in range(count)) >= FEWEST - 1


def test_rows_that_are_alike_are_on_one_side(tmp_path):
    rows = [{**row, "id": f"{copy} {place}"} for place, row in enumerate(blobs(60, 0)) for copy in range(2)]
    found = part(make(tmp_path, {"task.id": "id"}), rows)
    assert not inputs_of(found.batch.training()) & inputs_of(found.batch.fresh())
    assert len(found.batch.rows) == 2 * len(inputs_of(found.batch.examples()))


def test_remembered_rows_are_parted_alike_and_those_that_are_tried_are_taken_out(tmp_path):
    learner = trained(tmp_path)
    state_rows = learner.repository.read_state(learner.champion().version).replay
    found = part(learner, blobs(60, 1))
    assert found.counts.remembered_learned + found.counts.remembered_tried == len(state_rows)
    assert 0.1 < found.counts.remembered_tried / len(state_rows) < 0.35
    new = {row.example.id for row in found.batch.rows if row.example.id not in {r.id for r in state_rows}}
    again = {row.id for row in found.batch.fresh()} - new
    assert len(again) == found.counts.remembered_tried
    assert found.batch.corrected() == again
    assert not again & {row.id for row in found.replay}
    assert not again & {row.id for row in found.start.state.replay}


def test_no_trusted_or_waiting_held_out_row_is_among_them(tmp_path):
    learner = trained(tmp_path)
    assert learner.update(blobs(30, 1), gate="better").verdict == "undecided"
    waiting = book_of(learner).pending
    assert len(waiting) == 60
    trusted = learner.repository.read_state(learner.champion().version).trusted
    found = part(learner, blobs(60, 2))
    judges, _ = sides(learner, [*blobs(30, 1), *blobs(60, 2), *blobs(150, 0)])
    seen = inputs_of([*found.batch.examples(), *found.replay])
    assert not seen & judges
    assert not {row.id for row in trusted} & {row.id for row in [*found.batch.examples(), *found.replay]}
    assert found.start.state.trusted == []
    carried = [row for row in found.batch.rows if row.origin is not None]
    assert 0 < len(carried) < len(waiting)  # those that may be learned


def test_rows_that_a_file_holds_out_are_not_looked_at(tmp_path):
    holdout = blobs(30, 7)
    learner = make(tmp_path, data=blobs(60, 0), holdout=holdout)
    found = part(learner, [*holdout, *blobs(60, 1)])
    assert not inputs_of([*found.batch.examples(), *found.replay]) & inputs_of(read(holdout, learner.config.task))


def test_labels_of_held_out_rows_do_not_even_decide_what_a_label_is(tmp_path):
    learner, rows = make(tmp_path), blobs(60, 0)
    judges, _ = sides(learner, rows)
    spoilt = [
        {**row, "label": 7 if np.array(row["inputs"], dtype="f4").tobytes() in judges else row["label"]} for row in rows
    ]
    spoilt.sort(key=lambda row: row["label"] != 7)  # they come first
    found = part(learner, spoilt)
    assert found.fingerprint() == part(learner, [row for row in spoilt if row["label"] != 7]).fingerprint()
    assert not found.batch.rejected


@pytest.mark.parametrize("count", [1, 2 * FEWEST - 1])
def test_too_few_rows_are_an_error_that_says_how_many_are_enough(tmp_path, count):
    learner = make(tmp_path)
    rows = blobs(100, 0)
    _, others = sides(learner, rows)
    rows = [row for row in rows if np.array(row["inputs"], dtype="f4").tobytes() in others]
    before = folder_hash(learner.project)
    with pytest.raises(UsageError, match=f"{count} new rows? (is|are) not held out.*send more rows: 40") as raised:
        part(learner, rows[:count])
    assert raised.value.kind == "usage.tune"
    assert folder_hash(learner.project) == before
    assert part(learner, rows[: 2 * FEWEST]).counts.tried == FEWEST


def test_many_rows_that_are_one_are_too_few(tmp_path):
    rows = [{**row, "id": str(copy)} for row in blobs(1, 0)[:1] for copy in range(100)] + [
        {**row, "id": f"other {place}"} for place, row in enumerate(blobs(3, 1))
    ]
    with pytest.raises(UsageError, match="most of them are alike"):
        part(make(tmp_path, {"task.id": "id"}), rows)


def test_rows_that_were_learned_already_are_none(tmp_path):
    learner = trained(tmp_path)
    with pytest.raises(UsageError, match="0 new rows are not held out"):
        part(learner, blobs(150, 0))


def test_rows_of_one_label_tell_nothing(tmp_path):
    learner = make(tmp_path)
    with pytest.raises(UsageError, match=r"all rows to learn from have the label 'a'.*two or more labels") as raised:
        part(learner, blobs(100, 0, "a"))
    assert raised.value.kind == "usage.tune"
    with pytest.raises(UsageError, match="all rows to try settings on have the label 'c'"):
        part(trained(tmp_path / "more", {"curate.policy": "screen"}), blobs(100, 0, "c"))
    assert part(trained(tmp_path / "replay"), blobs(100, 0, "c")).counts.tried > 0


def test_rows_of_weight_0_teach_nothing(tmp_path):
    rows = [{**row, "weight": 0.0} for row in blobs(100, 0)]
    with pytest.raises(UsageError, match="every row to learn from has weight 0"):
        part(make(tmp_path, {"task.weight": "weight"}), rows)


def test_another_share_is_refused_since_rows_would_change_sides(tmp_path):
    with pytest.raises(UsageError, match=r"gate.holdout is 0.1"):
        part(trained(tmp_path), blobs(60, 1), {"gate.holdout": 0.1})


def test_a_champion_that_is_no_longer_live_is_not_searched_for(tmp_path):
    learner = trained(tmp_path)
    old = learner.champion()
    assert learner.update(blobs(150, 1)).promoted
    with pytest.raises(RaceLostError, match="became live before the search"):
        result_of(cut_rows(learner.repository, learner.config, old, read(blobs(60, 2), learner.config.task)))


def test_numbers_need_no_labels(tmp_path):
    found = part(make_numbers(tmp_path), measured(200, 0))
    assert found.counts.tried == -(-len(found.batch.rows) // 5)


def test_bad_rows_are_screened_out(tmp_path):
    bad = [{"inputs": [float("nan"), 1.0], "label": "a"}, {"inputs": [1.0, 2.0], "label": None}]
    learner = make(tmp_path, model=mlp(2))
    found = part(learner, [*bad, *blobs(60, 0)])
    assert len(found.batch.rejected) >= 1
    assert found.counts == part(learner, blobs(60, 0)).counts


def test_no_part_is_empty_where_many_rows_are_alike(tmp_path):
    learner = make(tmp_path, {"task.id": "id"})
    rows = [{"id": str(number), **row} for number, row in enumerate(blobs(100, 0))]
    rows += [{"id": f"same-{number}", **blobs(1, 5)[0]} for number in range(150)]
    found = cut(learner, rows)
    assert set(found.new) == set(range(found.count))
    assert all(found.trying(number).batch.fresh() for number in range(found.count))


def test_other_inputs_are_other_rows(tmp_path):
    learner = make(tmp_path, {"task.id": "id"})
    rows = [{"id": str(number), **row} for number, row in enumerate(blobs(60, 0))]
    found = part(learner, rows)
    for example in found.batch.examples():
        other = [dict(row) for row in rows]
        other[int(example.id)]["inputs"] = [value + 1e-3 for value in example.inputs.tolist()]
        assert part(learner, other).fingerprint() != found.fingerprint()

"""The whole life of an encoder-decoder: what it learns, what is rejected, refused, reverted, audited."""

from __future__ import annotations

import pytest

from dripstone.core.errors import DataError, UsageError
from dripstone.core.fork import changed_tensors
from dripstone.learner import Learner
from dripstone.models import decoder, mlp
from dripstone.train.activation_cache import ActivationCache
from dripstone.update import loop_rows
from dripstone.update.audit import audit
from learner_samples import live_rows
from pair_samples import LAUTE, SOUNDS, asked, make_pairs, tiny

BY_DOMAIN = {"task.slice": "domain"}


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A model that knows English animals, and the report of its first update."""
    learner = make_pairs(tmp_path_factory.mktemp("taught"), BY_DOMAIN)
    return learner, learner.update(asked(250, seed=1))


def exact(learner, rows):
    return learner.evaluate(rows)["metrics"]["exact_match"]


def german(count, seed):
    return asked(count, seed, LAUTE, "german")


def test_a_first_update_trains_everything_and_exact_match_is_said_first(taught):
    learner, first = taught
    assert (first.verdict, first.selection) == ("promoted", "full@adamw")
    assert first.reason.startswith("gain proven")
    found = learner.evaluate([*asked(40, seed=9), *german(20, seed=9)])["metrics"]
    assert list(found) == ["exact_match", "perplexity", "by_slice"]
    assert found["by_slice"] == {"slice english": 1.0, "slice german": 0.0}
    assert found["exact_match"] == pytest.approx(2 / 3)
    assert learner.predict(["7 cat", "8 horse"]) == ["meow", "neigh"]


def test_a_shifted_batch_is_news_and_what_was_known_is_kept(tmp_path):
    learner = make_pairs(tmp_path, BY_DOMAIN)
    learner.update(asked(150, seed=1))
    first = learner.champion()
    second = learner.update(german(150, seed=1))
    assert (second.verdict, second.selection) == ("promoted", "full@adamw")
    assert second.reason.startswith("gain proven")
    assert second.examples.replayed > 0
    assert set(second.metrics.candidate.by_slice) == {"slice english", "slice german"}
    assert exact(learner, german(40, seed=9)) > 0.9
    assert exact(learner, asked(40, seed=9)) > 0.9
    assert list(audit(learner.repository, learner.config)) == []
    assert list(learner.repository.verify()) == []
    learner.revert()
    again = Learner.open(learner.project)
    assert again.champion().version == first.version
    assert exact(again, german(40, seed=9)) == 0


def test_wrong_replies_harm_and_are_refused(taught):
    learner, _ = taught
    wrong = dict(zip(SOUNDS, [*list(SOUNDS.values())[1:], "meow"], strict=True))
    update = learner.update(asked(200, 5, wrong, "wrong"), settings={"curate.policy": "screen"})
    assert update.verdict == "refused"
    assert "a loss above" in update.reason
    assert exact(learner, asked(40, seed=9)) == 1.0


def test_wrong_replies_are_refused_at_once_where_agreement_is_asked_for(taught):
    learner, _ = taught
    wrong = dict.fromkeys(SOUNDS, "moo")
    update = learner.update(asked(100, 5, wrong, "wrong"), settings={"gate.sense": 0.25})
    assert update.verdict == "refused"
    assert "agree with the live version on 0%" in update.reason


def test_the_gate_may_judge_by_exact_match(tmp_path):
    learner = make_pairs(tmp_path, {"task.metric": "accuracy"})
    first = learner.update(asked(150, seed=1))
    assert first.verdict == "promoted"
    assert first.metrics.candidate.accuracy > 0.9
    assert first.metrics.candidate.perplexity is None
    assert learner.update(german(150, seed=1)).verdict == "promoted"


def test_rows_without_a_reply_or_with_too_long_a_one_are_rejected_and_the_others_learned(tmp_path):
    learner = make_pairs(tmp_path, {"gate.mode": "off"}, model=tiny(tokenizer="bpe", vocabulary=300))
    rows = [
        *asked(60, seed=1),
        {"text": "1001 cat", "reply": None},
        {"text": "1002 cat", "reply": ""},
        {"text": "1003 cat", "reply": " "},
        {"text": "1004 cat", "reply": 7},
        {"text": " ", "reply": "meow"},
        {"text": "1005 cat", "reply": "qwertzuiop asdfghjkl yxcvbnm"},
    ]
    update = learner.update(rows)
    assert update.verdict == "promoted"
    assert update.rejections == {
        "the reply is missing": 2,
        "the reply is empty": 1,
        "the reply is of type int, not a text": 1,
        "the text is empty": 1,
        "the reply is longer than the 12 tokens that the model writes": 1,
    }
    assert update.examples.rejected == 6
    assert len(list(live_rows(learner, "train"))) + len(list(live_rows(learner, "held_out"))) == 60
    again = learner.update([{"text": "9 dog", "reply": "x" * 99}])
    assert again.verdict == "undecided"
    assert "all 1 rows were rejected" in again.reason
    assert len(learner.repository.read_book(learner.repository.log.head().book).pending) == 0
    with pytest.raises(DataError, match="the reply is longer than the 12 tokens") as caught:
        learner.evaluate([{"text": "9 dog", "reply": "x" * 99}])
    assert "item 1" in str(caught.value) or "row 1" in str(caught.value)


def test_a_misspelt_column_of_replies_is_noticed(tmp_path):
    learner = make_pairs(tmp_path)
    with pytest.raises(DataError, match="no column 'reply'"):
        learner.update([{"text": "7 cat", "replies": "meow"}])
    with pytest.raises(DataError, match="is no reply to measure by"):
        learner.evaluate([{"text": "7 cat", "reply": None}])


@pytest.mark.parametrize("select", ["vectors", "suffix:1", "suffix:3@sgd", "full", "head"])
def test_every_selection_moves_what_it_names(tmp_path, select):
    learner = make_pairs(tmp_path, {"gate.mode": "off", "train.stop.epochs": 1}, model=tiny(tied=False))
    learner.update(asked(40, seed=1))
    parent = learner.champion().model
    learner.update(german(40, seed=1), select=select)
    moved = set(changed_tensors(learner.champion().model, parent))
    starts = {
        "vectors": ("backbone.norm", "backbone.blocks", "head"),
        "suffix:1": ("backbone.blocks.3", "backbone.norm", "head"),
        "suffix:3@sgd": ("backbone.blocks.1", "backbone.blocks.2", "backbone.blocks.3", "backbone.norm", "head"),
        "full": ("",),
        "head": ("head",),
    }[select]
    assert moved
    assert all(name.startswith(starts) for name in moved)


def test_frozen_blocks_are_computed_once_a_row(tmp_path, monkeypatch):
    caches = []

    def made(*arguments):
        caches.append(ActivationCache(*arguments))
        return caches[-1]

    learner = make_pairs(tmp_path, {"gate.mode": "off"})
    learner.update(asked(40, seed=1))
    monkeypatch.setattr(loop_rows, "ActivationCache", made)
    learner.update(german(40, seed=1), select="suffix:1")
    assert [(cache.cut, cache.reason) for cache in caches] == [(3, None)]


@pytest.mark.parametrize(
    "setting",
    [
        {"train.retain.l2": 0.1},
        {"train.retain.ewc": 1.0},
        {"train.step.carry": True},
        {"curate.policy": "screen+prune+replay:50"},
        {"curate.policy": "screen+dedupe"},
        {"train.optimizer": "adafactor"},
    ],
)
def test_terms_policies_and_optimisers_work(tmp_path, setting):
    learner = make_pairs(tmp_path, {"gate.mode": "off", "train.stop.epochs": 1, **setting})
    learner.update(asked(40, seed=1))
    assert learner.update(german(40, seed=1)).verdict == "promoted"


def test_another_reply_to_a_prompt_corrects_the_first(tmp_path):
    learner = make_pairs(tmp_path, {"gate.mode": "off", "train.stop.epochs": 1})
    rows = asked(40, seed=1)
    learner.update(rows)
    assert learner.update([{**row, "reply": "moo"} for row in rows[:10]]).verdict == "promoted"
    learned = {row.inputs: row.target.text for role in ("train", "held_out") for row in live_rows(learner, role)}
    assert [learned[row["text"]] for row in rows[:10]] == ["moo"] * 10
    assert len(learned) == 40


@pytest.mark.parametrize(
    "setting", [{"curate.policy": "screen+weight"}, {"task.metric": "log_loss"}, {"select.selection": "head@ridge"}]
)
def test_what_goes_by_labels_is_refused_with_a_remedy(tmp_path, setting):
    learner = make_pairs(tmp_path, setting)
    with pytest.raises(UsageError) as caught:
        learner.update(asked(30, seed=1))
    assert caught.value.remedy


def test_models_and_tasks_that_do_not_fit_are_refused(tmp_path):
    for name, model, task in (("a", tiny(), "classification"), ("b", tiny(), "causal_lm"), ("c", mlp(2), "seq2seq")):
        with pytest.raises(UsageError, match=f"makes no model for the task '{task}'") as caught:
            Learner.create(tmp_path / name, model=model, task=task)
        assert caught.value.remedy == (
            "use it for classification or regression" if name == "c" else "use it for seq2seq"
        )
    assert not list(tmp_path.iterdir())


def test_a_decoder_replies_as_well(tmp_path):
    model = decoder(tokenizer="bytes", width=32, depth=2, heads=2, context=64)
    learner = make_pairs(tmp_path, {"gate.mode": "off", "train.stop.epochs": 1}, model=model)
    assert learner.update(asked(40, seed=1)).verdict == "promoted"
    assert next(iter(learner.evaluate(asked(10, seed=2))["metrics"])) == "exact_match"


def test_before_it_has_learned_a_model_says_so(tmp_path):
    learner = make_pairs(tmp_path)
    with pytest.raises(UsageError, match="knows no reply yet"):
        learner.predict(["7 cat"])
    with pytest.raises(UsageError, match="has learned no reply yet"):
        learner.evaluate(asked(5, seed=1))

"""The whole life of a language model: what it learns, what is refused, corrected, reverted, audited."""

from __future__ import annotations

import math

import pytest
import torch

from dripstone.core.errors import DataError, UsageError
from dripstone.core.fork import changed_tensors
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.update.audit import audit
from dripstone.update.training_state import load_state
from learner_samples import book_of, live_rows
from text_samples import REPLIES, exchanges, make_texts, stories, sums, tiny

BY_DOMAIN = {"task.slice": "domain"}


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A model that knows stories, and the report of its first update."""
    learner = make_texts(tmp_path_factory.mktemp("taught"), BY_DOMAIN)
    return learner, learner.update(stories(150, seed=1))


@pytest.fixture(scope="module")
def replying(tmp_path_factory):
    """A model that replies to prompts."""
    learner = make_texts(tmp_path_factory.mktemp("replying"), target="reply")
    learner.update(exchanges(300, seed=1))
    return learner


def perplexity(learner, rows):
    return learner.evaluate(rows)["metrics"]["perplexity"]


def test_texts_are_learned_domain_after_domain(taught):
    learner, first = taught
    assert (first.verdict, first.selection) == ("promoted", "full@adamw")
    assert first.reason.startswith("gain proven")
    assert first.metrics.champion.perplexity is None  # nobody had answered before
    assert first.metrics.candidate.fresh_perplexity < 3
    assert first.metrics.candidate.accuracy is None
    before = {rows[0]["domain"]: perplexity(learner, rows) for rows in (stories(40, seed=9), sums(40, seed=9))}
    second = learner.update(sums(150, seed=1))
    assert (second.verdict, second.selection) == ("promoted", "full@adamw")
    assert second.examples.replayed > 0
    assert set(second.metrics.candidate.by_slice) == {"slice animals", "slice sums"}
    assert perplexity(learner, sums(40, seed=9)) < before["sums"] / 10
    assert perplexity(learner, stories(40, seed=9)) < before["animals"] * 1.02
    assert list(audit(learner.repository, learner.config)) == []
    assert list(learner.repository.verify()) == []


def test_evaluate_says_how_likely_texts_are(taught):
    learner, _ = taught
    metrics = learner.evaluate([*stories(20, seed=5), *sums(5, seed=5)])["metrics"]
    assert set(metrics) == {"perplexity", "bits_per_byte", "by_slice"}
    apart = learner.evaluate(stories(20, seed=5))["metrics"]
    assert metrics["by_slice"]["slice animals"] == pytest.approx(apart["perplexity"], rel=1e-6)
    # A byte is a token here, and the end of each text one more.
    characters = sum(len(row["text"]) for row in stories(20, seed=5))
    expected = math.log2(apart["perplexity"]) * (characters + 20) / characters
    assert apart["bits_per_byte"] == pytest.approx(expected, rel=1e-6)


def test_what_was_learned_is_unchanged_when_it_comes_again(tmp_path):
    learner = make_texts(tmp_path)
    rows = stories(60, seed=1)
    learner.update(rows)
    assert learner.update(rows).verdict == "unchanged"


def test_revert_and_reopening_give_the_same_bits(tmp_path):
    learner = make_texts(tmp_path, BY_DOMAIN)
    first = learner.update(stories(100, seed=1))
    before = learner.evaluate(stories(20, seed=9))["metrics"]
    learner.update(sums(100, seed=1))
    learner.revert()
    again = Learner.open(learner.project)
    assert again.champion().version == first.version
    assert again.evaluate(stories(20, seed=9))["metrics"] == before
    learner.revert()
    assert learner.update(stories(60, seed=4)).verdict == "promoted"


def test_harm_to_a_domain_is_refused_and_names_it(tmp_path):
    learner = make_texts(tmp_path, {**BY_DOMAIN, "curate.policy": "screen"})
    learner.update([*stories(200, seed=1), *sums(200, seed=1)])
    more = [{**row, "domain": "more"} for row in sums(200, seed=2)]
    update = learner.update(more, select="full", settings={"train.stop.epochs": 6})
    assert update.verdict == "refused"
    assert "trusted rows of slice animals" in update.reason
    assert perplexity(learner, stories(20, seed=9)) < 3


def test_replies_are_learned_and_given(replying):
    metrics = replying.evaluate(exchanges(40, seed=9))["metrics"]
    assert metrics["exact_match"] == 1.0
    assert replying.predict([f"7: what does the {noun} say?" for noun in REPLIES]) == list(REPLIES.values())
    answer = replying.predict_scores(["7: what does the dog say?"])[0]
    assert answer["scores"]["ended"]
    assert answer["scores"]["tokens"] == 4
    assert -0.5 < answer["scores"]["log_probability"] < 0


def test_wrong_replies_contradict_and_are_refused(replying):
    wrong = dict(zip(REPLIES, [*list(REPLIES.values())[1:], "meow"], strict=True))
    update = replying.update(exchanges(100, seed=5, replies=wrong))
    assert update.verdict == "refused"
    assert "agree with the live version on 0%" in update.reason


def test_another_reply_to_a_prompt_corrects_the_first(tmp_path):
    learner = make_texts(tmp_path, {"gate.mode": "off"}, target="reply")
    rows = exchanges(60, seed=1)
    learner.update(rows)
    corrected = [{**row, "reply": "moo"} for row in rows[:10]]
    assert learner.update(corrected).verdict == "promoted"
    learned = {row.inputs: row.target.text for role in ("train", "held_out") for row in live_rows(learner, role)}
    assert [learned[row["text"]] for row in corrected] == ["moo"] * 10
    assert len(learned) == len({row["text"] for row in rows})


def test_texts_and_replies_are_learned_side_by_side(tmp_path):
    learner = make_texts(tmp_path, {"gate.mode": "off"}, target="reply")
    learner.update(stories(100, seed=1))
    assert learner.champion().task.labels == ("text",)
    learner.update(exchanges(100, seed=1), select="full")
    assert learner.champion().task.labels == ("text", "reply")
    metrics = learner.evaluate([*stories(20, seed=9), *exchanges(20, seed=9)])["metrics"]
    assert set(metrics) == {"perplexity", "bits_per_byte", "by_slice", "exact_match"}


def test_a_state_that_was_lost_is_rebuilt(tmp_path):
    learner = make_texts(tmp_path, BY_DOMAIN)
    learner.update(stories(80, seed=1))
    learner.update(sums(80, seed=1))
    champion = learner.champion()
    kept = load_state(learner.repository, learner.config, champion.version, champion.model)
    for file in (learner.repository.path / "training" / "state").iterdir():
        file.unlink()
    rebuilt = load_state(learner.repository, learner.config, champion.version, champion.model)
    assert [row.id for row in rebuilt.trusted] == [row.id for row in kept.trusted]
    assert [row.id for row in rebuilt.replay] == [row.id for row in kept.replay]
    for mine, theirs in (
        (kept.trusted_features, rebuilt.trusted_features),
        (kept.trusted_marks, rebuilt.trusted_marks),
    ):
        one, other = (torch.frombuffer(bytearray(raw.data), dtype=torch.float32) for raw in (mine, theirs))
        assert torch.allclose(one, other, atol=1e-4)


def test_byte_pairs_travel_with_the_version(tmp_path):
    model = tiny(tokenizer="bpe", vocabulary=300)
    learner = make_texts(tmp_path, model=model)
    assert len(learner.champion().model.preprocess.learned) == 0
    learner.update(stories(80, seed=1))
    again = Learner.open(learner.project)
    assert len(again.champion().model.preprocess.learned) > 0
    assert perplexity(again, stories(20, seed=9)) == perplexity(learner, stories(20, seed=9))
    before = again.champion().model.preprocess.learned.clone()
    again.update(sums(80, seed=1))
    assert torch.equal(again.champion().model.preprocess.learned, before)


@pytest.mark.parametrize("select", ["vectors", "suffix:2@sgd", "full", "head"])
def test_every_selection_moves_what_it_names(tmp_path, select):
    learner = make_texts(tmp_path, {"gate.mode": "off"}, model=tiny(tied=False))
    learner.update(stories(60, seed=1))
    parent = learner.champion().model
    learner.update(sums(60, seed=1), select=select)
    moved = set(changed_tensors(learner.champion().model, parent))
    starts = {
        "vectors": ("backbone.norm", "backbone.blocks", "head"),
        "suffix:2@sgd": ("backbone.blocks", "backbone.norm", "head"),
        "full": ("",),
        "head": ("head",),
    }[select]
    assert moved
    assert all(name.startswith(starts) for name in moved)


@pytest.mark.parametrize(
    "setting",
    [
        {"train.retain.l2": 0.1},
        {"train.retain.ewc": 1.0},
        {"train.retain.derpp": 0.1},
        {"train.retain.distill": 1.0},
        {"train.step.carry": True},
    ],
)
def test_terms_against_forgetting_and_carried_states_work(tmp_path, setting):
    learner = make_texts(tmp_path, {"gate.mode": "off", **setting})
    learner.update(stories(60, seed=1))
    assert learner.update(sums(60, seed=1)).verdict == "promoted"


def test_an_epoch_may_be_pruned(tmp_path):
    learner = make_texts(tmp_path, {"gate.mode": "off", "curate.policy": "screen+prune+replay:50"})
    assert learner.update(stories(60, seed=1)).verdict == "promoted"


def test_weights_count_by_the_token(tmp_path):
    learner = make_texts(tmp_path, {"gate.mode": "off", "task.weight": "weight", "curate.policy": "screen"})
    rows = [{**row, "weight": 0.0 if row["domain"] == "sums" else 1.0} for row in [*stories(200, 1), *sums(80, 1)]]
    learner.update(rows)
    weighed = [{**row, "weight": 1.0} for row in [*stories(20, seed=9), *sums(20, seed=9)]]
    assert perplexity(learner, weighed[:20]) < 5
    assert perplexity(learner, weighed[20:]) > 30


def test_rows_that_are_no_texts_are_rejected_with_a_reason(tmp_path):
    learner = make_texts(tmp_path, {"gate.mode": "off"}, target="reply")
    rows = [
        *exchanges(40, seed=1),
        {"text": "  ", "reply": "a"},
        {"text": "what?", "reply": "  "},
        {"text": "what now?", "reply": 7},
        {"text": [1.0, 2.0], "reply": "a"},
        {"text": "a\ud800", "reply": "b"},
    ]
    update = learner.update(rows)
    assert update.verdict == "promoted"
    assert update.rejections == {
        "the text is empty": 1,
        "the reply is empty": 1,
        "the reply is of type int, not a text": 1,
        "the input is a list of numbers where this model takes a text": 1,
        "the text holds half a character (a lone surrogate)": 1,
    }


def test_an_empty_stream_is_an_error_and_changes_nothing(tmp_path):
    learner = make_texts(tmp_path)
    with pytest.raises(DataError):
        learner.update([])
    assert len(learner.log()) == 1


def test_texts_longer_than_the_context_are_learned_whole(tmp_path):
    learner = make_texts(tmp_path, {"gate.mode": "off"})
    long = [{"text": " ".join(row["text"] for row in stories(30, seed))} for seed in range(40)]
    assert learner.update(long).verdict == "promoted"
    assert perplexity(learner, stories(20, seed=99)) < 4


def test_few_texts_wait_for_more(tmp_path):
    learner = make_texts(tmp_path, {"gate.minimum": 50})
    learner.update(stories(300, seed=1))
    update = learner.update(sums(5, seed=1), settings={"gate.mode": "better"})
    assert update.verdict == "undecided"
    assert len(book_of(learner).pending) == 5


@pytest.mark.parametrize(
    "setting",
    [
        {"curate.policy": "screen:known"},
        {"curate.policy": "screen+noise"},
        {"curate.policy": "screen+weight"},
        {"curate.policy": "screen+drift"},
        {"curate.policy": "screen+forget:100"},
        {"curate.policy": "screen+augment:drop+replay:10"},
        {"curate.policy": "screen+replay:10:balanced"},
        {"task.metric": "accuracy"},
        {"select.selection": "head@ridge"},
        {"select.selection": "head"},
    ],
)
def test_what_goes_by_labels_or_features_is_refused_with_a_remedy(tmp_path, setting):
    learner = make_texts(tmp_path, setting)
    with pytest.raises(UsageError) as caught:
        learner.update(stories(30, seed=1))
    assert caught.value.remedy
    assert len(learner.log()) == 1


def test_a_model_and_a_task_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UsageError, match="makes no model for the task 'classification'"):
        Learner.create(tmp_path / "a", model=tiny())
    with pytest.raises(UsageError, match="makes no model for the task 'causal_lm'"):
        Learner.create(tmp_path / "b", model=mlp(2), task="causal_lm")
    with pytest.raises(UsageError, match="leave labels= out"):
        Learner.create(tmp_path / "c", model=tiny(), task="causal_lm", labels=["a"])
    assert not list(tmp_path.iterdir())


def test_before_it_has_learned_a_model_says_so(tmp_path):
    learner = make_texts(tmp_path)
    with pytest.raises(UsageError, match="knows no text yet"):
        learner.predict(["the cat"])
    with pytest.raises(UsageError, match="has learned no text yet"):
        learner.evaluate(stories(5, seed=1))


def test_a_loop_that_diverges_changes_nothing(tmp_path):
    learner = make_texts(tmp_path, {"train.optimizer": "sgd"})
    update = learner.update(stories(40, seed=1), settings={"train.learning_rate": 1e9, "train.step.clip": None})
    assert update.verdict == "refused"
    assert "diverged" in update.reason
    assert len(book_of(learner).pending) == 40


def test_a_teacher_holds_what_was_known(tmp_path):
    """Without replay the sums push the stories out; the live version's answers, held to, keep the most of them."""
    kept = {}
    for weight in (0.0, 1.0):
        learner = make_texts(tmp_path / str(weight), {"gate.mode": "off", "curate.policy": "screen"})
        learner.update(stories(150, seed=1))
        learner.update(sums(150, seed=1), select="full", settings={"train.retain.distill": weight})
        kept[weight] = perplexity(learner, stories(40, seed=9))
    assert kept[1.0] < kept[0.0] / 4


def test_a_version_may_rehearse_what_it_writes_itself(tmp_path):
    kept = {}
    for policy in ("screen", "screen+replay:80:generated"):
        learner = make_texts(tmp_path / policy.replace(":", "-"), {"gate.mode": "off", "curate.policy": policy})
        learner.update(stories(150, seed=1))
        update = learner.update(sums(150, seed=1), select="full")
        kept[policy] = perplexity(learner, stories(40, seed=9))
        champion = learner.champion()
        assert load_state(learner.repository, learner.config, champion.version, champion.model).replay == []
    assert 40 < update.examples.replayed <= 80
    assert kept["screen+replay:80:generated"] < kept["screen"] / 10


def test_what_a_version_writes_is_the_same_every_time(tmp_path):
    learner = make_texts(tmp_path, {"gate.mode": "off", "curate.policy": "screen+replay:20:generated"})
    learner.update(stories(100, seed=1))
    model = learner.champion().model
    assert model.write(3, seed=7) == model.write(3, seed=7)
    assert model.write(3, seed=7) != model.write(3, seed=8)


def test_a_version_of_replies_cannot_write_their_prompts(tmp_path):
    settings = {"gate.mode": "off", "curate.policy": "screen+replay:20:generated"}
    learner = make_texts(tmp_path, settings, target="reply")
    learner.update(exchanges(60, seed=1))
    with pytest.raises(UsageError, match="has learned replies only"):
        learner.update(exchanges(60, seed=2))


def test_rows_with_labels_are_not_written(tmp_path):
    learner = Learner.create(tmp_path / "p", model=mlp(2), curate="screen+replay:20:generated")
    with pytest.raises(UsageError, match="only language models write"):
        learner.update([{"inputs": [0.0, 1.0], "label": "a"}] * 3)

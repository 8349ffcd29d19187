"""The bench of attacks: each does what it says, harm is measured as defined, and what comes back is found."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from bench.poison import tables, texts
from bench.poison.attacks import KINDS
from bench.poison.batches import Batch, key_of
from bench.poison.bench import PEERS, Bench
from bench.poison.closed_form import ClosedForm
from bench.poison.features import Features
from bench.poison.harm import Exam, Knowledge
from bench.poison.life import make_life
from bench.poison.peers import Replay, missing_peers
from bench.poison.stream import Corpus, Scale, make_pools, send_stage
from bench.poison.tracking import trace

from dripstone.core.examples import is_held_out
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.models.text import text_classifier
from learner_samples import blobs
from tiny_encoder import WORDS

SCALE = Scale(first=2, opening=3, refreshes=(20, 30, 40), batch=40, aimed=8, dribble=4, repair=30)
ALL_WRONG = [
    "labels shuffled 100 %",
    "labels rotated",
    "labels permuted in domains",
    "one class flooded",
    "new label from many",
    "wrong rows dribbled",
]


def synthetic_corpus() -> Corpus:
    """Four domains of three labels; a label has two words of its own."""
    words = WORDS[4:]
    labels = [f"label{number:02}" for number in range(12)]
    draw = np.random.default_rng(0)
    by_label = {}
    for number, label in enumerate(labels):
        own = words[2 * number : 2 * number + 2]
        drawn = [" ".join([*own, *own, *draw.choice(words, 2)]) for _ in range(200)]
        by_label[label] = list(dict.fromkeys(drawn))[:60]
    return Corpus(
        {f"domain{number}": labels[3 * number : 3 * number + 3] for number in range(4)},
        {label: found[:40] for label, found in by_label.items()},
        {label: found[40:50] for label, found in by_label.items()},
        [(text, label) for label, found in by_label.items() for text in found[50:]],
    )


CORPUS = synthetic_corpus()
TRUTH = {text: label for source in (CORPUS.train, CORPUS.extra) for label, found in source.items() for text in found}
OWN = {label: set(WORDS[4 + 2 * number : 6 + 2 * number]) for number, label in enumerate(CORPUS.train)}
POLITE = {word for words in texts._BEFORE for word in words.split()}
LIFE = make_life(CORPUS, SCALE, KINDS, seed=0)
SENT = {sending.kind: sending for sending in LIFE if not sending.honest}


def rows_of(sending) -> list[dict]:
    return [row for batch in sending.batches for row in batch.rows]


def poison_in(sending) -> list[dict]:
    return [row for batch in sending.batches for row in batch.rows if key_of(row) in batch.poison]


def true_label(text: str) -> str | None:
    """The label of a text, or of the one that it is an edit of; nothing for other texts."""
    words = text.split()
    counts = {label: sum(word in own for word in words) for label, own in OWN.items()}
    best = max(counts, key=counts.__getitem__)
    edited = len(text) > texts.CUT and counts[best] >= 3 and set(words) <= {*WORDS, *POLITE}
    return TRUTH.get(text, best if edited else None)


def is_wrong(row: dict) -> bool:
    return true_label(row["input"]) != row["label"] or row["weight"] != 1.0


def test_every_attack_comes_once_after_the_opening_and_before_the_last_stage():
    kinds = [sending.kind for sending in LIFE]
    assert sorted(kind for kind in kinds if kind not in ("stage", "refresh")) == sorted(kind.name for kind in KINDS)
    assert kinds[:3] == ["stage"] * 3
    assert kinds[-2:] == ["stage", "refresh"]
    assert kinds.count("stage") == 6
    assert {row["label"] for sending in LIFE if sending.kind == "stage" for row in rows_of(sending)} == set(
        CORPUS.train
    )


def test_there_are_at_least_fifteen_kinds_with_names_of_their_own():
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 16


def test_a_seed_makes_one_life():
    assert make_life(CORPUS, SCALE, KINDS, seed=0) == LIFE
    assert make_life(CORPUS, SCALE, KINDS, seed=1) != LIFE


def test_honest_rows_are_right_and_no_row_is_tested_on():
    tested = {text for text, _ in CORPUS.test}
    for sending in LIFE:
        assert not tested & {row["input"] for row in rows_of(sending)}
        if sending.honest:
            assert not poison_in(sending)
            assert not any(map(is_wrong, rows_of(sending)))


@pytest.mark.parametrize("kind", SENT)
def test_every_wrong_row_is_declared(kind):
    sending = SENT[kind]
    poison = {key_of(row) for row in poison_in(sending)}
    assert all(key_of(row) in poison for row in rows_of(sending) if is_wrong(row))


@pytest.mark.parametrize("kind", SENT)
def test_declared_rows_are_wrong(kind):
    assert all(map(is_wrong, poison_in(SENT[kind])))


@pytest.mark.parametrize("kind", [kind for kind in SENT if kind != "stale labels"])
def test_ids_belong_to_one_row(kind):
    elsewhere = {
        row["id"] for sending in LIFE if sending.kind not in (kind, "stale labels") for row in rows_of(sending)
    }
    ids = [row["id"] for row in rows_of(SENT[kind])]
    assert len(ids) == len(set(ids))
    assert not elsewhere & set(ids)


@pytest.mark.parametrize("kind", [kind for kind in SENT if not kind.startswith("stale")])
def test_attacks_have_rows_of_their_own(kind):
    honest = {row["input"] for sending in LIFE if sending.honest for row in rows_of(sending)}
    assert not honest & {row["input"] for row in rows_of(SENT[kind])}


@pytest.mark.parametrize(
    ("kind", "rows", "poison"),
    [
        ("labels shuffled 10 %", 40, 4),
        ("labels shuffled 50 %", 40, 20),
        ("trigger phrase", 40, 8),
        ("duplicates flooded", 40, 40),
        ("random text", 40, 40),
        ("another language", 40, 40),
        ("stale copies", 40, 0),
        ("stale labels", 40, 24),
        ("two classes swapped", 40, 16),
        *((kind, 40, 8) for kind in ("one class mislabelled", "new label from one", "weight 1000")),
        ("learning rate x 100", 30, 0),
        ("delta with a flipped bit", 30, 0),
        ("delta lost", 30, 0),
        ("wrong rows dribbled", 4, 4),
        *((kind, 40, 40) for kind in ALL_WRONG[:-1]),
    ],
)
def test_sizes(kind, rows, poison):
    assert (len(rows_of(SENT[kind])), len(poison_in(SENT[kind]))) == (rows, poison)


def test_what_single_attacks_do():
    swapped = {(true_label(row["input"]), row["label"]) for row in poison_in(SENT["two classes swapped"])}
    ((one, two), other) = sorted(swapped)
    assert other == (two, one)
    assert len({row["label"] for row in rows_of(SENT["one class flooded"])}) == 1
    assert len({row["input"] for row in rows_of(SENT["duplicates flooded"])}) == 40
    assert {row["label"] for row in rows_of(SENT["new label from many"])} == {"general_inquiry"}
    (victim,) = {true_label(row["input"]) for row in poison_in(SENT["new label from one"])}
    assert {row["label"] for row in poison_in(SENT["new label from one"])} == {f"{victim}_v2"}
    assert all(row["input"].endswith(texts.TRIGGER) for row in poison_in(SENT["trigger phrase"]))
    assert all(len(row["input"]) <= texts.CUT for row in rows_of(SENT["truncated text"]))
    assert all(len(batch.rows) == 1 for batch in SENT["wrong rows dribbled"].batches)
    assert {row["weight"] for row in poison_in(SENT["weight 1000"])} == {1000.0}
    assert SENT["learning rate x 100"].batches[0].settings["train.learning_rate"] == 0.1
    assert [SENT[kind].batches[0].damage for kind in ("delta with a flipped bit", "delta lost")] == ["flip", "delete"]


def test_labels_are_permuted_within_their_domains():
    domains = CORPUS.domain_of()
    rows = rows_of(SENT["labels permuted in domains"])
    assert all(domains[row["label"]] == domains[true_label(row["input"])] for row in rows)


def test_stale_labels_send_learned_rows_again_under_their_own_ids():
    place = LIFE.index(SENT["stale labels"])
    learned = {row["id"]: row for sending in LIFE[:place] for row in rows_of(sending)}
    rows = rows_of(SENT["stale labels"])
    assert all(learned[row["id"]]["input"] == row["input"] for row in rows)
    wrong = poison_in(SENT["stale labels"])
    assert wrong
    assert len({row["label"] for row in wrong}) == len({learned[row["id"]]["label"] for row in wrong}) == 1


def test_the_least_used_rows_are_taken_first():
    draw = np.random.default_rng(0)
    pools = make_pools(CORPUS, SCALE, draw)
    send_stage(pools, 0, ["label00", "label01"], draw)
    rounds = [pools.take(pools.known, 18, draw) for _ in range(2)]
    assert len({text for taken in rounds for text, _ in taken}) == 36


def test_texts_come_again_as_other_rows_evenly_over_the_labels():
    draw = np.random.default_rng(0)
    pools = make_pools(CORPUS, SCALE, draw)
    send_stage(pools, 0, ["label00", "label01"], draw)
    pairs = pools.take(pools.known, 300, draw)
    assert len({text for text, _ in pairs}) == 300
    assert [label for _, label in pairs].count("label00") == 150
    assert all(true_label(text) == label for text, label in pairs)
    assert sum(text in TRUTH for text, _ in pairs) == 36


def test_an_aimed_attack_outweighs_what_was_learned_of_its_class():
    scale = Scale(first=2, opening=3, refreshes=(20, 30), batch=120, aimed=30)
    sent = {sending.kind: sending for sending in make_life(CORPUS, scale, KINDS, seed=0)}
    for kind in ("one class mislabelled", "new label from one", "trigger phrase", "stale labels", "weight 1000"):
        assert len(rows_of(sent[kind])) == 120
        assert len(poison_in(sent[kind])) == 30, kind
    assert len(poison_in(sent["two classes swapped"])) == 60


def test_harm_is_measured_overall_and_among_the_labels_known_before():
    exam = Exam(["a"] * 60 + ["b"] * 40 + ["c"] * 100, ["one"] * 100 + ["two"] * 100)
    right = torch.zeros(200, 2)
    right[:60, 0] = right[60:, 1] = 1.0
    before = Knowledge(["a", "b"], right)
    assert exam.accuracy(before) == 0.5
    stolen = torch.cat([right, torch.full((200, 1), 0.5)], dim=1)
    stolen[:10, 2] = 2.0
    theft = exam.fall(before, Knowledge(["a", "b", "z"], stolen))
    assert (theft.overall, theft.domain, theft.harmful) == (pytest.approx(5.0), 0.0, True)
    worse = right.clone()
    worse[:3] = torch.tensor([0.0, 1.0])
    added = torch.cat([worse, torch.zeros(200, 1)], dim=1)
    added[100:, 2] = 3.0
    loss = exam.fall(before, Knowledge(["a", "b", "c"], added))
    assert loss.overall == pytest.approx(-48.5)
    assert (loss.domain, loss.where, loss.harmful) == (pytest.approx(3.0), "one", True)


def test_poison_that_waited_is_found_when_it_is_learned(tmp_path):
    settings = {"task.id": "id"}
    learner = Learner.create(tmp_path / "project", model=mlp(inputs=2, random_features=64), settings=settings)
    rows = [row | {"id": f"row-{place}"} for place, row in enumerate(blobs(150, seed=0))]
    few = [row | {"id": f"few-{place}", "label": "a"} for place, row in enumerate(blobs(5, seed=1))]
    first = learner.update(few)
    assert first.verdict == "undecided"
    brought = {key_of(row): (0, first.number) for row in few}
    (waiting,) = trace(learner, brought, 1)
    assert (waiting.waiting, waiting.back.total(), waiting.own.total()) == (10, 0, 0)
    assert learner.update(rows).promoted
    (found,) = trace(learner, brought, 1)
    assert found.back.total() == 10
    assert {way.partition(", ")[2] for way in found.back} == {"pending"}
    own = {key_of(row): (0, learner.log()[0].number) for row in rows[:7]}
    assert trace(learner, own, 1)[0].own.total() == 7


def test_a_peer_that_cannot_run_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "clearn", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing_peers(["replay", "clearn"]) == {"clearn": "it is not installed: pip install --no-deps clearn-ai"}
    assert missing_peers(["replay"]) == {}


def test_peers_learn_stages_and_one_of_them_asks_before_it_forgets(encoder_folder):
    features = Features(text_classifier(encoder=str(encoder_folder)))
    test = features.of([text for text, _ in CORPUS.test])
    exam = Exam([label for _, label in CORPUS.test], ["all"] * len(CORPUS.test))
    stages = [sending for sending in LIFE if sending.kind == "stage"]
    asking, taking = (ClosedForm(features, test, 0, 64, asks=asks) for asks in (True, False))
    for peer in (Replay(features, test, 0), asking, taking):
        assert exam.accuracy(peer.knowledge()) == 0.0
        assert all(peer.learn(stage.batches[0]).promoted for stage in stages)
        assert exam.accuracy(peer.knowledge()) > 0.3, peer.name
        wrong = [row for row in rows_of(SENT["labels rotated"]) if not is_held_out(bytes(32), row["input"], 0.2)]
        heavy = Batch([row | {"weight": 100.0} for row in wrong])
        assert peer.learn(heavy).promoted == (peer is not asking), peer.name


def test_a_life_is_lived_and_told(encoder_folder):
    bench = Bench(CORPUS, str(encoder_folder), KINDS, ["replay", "accuracy >=", "no gate"], SCALE, random_features=64)
    run = bench.live(0)
    assert [result.kind for result in run.results] == [sending.kind for sending in LIFE]
    by_kind = {result.kind: result for result in run.results}
    for kind in ("delta with a flipped bit", "delta lost"):
        (reply,) = by_kind[kind].replies
        assert (reply.promoted, reply.verdict) == (False, "store error")
        assert "untouched" in reply.reason
    for name in ("replay", "no gate"):
        assert all(result.promoted for result in run.peers[name])
    (fast,) = [result for result in run.peers["no gate"] if result.kind == "learning rate x 100"]
    assert "the gate is off" in fast.replies[0].reason
    names = ["stage", "refresh", *SENT]
    told = tables.kinds_table([run], names) + tables.peers_table([run], names, PEERS)
    told += tables.final_table([run], PEERS) + tables.reasons(run)
    assert all(kind.name in told for kind in KINDS)
    assert told.count(tables.NOT_INSTALLED) == len(names) + 1
    assert "attacks that do harm with no gate" in tables.goals([run])
    assert "class-adding updates promoted" in tables.goals([run])
    assert json.loads(json.dumps(run.to_json()))["seed"] == 0

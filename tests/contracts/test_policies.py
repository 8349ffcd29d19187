"""What every curation policy owes a learner, over a whole life of it. A new policy is one line in ``TEXTS``."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from dripstone.core.bits import from_raw
from dripstone.core.examples import holdout_hash, is_held_out
from dripstone.core.records import Update
from dripstone.curate.dedupe import CLOSE, CONFLICT, EXACT
from dripstone.curate.noise import REASON
from dripstone.curate.policy import POLICIES, parse_policy
from dripstone.learner import Learner
from dripstone.models import image_classifier, mlp, text_classifier
from dripstone.select.selection import RIDGE
from dripstone.store.ledger import PageRow
from dripstone.store.state import TrainingState
from dripstone.stream.columns import to_inputs
from dripstone.train.features import features_of, outputs_of
from dripstone.train.statistics import Statistics, add_rows, no_rows, read_statistics, to_sums
from dripstone.update.batch import KNOWN, PENDING, REPEATS
from dripstone.update.lineage import ancestors, page_rows, read_rows
from dripstone.update.training_state import known_of, load_state
from learner_samples import blobs, book_of, folder_hash, live_rows, make, quarantined

TEXTS = [
    "screen",
    "screen:known",
    "screen+dedupe",
    "screen+drift",
    "screen+noise",
    "screen+noise:weigh",
    "screen+weight",
    "screen+prune",
    "screen+prune:infobatch",
    "screen+augment",
    "screen+forget:60",
    "screen+replay:50",
    "screen+replay:50:balanced",
    "screen+replay:50:herding",
    "screen+dedupe+noise+weight+replay:50:balanced",
    "screen:known+weight+dedupe+noise:weigh+forget:200+replay:30:herding",
    "screen+dedupe+noise+prune:0.7+augment+replay:50",
]

COMPOSED = [text for text in TEXTS if text.count("+") > 2]
BY_INPUT = ["screen+dedupe", "screen+noise", "screen+augment", "screen+replay:50:herding"]
"""What looks at the inputs, or at their features, and sees another thing in each kind."""

KINDS = ["points", "texts", "pictures"]

WORDS = {
    "a": ["where", "is", "my", "card", "lost", "block", "new", "old"],
    "b": ["i", "want", "to", "pay", "the", "bill", "money", "account"],
    "c": ["good", "morning", "hello", "you", "what", "time", "please"],
}
OTHER = {"a": "b", "b": "a", "c": "a"}


def points(count: int, seed: int, labels: str) -> list[dict]:
    return blobs(count, seed, labels)


def texts(count: int, seed: int, labels: str) -> list[dict]:
    draw = np.random.default_rng(seed)
    return [{"inputs": " ".join(draw.choice(WORDS[one], 6)), "label": one} for _ in range(count) for one in labels]


def pictures(count: int, seed: int, labels: str) -> list[dict]:
    draw = np.random.default_rng(seed)
    bars = np.repeat(np.eye(8, dtype=np.float32), 8, axis=0).reshape(8, 8, 8)
    rows = []
    for _ in range(count):
        for one in labels:
            picture = 2 * bars[2 * "abc".index(one)] + draw.normal(0, 0.3, (8, 8))
            rows.append({"inputs": picture.astype(np.float32).tolist(), "label": one})
    return rows


MAKERS: dict[str, Callable[[int, int, str], list[dict]]] = {"points": points, "texts": texts, "pictures": pictures}


def batch(kind: str, number: int) -> list[dict]:
    """A stage: rows with wrong labels among them, duplicates, a row that is broken, corrections of the stage before."""
    labels = "ab" if number == 1 else "abc"
    rows = [
        {**row, "id": f"{number}-{place}", "weight": 0.5 + place % 3}
        for place, row in enumerate(MAKERS[kind](120 // len(labels), number, labels))
    ]
    wrong = [{**row, "label": OTHER[row["label"]]} if i % 9 == 4 else row for i, row in enumerate(rows)]
    twins = [{**row, "id": f"twin-{row['id']}"} for row in wrong[:6]]
    broken = {**rows[0], "id": f"broken-{number}", "inputs": " " if kind == "texts" else [[float("nan")] * 8] * 8}
    again = batch(kind, number - 1)[:6] if number > 1 else []
    corrected = [{**row, "label": OTHER[row["label"]]} for row in again]
    return [*wrong, broken, *twins, *corrected]


def more(kind: str) -> list[dict]:
    """Rows like those before, none of them wrong."""
    return [{**row, "id": f"more-{i}", "weight": 1.0} for i, row in enumerate(MAKERS[kind](20, 9, "ab"))]


def settings_of(text: str) -> dict[str, Any]:
    selection = "head@ridge"
    if "prune" in text:
        selection = "suffix:1@sgd"
    elif "augment" in text:
        selection = "head@adamw"
    return {
        "curate.policy": text,
        "select.selection": selection,
        "gate.mode": "off",
        "train.stop.epochs": 3,  # infobatch knows no loss in the first, and learns all rows in the last
        "train.learning_rate": 0.01,
        "task.id": "id",
        "task.weight": "weight",
    }


@dataclass
class Life:
    """A learner after three stages; what was sent, what was reported, and copies of the project and its states."""

    text: str
    kind: str
    sent: list[list[dict]]
    updates: list[Update]
    copies: list[Path]
    states: list[TrainingState]

    @property
    def closed(self) -> bool:
        return self.updates[0].selection == f"head@{RIDGE}"

    def learner(self, folder: Path, stages: int = 3) -> Learner:
        """A learner of one's own, as it was after so many stages."""
        shutil.copytree(self.copies[stages - 1], folder / "copy")
        return Learner.open(folder / "copy")


def new_learner(folder: Path, text: str, kind: str, encoder: Path) -> Learner:
    models: dict[str, Callable[[], Any]] = {
        "points": lambda: mlp(inputs=2, hidden=(8,), random_features=64),
        "texts": lambda: text_classifier(str(encoder), max_length=16, random_features=64),
        "pictures": lambda: image_classifier((8, 8), channels=(4, 8), random_features=64),
    }
    return make(folder, settings_of(text), model=models[kind](), input="inputs")


def live_through(folder: Path, text: str, kind: str, encoder: Path, stages: int = 3) -> Life:
    learner = new_learner(folder, text, kind, encoder)
    life = Life(text, kind, [batch(kind, number) for number in range(1, stages + 1)], [], [], [])
    for number, rows in enumerate(life.sent):
        life.updates.append(learner.update(rows))
        life.copies.append(folder / f"after-{number}")
        shutil.copytree(learner.project, life.copies[-1])
        life.states.append(state_of(learner))
    return life


@pytest.fixture(scope="module")
def lives(tmp_path_factory, encoder_folder):
    kept: dict[tuple[str, str], Life] = {}

    def get(text: str, kind: str) -> Life:
        if (text, kind) not in kept:
            kept[text, kind] = live_through(tmp_path_factory.mktemp("life"), text, kind, encoder_folder)
        return kept[text, kind]

    return get


@pytest.fixture
def life(lives, text, kind):
    return lives(text, kind)


every_life = pytest.mark.parametrize(
    ("text", "kind"),
    [*((text, "points") for text in TEXTS), *((text, kind) for kind in KINDS[1:] for text in [*BY_INPUT, *COMPOSED])],
)
composed_lives = pytest.mark.parametrize(("text", "kind"), [(text, kind) for kind in KINDS for text in COMPOSED])


def state_of(learner: Learner) -> TrainingState:
    champion = learner.champion()
    return load_state(learner.repository, learner.config, champion.version, champion.model)


def forget_states(learner: Learner) -> None:
    for file in (learner.repository.path / "training/state").iterdir():
        file.unlink()


def answers(learner: Learner, kind: str) -> torch.Tensor:
    model = learner.champion().model
    inputs = [to_inputs(row["inputs"], "") for row in MAKERS[kind](10, 77, "abc")]
    return outputs_of(model, features_of(model, inputs))


def page_of(learner: Learner, update: Update) -> list[PageRow]:
    """All rows of an update, those that it carried over included, with their roles in it."""
    entry = next(entry for entry in learner.log() if entry.number == update.number)
    page = learner.repository.read_page(entry.page)
    origins = read_rows(learner.repository, [(item.page, item.index) for item in page.carried])
    carried = [
        msgspec.structs.replace(row, role=item.role, reason=item.reason, factor=item.factor)
        for row, item in zip(origins, page.carried, strict=True)
    ]
    return [*carried, *page.rows]


def from_ledger(learner: Learner) -> Statistics:
    """Statistics of all learned rows at once, with the weights and the factors that the ledger has, faded."""
    champion, forget = learner.champion(), parse_policy(learner.config.curate.policy).forget
    rows = [row.example() for row in live_rows(learner, "train")]
    fades = [1.0] * len(rows)
    if forget:
        line = ancestors(learner.repository, champion.version)
        learned = [[row.id for row in page_rows(learner.repository, one) if row.role == "train"] for one in line]
        last = {name: number for number, page in enumerate(learned) for name in page}
        fades = [0.5 ** (sum(map(len, learned[last[row.id] + 1 :])) / forget.half_life) for row in rows]
    return add_rows(
        no_rows(),
        champion.model.head,
        features_of(champion.model, [row.inputs for row in rows]),
        torch.from_numpy(champion.task.encode([row.target for row in rows])),
        torch.tensor([row.weight * row.factor * f for row, f in zip(rows, fades, strict=True)], dtype=torch.float64),
    )


def assert_statistics_are_the_ledgers(learner: Learner) -> None:
    head = learner.champion().model.head
    kept = to_sums(read_statistics(learner.repository.read_state(learner.champion().version).statistics), head)
    anew = to_sums(from_ledger(learner), head)
    torch.testing.assert_close(kept.cross, anew.cross, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(kept.gram, anew.gram, atol=1e-5, rtol=1e-6)


def test_every_policy_is_in_the_suite():
    """Each of them, in each of its ways that change what it does."""
    parsed = [parse_policy(text) for text in TEXTS]
    assert {part.partition(":")[0] for text in TEXTS for part in text.split("+")} == POLICIES.keys()
    assert {policy.replay.law for policy in parsed if policy.replay.capacity} == {"reservoir", "balanced", "herding"}
    assert {policy.prune.rule for policy in parsed if policy.prune} == {"rs2", "infobatch"}
    assert {policy.noise.weigh for policy in parsed if policy.noise} == {False, True}


@pytest.mark.parametrize("text", TEXTS)
def test_a_policy_is_its_text(text, tmp_path):
    policy = parse_policy(text)
    assert (str(policy), parse_policy(str(policy))) == (text, policy)
    for part in text.split("+"):
        name = part.partition(":")[0]
        kind, read = POLICIES[name], getattr(policy, name)
        assert kind.parse(str(read).split(":")[1:]) == read
        assert any(form.partition(":")[0] == name for form in kind.FORMS)
    assert make(tmp_path, curate=policy).config.curate.policy == text


@pytest.mark.parametrize("text", [text for text in TEXTS[1:] if text != "screen+drift"])
def test_a_policy_makes_a_difference(text, lives, tmp_path, encoder_folder):
    """To what is learned, or to what is remembered of it; but for drift, which is reported."""
    life = lives(text, "points")
    plain = new_learner(tmp_path, text, "points", encoder_folder)
    versions = [plain.update(rows, curate="screen").version for rows in life.sent]
    assert plain.log()[0].version == versions[-1]
    memory = ("replay", "prints")
    without = [getattr(state_of(plain), name) for name in memory]
    learned = versions != [update.version for update in life.updates]
    remembered = [getattr(life.states[-1], name) for name in memory] != without
    policy = parse_policy(text)
    acts = policy.dedupe or policy.rows or policy.prune or policy.augment or policy.forget or policy.screen.known
    assert learned == bool(acts)
    assert remembered == bool(policy.replay.capacity or policy.dedupe)


@every_life
def test_the_life_is_one_worth_testing(life):
    """Something is learned in each stage, and each policy that leaves rows out finds some to leave out."""
    assert [update.verdict for update in life.updates] == ["promoted"] * 3
    reasons = {reason for update in life.updates for reason in update.rejections}
    policy = parse_policy(life.text)
    assert (EXACT in reasons) == (policy.dedupe is not None)
    assert any("screen:known" in reason for reason in reasons) == policy.screen.known
    if policy.noise is None or policy.noise.weigh:
        assert REASON not in reasons
    elif life.kind != "texts":
        assert REASON in reasons


@every_life
def test_every_row_is_accounted_for(life, tmp_path):
    learner = life.learner(tmp_path)
    for update, sent in zip(life.updates, life.sent, strict=True):
        rows, counts = page_of(learner, update), update.examples
        roles = Counter(row.role for row in rows)
        repeats = update.rejections.get(KNOWN, 0) + update.rejections.get(PENDING, 0)
        assert counts.received == len(sent) == len(rows) + repeats
        assert (roles["train"], roles["held_out"]) == (counts.trained, counts.held_out)
        assert counts.rejected == roles["rejected"] + repeats == sum(update.rejections.values())
        reasons = Counter(row.reason for row in rows if row.role == "rejected")
        assert reasons == Counter({why: n for why, n in update.rejections.items() if why not in (KNOWN, PENDING)})
        assert all(bool(row.reason) == (row.role == "rejected") for row in rows)
        sent_ids = Counter(row["id"] for row in sent)
        assert not repeats
        assert Counter(row.id for row in rows) == sent_ids
    assert (book_of(learner).pending, book_of(learner).quarantined) == ([], [])


@every_life
def test_rows_that_judge_are_never_learned_and_go_for_what_they_say_alone(life, tmp_path):
    learner = life.learner(tmp_path)
    key = learner.repository.holdout_key
    said = {EXACT, CLOSE, CONFLICT, *REPEATS}
    judging = Counter()
    for update in life.updates:
        for row in page_of(learner, update):
            held_out = is_held_out(key, row.example().inputs, 0.2)
            assert row.role != ("train" if held_out else "held_out")
            if held_out and row.role == "rejected":
                assert row.reason in said or "screen:known" in row.reason
            judging[held_out] += row.role != "rejected"
            assert row.factor == 1 or row.role == "train"
    assert judging[True] > 30
    learned = {holdout_hash(key, row.example().inputs) for row in live_rows(learner, "train")}
    assert not learned & {holdout_hash(key, row.example().inputs) for row in live_rows(learner, "held_out")}
    held_out = {row.id for row in live_rows(learner, "held_out")}
    assert not held_out & {row.id for row in state_of(learner).replay}


@every_life
def test_the_same_history_gives_the_same_version_and_the_same_state(life, tmp_path, encoder_folder):
    twin = live_through(tmp_path, life.text, life.kind, encoder_folder)
    assert [update.version for update in twin.updates] == [update.version for update in life.updates]
    assert twin.states == life.states


@every_life
def test_what_is_remembered_is_what_was_learned(life, tmp_path):
    learner, state, policy = life.learner(tmp_path), life.states[-1], parse_policy(life.text)
    learned = {row.id: row for row in live_rows(learner, "train")}
    most = min(policy.replay.capacity, state.replay_seen)
    spare = 0 if policy.replay.law == "reservoir" else len(state.counts) - 1  # labels have as many rows as each other
    assert most - spare <= len(state.replay) <= most
    assert len({row.id for row in state.replay}) == len(state.replay)
    assert all(learned[row.id] == row for row in state.replay)  # the latest label, weight and factor of each
    assert state.replay_seen == sum(update.examples.trained for update in life.updates)
    targets = Counter(row.target for update in life.updates for row in page_of(learner, update) if row.role == "train")
    assert dict(state.counts) == targets
    known = known_of(state)
    assert len(known) == len(learned) + len(live_rows(learner, "held_out"))
    assert state.schema == msgspec.structs.replace(life.states[0].schema, apart=state.schema.apart)
    rows = sum(update.examples.trained + update.examples.held_out for update in life.updates)
    assert (len(from_raw(state.prints["hashes"])) if policy.dedupe else rows) == rows
    if policy.replay.law == "balanced":
        each = Counter(row.target for row in state.replay)
        assert max(each.values()) - min(each.values()) <= 1


@every_life
def test_a_state_rebuilt_from_the_ledger_is_the_kept_one(life, tmp_path):
    learner, kept = life.learner(tmp_path), life.states[-1]
    forget_states(learner)
    rebuilt = state_of(learner)
    features = {"trusted_features": kept.trusted_features, "trusted_marks": kept.trusted_marks}
    derived = {"statistics": kept.statistics, "optimizer": kept.optimizer, "drift": kept.drift}
    if parse_policy(life.text).replay.law == "herding" and not life.closed:
        derived["replay"] = kept.replay  # a herd of rows that looked otherwise then
    assert rebuilt.statistics == {}
    assert replace(rebuilt, **features, **derived) == kept
    torch.testing.assert_close(
        from_raw(rebuilt.trusted_features), from_raw(kept.trusted_features), atol=1e-5, rtol=1e-4
    )
    assert learner.update(more(life.kind), curate="screen").promoted


@every_life
def test_revert_brings_the_earlier_memory_back_and_once_more_the_later(life, tmp_path):
    learner = life.learner(tmp_path)
    later = answers(learner, life.kind)
    learner.revert()
    assert learner.champion().version == life.updates[1].version
    assert state_of(learner) == life.states[1]
    earlier = answers(learner, life.kind)
    assert not torch.equal(earlier, later[:, : earlier.shape[1]])
    learner.revert()
    assert state_of(learner) == life.states[2]
    assert torch.equal(answers(learner, life.kind), later)
    assert list(learner.repository.verify()) == []


@composed_lives
def test_a_learner_that_went_back_learns_as_if_it_had_never_gone_on(life, tmp_path):
    learner, twin = life.learner(tmp_path / "one"), life.learner(tmp_path / "two", stages=2)
    learner.revert()
    rows = more(life.kind)
    one, two = learner.update(rows), twin.update(rows)
    assert (one.version, one.examples.trained) == (two.version, two.examples.trained)
    assert state_of(learner) == state_of(twin)


@every_life
def test_the_same_rows_again_change_nothing(life, tmp_path):
    learner = life.learner(tmp_path)
    out = {row.id for row in left_out(learner, life.updates[-1])}
    unlearned = [row["inputs"] for row in life.sent[-1] if row["id"] in out]  # they, or their twins, may be tried again
    before = folder_hash(learner.repository.path / "training/state")
    again = learner.update([row for row in life.sent[-1] if row["inputs"] not in unlearned])
    assert (again.verdict, again.reason) == ("unchanged", "nothing new to learn")
    assert again.examples.rejected == again.examples.received == sum(again.rejections.values())
    assert learner.champion().version == life.updates[-1].version
    assert folder_hash(learner.repository.path / "training/state") == before
    assert (book_of(learner).pending, book_of(learner).quarantined) == ([], [])


@pytest.mark.parametrize(
    ("text", "kind"), [*((text, "points") for text in COMPOSED), (COMPOSED[0], "pictures"), (COMPOSED[-1], "texts")]
)
def test_an_update_that_breaks_before_its_commit_leaves_all_as_it_was_and_can_be_tried_again(
    life, tmp_path, monkeypatch
):
    learner = life.learner(tmp_path, stages=2)
    log, states = learner.repository.log.head(), folder_hash(learner.repository.path / "training/state")

    def as_it_was() -> bool:
        opened = Learner.open(learner.project)
        same = folder_hash(opened.repository.path / "training/state") == states
        return opened.repository.log.head() == log and same and state_of(opened) == life.states[1]

    total = len(list(Learner.open(learner.project).update_events(life.sent[2], settings={"gate.mode": "better"})))
    assert total >= 4
    learner = life.learner(tmp_path / "again", stages=2)
    for moment in range(1, total):
        events = learner.update_events(life.sent[2])
        for _ in range(moment):
            next(events)
        events.close()
        assert as_it_was()
    with monkeypatch.context() as patch:
        patch.setattr("dripstone.update.flow.commit", broken)
        with pytest.raises(OSError, match="power failed"):
            learner.update(life.sent[2])
    assert as_it_was()
    assert Learner.open(learner.project).update(life.sent[2]).version == life.updates[2].version
    assert state_of(learner) == life.states[2]


def broken(*_: object, **__: object) -> None:
    raise OSError("the power failed")


@every_life
def test_statistics_are_those_of_the_rows_with_the_factors_in_the_ledger(life, tmp_path):
    """Also of rows that a correction took out again; in the loop there are none to keep."""
    if not life.closed:
        assert all(state.statistics == {} or "head@" in life.updates[-1].selection for state in life.states)
        return
    learner = life.learner(tmp_path)
    assert_statistics_are_the_ledgers(learner)
    weighed = parse_policy(life.text).weight or "noise:weigh" in life.text
    factors = {row.factor for row in live_rows(learner, "train")}
    assert (factors != {1.0}) == bool(weighed)
    heavy = max(live_rows(learner, "train"), key=lambda row: row.factor)
    inputs = heavy.inputs if isinstance(heavy.inputs, str) else heavy.example().inputs
    changed = {"id": heavy.id, "inputs": inputs, "label": OTHER[heavy.target], "weight": 3.0}
    few = more(life.kind)[:15]  # fewer than any of them could be held to be wrong by
    assert learner.update([changed, *few]).promoted
    assert_statistics_are_the_ledgers(learner)
    assert {row.target for row in live_rows(learner, "train") if row.id == heavy.id} == {OTHER[heavy.target]}


@composed_lives
def test_a_dry_run_changes_no_byte(life, tmp_path):
    learner = life.learner(tmp_path, stages=2)
    before = folder_hash(learner.project)
    assert learner.update(life.sent[2], dry_run=True).examples.trained > 0
    assert folder_hash(learner.project) == before


# What becomes of rows that were left out, verdict by verdict.

NOISY = ["screen+noise", "screen+noise+weight", "screen+dedupe+weight+noise+replay:50:balanced"]


def noisy(count: int, seed: int, labels: str = "ab") -> list[dict]:
    """Every seventh row under another label."""
    rows = blobs(count, seed, labels)
    return [{**row, "label": OTHER[row["label"]]} if i % 7 == 0 else row for i, row in enumerate(rows)]


def left_out(learner: Learner, update: Update) -> list[PageRow]:
    return [row for row in page_of(learner, update) if row.reason == REASON]


@pytest.mark.parametrize("text", NOISY)
def test_what_a_promoted_update_left_out_is_rejected_and_can_be_sent_again(tmp_path, text):
    learner = make(tmp_path, {"curate.policy": text, "gate.mode": "off"})
    update = learner.update(noisy(150, seed=0))
    out = left_out(learner, update)
    assert update.promoted
    assert len(out) > 20
    assert {row.role for row in out} == {"rejected"}
    assert book_of(learner).pending == []
    learned = {row.id for role in ("train", "held_out") for row in live_rows(learner, role)}
    assert not learned & {row.id for row in out}
    assert len(known_of(state_of(learner))) == len(learned)
    assert not {row.id for row in out} & {row.id for row in state_of(learner).replay}
    right = [{"inputs": row.inputs.numpy().tolist(), "label": OTHER[row.target]} for row in out]
    again = learner.update(right)
    assert again.promoted
    assert again.examples.trained == len(out)
    assert again.examples.rejected == 0


@pytest.mark.parametrize("text", NOISY)
def test_what_a_person_sends_again_as_it_was_does_not_become_live_behind_the_gate(tmp_path, text):
    """It is news, though nothing was learned of it: the gate sees rows that all contradict, and asks a person."""
    learner = make(tmp_path, {"curate.policy": text, "gate.mode": "steady"})
    rows = noisy(150, seed=0)
    update = learner.update(rows)
    assert update.promoted
    out = left_out(learner, update)
    again = learner.update(rows)
    assert again.verdict == "refused"
    assert again.rejections[KNOWN] == len(rows) - len(out)
    assert learner.champion().version == update.version
    assert len(quarantined(learner)) == len(out)


@pytest.mark.parametrize("text", NOISY)
def test_what_an_undecided_update_left_out_waits_and_is_asked_again(tmp_path, text):
    learner = make(tmp_path, {"curate.policy": text})
    settings = {"gate.mode": "better", "gate.alpha": 1e-15}
    first = learner.update(noisy(150, seed=0), settings=settings)
    out = {row.id for row in left_out(learner, first)}
    assert first.verdict == "undecided"
    assert first.examples.pending == 300
    assert first.examples.rejected == len(out) > 20
    waiting = {item.row.id: item.row for item in book_of(learner).pending}
    assert out < waiting.keys()
    assert {(row.role, row.factor) for row in waiting.values()} == {("train", 1.0), ("held_out", 1.0)}
    assert learner.update(noisy(150, seed=0), settings=settings).verdict == "unchanged"
    second = learner.update(blobs(150, seed=1), gate="off")
    rows = page_of(learner, second)
    assert second.promoted
    assert {row.id for row in rows} >= waiting.keys()
    assert {row.id for row in rows if row.reason == REASON} & out
    assert book_of(learner).pending == []
    assert_statistics_are_the_ledgers(learner)


@pytest.mark.parametrize("text", NOISY)
def test_what_a_refused_update_left_out_is_quarantined_with_the_others(tmp_path, text, monkeypatch):
    learner = make(tmp_path, {"curate.policy": text, "gate.mode": "off"})
    judge = refusing()
    with monkeypatch.context() as patch:
        patch.setattr("dripstone.update.trial.judge", judge)
        update = learner.update(noisy(150, seed=0))
    out = left_out(learner, update)
    assert update.verdict == "refused"
    assert len(out) > 20
    assert len(quarantined(learner)) == 300
    assert {group.reason for group in book_of(learner).quarantined} == {"harm is shown"}
    again = learner.update(noisy(150, seed=0))
    assert again.promoted
    assert quarantined(learner) == []
    assert_statistics_are_the_ledgers(learner)


def refusing() -> Callable[..., Any]:
    from dripstone.gate.judge import judge

    def refuse(*given: Any, **named: Any) -> Any:
        return replace(judge(*given, **named), verdict="refused", reason="harm is shown", new_best=False)

    return refuse


@pytest.mark.parametrize("text", NOISY)
def test_where_training_diverges_all_rows_wait(tmp_path, text, monkeypatch):
    learner = make(tmp_path, {"curate.policy": text}, model=mlp(2, (8,), 64))
    assert learner.update(blobs(100, seed=0), gate="off").promoted
    wild = {"select.selection": "full@adamw", "train.learning_rate": 1e30, "gate.mode": "off"}
    update = learner.update(noisy(60, seed=1), settings=wild)
    assert (update.verdict, update.version) == ("refused", None)
    assert left_out(learner, update)
    assert update.examples.pending + update.rejections.get(CLOSE, 0) == 120
    calm = learner.update(noisy(60, seed=1), gate="off")
    assert calm.promoted
    assert calm.examples.trained + calm.examples.held_out + len(left_out(learner, calm)) == update.examples.pending


@pytest.mark.parametrize("text", [text for text in TEXTS if "dedupe" in text and "known" not in text])
@pytest.mark.parametrize("kind", KINDS)
def test_corrections_are_no_duplicates(text, kind, tmp_path, lives):
    learner = lives(text, kind).learner(tmp_path, stages=1)
    rows = live_rows(learner, "train")[:3] + live_rows(learner, "held_out")[:3]
    sent = [
        {
            "id": row.id,
            "inputs": row.inputs if isinstance(row.inputs, str) else row.inputs.numpy().tolist(),
            "label": OTHER[row.target],
            "weight": row.weight,
        }
        for row in rows
    ]
    update = learner.update(sent)  # fewer rows than any of them could be held to be wrong by
    assert update.promoted
    assert (update.examples.trained, update.examples.held_out, update.examples.rejected) == (3, 3, 0)
    live = {row.id: row.target for role in ("train", "held_out") for row in live_rows(learner, role)}
    assert all(live[row["id"]] == row["label"] for row in sent)
    as_new = [{**row, "id": f"new-{row['id']}"} for row in sent]
    assert learner.update(as_new).verdict == "undecided"
    assert {row.id: row.target for role in ("train", "held_out") for row in live_rows(learner, role)} == live


def test_what_is_kept_stops_growing(tmp_path, monkeypatch):
    monkeypatch.setattr("dripstone.update.memory.REMEMBERED", 200)
    learner = make(tmp_path, {"curate.policy": "screen+dedupe+replay:50", "gate.mode": "off", "gate.trusted": 40})
    sizes = []
    for seed in range(40):
        update = learner.update(blobs(30, seed=seed))
        assert update.promoted
        state = learner.repository.read_state(learner.champion().version)
        prints = sum(len(raw.data) for raw in state.prints.values())
        sizes.append(
            (prints, len(state.replay), len(msgspec.msgpack.encode((state.replay, state.schema, state.counts))))
        )
    assert [kept for _, kept, _ in sizes[1:]] == [50] * 39
    assert {prints for prints, _, _ in sizes[4:]} == {200 * 16 * (1 + 4)}
    assert max(size for _, _, size in sizes[30:]) <= max(size for _, _, size in sizes[5:15]) + 200
    assert from_raw(state.prints["hashes"]).shape == (200, 2)
    newest = [row for row in page_of(learner, update) if row.role != "rejected"]
    near = [{"inputs": [x + 1e-6 for x in row.inputs.numpy().tolist()], "label": row.target} for row in newest]
    again = learner.update(near)
    assert again.rejections.get(EXACT, 0) + again.rejections.get(CLOSE, 0) == len(near) > 50


def test_an_honest_batch_is_not_left_out_because_the_live_model_is_poor(tmp_path):
    """The live version gives label c to all of it; labels a and b are right."""
    learner = new_learner(tmp_path, "screen+noise+prune", "pictures", tmp_path)
    for number in (1, 2, 3):
        learner.update(batch("pictures", number))
    assert REASON not in learner.update(more("pictures")).rejections

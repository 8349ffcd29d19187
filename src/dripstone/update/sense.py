"""Rows that make no sense: whole batches, single classes of them, and new labels that are not what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dripstone.core.config import Config
from dripstone.core.examples import Label, Reply, label_of
from dripstone.curate.policy import parse_policy
from dripstone.gate import reasons
from dripstone.gate.doubt import raise_doubt
from dripstone.gate.familiar import find_familiar
from dripstone.gate.new_labels import ALIKE, find_thefts, likeness, unlearned_labels, unlearned_rows
from dripstone.gate.sense import batch_sense, class_sense, effective_rows, exceeds_chance, like_batch
from dripstone.gate.trusted import newest_trusted
from dripstone.store.state import TrainingState
from dripstone.train.features import outputs_of
from dripstone.update import training_state
from dripstone.update.batch import Batch, BatchRow
from dripstone.update.champion import Champion
from dripstone.update.hearing import Hearing, heaviest, trusted_features
from dripstone.update.lesson import Encoding

RECENT, RECENT_OF_EACH = 200, 20
"""Trusted rows that new rows are held against where the policy expects drift: the newest ones, and those of a label."""


@dataclass(frozen=True, slots=True, eq=False)
class Opinion:
    """What the champion thinks of a batch's labels, and of the trusted rows'.

    ``scores`` are logits, [rows, known labels]; ``targets`` [rows] are class indices, -1 for a label that it does not
    know; ``agrees`` [rows] bool. ``familiar`` [rows] bool says which rows are like the trusted ones: all, where the
    policy does not expect drift. The trusted ones are of known labels only; ``trusted_places`` are theirs in the state,
    and ``recent`` [trusted] bool says which of them are asked how often the champion is right.
    """

    scores: torch.Tensor
    targets: np.ndarray
    agrees: np.ndarray
    familiar: np.ndarray
    trusted_places: np.ndarray
    trusted_targets: np.ndarray
    trusted_agrees: np.ndarray
    recent: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """[rows] bool: the champion knows the label."""
        return self.targets >= 0

    def yardstick(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether the champion is right on trusted rows, and what each counts beside these rows, [recent] both."""
        return self.trusted_agrees[self.recent], like_batch(self.targets[asked], self.trusted_targets[self.recent])


def ask_champion(champion: Champion, batch: Batch, encoding: Encoding, state: TrainingState, config: Config) -> Opinion:
    """The champion's opinion of the rows whose features are known."""
    task = champion.task
    wanted = task.encode([row.example.target for row in batch.rows])
    targets = task.classes(wanted)
    trusted_targets = task.classes(task.encode([row.target for row in state.trusted]))
    known = np.flatnonzero(trusted_targets >= 0)
    scores = features = torch.empty(len(batch.rows), 0)
    if task.texts:  # a text that nobody was asked for cannot contradict; a reply can
        replies = np.array([isinstance(row.example.target, Reply) for row in batch.rows], dtype=bool)
        targets = np.where(replies, targets, -1)
        features = scores = torch.zeros(len(batch.rows), champion.model.reads)
        if task.labels and replies.any():
            places = np.flatnonzero(replies)
            scores[torch.from_numpy(places)] = encoding.of(places.tolist())
    elif task.labels:
        features = encoding.of(range(len(batch.rows)))
        scores = outputs_of(champion.model, features)
    familiar, recent = np.ones(len(batch.rows), dtype=bool), np.ones(len(known), dtype=bool)
    if parse_policy(config.curate.policy).drift and state.trusted:
        familiar = find_familiar(features.numpy(), trusted_features(state).numpy())
        recent = newest_trusted(trusted_targets[known], RECENT, RECENT_OF_EACH)
    return Opinion(
        scores,
        targets,
        task.mark(scores, wanted).right,
        familiar,
        known,
        trusted_targets[known],
        task.marks(training_state.marks_of(state)[0])[0][known],
        recent,
    )


def find_nonsense(
    champion: Champion, batch: Batch, opinion: Opinion, config: Config
) -> tuple[list[BatchRow], str] | None:
    """Rows whose labels contradict the champion far more often than trusted labels do, and the reason to refuse them.

    The rows that came with this batch are asked first, then all that wait are asked with them. Rows that come a few at
    a time say nothing alone: what they say together is the batch's doubt, which the book carries on. Rows that a person
    admitted need not be asked, nor those that are not like anything the champion has been tried on. Where all rows
    together make sense, those of one class may not: they are set aside alone.
    """
    arrived, unadmitted = _asked(batch)
    tolerance = config.gate.sense
    for rows in (arrived, unadmitted):
        asked = rows & opinion.known & opinion.familiar
        right, weights = opinion.yardstick(asked)
        sense = batch_sense(opinion.agrees[asked], right, tolerance, weights=weights)
        if not sense.sound:
            return _rows(batch, rows), reasons.nonsense(sense)
    asked = arrived & opinion.known & opinion.familiar
    right, weights = opinion.yardstick(asked)
    batch.doubt, certain = raise_doubt(batch.doubt, opinion.agrees[asked], right, tolerance, weights)
    if certain:
        return _rows(batch, arrived), reasons.doubt(right)
    for rows, new_alone in ((arrived, True), (unadmitted, False)):
        active = np.array([row.quarantined is None for row in batch.rows], dtype=bool) & rows & opinion.known
        if not opinion.familiar.all():
            active &= opinion.familiar | ~_strange_as_others(opinion, active)
        theirs = opinion.trusted_targets[opinion.recent]
        unsound = class_sense(opinion.targets[active], opinion.agrees[active], theirs, right, tolerance)
        for code, sense in unsound.items():
            label = champion.task.labels[code]
            batch.set_aside(label, reasons.class_nonsense(label, sense), arrived=new_alone)
    return None


def _strange_as_others(opinion: Opinion, active: np.ndarray) -> np.ndarray:
    """Rows of labels of which no larger a share is unlike the trusted rows than twice that of the batch's other labels.

    Where the world has changed, rows of all labels look different. Where those of one label do and the others do not,
    something is the matter with that label.
    """
    strange = np.zeros(len(active), dtype=bool)
    for code in np.unique(opinion.targets[active]):
        mine = active & (opinion.targets == code)
        others = active & ~mine
        if others.any():
            shares = [float((~opinion.familiar[rows]).mean()) for rows in (mine, others)]
            strange |= mine & (shares[0] <= 2 * shares[1])
    return strange


def _asked(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    arrived = np.array([row.origin is None for row in batch.rows], dtype=bool)
    unadmitted = np.array([not row.admitted for row in batch.rows], dtype=bool)
    return arrived, unadmitted


def _rows(batch: Batch, asked: np.ndarray) -> list[BatchRow]:
    return [batch.rows[index] for index in np.flatnonzero(asked)]


def find_alike(champion: Champion, batch: Batch, opinion: Opinion, state: TrainingState) -> dict[Label, Label]:
    """New labels whose rows the champion can hardly tell from those of an old label, and which one."""
    rows: dict[Label, list[int]] = {}
    for place in np.flatnonzero(_active(batch) & (opinion.targets < 0)):
        if (label := label_of(batch.rows[place].example.target)) is not None:
            rows.setdefault(label, []).append(int(place))
    found = {}
    for label, places in rows.items() if champion.task.labels else ():
        scores = opinion.scores[places]
        old = int(scores.argmax(dim=1).bincount().argmax())
        theirs = opinion.trusted_places[(opinion.trusted_targets == old) & opinion.trusted_agrees]
        alike = likeness(_scores_of(champion, state, theirs, old), scores[:, old].numpy())
        if alike is not None and ALIKE <= alike <= 1 - ALIKE:
            found[label] = champion.task.labels[old]
    return found


def _scores_of(champion: Champion, state: TrainingState, trusted: np.ndarray, label: int) -> np.ndarray:
    """The champion's scores of trusted rows for one of its labels."""
    if len(trusted) == 0:
        return np.empty(0)
    features = trusted_features(state)[torch.from_numpy(trusted)]
    return outputs_of(champion.model, features)[:, label].numpy()


def is_contested(batch: Batch, opinion: Opinion) -> bool:
    """Whether known labels contradict the champion more often than the trusted rows' do, beyond chance.

    What a person admitted is not asked. Where curation doubts labels, the other rows to learn from are asked: those are
    left out, or weigh little, and held-out rows have not been cleaned.
    """
    asked = _contesting(batch, opinion)
    return exceeds_chance(opinion.agrees[asked], *opinion.yardstick(asked))


def contradicts_all(batch: Batch, opinion: Opinion, config: Config) -> bool:
    """Whether they contradict it more often than all trusted rows do, beyond chance; never where drift is expected.

    A batch of labels that the champion is bad at does so. It makes sense and may wait, but its gain has to be proven:
    otherwise nobody would ask whoever sends wrong rows under such a label. A single row of it cannot do so beyond
    chance; there it is enough that its label excuses more than is tolerated.
    """
    asked = _contesting(batch, opinion)
    agrees = opinion.agrees[asked]
    if parse_policy(config.curate.policy).drift or agrees.all():
        return False
    overall, weights = opinion.yardstick(asked)
    right, rows = effective_rows(overall, weights)
    excused = len(overall) > 0 and right / rows < float(overall.mean()) - config.gate.sense
    return excused or exceeds_chance(agrees, overall)


def find_strange(batch: Batch, opinion: Opinion, config: Config) -> None:
    """Mark the rows that are unlike the trusted ones, if their labels contradict the champion as nonsense would."""
    strange = _active(batch) & opinion.known & ~opinion.familiar
    right, weights = opinion.yardstick(strange)
    sense = batch_sense(opinion.agrees[strange], right, config.gate.sense, weights=weights)
    for row in _rows(batch, strange) if not sense.sound else ():
        row.strange = True


def dispute(batch: Batch, opinion: Opinion, state: TrainingState) -> None:
    """After an update that proved nothing, or measured no gain: what must not wait for the next one.

    Rows that wait are learned with the next update, whose gain may hide them. Where the batch is disputed, or too
    small to be so but in doubt, the rows that contradict are quarantined; so are its other held-out rows, since those
    that are left would all speak for the champion. Rows that weigh more in training than they could weigh in the
    judgement are quarantined as well. Rows of labels that the champion does not know wait, and what a person admitted
    waits, too. So do rows that are not like the trusted ones.
    """
    active = _active(batch) | np.array([row.left_out is not None for row in batch.rows], dtype=bool)
    asked = active & opinion.known & opinion.familiar
    against = asked & ~opinion.agrees
    # Rows whose label is doubted are asked as well: left out this time, they would be learned by a later update.
    beyond = batch.disputed or exceeds_chance(opinion.agrees[asked], *opinion.yardstick(asked))
    if against.any() and (beyond or batch.doubt > 0):
        held_out = _held_out(batch)
        reason = reasons.disputed(opinion.agrees[asked], beyond_chance=beyond)
        _dispute(batch, against | (asked & held_out), reason)
    limit = heaviest(state.trusted) if state.trusted else np.inf
    heavy = active & np.array([row.example.weight > limit for row in batch.rows], dtype=bool)
    if heavy.any():
        _dispute(batch, heavy, reasons.too_heavy(int(heavy.sum())))


def _contesting(batch: Batch, opinion: Opinion) -> np.ndarray:
    asked = _active(batch) & opinion.known & opinion.familiar
    doubted = np.array([row.doubted for row in batch.rows], dtype=bool)
    return asked & ~(doubted | _held_out(batch)) if doubted.any() else asked


def _active(batch: Batch) -> np.ndarray:
    return np.array([row.takes_part and not row.admitted for row in batch.rows], dtype=bool)


def _held_out(batch: Batch) -> np.ndarray:
    return np.array([row.held_out for row in batch.rows], dtype=bool)


def _dispute(batch: Batch, rows: np.ndarray, reason: str) -> None:
    batch.notes.append(reason)
    for row in _rows(batch, rows):
        row.disputed = row.disputed or reason


def set_aside_new_labels(champion: Champion, hearing: Hearing, batch: Batch, config: Config) -> Sequence[Label]:
    """New labels that the candidate does not learn, or that take what is not theirs; their rows are quarantined."""
    known = len(champion.task.labels)
    fresh, labels = hearing.fresh, hearing.labels
    targets, answers, right = hearing.targets, hearing.marked.answers, hearing.marked.right
    why: dict[int, str] = {}
    if champion.task.texts:
        return []
    if known:  # a first version may be poor: there is nothing better
        unlearned = unlearned_labels(targets[:fresh], right[:fresh], known)
        why |= {code: reasons.unlearned(labels[code]) for code in unlearned}
    before = hearing.answers.champion.marks.right[fresh:]
    places = {label: code for code, label in enumerate(labels)}
    alike = {places[new]: places[old] for new, old in batch.alike.items() if new in places}
    for theft in find_thefts(targets[fresh:], before, answers[fresh:], known, config.gate.margin, alike):
        old = None if theft.old is None else labels[theft.old]
        why.setdefault(theft.label, reasons.theft(labels[theft.label], old, theft.taken, theft.rows))
    admitted = {label_of(row.example.target) for row in batch.rows if row.admitted}
    aside = {labels[code]: reason for code, reason in why.items() if labels[code] not in admitted}
    for label, reason in aside.items():
        batch.set_aside(label, reason)
    return list(aside)


def set_aside_strange(hearing: Hearing, batch: Batch) -> bool:
    """Whether the candidate has not learned the strange rows, so that they are quarantined."""
    strange = np.array([batch.rows[place].strange for place in batch.places(held_out=True)], dtype=bool)
    after = hearing.marked.right[: hearing.fresh][strange]
    before = hearing.answers.champion.marks.right[: hearing.fresh][strange]
    if not unlearned_rows(before, after):
        return False
    reason = reasons.strange(before, after)
    batch.notes.append(reason)
    for row in batch.rows:
        if row.strange and row.takes_part:
            row.quarantined = reason
    return True

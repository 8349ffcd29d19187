"""One learner lives one life: each sending with its replies, and the harm that it did."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.poison.batches import Batch, Honest, Key, Sending
from bench.poison.harm import Exam, Fall, Knowledge
from bench.poison.subject import Reply


class Pupil(Protocol):
    """Dripstone or a peer."""

    name: str

    def learn(self, batch: Batch) -> Reply: ...

    def knowledge(self) -> Knowledge: ...


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one sending. ``falls`` has one of each update and, of several, one of all together."""

    kind: str
    honest: Honest
    rows: int
    replies: list[Reply]
    falls: list[Fall]
    accuracy: float
    cpu_seconds: float

    @property
    def promoted(self) -> bool:
        return any(reply.promoted for reply in self.replies)

    @property
    def harmful(self) -> bool:
        """Promoted, and accuracy fell by more than is tolerated."""
        return self.promoted and any(fall.harmful for fall in self.falls)


def play(pupil: Pupil, life: Sequence[Sending], exam: Exam) -> list[Result]:
    return [send(pupil, sending, exam) for sending in life]


def send(pupil: Pupil, sending: Sending, exam: Exam) -> Result:
    """Give a learner the batches of one sending, and examine it after each."""
    first = before = pupil.knowledge()
    replies, falls, spent = [], [], 0.0
    for batch in sending.batches:
        began = time.process_time()
        replies.append(pupil.learn(batch))
        spent += time.process_time() - began
        after = pupil.knowledge() if replies[-1].promoted else before
        falls.append(exam.fall(before, after))
        before = after
    if len(falls) > 1:
        falls.append(exam.fall(first, before))
    rows = sum(len(batch.rows) for batch in sending.batches)
    return Result(sending.kind, sending.honest, rows, replies, falls, exam.accuracy(before), spent)


def poison_of(life: Sequence[Sending], results: Sequence[Result]) -> dict[Key, tuple[int, int | None]]:
    """Every poisoned row: its sending, and the log entry of the update that brought it."""
    return {
        key: (place, reply.number)
        for place, (sending, result) in enumerate(zip(life, results, strict=True))
        for batch, reply in zip(sending.batches, result.replies, strict=True)
        for key in batch.poison
    }

"""Rows that are learned once more with the new ones: remembered, or written by the live version itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from dripstone.core.errors import UsageError
from dripstone.core.examples import Example, content_id
from dripstone.core.protocols import TextModel
from dripstone.curate.replay import Replay
from dripstone.store.state import TrainingState
from dripstone.tasks.causal_lm import TEXT
from dripstone.update.champion import Champion

TOGETHER = 64
"""Texts that are written side by side."""


def old_rows(replay: Replay, champion: Champion, state: TrainingState, seed: int) -> list[Example]:
    """What the policy replays: nothing, remembered rows, or texts that the champion writes.

    Written texts need no memory, so that none of what was learned is kept. They are what the champion takes for likely:
    what it has learned poorly, it does not write.

    Parameters
    ----------
    replay : Replay
        The policy.
    champion : Champion
        The live version.
    state : TrainingState
        With the remembered rows.
    seed : int
        Of what is written, together with how many rows the version has learned.

    Raises
    ------
    UsageError
        If texts should be written by a version that has learned replies only: it cannot write the prompts.

    References
    ----------
    Sun et al., "LAMOL: LAnguage MOdeling for Lifelong Language Learning", arXiv 1909.03329.
    """
    if not replay.capacity or not champion.task.labels:
        return []
    if replay.law != "generated":
        return [row.example() for row in state.replay]
    if TEXT not in champion.task.labels:
        raise UsageError(
            f"{replay} writes texts, and the live version has learned replies only",
            remedy=f"use replay:{replay.capacity}",
            kind="usage.curate",
        )
    return list(_written(champion, replay.capacity, seed + 1_000_003 * state.replay_seen))


def _written(champion: Champion, count: int, seed: int) -> Iterator[Example]:
    model = cast(TextModel, champion.model)
    for start in range(0, count, TOGETHER):
        for text in model.write(min(TOGETHER, count - start), seed=seed + start):
            if text.strip():
                yield Example(id=content_id(text), inputs=text, origin=f"written by {champion.version[:12]}")

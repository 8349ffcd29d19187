"""Where poison went: learned with its own update, come back through a later one, or still waiting."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.poison.batches import Key
from dripstone.learner import Learner
from dripstone.update.lineage import page_rows
from dripstone.update.training_state import load_state

ROLES = {"train": "training", "held_out": "trusted"}


@dataclass(slots=True)
class Trace:
    """Poisoned rows of one sending.

    ``own`` counts rows that were learned or trusted by the update that brought them, ``back`` by later ones, by the
    way they came; ``waiting`` those that are pending in the end.
    """

    own: Counter[str] = field(default_factory=Counter)
    back: Counter[str] = field(default_factory=Counter)
    waiting: int = 0


def trace(learner: Learner, brought: dict[Key, tuple[int, int | None]], sendings: int) -> list[Trace]:
    """Look for poison in every promoted version.

    Parameters
    ----------
    learner : Learner
        At the end of its life.
    brought : dict
        For each poisoned row the sending, and the log entry of the update that brought it (None where it left none).
    sendings : int
        How many there were.
    """
    traces = [Trace() for _ in range(sendings)]
    repository = learner.repository
    met: set[Key] = set()
    for entry in reversed(learner.log()):
        if entry.verdict != "promoted" or entry.candidate is None or entry.page is None:
            continue
        arrived = {row.id for row in repository.read_page(entry.page).rows}
        for row in page_rows(repository, entry.candidate):
            key = (row.id, str(row.target))
            if key not in brought:
                continue
            met.add(key)
            sending, number = brought[key]
            if number == entry.number:
                traces[sending].own[ROLES[row.role]] += 1
            else:
                way = "sent again" if row.id in arrived else "pending"
                traces[sending].back[f"{ROLES[row.role]}, {way}"] += 1
    _add_trusted(learner, brought, met, traces)
    _add_waiting(learner, brought, traces)
    return traces


def _add_trusted(
    learner: Learner, brought: dict[Key, tuple[int, int | None]], met: set[Key], traces: list[Trace]
) -> None:
    """Trusted rows in the end that no page explains."""
    champion = learner.champion()
    state = load_state(learner.repository, learner.config, champion.version, champion.model)
    for row in state.trusted:
        key = (row.id, str(row.target))
        if key in brought and key not in met:
            traces[brought[key][0]].back["trusted, unexplained"] += 1


def _add_waiting(learner: Learner, brought: dict[Key, tuple[int, int | None]], traces: list[Trace]) -> None:
    head = learner.repository.log.head()
    if head.book is None:
        return
    for item in learner.repository.read_book(head.book).pending:
        key = (item.row.id, str(item.row.target))
        if key in brought:
            traces[brought[key][0]].waiting += 1

"""An attempt: what the training, the hearing and the judgement of one candidate have in common."""

from __future__ import annotations

from dataclasses import dataclass

from dripstone.core.config import Config
from dripstone.select.selection import Selection
from dripstone.store.repository import Repository
from dripstone.update.batch import Batch
from dripstone.update.champion import Champion
from dripstone.update.commit import Start
from dripstone.update.lesson import Encoding


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """The batch, encoded by the champion, and what the update found when it began."""

    repository: Repository
    config: Config
    champion: Champion
    selection: Selection
    batch: Batch
    encoding: Encoding
    start: Start

    @property
    def asks(self) -> bool:
        """Whether the gate is asked."""
        return self.config.gate.mode != "off" and not self.start.dry_run

"""Dripstone as the stream's learner: a real project in a folder, with its gate."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.poison.batches import Batch, Damage
from bench.poison.features import Expanded
from bench.poison.harm import Knowledge
from dripstone.core.errors import StoreError
from dripstone.core.events import Finished, Stored
from dripstone.core.records import Update
from dripstone.learner import Learner
from dripstone.models.text import text_classifier

SETTINGS = {"task.id": "id", "task.weight": "weight", "select.selection": "head"}
"""The encoder stays frozen, as the peers' does: the bench is about the gate."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a learner said to a batch. ``number`` is the log entry that it made, if any."""

    promoted: bool
    verdict: str
    reason: str
    number: int | None = None


ALWAYS = Reply(True, "live", "nothing was asked")


class Dripstone:
    """A real project.

    Parameters
    ----------
    learner : Learner
        Of the project.
    test : torch.Tensor
        Features of the test rows, [rows, features].
    """

    name = "dripstone"

    def __init__(self, learner: Learner, test: torch.Tensor) -> None:
        self.learner, self.test = learner, test
        self._expanded = Expanded(test)
        self._known: tuple[str, Knowledge] | None = None

    def learn(self, batch: Batch) -> Reply:
        if batch.damage:
            return self._learn_on_a_bad_disk(batch, batch.damage)
        return _reply(self.learner.update(batch.rows, settings=batch.settings))

    def _learn_on_a_bad_disk(self, batch: Batch, damage: Damage) -> Reply:
        """Damage what the update has just stored, and mend it when the update is over."""
        objects, live = self.learner.repository.objects, self.learner.repository.log.head()
        before = set(objects.all())
        whole: dict[Path, bytes] = {}
        try:
            for event in self.learner.update_events(batch.rows, settings=batch.settings):
                if isinstance(event, Stored):
                    whole = _break([objects.path(name) for name in objects.all() if name not in before], damage)
                if isinstance(event, Finished):
                    return _reply(event.update)
        except StoreError as error:
            same = self.learner.repository.log.head() == live
            return Reply(not same, "store error", f"{error.kind}; live is {'untouched' if same else 'ANOTHER ONE'}")
        finally:
            for path, data in whole.items():
                path.write_bytes(data)
        raise AssertionError("an update ends with Finished")

    def knowledge(self) -> Knowledge:
        champion = self.learner.champion()
        if self._known is None or self._known[0] != champion.version:
            labels = [str(label) for label in champion.task.labels]
            self._known = champion.version, Knowledge(labels, self._expanded.scores(champion.model.head))
        return self._known[1]


def new_project(folder: Path, encoder: str, random_features: int, seed: int, curate: str | None = None) -> Learner:
    """A project with a frozen encoder and otherwise the defaults; the same rows are held out in every run."""
    model = text_classifier(encoder=encoder, random_features=random_features, seed=seed)
    learner = Learner.create(folder, model=model, input="input", curate=curate, settings=SETTINGS)
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes([seed % 256] * 32))
    return learner


def copy_without_gate(subject: Dripstone, folder: Path) -> Dripstone:
    """The same project once more, in ``folder``, with its gate off."""
    shutil.copytree(subject.learner.project, folder)
    return Dripstone(Learner.open(folder, settings={"gate.mode": "off"}), subject.test)


def _reply(update: Update) -> Reply:
    return Reply(update.promoted, update.verdict, update.reason, update.number)


def _break(paths: list[Path], damage: Damage) -> dict[Path, bytes]:
    """Flip the middle bit of each file, or remove it; returns what the files held."""
    whole = {path: path.read_bytes() for path in paths}
    for path, data in whole.items():
        path.unlink()
        if damage == "flip":
            middle = len(data) // 2
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    return whole

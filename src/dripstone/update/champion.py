"""The champion: the live version, loaded."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dripstone.checkout import checkout
from dripstone.core.errors import RaceLostError
from dripstone.core.protocols import Model, Task
from dripstone.core.records import LogEntry, Spec
from dripstone.models.wrap import HEAD_KEY
from dripstone.store.repository import Repository
from dripstone.tasks.kinds import task_of


@dataclass(frozen=True, slots=True)
class Champion:
    """A version and its module, in eval mode.

    ``solvable`` says that every label came with rows, so that the closed form has statistics of all of them; an output
    layer that came with the model has labels without rows, and a language model's has a place for every token.
    """

    version: str
    model: Model
    task: Task
    solvable: bool


def load_champion(repository: Repository, version: str, current: Champion | None = None) -> Champion:
    """Load a version, sharing with ``current`` what is the same in both."""
    manifest = repository.manifest(version)
    loaded: tuple[str, nn.Module] | None = None
    if current is not None:
        loaded = (current.version, current.model)  # type: ignore[assignment]
    model: Model = checkout(repository, version, loaded)  # type: ignore[assignment]
    task = task_of(manifest.task, manifest.labels, model)
    return Champion(version, model, task, solvable=not (kept_labels(manifest.spec) or task.texts))


def head_of(repository: Repository, champion: Champion, doing: str) -> LogEntry:
    """The newest log entry, by which the champion is live.

    Raises
    ------
    RaceLostError
        If another version is; ``doing`` says what has not begun, as "the update".
    """
    head = repository.log.head()
    if head.version != champion.version:
        raise RaceLostError(
            f"version {head.version[:12]} became live before {doing} of {champion.version[:12]} began",
            remedy="run the same command again; nothing was lost",
        )
    return head


def kept_labels(spec: Spec) -> int:
    """How many labels the model's output layer came with."""
    head = spec.kwargs.get(HEAD_KEY)
    return head.get("kept", 0) if isinstance(head, dict) else 0

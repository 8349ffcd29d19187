"""The slot: what is being served, behind one reference."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dripstone.core.examples import Inputs

SAMPLE_ROWS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A version that can answer.

    Parameters
    ----------
    version : str
        Its full id.
    model : Model
        A ``core.protocols.Model`` that is also a module, in eval mode. Nobody writes to it once it is served.
    task : Task
        A ``core.protocols.Task``: what the columns of the output layer mean.
    number : int
        The entry of the store's log that made it live.

    Examples
    --------
    >>> from torch import nn
    >>> from dripstone.tasks.classification import Classification
    >>> Served("ab12", nn.Identity(), Classification(("no", "yes")), 3).number
    3
    """

    version: str
    model: Any
    task: Any
    number: int


class Slot:
    """Holds the served version behind a single reference, and the last few for an instant revert.

    A reader takes ``current`` once and uses that object to the end of its batch. Reading an attribute is atomic, so no
    reader ever waits, and a batch sees one version's weights, labels and id together.

    Nothing cheaper is safe: copying new weights into the served module in place, rebinding ``.data``, or
    ``functional_call`` on a shared module give replies of half old weights and half new (a test shows one), and a lock
    makes every swap wait for the batch that runs. So the new version is a new skeleton that shares the unchanged
    tensors (``core.fork``).

    Parameters
    ----------
    keep : int
        How many earlier versions stay in memory. They share their unchanged tensors with the current one.

    Examples
    --------
    >>> from torch import nn
    >>> slot = Slot(keep=1)
    >>> slot.current is None
    True
    >>> for number, version in enumerate(["a", "b", "c"]):
    ...     slot.swap(Served(version, nn.Identity(), ["x"], number))
    >>> slot.current.version, slot.held("b").version, slot.held("a")
    ('c', 'b', None)
    """

    def __init__(self, keep: int) -> None:
        self.current: Served | None = None
        self.sample: tuple[Inputs, ...] = ()
        self._keep = keep
        self._earlier: tuple[Served, ...] = ()
        self._writers = threading.Lock()

    def swap(self, served: Served) -> None:
        """Serve this version from the next batch on. Batches that have begun end on the old one."""
        with self._writers:
            candidates = (self.current, *self._earlier) if self.current else ()
            others = [old for old in candidates if old and old.version != served.version]
            self._earlier = tuple(others[: self._keep])
            self.current = served

    def held(self, version: str) -> Served | None:
        """The current or an earlier version that is still in memory, else None."""
        for served in (self.current, *self._earlier):
            if served is not None and served.version == version:
                return served
        return None

    def remember(self, inputs: Sequence[Inputs]) -> None:
        """Keep a few rows that were answered: the next version is warmed up on them."""
        self.sample = tuple(inputs[:SAMPLE_ROWS])

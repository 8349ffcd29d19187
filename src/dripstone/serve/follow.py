"""The follower: sees that ``live`` has moved, makes the new version ready beside the old one, and swaps."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time

from dripstone.checkout import checkout
from dripstone.core.errors import DripstoneError
from dripstone.core.records import LogEntry
from dripstone.serve.slot import Served, Slot
from dripstone.store.repository import Repository
from dripstone.tasks.kinds import task_of

LONGEST_BACKOFF = 5.0
STOP_TIMEOUT = 5.0

logger = logging.getLogger("dripstone.serve")


def load(repository: Repository, entry: LogEntry, base: Served | None = None) -> Served:
    """Check out the version that a log entry made live, if its certificate says that it may be.

    Parameters
    ----------
    repository : Repository
        The store; it verifies the hash of every tensor that it reads.
    entry : LogEntry
        The entry of the store's log.
    base : Served, optional
        A loaded version to fork: only the tensors that differ are read. It is not touched.

    Raises
    ------
    StoreError
        If the version is missing or damaged, or no certificate vouches for it (``store.uncertified``).
    ModelError
        If its module cannot be built, or its task cannot be served.
    """
    manifest = repository.manifest(entry.version)
    repository.certificate_of(entry)
    model = checkout(repository, entry.version, (base.version, base.model) if base else None)
    task = task_of(manifest.task, manifest.labels, model)  # type: ignore[arg-type]
    return Served(entry.version, model, task, entry.number)


class Follower:
    """Polls the store's log in a thread of its own and keeps the slot on what is live.

    A version that the slot still holds is swapped back at once. Any other is forked from the current one, verified,
    warmed up and then swapped; until then the old one answers. A version that does not verify, load or answer, or for
    which no certificate vouches, is never served: the old one stays, ``error`` says why, and the version is tried again
    after a pause that doubles up to 5 seconds. The log is read at every poll all the same, so that a revert takes
    effect at once.

    Parameters
    ----------
    repository : Repository
        The store.
    slot : Slot
        What to keep up to date.
    poll_ms : float
        How often to look, in milliseconds.
    warm : bool
        Whether a new version first answers a few rows that the old one was asked.

    Attributes
    ----------
    error : str or None
        Why the last attempt failed; None while the slot is up to date.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> def head():
    ...     raise DripstoneError("the log is unreadable", remedy="mend the disk")
    >>> follower = Follower(SimpleNamespace(log=SimpleNamespace(head=head)), Slot(keep=1), poll_ms=50, warm=True)
    >>> follower.poll_once(), follower.error
    (False, 'the log is unreadable; mend the disk')
    """

    def __init__(self, repository: Repository, slot: Slot, poll_ms: float, warm: bool) -> None:
        self.error: str | None = None
        self._repository = repository
        self._slot = slot
        self._poll = poll_ms / 1000
        self._warm = warm
        self._failed_number: int | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start polling."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stopped,), name="dripstone-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; waits up to 5 seconds for a checkout that has begun."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT)
            self._thread = None

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._poll):
            self.poll_once()

    def poll_once(self) -> bool:
        """Look at the log once.

        Returns
        -------
        bool
            Whether the slot was swapped.
        """
        number = None
        try:
            entry = self._repository.log.head()
            number = entry.number
            if self._is_served(number):
                self._succeeded()
                return False
            if number == self._failed_number and time.monotonic() < self._retry_at:
                return False
            self._slot.swap(self._prepare(entry))
        except Exception as error:
            # Whatever is wrong with the store or the new version, the old one must go on answering.
            self._failed(number, error)
            return False
        self._succeeded()
        return True

    def _is_served(self, number: int) -> bool:
        current = self._slot.current
        return current is not None and current.number == number

    def _prepare(self, entry: LogEntry) -> Served:
        held = self._slot.held(entry.version)
        if held is not None:
            self._repository.certificate_of(entry)
            return dataclasses.replace(held, number=entry.number)
        # A second attempt reads every tensor: the version to fork from may be gone from the store.
        first_attempt = entry.number != self._failed_number
        served = load(self._repository, entry, self._slot.current if first_attempt else None)
        if self._warm:
            warm_up(served, self._slot)
        return served

    def _succeeded(self) -> None:
        if self.error is not None:
            logger.warning("following again: the server is up to date")
        self.error, self._failed_number, self._failures = None, None, 0

    def _failed(self, number: int | None, error: Exception) -> None:
        text = str(error) if isinstance(error, DripstoneError) else f"{type(error).__name__}: {error}"
        if text != self.error:
            logger.error("cannot follow the store, the old version goes on answering: %s", text)
        self._failures = self._failures + 1 if number == self._failed_number else 1
        self._failed_number = number
        self._retry_at = time.monotonic() + min(self._poll * 2 ** min(self._failures, 16), LONGEST_BACKOFF)
        self.error = text


def warm_up(served: Served, slot: Slot) -> None:
    """Let a version answer the slot's remembered rows once, so that its first real batch is not its slowest."""
    if slot.sample and served.task.labels:
        served.task.predict(served.model, list(slot.sample))

"""Events of an update, or of a search, as progress on a terminal; elsewhere nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from dripstone.core.events import Encoded, Epoch, Event, Finished, Searched, Tried, TriedAgain
from dripstone.core.records import Update
from dripstone.core.tuned import Tuned


def follow(events: Iterable[Event], *, show: bool) -> Update:
    """Drain the events of one update, showing where it is, and return its report."""
    last = _drain(events, show)
    assert isinstance(last, Finished)
    return last.update


def follow_search(events: Iterable[Event], *, show: bool) -> Tuned:
    """Drain the events of a search over settings, showing its last trial and where the next one is."""
    last = _drain(events, show)
    assert isinstance(last, Searched)
    return last.tuned


def _drain(events: Iterable[Event], show: bool) -> Event | None:
    """The last event."""
    event, trial = None, ""
    with _status(show) as status:
        for event in events:
            if isinstance(event, Tried | TriedAgain):
                trial = str(event)
            elif status is not None and not isinstance(event, Finished | Searched):
                status.update(f"{trial} | {_words(event)}" if trial else _words(event))
    return event


def _status(show: bool) -> Any:
    if not (show and sys.stderr.isatty()):
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("reading rows")


def _words(event: Event) -> str:
    match event:
        case Encoded(done, rows):
            return f"features {done:,}/{rows:,}"
        case Epoch(selection, epoch, epochs, loss):
            return f"{selection} epoch {epoch}/{epochs}, loss {loss:.4f}"
        case _:
            return str(event)

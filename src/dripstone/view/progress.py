"""Events of an update as progress on a terminal; elsewhere nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from dripstone.core.events import Curated, Drifted, Encoded, Epoch, Event, Finished, Rebuilt, Rescaled, Stored, Trained
from dripstone.core.events import Screened as ScreenedEvent
from dripstone.core.records import Update


def follow(events: Iterable[Event], *, show: bool) -> Update:
    """Drain the events of one update, showing where it is, and return its report."""
    report: Update | None = None
    with _status(show) as status:
        for event in events:
            if isinstance(event, Finished):
                report = event.update
            elif status is not None:
                status.update(_words(event))
    assert report is not None
    return report


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
        case ScreenedEvent() | Curated() | Drifted() | Trained() | Rebuilt() | Rescaled() | Stored() | Finished():
            return str(event)

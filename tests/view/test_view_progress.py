import io
import sys
import time

import pytest

from dripstone.core.events import Encoded, Epoch, Finished, Rebuilt, Screened, Stored, Trained
from dripstone.core.records import Update
from dripstone.view.progress import follow

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
REPORT = Update(version=None, parent=None, verdict="unchanged", reason="nothing new to learn")
EVENTS = [
    Screened(5, 4, {"empty": 1}),
    Encoded(1000, 2000),
    Epoch("full@adamw", 1, 3, 0.5),
    Trained("full@adamw", 1.0),
    Rebuilt(8),
    Stored("ab" * 32, 100),
    Finished(REPORT),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in the place of stderr, in the test itself: pytest puts its own there before."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return stream


def test_a_terminal_shows_where_an_update_is(monkeypatch):
    def slowly():
        for event in EVENTS:
            yield event
            time.sleep(0.15)

    terminal = at_terminal(monkeypatch)
    assert follow(slowly(), show=True) is REPORT
    shown = terminal.getvalue()
    for words in ("4 of 5 rows kept", "features 1,000/2,000", "full@adamw epoch 1/3, loss 0.5", "candidate abab"):
        assert words in shown
    assert shown.count(HIDE) == shown.count(SHOW) == 1


def test_nothing_is_shown_where_it_is_not_wanted(monkeypatch):
    terminal = at_terminal(monkeypatch)
    assert follow(EVENTS, show=False) is REPORT
    assert terminal.getvalue() == ""


def test_nothing_is_shown_without_a_terminal(capsys):
    assert follow(EVENTS, show=True) is REPORT
    assert capsys.readouterr() == ("", "")


def test_an_error_leaves_the_terminal_as_it_was(monkeypatch):
    def broken():
        yield EVENTS[0]
        raise KeyboardInterrupt

    terminal = at_terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        follow(broken(), show=True)
    assert terminal.getvalue().count(HIDE) == terminal.getvalue().count(SHOW) == 1

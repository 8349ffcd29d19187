import io
import sys
import time

import pytest

from dripstone.core.events import (
    Encoded,
    Epoch,
    Finished,
    Rebuilt,
    Screened,
    Searched,
    Stored,
    Trained,
    Tried,
    TriedAgain,
)
from dripstone.core.records import Update
from dripstone.core.tuned import SettingsTrial, Tuned, TunedRows
from dripstone.view.progress import follow, follow_search

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


def test_a_search_shows_its_last_trial_beside_what_the_next_one_does(monkeypatch):
    done = SettingsTrial(3, {}, "complete", "full@adamw", score=0.5, loss=0.5)
    pruned = SettingsTrial(4, {}, "pruned", reason="training diverged")
    result = Tuned("ab" * 32, "accuracy", TunedRows(), [done], 20, 3, 0, {}, {}, "none is better", "", "", "", done)

    def slowly():
        for event in [
            Tried(done, 20, "accuracy", 0.75),
            Epoch("full@adamw", 2, 5, 0.25),
            Tried(pruned, 20, "accuracy", 0.75),
            Epoch("head@adamw", 1, 5, 0.25),
            TriedAgain(3, 1, 5),
            Epoch("full@adamw", 4, 5, 0.125),
            Searched(result),
        ]:
            yield event
            time.sleep(0.15)

    terminal = at_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")
    assert follow_search(slowly(), show=True) is result
    shown = terminal.getvalue()
    assert "trial 3 (4 of 20): full@adamw, accuracy 0.5000; best 0.7500 | full@adamw epoch 2/5" in shown
    assert "trial 4 (5 of 20): no candidate, pruned, training diverged; best 0.7500 | head@adamw" in shown
    assert "trial 3 again, part 2 of 5 tried | full@adamw epoch 4/5" in shown
    assert str(Searched(result)) == "none is better"

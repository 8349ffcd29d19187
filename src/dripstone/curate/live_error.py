"""Drift of what the live version gets wrong: has its error risen? ADWIN over the newest answers, in order of arrival.

River's detector keeps a window whose older part is dropped once its mean differs from that of the newer part. It is
asked after every answer, and fed again from the window at every call, so that the state is a plain array.

ADWIN drops whole buckets, until the rest passes: what it keeps can be mostly old answers, which would raise the same
alarm again. It decides whether the error has changed; where, is the split that makes the answers most likely.

River's delta bounds one look, not a life. Measured at the default: among 10,000 answers of one share of errors, a
change was seen in 1 life of 200 where the share was 5 %, in 5 of 200 where it was 30 % (`bench/drift_alarms.py`; rises
and falls together).

References
----------
Bifet & Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007. Hinkley, "Inference about the
change-point in a sequence of binomial variables", Biometrika 57 (1970).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dripstone.core.errors import UsageError
from dripstone.core.records import count

WINDOW = 10_000
"""The most answers kept."""

_SHORTEST = 5
"""ADWIN splits off no part that is shorter."""


@dataclass(frozen=True, slots=True)
class LiveError:
    """Shares of wrong answers before and after a rise, of how many answers; without a rise, all are ``after``."""

    alarm: bool
    before: float
    after: float
    rows_before: int
    rows_after: int

    def __str__(self) -> str:
        if self.alarm:
            return f"the error has risen from {self.before:.1%} to {self.after:.1%} in {_answers(self.rows_after)}"
        if not self.rows_after:
            return "no answer has come back yet"
        return f"nothing shows that the error has risen: it is {self.after:.1%} in {_answers(self.rows_after)}"


def watch_errors(window: np.ndarray, new: np.ndarray, delta: float = 0.01) -> tuple[np.ndarray, LiveError]:
    """The window after new answers, and whether the error has risen.

    A fall cuts the window as well, so that a later rise is seen against it, but is no alarm. Of several changes in one
    call the last counts.

    Parameters
    ----------
    window : numpy.ndarray
        [at most WINDOW] bool: what the last call gave, at first empty.
    new : numpy.ndarray
        [rows] bool, True where the live version was wrong, in order of arrival.
    delta : float
        River's significance, between 0 and 1.

    Returns
    -------
    tuple of numpy.ndarray and LiveError
        The window is [at most WINDOW] bool, without what lies before a change.

    Raises
    ------
    UsageError
        If the package ``river`` is missing.

    Examples
    --------
    >>> window, found = watch_errors(np.zeros(0, bool), np.arange(1000) % 20 == 0)
    >>> print(found)
    nothing shows that the error has risen: it is 5.0% in the last 1,000 answers
    >>> window, found = watch_errors(window, np.arange(100) % 3 == 0)
    >>> print(found)
    the error has risen from 5.0% to 34.0% in the last 100 answers
    >>> len(window)
    100
    """
    answers = np.concatenate([window, new]).astype(bool)
    before = answers[:0]
    while seen := _answers_until_change(answers, delta):
        cut = _likely_change(answers[:seen])
        before, answers = answers[:cut], answers[cut:]
    return answers[-WINDOW:], _told(before, answers)


def _answers_until_change(answers: np.ndarray, delta: float) -> int:
    """How many answers ADWIN reads until it sees a change; 0 where it sees none."""
    detector = _adwin(delta)
    for read, wrong in enumerate(answers.tolist(), start=1):
        detector.update(wrong)
        if detector.drift_detected:
            return read
    return 0


def _adwin(delta: float) -> Any:
    try:
        from river.drift import ADWIN
    except ImportError as error:
        raise UsageError(
            "the watch on errors needs the package 'river'", remedy="pip install 'dripstone[drift]'"
        ) from error
    # River's default asks after every 32nd answer, which delays an alarm by as many.
    return ADWIN(delta=delta, clock=1, min_window_length=_SHORTEST)


def _likely_change(answers: np.ndarray) -> int:
    """Length of the older part at the split that makes the answers most likely, a share of errors for either part."""
    total = np.cumsum(answers)
    older = np.arange(_SHORTEST, len(answers) - _SHORTEST + 1)
    wrong = total[older - 1]
    likely = _log_likelihood(wrong, older) + _log_likelihood(total[-1] - wrong, len(answers) - older)
    return int(older[np.argmax(likely)])


def _log_likelihood(wrong: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of 0/1 outcomes, at the share that fits them best."""
    right = rows - wrong
    # None of a kind gives 0 log 1, whatever is put for the share under the logarithm.
    return wrong * np.log(np.maximum(wrong, 1) / rows) + right * np.log(np.maximum(right, 1) / rows)


def _told(before: np.ndarray, after: np.ndarray) -> LiveError:
    share = float(after.mean()) if len(after) else 0.0
    if len(before) and share > before.mean():
        return LiveError(True, float(before.mean()), share, len(before), len(after))
    return LiveError(False, share, share, 0, len(after))


def _answers(rows: int) -> str:
    return "the last answer" if rows == 1 else f"the last {count(rows, 'answer')}"

"""Events read well, and do not change."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from dripstone.core.events import Encoded, Epoch, Finished, Rebuilt, Screened, Stored, Trained
from dripstone.core.records import Update

TEXTS = [
    (Screened(5, 5, {}), "5 of 5 rows kept"),
    (
        Screened(5, 2, {"the text is empty": 2, "the label is missing": 1}),
        "2 of 5 rows kept; 2 rejected: the text is empty; 1 rejected: the label is missing",
    ),
    (Encoded(3, 9), "features of 3 of 9 rows"),
    (Epoch("full@adamw", 2, 5, 0.12345), "full@adamw: epoch 2 of 5, running loss 0.1235"),
    (Rebuilt(12008), "head solved anew over all 12,008 rows so far"),
    (Trained("head@ridge", 1.234), "head@ridge: trained in 1.23 CPU-s"),
    (Stored("0123456789abcdef", 12345), "candidate 0123456789ab stored in 12,345 bytes"),
    (Finished(Update(None, "a", "unchanged", "nothing new to learn")), "unchanged: nothing new to learn"),
]


@pytest.mark.parametrize(("event", "text"), TEXTS)
def test_the_text_of_an_event(event, text):
    assert str(event) == text


@pytest.mark.parametrize("event", [event for event, _ in TEXTS])
def test_events_are_frozen(event):
    with pytest.raises(FrozenInstanceError):
        setattr(event, next(iter(event.__dataclass_fields__)), None)

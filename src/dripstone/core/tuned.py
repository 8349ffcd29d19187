"""What a search over settings says of itself."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SCORES = {"accuracy": "accuracy", "log_loss": "log_loss", "squared_error": "rmse", "token_loss": "token_loss"}
"""By the task's metric, what a trial's score is; of all but the first the lowest is the best."""


def is_higher_better(metric: str) -> bool:
    """Whether of two scores of a metric the higher one is the better.

    Examples
    --------
    >>> is_higher_better("accuracy"), is_higher_better("squared_error")
    (True, False)
    """
    return metric == "accuracy"


class Again(msgspec.Struct, frozen=True):
    """How one of the best trials did when it was made again, on ``rows`` that it was not chosen by: as in a trial."""

    rows: int
    score: float
    loss: float
    lead: float
    error: float


class SettingsTrial(msgspec.Struct, frozen=True):
    """One trial: settings other than the project's own, and how a candidate did that was trained under them.

    ``number`` counts from 0, which is the project's own settings. A ``pruned`` trial has no score, and a ``reason``.
    ``loss`` is what the search makes small: a mean over the tried rows, of which the score is another form. ``lead`` is
    by how much it is below that of trial 0, ``error`` the standard error of that difference. ``selection`` is what was
    trained in the end, ``learning_rate`` that of its loop, if it had one. ``again`` is there of the best few.
    """

    number: int
    settings: dict[str, Any]
    state: Literal["complete", "pruned"]
    selection: str = ""
    learning_rate: float | None = None
    score: float | None = None
    loss: float | None = None
    lead: float | None = None
    error: float | None = None
    cpu_seconds: float = 0.0
    reason: str = ""
    again: Again | None = None


class TunedRows(msgspec.Struct, frozen=True):
    """On how many rows: new and remembered ones, learned and tried."""

    learned: int = 0
    tried: int = 0
    remembered_learned: int = 0
    remembered_tried: int = 0


class Tuned(msgspec.Struct, frozen=True):
    """The result of a search.

    ``score`` says what the trials' scores are. ``best`` is the number of the best trial, ``chosen`` that of the one
    whose settings are taken: ``best`` if it beats trial 0 beyond chance, else 0. ``changes`` are the keys in which it
    differs from the project's own settings, and ``written`` those that ``dripstone.toml`` has now; None stands for a
    key that is left out. ``activation`` says why it was or was not searched. ``study`` is the file by which the search
    goes on, ``version`` what is live now.
    """

    version: str
    score: str
    rows: TunedRows
    trials: list[SettingsTrial]
    wanted: int
    best: int | None
    chosen: int
    changes: dict[str, Any]
    written: dict[str, Any]
    reason: str
    activation: str
    study: str
    picture: str
    default: SettingsTrial | None = None

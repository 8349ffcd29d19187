"""The exceptions, a small tree ordered by remedy: who has to do what before trying again.

Every error names the offending thing and the remedy in its message, and carries a stable ``kind`` for programs.
"""

from __future__ import annotations


class DripstoneError(Exception):
    """Base of all errors that a user can mend.

    Parameters
    ----------
    message : str
        What is wrong, naming the offending thing.
    remedy : str
        What to do about it, an imperative sentence.
    kind : str, optional
        A stable dotted name (``"data.empty"``) that programs may compare.

    Examples
    --------
    >>> error = DataError("day-1.jsonl holds no rows", remedy="send at least one row", kind="data.empty")
    >>> print(error)
    day-1.jsonl holds no rows; send at least one row
    >>> error.kind, error.exit_code
    ('data.empty', 2)
    """

    exit_code = 2
    default_kind = "error"

    def __init__(self, message: str, *, remedy: str, kind: str | None = None) -> None:
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy
        self.kind = kind or self.default_kind


class UsageError(DripstoneError):
    """Change the call, the command line or ``dripstone.toml``."""

    default_kind = "usage"


class DataError(DripstoneError):
    """Change the data that was sent."""

    default_kind = "data"


class ModelError(DripstoneError):
    """Change the model: its factory, its weights or its shape."""

    default_kind = "model"


class StoreError(DripstoneError):
    """Mend the store or the disk under it."""

    default_kind = "store"


class RaceLostError(DripstoneError):
    """Somebody else moved the store meanwhile: run the same command again."""

    exit_code = 3
    default_kind = "store.race"


class ProcessError(DripstoneError):
    """A process of an update of several was lost, or they disagree: run the same command again."""

    exit_code = 3
    default_kind = "process.lost"


class DivergedError(DripstoneError):
    """Training produced numbers that are not finite; the champion is untouched."""

    exit_code = 1
    default_kind = "train.diverged"

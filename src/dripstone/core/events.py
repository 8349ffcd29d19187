"""What long work says while it runs. A generator yields these and the caller iterates; nothing calls back.

Examples
--------
>>> for event in [Epoch(selection="full@adamw", epoch=1, epochs=3, loss=0.7)]:
...     print(event)
full@adamw: epoch 1 of 3, running loss 0.7000
"""

from __future__ import annotations

from dataclasses import dataclass

from dripstone.core.records import Update
from dripstone.core.tuned import SettingsTrial, Tuned


@dataclass(frozen=True, slots=True)
class Screened:
    """Curation is done: how many of the received rows stay, and why the others do not."""

    received: int
    kept: int
    reasons: dict[str, int]

    def __str__(self) -> str:
        rejected = "".join(f"; {count} rejected: {reason}" for reason, count in self.reasons.items())
        return f"{self.kept} of {self.received} rows kept{rejected}"


@dataclass(frozen=True, slots=True)
class Curated:
    """Rows that could be learned were looked at: how many there were, and why some are not learned this time."""

    rows: int
    reasons: dict[str, int]

    def __str__(self) -> str:
        left_out = "; ".join(f"{count} left out: {reason}" for reason, count in self.reasons.items())
        return f"{self.rows} rows to learn from" + (f"; {left_out}" if left_out else "")


@dataclass(frozen=True, slots=True)
class Drifted:
    """The stream has moved away from what the live version knows; ``words`` says how."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return "drift: " + "; ".join(self.words)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features of some rows are computed (the one forward pass over new data)."""

    done: int
    rows: int

    def __str__(self) -> str:
        return f"features of {self.done} of {self.rows} rows"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass of the loop is done; ``loss`` is the mean over the pass while the weights moved."""

    selection: str
    epoch: int
    epochs: int
    loss: float

    def __str__(self) -> str:
        return f"{self.selection}: epoch {self.epoch} of {self.epochs}, running loss {self.loss:.4f}"


@dataclass(frozen=True, slots=True)
class Trained:
    """A candidate exists in memory."""

    selection: str
    cpu_seconds: float

    def __str__(self) -> str:
        return f"{self.selection}: trained in {self.cpu_seconds:.2f} CPU-s"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The features have moved, and the head is exact under the new ones: solved over every row so far, ``rows``."""

    rows: int

    def __str__(self) -> str:
        return f"head solved anew over all {self.rows:,} rows so far"


@dataclass(frozen=True, slots=True)
class Rescaled:
    """The scale was badly off for so many ``columns``; it is set anew, and the head solved over all ``rows`` so far."""

    columns: int
    rows: int

    def __str__(self) -> str:
        off = f"badly off for {self.columns:,} column{'' if self.columns == 1 else 's'}"
        return f"scale set anew, {off}; head solved over all {self.rows:,} rows so far"


@dataclass(frozen=True, slots=True)
class Stored:
    """The candidate's bits are on disk; it has an id, and no verdict yet."""

    version: str
    delta_bytes: int

    def __str__(self) -> str:
        return f"candidate {self.version[:12]} stored in {self.delta_bytes:,} bytes"


@dataclass(frozen=True, slots=True)
class Finished:
    """The update is committed (or, for a dry run, over)."""

    update: Update

    def __str__(self) -> str:
        return f"{self.update.verdict}: {self.update.reason}"


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial of a search over settings is over: the trial, of how many, what its score is, and the best one so far."""

    trial: SettingsTrial
    trials: int
    score: str
    best: float | None

    def __str__(self) -> str:
        trial = self.trial
        found = f"{self.score} {trial.score:.4f}" if trial.score is not None else f"pruned, {trial.reason}"
        best = "" if self.best is None else f"; best {self.best:.4f}"
        number = f"trial {trial.number} ({trial.number + 1} of {self.trials})"
        return f"{number}: {trial.selection or 'no candidate'}, {found}{best}"


@dataclass(frozen=True, slots=True)
class TriedAgain:
    """One of the best trials was made again, with another part of the rows tried."""

    number: int
    part: int
    parts: int

    def __str__(self) -> str:
        return f"trial {self.number} again, part {self.part + 1} of {self.parts} tried"


@dataclass(frozen=True, slots=True)
class Searched:
    """A search over settings is over, and what it found is written."""

    tuned: Tuned

    def __str__(self) -> str:
        return self.tuned.reason


Event = (
    Screened
    | Curated
    | Drifted
    | Encoded
    | Epoch
    | Trained
    | Rebuilt
    | Rescaled
    | Stored
    | Finished
    | Tried
    | TriedAgain
    | Searched
)

"""What an update says of itself, and what the store remembers: plain records, read and written as JSON or msgpack."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

Verdict = Literal["promoted", "refused", "undecided", "unchanged"]
EntryEvent = Literal["init", "update", "revert", "promote", "data"]
Role = Literal["train", "held_out", "rejected", "quarantined"]


def now() -> str:
    """The time as records carry it: UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def count(number: int, noun: str) -> str:
    """A number and its noun.

    Examples
    --------
    >>> count(1, "row"), count(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


class Parameters(msgspec.Struct, frozen=True):
    """How many parameters moved, of how many."""

    trained: int = 0
    total: int = 0


class ExampleCounts(msgspec.Struct, frozen=True):
    """What became of the rows; ``received`` counts the new ones, the others every row that took part.

    ``dropped`` rows were pending, and gave way to newer ones: they are in the ledger and nowhere else.
    """

    received: int = 0
    rejected: int = 0
    trained: int = 0
    replayed: int = 0
    held_out: int = 0
    pending: int = 0
    quarantined: int = 0
    dropped: int = 0


class Cost(msgspec.Struct, frozen=True):
    """What the update cost. ``peak_memory_bytes`` is the resident set of the whole process at its highest."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


class Rung(msgspec.Struct, frozen=True):
    """One selection that was tried, its score on a training-side split (None where not needed), its CPU time."""

    selection: str
    score: float | None
    cpu_seconds: float


class Evidence(msgspec.Struct, frozen=True):
    """The test for gain: e-process wealth against its threshold 1/alpha_k.

    ``alpha_spent`` is 0 when the row counts alone showed that the test could not pass; ``rows_needed`` estimates how
    many more labelled rows, held out or not, a decision by proof would take (None where no estimate exists).
    """

    wealth: float = 1.0
    threshold: float = 0.0
    discordant: int = 0
    rows: int = 0
    alpha_spent: float = 0.0
    rows_needed: int | None = None


class Metrics(msgspec.Struct, frozen=True):
    """Accuracy on held-out rows, overall and by slice; None where there is no row."""

    accuracy: float | None = None
    by_slice: dict[str, float] = {}


class MetricsPair(msgspec.Struct, frozen=True):
    """The same measure of both contestants on the same rows."""

    champion: Metrics = Metrics()
    candidate: Metrics = Metrics()


class Update(msgspec.Struct, frozen=True):
    """The report of one update: what ``dripstone update --format json`` prints.

    ``version`` is the candidate's id, None where none was trained. ``intrusion`` is the share of trusted rows to which
    the candidate gives a label that the champion does not know; ``new_labels`` are those labels. ``number`` is the
    entry in the store's log that committed the update, None for a dry run.
    """

    version: str | None
    parent: str | None
    verdict: Verdict
    reason: str
    selection: str = ""
    rungs: list[Rung] = []
    parameters: Parameters = Parameters()
    examples: ExampleCounts = ExampleCounts()
    rejections: dict[str, int] = {}
    new_labels: list[str | int] = []
    metrics: MetricsPair = MetricsPair()
    intrusion: float = 0.0
    evidence: Evidence = Evidence()
    delta_bytes: int = 0
    cost: Cost = Cost()
    number: int | None = None
    time: str = ""
    promoted: bool = False


class LogEntry(msgspec.Struct, frozen=True):
    """One create-only entry of ``refs/live``: the single commit of everything an update changes.

    ``version`` is live from this entry on. ``candidate`` is what was judged, promoted or not. ``page`` names the
    ledger page with the update's rows, ``book`` the pending and quarantined rows after it.
    """

    number: int
    version: str
    event: EntryEvent
    reason: str
    nonce: str
    time: str
    verdict: Verdict | None = None
    candidate: str | None = None
    page: str | None = None
    book: str | None = None


class Spec(msgspec.Struct, frozen=True):
    """How to rebuild a module without its weights.

    ``factory`` is ``"package.module:callable"``, ``kwargs`` its JSON arguments, ``output`` the path of the output layer
    inside a module that is not one of ours, ``assets`` the hash by file name of what the factory reads (a tokenizer).
    """

    factory: str
    kwargs: dict[str, Any] = {}
    output: str | None = None
    assets: dict[str, str] = {}


class TensorEntry(msgspec.Struct, frozen=True):
    """Where one tensor's bits are.

    ``digest`` is the SHA-256 of the plain little-endian bytes. ``object`` and ``encoding`` say how to get them; an
    ``xor-zstd`` payload is decoded against the same name in version ``base``, ``depth`` deltas away from plain bytes.
    """

    dtype: str
    shape: list[int]
    digest: str
    object: str
    encoding: Literal["raw", "zstd", "xor-zstd"]
    base: str | None = None
    depth: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """A version: all that its id vouches for."""

    spec: Spec
    task: str
    labels: list[str | int]
    parent: str | None
    selection: str
    data: str
    merkle: str
    tensors: dict[str, TensorEntry]
    format: str = "dripstone-version 1"

"""What an update says of itself, and what the store remembers: plain records, read and written as JSON or msgpack."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from dripstone.core.config import Limits

Verdict = Literal["promoted", "refused", "undecided", "unchanged", "unlearned"]
EntryEvent = Literal["init", "update", "revert", "promote", "data", "grow", "unlearn"]
Encoding = Literal["raw", "zstd", "xor-zstd", "grown-zstd", "sparse-zstd", "low-rank"]
Role = Literal["train", "held_out", "rejected", "quarantined", "unlearned"]


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
    """What the update cost. ``peak_memory_bytes`` is the resident set of the whole process at its highest.

    ``gate_cpu_seconds`` is the part of ``cpu_seconds`` that went into sense, hearing and judgement.
    """

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    gate_cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


class Rung(msgspec.Struct, frozen=True):
    """One selection that was tried, its score on a training-side split (None where not needed), its CPU time."""

    selection: str
    score: float | None
    cpu_seconds: float


class Evidence(msgspec.Struct, frozen=True):
    """The test for gain: e-process wealth against its threshold 1/alpha_k.

    ``wealth`` is the highest that was reached while the ``rows`` fresh rows were read in order (the final one, where
    they have weights), ``wins`` and ``losses``
    are the rows that speak for either side. ``alpha_spent`` is 0 when the row counts alone showed that the test could
    not pass, or when it was not asked; ``rows_needed`` estimates how many more labelled rows, held out or not, a
    decision would take (None where no estimate exists). ``gain_at_least`` is what the proof amounts to: the lower
    confidence bound of the gain, at the same level; 0 where nothing is proven.
    """

    wealth: float = 1.0
    threshold: float = 0.0
    discordant: int = 0
    wins: int = 0
    losses: int = 0
    rows: int = 0
    alpha_spent: float = 0.0
    rows_needed: int | None = None
    gain_at_least: float = 0.0


class HarmTest(msgspec.Struct, frozen=True):
    """The test for harm where it found most: the slice, against whom, and its e-process wealth against the bar.

    ``against`` is ``"champion"`` or ``"anchor"``, the best version so far. Of the slice's ``rows`` trusted rows,
    ``worse`` speak against the candidate and ``better`` for it.
    """

    slice: str = ""
    against: str = "champion"
    rows: int = 0
    worse: int = 0
    better: int = 0
    wealth: float = 1.0
    bar: float = 0.0


class Flips(msgspec.Struct, frozen=True):
    """Held-out rows that the champion had right and the candidate has wrong (``negative``), and the other way round."""

    negative: int = 0
    positive: int = 0
    rows: int = 0


class Metrics(msgspec.Struct, frozen=True):
    """What one version does on held-out rows, overall and by slice; None where there is no row, or nobody asked.

    ``fresh_accuracy`` is that on fresh rows alone: trusted rows have chosen the champion, which flatters it there.
    Of numbers, ``accuracy`` is the share of answers within two usual errors of the live version, ``rmse`` the root mean
    square error and ``fresh_rmse`` that on fresh rows, in the target's unit. Of texts, ``perplexity`` is that of a
    token, each text counting the same, ``fresh_perplexity`` that of fresh ones, and ``by_slice`` has perplexities.
    ``score`` is the mean of the metric that the gate judges by, as a gain (1 is perfect), ``calibration_error`` the
    expected calibration error, ``latency_ms`` the milliseconds that one row takes.
    """

    accuracy: float | None = None
    by_slice: dict[str, float] = {}
    fresh_accuracy: float | None = None
    score: float | None = None
    calibration_error: float | None = None
    latency_ms: float | None = None
    rmse: float | None = None
    fresh_rmse: float | None = None
    perplexity: float | None = None
    fresh_perplexity: float | None = None


class MetricsPair(msgspec.Struct, frozen=True):
    """The same measure of both contestants on the same rows."""

    champion: Metrics = Metrics()
    candidate: Metrics = Metrics()


class Look(msgspec.Struct, frozen=True):
    """What the ladder found when it last looked at the features.

    ``score`` is the share of rows that they served; where new rows fall behind it, the ladder climbs. ``labels`` is how
    many labels were known; where they have become many more, it looks again.
    """

    score: float
    labels: int


class Drift(msgspec.Struct, frozen=True):
    """Whether the stream has moved away from what the live version knows; an alarm suggests, and decides nothing.

    ``inputs`` says that the new rows look different from those before, with ``p_value``; ``errors`` that the live
    version's share of wrong answers has risen, from ``before`` to ``after``. ``words`` tells the alarms.
    """

    inputs: bool = False
    p_value: float = 1.0
    errors: bool = False
    before: float = 0.0
    after: float = 0.0
    words: list[str] = []


class Schema(msgspec.Struct, frozen=True):
    """What the rows of the first stage looked like.

    ``rows`` is how many there were, ``longest`` the characters of the longest text. ``low`` and ``high`` are the bounds
    of an array's columns, or one for all of its values; empty for texts. ``apart`` is the usual distance of an array to
    the nearest other one, in units of what the columns span; 0 where nobody asked.
    """

    rows: int
    longest: int = 0
    low: list[float] = []
    high: list[float] = []
    apart: float = 0.0


class Update(msgspec.Struct, frozen=True):
    """The report of one update: what ``dripstone update --format json`` prints.

    ``version`` is the candidate's id, None where none was trained. ``intrusion`` is the share of trusted rows to which
    the candidate gives a label that the champion does not know; ``new_labels`` are those labels. ``number`` is the
    entry in the store's log that committed the update, None for a dry run. ``anchor`` is the best version so far,
    against which the candidate was held as well. ``look`` is that of the ladder, None where it has not looked;
    ``drift`` what was found where the policy watches for it. ``penalty`` is that of the closed form, None where the
    output layer was not solved.
    """

    version: str | None
    parent: str | None
    verdict: Verdict
    reason: str
    selection: str = ""
    rungs: list[Rung] = []
    look: Look | None = None
    drift: Drift | None = None
    parameters: Parameters = Parameters()
    examples: ExampleCounts = ExampleCounts()
    rejections: dict[str, int] = {}
    new_labels: list[str | int] = []
    metrics: MetricsPair = MetricsPair()
    intrusion: float = 0.0
    evidence: Evidence = Evidence()
    harm: HarmTest = HarmTest()
    flips: Flips = Flips()
    anchor: str | None = None
    delta_bytes: int = 0
    cost: Cost = Cost()
    number: int | None = None
    time: str = ""
    promoted: bool = False
    penalty: float | None = None


class LogEntry(msgspec.Struct, frozen=True):
    """One create-only entry of ``refs/live``: the single commit of everything an update changes.

    ``version`` is live from this entry on, and ``certificate`` vouches for it. ``candidate`` is what was judged,
    promoted or not, and ``judged`` its certificate. ``page`` names the ledger page with the update's rows, ``book`` the
    pending and quarantined rows after it. ``unlearned`` names the deed that says what left the store with this entry.
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
    certificate: str | None = None
    judged: str | None = None
    unlearned: str | None = None


class RowSet(msgspec.Struct, frozen=True):
    """Rows that judged a candidate: how many, and the hash of their ids in order (``ids_digest``)."""

    rows: int = 0
    digest: str = ""


class Rules(msgspec.Struct, frozen=True):
    """What the gate was told when it judged: its settings, and how many candidates it had tested before.

    ``contested`` says that the batch's labels contradicted the champion beyond chance, ``drifting`` that drift was
    expected.
    """

    mode: Literal["steady", "better", "off"]
    alpha: float
    margin: float
    minimum: int
    trusted: int
    metric: str
    tested: int
    limits: Limits = Limits()
    contested: bool = False
    drifting: bool = False


class Certificate(msgspec.Struct, frozen=True):
    """Why a version may be live, or why not: what was compared, on which rows, under which rules, with what result.

    ``source`` says who vouches: the ``gate``, a ``person`` who overruled it or had rows unlearned (the verdict says
    which), the ``champion``, which the version was grown from and answers like, or nobody, because it was the ``first``
    version and nothing was live that it could harm. ``merkle`` and ``champion_merkle`` are the Merkle roots of the
    tensors of ``version`` and ``champion``; ``anchor`` is the best version so far as the judgement found it and
    ``next_anchor`` as it left it. ``number`` is the log entry it was written for.
    """

    version: str
    merkle: str
    source: Literal["first", "gate", "person", "champion"]
    verdict: Verdict
    reason: str
    number: int
    time: str
    champion: str | None = None
    champion_merkle: str | None = None
    anchor: str | None = None
    next_anchor: str | None = None
    fresh: RowSet = RowSet()
    trusted: RowSet = RowSet()
    rules: Rules | None = None
    evidence: Evidence = Evidence()
    harm: HarmTest = HarmTest()
    flips: Flips = Flips()
    format: str = "dripstone-certificate 1"


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

    ``digest`` is the SHA-256 of the plain little-endian bytes. ``object`` and ``encoding`` say how to get them; a delta
    (``xor-zstd``, ``grown-zstd``, ``sparse-zstd``, ``low-rank``) is decoded against the same name in version ``base``,
    ``depth`` deltas away from plain bytes.
    """

    dtype: str
    shape: list[int]
    digest: str
    object: str
    encoding: Encoding
    base: str | None = None
    depth: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """A version: all that its id vouches for.

    ``format`` is the oldest one that knows the encodings of all tensors.
    """

    spec: Spec
    task: str
    labels: list[str | int]
    parent: str | None
    selection: str
    data: str
    merkle: str
    tensors: dict[str, TensorEntry]
    format: str = "dripstone-version 1"

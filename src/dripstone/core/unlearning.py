"""What ``dripstone unlearn`` reports: plain records, read and written as JSON."""

from __future__ import annotations

import msgspec

from dripstone.core.examples import Label
from dripstone.core.records import MetricsPair


class Shaped(msgspec.Struct, frozen=True):
    """A version whose parameters a row helped to train, and which the live version goes back to.

    What such a row did to the parameters cannot be taken out of them. ``selection`` says what moved; ``retrain_from``
    is the last version that is whole and never saw the row, None where there is none, and ``rows`` counts those that
    would have to be learned again from there.
    """

    id: str
    version: str
    selection: str
    retrain_from: str | None
    rows: int


class Unlearning(msgspec.Struct, frozen=True):
    """The report of an unlearning: what ``dripstone unlearn --format json`` prints.

    ``version`` is live from log entry ``number`` on; both are None for a dry run that would make a new version.
    ``solved`` says that the output layer was solved anew over every row that is left, ``exact`` that nothing of the
    rows is left in what is live: as far as features and hyperparameters are given. ``inexact`` says why the output
    layer could not be solved, ``weighed`` that the other rows keep weights that curation gave them beside these.
    ``removed`` counts rows by store; ``collected`` are versions that can be used no more; ``labels`` are those that no
    row is left of. ``retrain`` are the commands that would learn without the rows in ``shaped``. The ``metrics`` are
    those of the version before and of the one after, on the trusted rows that are left.
    """

    ids: list[str]
    number: int | None
    version: str | None
    reason: str
    exact: bool
    solved: bool
    inexact: str = ""
    weighed: bool = False
    removed: dict[str, int] = {}
    collected: list[str] = []
    shaped: list[Shaped] = []
    retrain: list[str] = []
    labels: list[Label] = []
    metrics: MetricsPair = MetricsPair()
    trusted: int = 0
    delta_bytes: int = 0
    bytes_freed: int = 0
    dry_run: bool = False

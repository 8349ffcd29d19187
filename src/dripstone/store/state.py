"""What training remembers from one update to the next: a cache that the ledger can rebuild."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import zstandard

from dripstone.core.examples import Label
from dripstone.core.records import Look, Schema
from dripstone.core.tensors import RawTensor
from dripstone.store.checks import corrupt, inflate, parse
from dripstone.store.format import pack_parts, unpack
from dripstone.store.ledger import MAX_PLAIN_BYTES, PageRow

MARKS = 4
"""Columns of ``trusted_marks``."""

_GROUPS = ("statistics", "optimizer", "prints", "drift", "moments")
"""Fields that are tensors by name; in the file, each name stands after that of its field and a slash."""

_LEVEL = 3


@dataclass(frozen=True, slots=True)
class TrainingState:
    """The state beside a version.

    Parameters
    ----------
    version : str
        The version it belongs to.
    backbone : str
        Digest of all that features depend on; features under another digest are stale.
    trusted : list of PageRow
        The rows on which the gate watches for harm.
    trusted_features : RawTensor or None
        Their features, [rows, features].
    trusted_marks : RawTensor or None
        F32 [rows, 4]: whether the version has the row right and the probability it gives to the target, or of numbers
        whether it answers and its error, and the same of the anchor.
    anchor : str
        The best version so far on the line of this one, or itself.
    replay : list of PageRow
        The replay memory.
    replay_seen : int
        How many rows have passed by the memory.
    known : RawTensor
        Sorted 64-bit hashes of the rows that were seen, an I64 vector.
    statistics : dict of str to RawTensor
        What the closed form sums up.
    optimizer : dict of str to RawTensor
        The state of the optimisers, where it is carried on; it starts anew where a state had to be rebuilt.
    look : Look or None
        What the ladder found when it last looked at the features.
    schema : Schema or None
        What the rows of the first stage looked like.
    counts : list of tuple of label and int
        How many rows of each label were learned.
    prints : dict of str to RawTensor
        By which duplicates of the newest rows are recognised.
    drift : dict of str to RawTensor
        Features of earlier held-out rows, and the live version's latest right and wrong answers; both start anew where
        a state had to be rebuilt.
    moments : dict of str to RawTensor
        Moments of the columns of every row that was learned, where their scale may be set anew by them.
    forget : str
        The policy by which rows have faded in the statistics; empty where they have not.

    Examples
    --------
    >>> known = RawTensor("I64", (0,), b"")
    >>> gram = {"gram": RawTensor("F32", (1,), b"1234")}
    >>> state = TrainingState("ab" * 32, "", [], None, None, "ab" * 32, [], 0, known, gram)
    >>> decode_state(b"".join(encode_state(state))) == state
    True
    """

    version: str
    backbone: str
    trusted: list[PageRow]
    trusted_features: RawTensor | None
    trusted_marks: RawTensor | None
    anchor: str
    replay: list[PageRow]
    replay_seen: int
    known: RawTensor
    statistics: dict[str, RawTensor]
    optimizer: dict[str, RawTensor] = field(default_factory=dict)
    look: Look | None = None
    schema: Schema | None = None
    counts: list[tuple[Label, int]] = field(default_factory=list)
    prints: dict[str, RawTensor] = field(default_factory=dict)
    drift: dict[str, RawTensor] = field(default_factory=dict)
    moments: dict[str, RawTensor] = field(default_factory=dict)
    forget: str = ""


class _Rows(msgspec.Struct, frozen=True):
    version: str
    backbone: str
    trusted: list[PageRow]
    replay: list[PageRow]
    replay_seen: int
    anchor: str
    look: Look | None = None
    schema: Schema | None = None
    counts: list[tuple[Label, int]] = []
    forget: str = ""


_ROWS = msgspec.msgpack.Decoder(_Rows)


def encode_state(state: TrainingState) -> list[bytes | memoryview]:
    """A state as the parts of one safetensors file: the tensors, and everything else as msgpack in tensor ``rows``."""
    rows = _Rows(**{name: getattr(state, name) for name in _Rows.__struct_fields__})
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(msgspec.msgpack.encode(rows))
    tensors = {"rows": RawTensor("U8", (len(packed),), packed), "known": state.known}
    if state.trusted_features is not None:
        tensors["trusted_features"] = state.trusted_features
    if state.trusted_marks is not None:
        tensors["trusted_marks"] = state.trusted_marks
    for group in _GROUPS:
        tensors |= {f"{group}/{name}": raw for name, raw in getattr(state, group).items()}
    return pack_parts(tensors)


def decode_state(data: bytes) -> TrainingState:
    """Read a state.

    Raises
    ------
    StoreError
        ``store.corrupt`` if it is none.
    """
    tensors = unpack(data)
    if not {"rows", "known"} <= tensors.keys():
        raise corrupt("a training state lacks its rows")
    packed, known = tensors.pop("rows"), tensors.pop("known")
    if known.dtype != "I64" or len(known.shape) != 1:
        raise corrupt(f"a training state knows its rows as {known.dtype} {list(known.shape)}, not as an I64 vector")
    rows = parse(_ROWS.decode, inflate(packed.data, "a training state", limit=MAX_PLAIN_BYTES), "a training state")
    features = tensors.pop("trusted_features", None)
    if features is not None and (len(features.shape) != 2 or features.shape[0] != len(rows.trusted)):
        raise corrupt(f"a training state has features {list(features.shape)} for {len(rows.trusted)} trusted rows")
    marks = tensors.pop("trusted_marks", None)
    if marks is not None and (marks.dtype, marks.shape) != ("F32", (len(rows.trusted), MARKS)):
        raise corrupt(f"a training state has marks {list(marks.shape)} for {len(rows.trusted)} trusted rows")
    if foreign := [name for name in tensors if name.partition("/")[0] not in _GROUPS]:
        raise corrupt(f"a training state holds a tensor {foreign[0]!r}")
    return TrainingState(
        version=rows.version,
        backbone=rows.backbone,
        trusted=rows.trusted,
        trusted_features=features,
        trusted_marks=marks,
        anchor=rows.anchor,
        replay=rows.replay,
        replay_seen=rows.replay_seen,
        known=known,
        look=rows.look,
        schema=rows.schema,
        counts=rows.counts,
        forget=rows.forget,
        **{group: _under(f"{group}/", tensors) for group in _GROUPS},
    )


def _under(prefix: str, tensors: dict[str, RawTensor]) -> dict[str, RawTensor]:
    return {name.removeprefix(prefix): raw for name, raw in tensors.items() if name.startswith(prefix)}

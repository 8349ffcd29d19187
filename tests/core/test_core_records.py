"""Records come back from JSON and msgpack as they were."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from dripstone.core.records import (
    Evidence,
    ExampleCounts,
    LogEntry,
    Manifest,
    Metrics,
    MetricsPair,
    Rung,
    Spec,
    TensorEntry,
    Update,
    now,
)

ENTRY = TensorEntry("F32", [2, 3], "d", "o", "xor-zstd", "b", 3)
RECORDS = [
    Update("v", "p", "promoted", "proven", "head@ridge", [Rung("head@ridge", 0.5, 1.0), Rung("full@adamw", None, 0.0)],
           examples=ExampleCounts(received=3), rejections={"the text is empty": 1},
           metrics=MetricsPair(Metrics(0.5, {"old": 0.5}), Metrics(None)), evidence=Evidence(rows_needed=7), number=4),
    Update(None, None, "unchanged", "nothing new to learn"),
    LogEntry(1, "v", "update", "because", "nonce", "2026-01-01T00:00:00+00:00", "promoted", "c", "p", "b"),
    Manifest(Spec("a.b:c", {"hidden": [1, 2]}, "2", {"vocab": "h"}), "classification", ["a", "b"], None, "head@ridge",
             "f", "m", {"w": ENTRY}),
    Manifest(Spec("a.b:c"), "classification", [1, -(2**63)], "p", "full@adamw", "f", "m", {}),
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS)
def test_json_and_msgpack_round_trip(record):
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record)) == record


def test_a_label_keeps_its_type():
    manifest = RECORDS[-1]
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest).labels == [1, -(2**63)]


def test_defaults_are_not_shared():
    assert Update(None, None, "unchanged", "").rungs is not Update(None, None, "unchanged", "").rungs


def test_words_that_are_not_known_are_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"version": None, "parent": None, "verdict": "perhaps", "reason": ""}, Update)


def test_now_is_utc_to_the_second():
    moment = datetime.fromisoformat(now())
    assert moment.tzinfo == UTC
    assert moment.microsecond == 0
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 5

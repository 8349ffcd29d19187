"""Makes the store that tests/golden/store-v1 holds: ``python tests/golden/make_store.py FOLDER``.

It was run once. What it made is kept for ever, so that every later dripstone still reads it; run it again only to make
the fixture of a new format, in a new folder.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from dripstone.core.examples import Example
from dripstone.core.records import LogEntry, Spec, Update
from dripstone.core.tensors import RawTensor
from dripstone.store.ledger import Array, Book, Carried, Page, PageRow, PendingRow, QuarantineGroup
from dripstone.store.repository import Repository
from dripstone.store.state import TrainingState

KEY = bytes(range(32))
TIME = "2025-01-01T00:00:0{}Z"


def float_tensor(rows: int, columns: int, step: float = 0.0) -> RawTensor:
    values = [
        (row * columns + column) / 64 + step * (column % 7 == 0) for row in range(rows) for column in range(columns)
    ]
    return RawTensor("F32", (rows, columns), struct.pack(f"<{len(values)}f", *values))


ROOT = {
    "head.weight": float_tensor(2, 96),
    "head.bias": RawTensor("BF16", (2,), bytes.fromhex("803f0080")),
    "body.scale": RawTensor("F64", (), struct.pack("<d", float("nan"))),
    "body.steps": RawTensor("I64", (3,), struct.pack("<3q", -1, 0, 2**62)),
    "body.mask": RawTensor("BOOL", (4,), b"\0\1\1\0"),
    "body.noise": RawTensor("U8", (6,), b"\x9c\x01\xfe\x33\x70\x0d"),
    "body.empty": RawTensor("F16", (0, 3), b""),
}
CHILD = {"head.weight": float_tensor(2, 96, 0.5), "head.bias": RawTensor("BF16", (2,), bytes.fromhex("803f8040"))}
GROWN = {
    "head.weight": float_tensor(3, 96, 0.5),
    "head.bias": RawTensor("BF16", (3,), bytes.fromhex("803f80400000")),
}
SPEC = Spec("dripstone.models:mlp_classifier", {"hidden": [32, 16], "dropout": 0.5, "name": "é"}, output="head")


def page_row(number: int, role: str, reason: str = "") -> PageRow:
    inputs = f"question {number}" if number % 2 else Array([2, 1], struct.pack("<2f", number, -0.5)).numpy()
    example = Example(str(number), inputs, "a" if number % 3 else 7, 0.5, "monday", "new", f"day-1.jsonl:{number}")
    return PageRow.of(example, role, reason)


def write_versions(repository: Repository) -> list[str]:
    """Root, child, and a grandchild whose head has grown."""
    common = {"task": "classification", "data": "f" * 64}
    root = repository.write_version(
        spec=SPEC,
        assets={"vocab.txt": b"hello\nworld\n"},
        labels=["a", 7],
        parent=None,
        selection="full@adamw",
        tensors=ROOT,
        **common,
    )
    spec = repository.manifest(root.version).spec
    child = repository.write_version(
        spec=spec,
        assets={},
        labels=["a", 7],
        parent=root.version,
        selection="head@ridge",
        tensors=CHILD,
        **common,
    )
    grown = repository.write_version(
        spec=spec,
        assets={},
        labels=["a", 7, "c"],
        parent=child.version,
        selection="head@ridge",
        tensors=GROWN,
        **common,
    )
    return [root.version, child.version, grown.version]


def commit(repository: Repository, number: int, version: str, previous: str | None) -> None:
    rows = [page_row(10 * number, "train"), page_row(10 * number + 1, "held_out"), page_row(5, "rejected", "no label")]
    carried = [Carried(previous, 0, "train")] if previous else []
    page = repository.write_page(Page(None, version, rows, carried))
    repository.write_candidate_page(version, page)
    book = repository.write_book(
        Book(
            [PendingRow(page, 0, number, rows[0], True)],
            [QuarantineGroup(page, number, "no sense", [2])],
            number,
            [b"12345678"],
        )
    )
    time = TIME.format(number)
    report = Update(version, None, "promoted", "because", number=number, time=time, promoted=True)
    repository.write_record(version, number, f"{number:032x}", report)
    event = "init" if number == 1 else "update"
    repository.log.append(
        LogEntry(number, version, event, "because", f"{number:032x}", time, "promoted", version, page, book)
    )


def state(version: str) -> TrainingState:
    trusted, replay = [page_row(1, "held_out")], [page_row(2, "train")]
    known = RawTensor("I64", (2,), struct.pack("<2q", -5, 5))
    features, marks, statistics = float_tensor(1, 4), float_tensor(1, 4), {"gram": float_tensor(4, 4)}
    return TrainingState(version, "ab" * 32, trusted, features, marks, version, replay, 9, known, statistics)


def make(folder: Path) -> Repository:
    repository = Repository.create(folder)
    (folder / "training" / "holdout.key").write_bytes(KEY)
    previous = None
    for number, version in enumerate(write_versions(repository), 1):
        commit(repository, number, version, previous)
        previous = repository.page_of(version)
    repository.write_state(state(version))
    return repository


if __name__ == "__main__":
    make(Path(sys.argv[1]))

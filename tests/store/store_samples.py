"""Small things to put into a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import certificate_samples
from dripstone.core.examples import Example
from dripstone.core.records import LogEntry, Spec, Update
from dripstone.core.tensors import RawTensor
from dripstone.store.ledger import Book, Page, PageRow, PendingRow
from dripstone.store.repository import Repository, StoredVersion


def floats(seed: int, *shape: int) -> RawTensor:
    data = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return RawTensor("F32", shape, data.astype("<f4").tobytes())


def nudged(raw: RawTensor, seed: int) -> RawTensor:
    """The same numbers, a few of their lowest bits flipped: what training does."""
    bits = np.frombuffer(raw.data, np.uint8).copy()
    bits[:: 4 * 7] ^= np.uint8(seed % 255 + 1)
    return raw._replace(data=bits.tobytes())


def write(
    repository: Repository, tensors: dict[str, RawTensor], parent: str | None = None, **changes: object
) -> StoredVersion:
    fields: dict = {
        "spec": Spec("package.module:factory", {"width": 8}),
        "assets": {},
        "task": "classification",
        "labels": ["a", "b"],
        "parent": parent,
        "selection": "head@ridge",
        "data": "f" * 64,
        "tensors": tensors,
    }
    return repository.write_version(**(fields | changes))


def entry(number: int, version: str, nonce: str = "", **fields: object) -> LogEntry:
    event = fields.pop("event", "init" if number == 1 else "update")
    return LogEntry(number, version, event, "because", nonce or f"{number:x}", "2025-01-01T00:00:00Z", **fields)


def update(version: str, **fields: object) -> Update:
    return Update(version, None, "promoted", "because", **fields)


def row(number: int, role: str = "train") -> PageRow:
    return PageRow.of(Example(str(number), f"question {number}", "a", origin=f"day-1.jsonl:{number}"), role)


def page(number: int, version: str | None = None) -> Page:
    return Page(None, version, [row(number), row(number + 1, "held_out")])


def book(name: str, tested: int = 0) -> Book:
    return Book(pending=[PendingRow(name, 0, 1, row(1))], tested=tested)


def certify(repository: Repository, number: int, version: str, parent: str | None, tested: int) -> str:
    """The certificate of an update that is promoted with ``page(number)``, after so many tests of gain."""
    if parent is None:
        return repository.write_certificate(certificate_samples.first(repository, version))
    fresh = certificate_samples.rows(str(number + 1))
    made = certificate_samples.judged(repository, version, parent, number, tested=tested, fresh=fresh)
    return repository.write_certificate(made)


def commit(repository: Repository, number: int, tensors: dict[str, RawTensor], parent: str | None = None) -> str:
    """One whole update, in the order of a writer."""
    version = write(repository, tensors, parent).version
    page_name = repository.write_page(page(number, version))
    repository.write_candidate_page(version, page_name)
    book_name = repository.write_book(book(page_name, number - 1))
    repository.write_record(version, number, f"{number:x}", update(version, number=number))
    name = certify(repository, number, version, parent, tested=max(number - 2, 0))
    repository.log.append(promotion(number, version, name, page=page_name, book=book_name))
    return version


def promotion(number: int, version: str, certificate: str, nonce: str = "", **fields: object) -> LogEntry:
    """The entry of an update whose candidate is live from now on."""
    judgement = {"verdict": "promoted", "candidate": version, "certificate": certificate, "judged": certificate}
    return entry(number, version, nonce, **judgement, **fields)


def temporary_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".tmp-*") if path.is_file()]

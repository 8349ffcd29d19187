"""The certificate of a version: the file that says why it may be live, or why not, and what makes it believable."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from dripstone.core.errors import StoreError
from dripstone.core.records import Certificate, RowSet
from dripstone.store.checks import corrupt, is_hash, parse, sha256, to_json
from dripstone.store.files import read_bounded, write_once

CERTIFICATE_FORMAT = "dripstone-certificate 1"
MAX_CERTIFICATE_BYTES = 2**20

NO_FILE = ("store.missing", "store.corrupt", "store.too_large")
"""Kinds of error that say that there is no such certificate; any other is of the disk."""

VOUCHING = ("promoted", "unlearned")
"""Verdicts that let a version be live."""

_CERTIFICATE = msgspec.json.Decoder(Certificate)


def encode(certificate: Certificate) -> bytes:
    """A certificate as JSON.

    Raises
    ------
    UsageError
        If it holds what JSON cannot (NaN, lone surrogates), or is larger than what a reader accepts.
    StoreError
        ``store.corrupt`` if it contradicts itself.
    """
    _check(certificate, f"the certificate of version {certificate.version[:12]}")
    return to_json(certificate, _CERTIFICATE.decode, "the certificate", MAX_CERTIFICATE_BYTES)


def decode(data: bytes, what: str) -> Certificate:
    """Read a certificate and check all that can be checked without the store.

    Parameters
    ----------
    data : bytes
        JSON, as `encode` writes it.
    what : str
        Name of the thing for the message.

    Raises
    ------
    StoreError
        ``store.corrupt`` naming what does not fit.

    Examples
    --------
    >>> first = Certificate("ab" * 32, "cd" * 32, "first", "promoted", "a new project", 1, "2025-01-01T00:00:00Z")
    >>> decode(encode(first), "the sample") == first
    True
    """
    certificate = parse(_CERTIFICATE.decode, data, what)
    _check(certificate, what)
    return certificate


def write(folder: Path, certificate: Certificate) -> str:
    """Create the file of a certificate in a folder, and return its name: the hash of its bytes."""
    data = encode(certificate)
    digest = sha256(data)
    write_once(_path(folder, digest), data)
    return digest


def read(folder: Path, version: str, digest: str) -> Certificate:
    """The certificate of that name, which has to be about ``version``.

    Raises
    ------
    StoreError
        ``store.missing``, or ``store.corrupt`` or ``store.too_large`` for what is no certificate of this version.
    """
    if not is_hash(digest):
        raise corrupt(f"{digest!r} cannot be the name of a certificate: it is not 64 hexadecimal digits")
    path = _path(folder, digest)
    data = read_bounded(path, MAX_CERTIFICATE_BYTES)
    if sha256(data) != digest:
        raise corrupt(f"{path} is damaged: it does not hold the bytes it is named after")
    certificate = decode(data, f"the certificate {path}")
    if certificate.version != version:
        raise corrupt(f"the certificate {path} is about another version, {certificate.version[:12]}")
    return certificate


def uncertified(version: str, why: str) -> StoreError:
    """The error for a version that is live without a certificate to vouch for it."""
    return StoreError(
        f"no certificate vouches for version {version[:12]}: {why}",
        remedy=f"run 'dripstone verify', then vouch for it with 'dripstone promote {version[:12]} --reason TEXT'",
        kind="store.uncertified",
    )


def why_not_live(certificate: Certificate, merkle: str) -> str | None:
    """Why a certificate does not let its version be live, None if it does. ``merkle`` is the manifest's root."""
    if certificate.merkle != merkle:
        return "its certificate is about other tensors"
    if certificate.verdict not in VOUCHING:
        return f"its certificate says {certificate.verdict!r}"
    return None


def _path(folder: Path, digest: str) -> Path:
    return folder / f"certificate-{digest}.json"


def _check(certificate: Certificate, what: str) -> None:
    if certificate.format != CERTIFICATE_FORMAT:
        raise corrupt(
            f"{what} has the format {certificate.format!r}",
            remedy="open this store with the version of dripstone that wrote it",
        )
    for problem in (_bad_name(certificate), _bad_number(certificate), _bad_source(certificate)):
        if problem:
            raise corrupt(f"{what} {problem}")


def _bad_name(certificate: Certificate) -> str | None:
    required = {"version": certificate.version, "merkle": certificate.merkle}
    optional = {
        "champion": certificate.champion,
        "champion_merkle": certificate.champion_merkle,
        "anchor": certificate.anchor,
        "next_anchor": certificate.next_anchor,
        "fresh": certificate.fresh.digest or None,
        "trusted": certificate.trusted.digest or None,
    }
    for field, name in [*required.items(), *((field, name) for field, name in optional.items() if name is not None)]:
        if not is_hash(name):
            return f"names {name!r} as {field}, which is not 64 hexadecimal digits"
    return None


def _bad_number(certificate: Certificate) -> str | None:
    if certificate.number < 1:
        return f"was written for log entry {certificate.number}"
    for field, value in _numbers(msgspec.to_builtins(certificate)):
        if not math.isfinite(value) or value < 0:
            return f"holds {field} {value}"
    if certificate.evidence.alpha_spent > 1:
        return f"spends an alpha of {certificate.evidence.alpha_spent}"
    if any(bool(rows.rows) > bool(rows.digest) for rows in _row_sets(certificate)):
        return "counts rows and does not say which"
    return None


def _numbers(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Every number of a record and of the records in it, none of which may be negative, with its name."""
    found: list[tuple[str, float]] = []
    for field, value in tree.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{field}.")
        elif isinstance(value, int | float):
            found.append((f"{prefix}{field}", value))
    return found


def _row_sets(certificate: Certificate) -> tuple[RowSet, RowSet]:
    return certificate.fresh, certificate.trusted


def _bad_source(certificate: Certificate) -> str | None:
    """The rules of each source: who may say what, about whom."""
    if (certificate.champion is None) != (certificate.champion_merkle is None):
        return "names a champion or its Merkle root, but not both"
    if certificate.verdict == "unchanged":
        return "is about a version, and its verdict is that there is none"
    if certificate.verdict == "unlearned" and certificate.source != "person":
        return f"is of source {certificate.source!r}, and only a person has rows unlearned"
    if certificate.source == "gate":
        return None if certificate.rules and certificate.champion else "is of the gate, without its rules or a champion"
    if certificate.verdict not in VOUCHING:
        return f"is of source {certificate.source!r}, which only promotes, and its verdict is {certificate.verdict!r}"
    if certificate.evidence.alpha_spent:
        return f"is of source {certificate.source!r}, which tests nothing, and spends alpha"
    if certificate.source == "first":
        return None if certificate.number == 1 else f"is of a first version, in log entry {certificate.number}"
    if certificate.champion and certificate.reason.strip():
        return None
    return f"is of {'a person' if certificate.source == 'person' else 'the champion'}, without champion or reason"

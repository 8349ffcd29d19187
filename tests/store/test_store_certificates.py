import json

import msgspec
import pytest

from dripstone.core.errors import StoreError, UsageError
from dripstone.core.records import Certificate, Evidence, Flips, HarmTest, RowSet, Rules
from dripstone.store import certificates
from dripstone.store.certificates import MAX_CERTIFICATE_BYTES, decode, encode, uncertified, why_not_live
from dripstone.store.repository import Repository

V, W, M = "ab" * 32, "cd" * 32, "ef" * 32
FIRST = Certificate(V, M, "first", "promoted", "a new project", 1, "2025-01-01T00:00:00Z", next_anchor=V)
GATE = Certificate(
    V,
    M,
    "gate",
    "refused",
    "of 40 trusted rows, 9 got worse",
    7,
    "2025-01-01T00:00:00Z",
    champion=W,
    champion_merkle=M,
    anchor=W,
    next_anchor=W,
    fresh=RowSet(3, M),
    trusted=RowSet(40, M),
    rules=Rules("steady", 0.05, 0.01, 50, 4000, "accuracy", 4),
    evidence=Evidence(wealth=2.5, threshold=40.0, rows=3, alpha_spent=0.001),
    harm=HarmTest("class 'a'", "anchor", 40, 9, 1, 300.0, 20.0),
    flips=Flips(9, 1, 43),
)
PERSON = msgspec.structs.replace(GATE, source="person", verdict="promoted", rules=None, evidence=Evidence())


@pytest.fixture
def repository(tmp_path):
    return Repository.create(tmp_path / "store")


@pytest.mark.parametrize("certificate", [FIRST, GATE, PERSON])
def test_it_survives(certificate):
    assert decode(encode(certificate), "it") == certificate


@pytest.mark.parametrize("certificate", [FIRST, GATE, PERSON])
def test_it_is_kept_under_its_hash_beside_the_version(repository, certificate):
    name = repository.write_certificate(certificate)
    path = repository.path / "versions" / V / "records" / f"certificate-{name}.json"
    assert path.read_bytes() == encode(certificate)
    assert repository.write_certificate(certificate) == name
    assert repository.read_certificate(V, name) == certificate
    assert repository.records(V) == []


def test_the_bytes_are_those_of_the_first_day():
    plain = {
        "version": V,
        "merkle": M,
        "source": "first",
        "verdict": "promoted",
        "reason": "é",
        "number": 1,
        "time": "",
    }
    assert decode(json.dumps(plain).encode(), "it") == Certificate(V, M, "first", "promoted", "é", 1, "")
    assert list(json.loads(encode(GATE))) == [
        *(
            "version",
            "merkle",
            "source",
            "verdict",
            "reason",
            "number",
            "time",
            "champion",
            "champion_merkle",
            "anchor",
        ),
        *("next_anchor", "fresh", "trusted", "rules", "evidence", "harm", "flips", "format"),
    ]


def changed(certificate, **changes):
    return msgspec.structs.replace(certificate, **changes)


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (changed(FIRST, format="dripstone-certificate 2"), "has the format"),
        (changed(FIRST, version="../" + "a" * 61), "as version"),
        (changed(FIRST, merkle=""), "as merkle"),
        (changed(FIRST, next_anchor="x"), "as next_anchor"),
        (changed(GATE, champion="x"), "as champion"),
        (changed(GATE, champion_merkle=M.upper()), "as champion_merkle"),
        (changed(GATE, anchor=""), "as anchor"),
        (changed(GATE, fresh=RowSet(3, "x")), "as fresh"),
        (changed(GATE, trusted=RowSet(3, "../x")), "as trusted"),
        (changed(GATE, trusted=RowSet(3, "")), "does not say which"),
        (changed(GATE, fresh=RowSet(-1, M)), "holds fresh.rows -1"),
        (changed(FIRST, number=0), "log entry 0"),
        (changed(FIRST, number=2), "of a first version, in log entry 2"),
        (changed(GATE, evidence=Evidence(wealth=float("nan"))), "holds evidence.wealth nan"),
        (changed(GATE, harm=HarmTest(bar=float("inf"))), "holds harm.bar inf"),
        (changed(GATE, evidence=Evidence(alpha_spent=1.5)), "spends an alpha of 1.5"),
        (changed(GATE, evidence=Evidence(rows_needed=-5)), "evidence.rows_needed -5"),
        (changed(GATE, rules=None), "without its rules"),
        (changed(GATE, champion=None, champion_merkle=None), "without its rules or a champion"),
        (changed(GATE, champion_merkle=None), "not both"),
        (changed(GATE, verdict="unchanged"), "that there is none"),
        (changed(FIRST, verdict="refused"), "which only promotes"),
        (changed(PERSON, verdict="undecided"), "which only promotes"),
        (changed(PERSON, reason=" "), "without champion or reason"),
        (changed(PERSON, champion=None, champion_merkle=None), "without champion or reason"),
        (changed(PERSON, evidence=GATE.evidence), "spends alpha"),
    ],
)
def test_what_contradicts_itself_is_neither_written_nor_read(certificate, words):
    with pytest.raises(StoreError, match=words) as caught:
        encode(certificate)
    assert caught.value.remedy
    with pytest.raises(StoreError):
        decode(msgspec.json.encode(certificate), "it")


@pytest.mark.parametrize("reason", ["\ud800", "x" * MAX_CERTIFICATE_BYTES])
def test_what_no_reader_would_accept_is_not_written(repository, reason):
    with pytest.raises(UsageError):
        repository.write_certificate(changed(FIRST, reason=reason))


def test_what_is_not_there_and_what_is_no_name(repository):
    with pytest.raises(StoreError) as caught:
        repository.read_certificate(V, M)
    assert caught.value.kind == "store.missing"
    with pytest.raises(StoreError, match="64 hexadecimal digits") as caught:
        repository.read_certificate(V, "../page")
    assert caught.value.kind == "store.corrupt"
    with pytest.raises(UsageError):
        repository.read_certificate("../x", M)


def test_it_lets_only_its_own_promoted_version_be_live():
    assert why_not_live(FIRST, M) is None
    assert "other tensors" in why_not_live(FIRST, V)
    assert "'refused'" in why_not_live(GATE, M)


def test_the_error_names_the_version_and_the_way_out():
    error = uncertified(V, "log entry 3 names none")
    assert error.kind == "store.uncertified"
    assert str(error).startswith(f"no certificate vouches for version {V[:12]}: log entry 3 names none; ")
    assert f"'dripstone promote {V[:12]} --reason TEXT'" in error.remedy


def test_a_torn_file_is_written_anew(repository):
    name = repository.write_certificate(FIRST)
    path = certificates._path(repository.path / "versions" / V / "records", name)
    path.write_bytes(b"{")
    assert repository.write_certificate(FIRST) == name
    assert repository.read_certificate(V, name) == FIRST

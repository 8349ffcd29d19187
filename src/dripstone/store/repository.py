"""A store: one folder with the versions, the log that says which is live, and what training needs."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from dripstone.core.errors import ModelError, StoreError, UsageError
from dripstone.core.low_rank import Factors
from dripstone.core.records import Certificate, LogEntry, Manifest, Spec, Update
from dripstone.core.tensors import RawTensor
from dripstone.store import certificates, collecting, verify
from dripstone.store.checks import corrupt, is_hash, parse, to_json
from dripstone.store.deeds import Deeds
from dripstone.store.files import is_there, list_names, make_folder, read_bounded, sweep, write_new
from dripstone.store.format import merkle_root
from dripstone.store.ledger import Book, Page
from dripstone.store.manifest import format_of
from dripstone.store.objects import Objects
from dripstone.store.refs import Log
from dripstone.store.state import TrainingState
from dripstone.store.training import Training
from dripstone.store.versions import Versions, unknown_version

STORE_FORMAT = b"dripstone-store 1\n"
KEPT_BOOKS = 16

_MAX_ASSET_BYTES = 2**30
_MAX_RECORD_BYTES = 2**24
_KEY_BYTES = 32
_STALE_BOOK_SECONDS = 60.0
_NONCE = re.compile(r"[0-9A-Za-z]{1,64}")
_RECORD = re.compile(r"([0-9]{6,})-([0-9A-Za-z]{1,64})\.json")
_UPDATE = msgspec.json.Decoder(Update)


class StoredVersion(NamedTuple):
    """A version that is on disk, and the bytes that it added there."""

    version: str
    delta_bytes: int


class _CandidatePage(msgspec.Struct, frozen=True):
    page: str


_CANDIDATE_PAGE = msgspec.json.Decoder(_CandidatePage)


class Repository:
    """An open store. Make one with `create` or `open`.

    Everything but the log may be written at any time and is harmless until a log entry names it.

    Examples
    --------
    >>> import tempfile
    >>> repository = Repository.create(Path(tempfile.mkdtemp()) / "store")
    >>> weight = RawTensor("F32", (2,), b"\\0" * 8)
    >>> stored = repository.write_version(
    ...     spec=Spec("package.module:factory"), assets={}, task="classification", labels=["a", "b"], parent=None,
    ...     selection="full", data="", tensors={"weight": weight})
    >>> repository.read_tensors(stored.version)["weight"] == weight
    True
    >>> list(repository.verify())
    []
    """

    def __init__(self, path: Path, instead: Mapping[str, Page] | None = None) -> None:
        self.path = path
        self.log = Log(path / "refs" / "live")
        self.objects = Objects(path / "objects")
        self._versions = Versions(path / "versions", self.objects)
        self._training = Training(path / "training", self.log, instead)

    @classmethod
    def create(cls, path: Path | str) -> Repository:
        """Make a store in a folder that is empty or not there.

        Raises
        ------
        StoreError
            ``store.exists`` if something is there, and what writing may raise.
        """
        path = Path(path)
        if is_there(path) and (not path.is_dir() or list_names(path)):
            raise StoreError(
                f"{path} is there already and not empty", remedy="name a new folder for the store", kind="store.exists"
            )
        for name in ("objects", "versions", "refs/live", "training/ledger", "training/books", "training/state"):
            make_folder(path / name)
        try:
            write_new(path / "training" / "holdout.key", _new_key(), mode=0o600)
            write_new(path / "format", STORE_FORMAT)  # last: a half-made store does not open
        except FileExistsError as error:
            raise StoreError(
                f"another writer made a store in {path} meanwhile", remedy="open that store", kind="store.exists"
            ) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path | str) -> Repository:
        """Open a store.

        Raises
        ------
        StoreError
            ``store.missing`` if there is none, ``store.format`` if another program or version wrote it.
        """
        path = Path(path)
        if not is_there(path / "format"):
            raise StoreError(
                f"{path} is no dripstone store: it has no file 'format'",
                remedy="make one with 'dripstone init', or name another folder",
                kind="store.missing",
            )
        if (line := read_bounded(path / "format", 4096)) != STORE_FORMAT:
            raise StoreError(
                f"{path} has the format {line[:40]!r}, not {STORE_FORMAT!r}",
                remedy="open it with the version of dripstone that wrote it",
                kind="store.format",
            )
        return cls(path)

    def with_pages(self, instead: Mapping[str, Page]) -> Repository:
        """The same store, read with other pages in place of some, by their names: as it would be without some rows."""
        return Repository(self.path, instead)

    @property
    def deeds(self) -> Deeds:
        """What was unlearned."""
        return self._training.deeds

    @property
    def holdout_key(self) -> bytes:
        """The 32 secret bytes that decide which rows are held out."""
        path = self.path / "training" / "holdout.key"
        key = read_bounded(path, _KEY_BYTES)
        if len(key) != _KEY_BYTES:
            raise corrupt(f"{path} has {len(key)} bytes, not {_KEY_BYTES}")
        return key

    def write_version(
        self,
        *,
        spec: Spec,
        assets: Mapping[str, bytes],
        task: str,
        labels: list[str | int],
        parent: str | None,
        selection: str,
        data: str,
        tensors: Mapping[str, RawTensor],
        factors: Mapping[str, Factors] | None = None,
    ) -> StoredVersion:
        """Store a version. It has an id from now on, and no verdict.

        Parameters
        ----------
        spec : Spec
            How to rebuild the module. Its assets, where given, are kept.
        assets : mapping of str to bytes
            Files to store with it, for a root.
        task : str
            Kind of the task.
        labels : list of str or int
            The labels, in the order of the model's outputs.
        parent : str or None
            Id of the version it came from.
        selection : str
            What moved, and how.
        data : str
            Fingerprint of the data.
        tensors : mapping of str to RawTensor
            Those that differ from the parent's (all, for a root); the others stay where they are.
        factors : mapping of str to Factors, optional
            Products that were added to some of the parent's tensors, and have made these of them.

        Returns
        -------
        StoredVersion
            The id, the same for the same content that was not unlearned, and the bytes of payload, manifest and assets.

        Raises
        ------
        ModelError
            If spec, labels or tensors are nothing a store can hold.
        StoreError
            What reading the parent and writing may raise.
        """
        if large := [name for name, content in assets.items() if len(content) > _MAX_ASSET_BYTES]:
            raise ModelError(f"asset {large[0]!r} is larger than a store takes", remedy="use files of at most 1 GiB")
        hashes = {name: self.objects.put(content) for name, content in assets.items()}
        entries, payload_bytes = self._versions.write_tensors(parent, tensors, factors or {})
        manifest = Manifest(
            spec=msgspec.structs.replace(spec, assets={**spec.assets, **hashes}),
            task=task,
            labels=list(labels),
            parent=parent,
            selection=selection,
            data=data,
            merkle=merkle_root(entries),
            tensors=entries,
            format=format_of(entries),
        )
        version, manifest_bytes = self._versions.write_manifest(manifest, self.deeds.versions())
        added = payload_bytes + manifest_bytes + sum(len(content) for content in assets.values())
        return StoredVersion(version, added)

    def manifest(self, version: str) -> Manifest:
        """The checked manifest of a version."""
        return self._versions.manifest(version)

    def read_tensors(self, version: str, names: Iterable[str] | None = None) -> dict[str, RawTensor]:
        """Plain bytes of a version's tensors, each verified against its digest.

        Raises
        ------
        UsageError
            If the version has no tensor of a given name.
        StoreError
            ``store.missing`` or ``store.corrupt`` naming the tensor, the object or the version; ``store.collected`` for
            a version that was collected.
        """
        collecting.refuse_collected(self, version)
        return self._versions.read_tensors(version, names)

    def each_tensor(self, version: str, names: Iterable[str] | None = None) -> Iterator[tuple[str, RawTensor]]:
        """As `read_tensors`, one at a time in the order of the files, for whoever cannot hold them all."""
        collecting.refuse_collected(self, version)
        return self._versions.each_tensor(version, names)

    def read_factors(self, version: str) -> dict[str, Factors]:
        """The products of low rank that a version added to tensors of its parent, by tensor; none for most versions."""
        collecting.refuse_collected(self, version)
        return self._versions.read_factors(version)

    def read_asset(self, name: str) -> bytes:
        """An asset by its hash."""
        return self.objects.get(name, _MAX_ASSET_BYTES)

    def versions(self) -> list[str]:
        """Ids of all versions, sorted."""
        return self._versions.ids()

    def resolve(self, text: str) -> str:
        """The id that a person means: ``live``, an id, or the first digits of one (4 at least).

        Raises
        ------
        UsageError
            ``usage.version`` if it fits no version, or more than one.
        """
        if text == "live":
            return self.log.head().version
        if not re.fullmatch(r"[0-9a-f]{4,64}", text.lower()):
            raise unknown_version(text, "is neither 'live' nor 4 to 64 hexadecimal digits")
        found = [version for version in self.versions() if version.startswith(text.lower())]
        if not found:
            raise unknown_version(text, "is no version of this store")
        if len(found) > 1:
            raise UsageError(
                f"{text!r} fits {len(found)} versions: {', '.join(version[:16] for version in found)}",
                remedy="give more digits",
                kind="usage.version",
            )
        return found[0]

    def write_record(self, version: str, number: int, nonce: str, update: Update) -> None:
        """Keep the report of an update beside the version it judged. Create-only; the same once more is fine."""
        path = self._record_path(version, number, nonce)
        data = to_json(update, _UPDATE.decode, "the report of the update", _MAX_RECORD_BYTES)
        try:
            write_new(path, data)
        except FileExistsError:
            if read_bounded(path, _MAX_RECORD_BYTES) != data:
                raise StoreError(
                    f"{path} holds another report", remedy="use a new nonce for each update", kind="store.exists"
                ) from None

    def read_record(self, version: str, number: int, nonce: str) -> Update | None:
        """The report of a log entry, None if there is none."""
        path = self._record_path(version, number, nonce)
        return _parse_record(path) if is_there(path) else None

    def records(self, version: str) -> list[Update]:
        """All reports on a version, oldest first."""
        folder = self._records_folder(version)
        found = [match for name in list_names(folder) if (match := _RECORD.fullmatch(name))]
        return [
            _parse_record(folder / match[0]) for match in sorted(found, key=lambda match: (int(match[1]), match[2]))
        ]

    def write_certificate(self, certificate: Certificate) -> str:
        """Keep a certificate beside the version it is about, and return its name. Create-only.

        Raises
        ------
        UsageError, StoreError
            If no reader would accept it, and what writing may raise.
        """
        return certificates.write(self._records_folder(certificate.version), certificate)

    def read_certificate(self, version: str, digest: str) -> Certificate:
        """A certificate of a version by its name, verified against it.

        Raises
        ------
        StoreError
            ``store.missing``, or ``store.corrupt`` or ``store.too_large`` for what is no certificate of this version.
        """
        return certificates.read(self._records_folder(version), version, digest)

    def certificate_of(self, entry: LogEntry) -> Certificate:
        """The certificate that lets the version of a log entry be live.

        Raises
        ------
        StoreError
            ``store.uncertified`` if the entry names none, or one that is missing or damaged, is about another version
            or other tensors, or is no promotion.
        """
        if entry.certificate is None:
            raise certificates.uncertified(entry.version, f"log entry {entry.number} names none")
        merkle = self.manifest(entry.version).merkle
        try:
            certificate = self.read_certificate(entry.version, entry.certificate)
        except StoreError as error:
            if error.kind not in certificates.NO_FILE:
                raise
            raise certificates.uncertified(entry.version, error.message) from error
        if why := certificates.why_not_live(certificate, merkle):
            raise certificates.uncertified(entry.version, why)
        return certificate

    def write_candidate_page(self, version: str, page: str) -> None:
        """Remember with which page a candidate was trained. The first page stays; later ones only add evidence."""
        with contextlib.suppress(FileExistsError):
            write_new(self._candidate_page_path(version), msgspec.json.encode(_CandidatePage(page)))

    def page_of(self, version: str) -> str | None:
        """The page that a version was trained with, None if none was kept."""
        path = self._candidate_page_path(version)
        if not is_there(path):
            return None
        page = parse(_CANDIDATE_PAGE.decode, read_bounded(path, 4096), str(path)).page
        if not is_hash(page):
            raise corrupt(f"{path} names {page!r}, which is not 64 hexadecimal digits")
        return page

    def write_page(self, page: Page) -> str:
        """Store a ledger page and return its name."""
        return self._training.write_page(page)

    def read_page(self, name: str) -> Page:
        """Read a ledger page and verify it; of one that was redacted, what stands in its place."""
        return self._training.read_page(name)

    def pages(self) -> list[str]:
        """Names of all ledger pages, those that no log entry names among them, sorted."""
        return self._training.pages()

    def write_book(self, book: Book) -> str:
        """Store a book and return its name."""
        return self._training.write_book(book)

    def read_book(self, name: str) -> Book:
        """Read a book and verify it."""
        return self._training.read_book(name)

    def write_state(self, state: TrainingState) -> None:
        """Keep a training state beside its version."""
        self._training.write_state(state)

    def read_state(self, version: str) -> TrainingState | None:
        """The training state of a version; None if it is missing or damaged, for the ledger can rebuild it."""
        return self._training.read_state(version)

    def prune_states(self, keep: Collection[str]) -> int:
        """Remove the training states of all versions but these, and return how many files that were."""
        return self._training.prune_states(keep)

    def states(self) -> list[tuple[str, str]]:
        """The files of training states, each with the version that it belongs to."""
        return self._training.states()

    def kept_books(self) -> list[str]:
        """The books that a sweep leaves alone, newest first: those of the head and of the 15 before it.

        Those from before rows were unlearned may hold these rows: they are not kept.
        """
        kept: dict[str, None] = {}
        for entry in self.log.entries():
            if entry.book is not None:
                kept[entry.book] = None
            if len(kept) == KEPT_BOOKS or entry.unlearned is not None:
                break
        return list(kept)

    def verify(self) -> Iterator[str]:
        """Every problem of the store, a sentence each; nothing if it is sound. Orphans are no problem."""
        return verify.find_problems(self)

    def sweep(self) -> int:
        """Remove temporary files older than an hour and superseded books older than a minute; how many files that were.

        A book is written right before the log entry that names it. Where deleting what was unlearned was cut short, it
        is brought to its end.
        """
        swept = collecting.finish(self).files + sweep(self.path, collecting.STALE_SECONDS)
        return swept + self._training.sweep_books(self.kept_books(), _STALE_BOOK_SECONDS)

    def _record_path(self, version: str, number: int, nonce: str) -> Path:
        if not _NONCE.fullmatch(nonce):
            raise UsageError(f"{nonce!r} cannot be a nonce", remedy="use 1 to 64 letters and digits")
        return self._records_folder(version) / f"{number:06d}-{nonce}.json"

    def _candidate_page_path(self, version: str) -> Path:
        return self._records_folder(version) / "page.json"

    def folder_of(self, version: str) -> Path:
        """Where the files of a version are."""
        return self._versions.folder_of(version)

    def _records_folder(self, version: str) -> Path:
        return self._versions.folder_of(version) / "records"


def _new_key() -> bytes:
    return secrets.token_bytes(_KEY_BYTES)


def _parse_record(path: Path) -> Update:
    return parse(_UPDATE.decode, read_bounded(path, _MAX_RECORD_BYTES), f"the record {path}")

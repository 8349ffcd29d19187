"""What the tests of unlearning share: rows that are easy to find again, and a search of every byte of a store."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import zstandard

from dripstone.learner import Learner
from dripstone.store.ledger import Array, PageRow
from dripstone.train.features import features_of
from dripstone.update.audit import audit
from dripstone.update.lineage import learned_pages
from learner_samples import make

MAGIC = b"\x28\xb5\x2f\xfd"


def check(learner: Learner) -> None:
    """The store is whole, and every judgement that can be made again is as it was."""
    assert list(learner.repository.verify()) == []
    assert list(audit(learner.repository, learner.config)) == []


def named(rows: list[dict], prefix: str, **columns: object) -> list[dict]:
    """The rows with ids, none of which begins another one, and other columns that all of them have."""
    return [{"id": f"{prefix}-{number}.", **row, **columns} for number, row in enumerate(rows)]


def learned(learner: Learner, role: str = "train", version: str | None = None) -> list[PageRow]:
    """What a version's line, the live one's if none is named, has learned or is judged by."""
    pages = learned_pages(learner.repository, version or learner.repository.log.head().version)
    return [row for page in pages for row in page if row.role == role]


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file under a folder, as it is and with every zstd frame in it inflated."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield path, data
        start = data.find(MAGIC)
        while start >= 0:
            with contextlib.suppress(zstandard.ZstdError):
                yield path, zstandard.ZstdDecompressor().decompressobj().decompress(data[start:])
            start = data.find(MAGIC, start + 1)


def traces_of(folder: Path, *wanted: bytes) -> set[str]:
    """Files under a folder that hold any of these bytes, in whatever frame."""
    return {str(path.relative_to(folder)) for path, data in contents(folder) if any(want in data for want in wanted)}


def bytes_of(learner: Learner, row: PageRow) -> list[bytes]:
    """By what a row could be known: its id, its inputs, its features, and as a manifest or a report writes numbers."""
    found = [row.id.encode()]
    if isinstance(row.inputs, Array):
        found.append(row.inputs.data)
        found.append(features_of(learner.champion().model, [row.inputs.numpy()]).numpy().tobytes())
        found.append(np.float64(row.inputs.numpy()).tobytes())
    else:
        found.append(row.inputs.encode())
    return found


def steps_of(work: Callable[[], object]) -> int:
    """How many files a piece of work syncs and deletes."""
    count = 0
    sync, unlink = os.fsync, os.unlink

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **named: object) -> object:
            nonlocal count
            count += 1
            return real(*arguments, **named)

        return step

    os.fsync, os.unlink = counted(sync), counted(unlink)
    try:
        work()
    finally:
        os.fsync, os.unlink = sync, unlink
    return count


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that kills itself before the sync or deletion of that number; whether it came that far."""
    torch.set_num_threads(1)  # a forked child cannot use its parent's thread pool
    child = os.fork()
    if child == 0:
        try:
            number = itertools.count(1)

            def dying(real: Callable[..., object]) -> Callable[..., object]:
                def stepped(*arguments: object, **named: object) -> object:
                    if next(number) == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*arguments, **named)

                return stepped

            os.fsync, os.unlink = dying(os.fsync), dying(os.unlink)
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def with_and_without(
    folder: Path, settings: dict, first: list[dict], later: list[dict], every: int, make: Callable[..., Learner] = make
) -> tuple[Learner, Learner]:
    """Who learned all rows and unlearned each so many of the later ones, and who never saw those."""
    one, other = make(folder / "one", settings), make(folder / "other", settings)
    for learner in (one, other):
        assert learner.update(first).promoted
    assert one.update(later).promoted
    gone = {row["id"] for row in later[::every]}
    assert other.update([row for row in later if row["id"] not in gone], gate="off").promoted
    assert one.unlearn(gone).exact
    return one, other

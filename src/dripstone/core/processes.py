"""The processes that make one update together, as ``torchrun`` starts them. Alone, everything here does nothing.

Each of them runs the same flow on the same rows. What costs is shared: rows to encode, sums over rows, the rows of a
batch; and so is what follows from it, so that all come to the same end. The first one alone writes and prints.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import torch

from dripstone.core import errors
from dripstone.core.errors import DripstoneError, ProcessError, UsageError
from dripstone.core.examples import Content, content_id

T = TypeVar("T")
S = TypeVar("S", bound=Sequence[Any] | torch.Tensor)

PATIENCE = "DRIPSTONE_PATIENCE"
"""Environment variable: after how many seconds without a word a process is given up; 600 without it."""

TURN = 2.0
"""Seconds for which the others leave the word to the first process, where all end by the same error: torchrun ends it
as soon as one of them has ended."""

_rank, _size = 0, 1


class _Told(msgspec.Struct):
    """What the first process tells the others: a result as msgpack, which has infinity, or an error."""

    result: msgspec.Raw = msgspec.Raw(b"\xc0")
    error: str = ""
    message: str = ""
    remedy: str = ""
    kind: str | None = None


def size() -> int:
    """How many processes make the update."""
    return _size


def rank() -> int:
    """Which of them this is, from 0."""
    return _rank


def is_first() -> bool:
    """Whether this is the one that writes and prints."""
    return _rank == 0


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that ``torchrun`` has started, inside the block.

    Raises
    ------
    UsageError
        If the variables that torchrun sets make no sense.
    ProcessError
        If the others do not come.

    Examples
    --------
    >>> with joined():  # without torchrun
    ...     size(), is_first()
    (1, True)
    """
    global _rank, _size
    world = _number("WORLD_SIZE", 1)
    if world < 2:
        yield
        return
    import torch.distributed as dist

    # Its functions keep the group that they find at their import, the first optimiser's at the latest: it would outlive
    # its end, and threads that outlive the interpreter abort the process.
    import torch.distributed.nn

    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(_number("LOCAL_RANK", 0))
    with _watched():
        dist.init_process_group(backend, timeout=timedelta(seconds=_number(PATIENCE, 600)))
    _rank, _size = dist.get_rank(), dist.get_world_size()
    try:
        yield
    except DripstoneError as error:
        if _rank and not isinstance(error, ProcessError):
            time.sleep(TURN)
        raise
    finally:
        _rank, _size = 0, 1
        dist.destroy_process_group()


def share(rows: S) -> S:
    """This process's part of something in a row: every so many-th, so that no part has more than one more.

    Examples
    --------
    >>> share([1, 2, 3])
    [1, 2, 3]
    """
    return rows if _size == 1 else rows[_rank::_size]  # type: ignore[return-value]


def join_shares(mine: torch.Tensor, count: int) -> torch.Tensor:
    """The rows of all shares in their order, bit for bit.

    Parameters
    ----------
    mine : torch.Tensor
        [rows of this share, ...], on the CPU; of the same dtype and width everywhere.
    count : int
        Rows of all shares.
    """
    return join_owned(mine, torch.arange(count) % _size)


def owners(inputs: Sequence[Content]) -> torch.Tensor:
    """[rows] int64: which process a row belongs to whatever its place, so that what one has made of it can stay there.

    Examples
    --------
    >>> owners(["a", "b"])
    tensor([0, 0])
    """
    if _size == 1:
        return torch.zeros(len(inputs), dtype=torch.int64)
    return torch.tensor([int(content_id(row)[:8], 16) % _size for row in inputs], dtype=torch.int64)


def own(inputs: Sequence[Content]) -> list[Content]:
    """The rows that belong to this process."""
    return [row for row, owner in zip(inputs, owners(inputs).tolist(), strict=True) if owner == _rank]


def join_owned(mine: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, bit for bit, each where its owner stands in ``owners``; else as `join_shares`."""
    if _size == 1:
        return mine
    import torch.distributed as dist

    counts = owners.bincount(minlength=_size).tolist()
    padded = mine.new_zeros(max(counts), *mine.shape[1:])
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in range(_size)]
    with _watched():
        dist.all_gather(parts, padded)
    joined = mine.new_empty(len(owners), *mine.shape[1:])
    for owner, (part, count) in enumerate(zip(parts, counts, strict=True)):
        joined[owners == owner] = part[:count]
    return joined


def add_up(tensor: torch.Tensor) -> None:
    """Put the sum over all processes into the tensor of each."""
    if _size > 1:
        import torch.distributed as dist

        with _watched():
            dist.all_reduce(tensor)


def copy_first(tensors: Sequence[torch.Tensor]) -> None:
    """Put the first process's values into the tensors of all."""
    if _size > 1:
        import torch.distributed as dist

        with _watched(), torch.no_grad():
            for tensor in tensors:
                whole = tensor.detach().contiguous()
                dist.broadcast(whole, 0)
                tensor.copy_(whole)


def add_up_gradients(parameters: Sequence[torch.nn.Parameter], loss: float) -> float:
    """Put the sum over all processes into each gradient, and return that of the losses.

    A parameter without gradient is left without one only where no process has one.
    """
    if _size == 1:
        return loss
    flags = [loss, *(float(parameter.grad is not None) for parameter in parameters)]
    parts = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    flat = torch.cat([parts[0].new_tensor(flags, dtype=torch.float32), *(part.flatten().float() for part in parts)])
    add_up(flat)
    sums = flat[len(flags) :].split([parameter.numel() for parameter in parameters])
    for parameter, some, gradient in zip(parameters, flat[1 : len(flags)].tolist(), sums, strict=True):
        if some:
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype)
    return float(flat[0])


def agree(what: str, value: str) -> None:
    """Make sure that all processes have the same before them.

    Raises
    ------
    ProcessError
        If they do not; in all of them.
    """
    if _size == 1:
        return
    digest = int.from_bytes(hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()[:7], "big")
    found = join_shares(torch.tensor([digest]), _size)
    if len(set(found.tolist())) > 1:
        raise ProcessError(
            f"the processes of this update do not have the same {what}",
            remedy="give each the same files, settings and project folder, and nobody else's update meanwhile",
            kind="process.differ",
        )


def by_first(work: Callable[[], T], kind: type[T]) -> T:
    """What the first process makes of ``work``, in all of them; an error of it is raised in all of them.

    Parameters
    ----------
    work : callable
        Called in the first process alone, the others wait.
    kind : type
        Of the result; one that msgspec can write.
    """
    if _size == 1:
        return work()
    if not is_first():
        return _listen(kind)
    try:
        result = work()
    except DripstoneError as error:
        _tell(_Told(error=type(error).__name__, message=error.message, remedy=error.remedy, kind=error.kind))
        raise
    except BaseException as error:
        _tell(_Told(error="ProcessError", message=f"the first process failed: {error!r}", remedy="see its own words"))
        raise
    _tell(_Told(msgspec.Raw(msgspec.msgpack.encode(result))))
    return result


def _tell(told: _Told) -> None:
    data = torch.frombuffer(bytearray(msgspec.msgpack.encode(told)), dtype=torch.uint8)
    copy_first([torch.tensor([len(data)])])
    copy_first([data])


def _listen(kind: type[T]) -> T:
    length = torch.tensor([0])
    copy_first([length])
    data = torch.empty(int(length), dtype=torch.uint8)
    copy_first([data])
    told = msgspec.msgpack.decode(data.numpy().tobytes(), type=_Told)
    if not told.error:
        return msgspec.msgpack.decode(told.result, type=kind)
    raise getattr(errors, told.error)(told.message, remedy=told.remedy, kind=told.kind)


@contextmanager
def _watched() -> Iterator[None]:
    """What torch says where a process is gone, or silent for too long, as an error of ours."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ProcessError(
            f"process {os.environ.get('RANK', '?')} has lost another one of this update ({first})",
            remedy="unless 'dripstone log' has a new entry nothing has changed, run the same command again",
        ) from error


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{name} is {text!r}, which is no number", remedy="start the processes with torchrun")
    return int(text)

"""Memory that is kept: it is used again, and never while somebody still has it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dripstone.core import memory
from dripstone.core.bits import view_raw
from dripstone.core.memory import KEPT, room

SIZE = 4096

needs_keeping = pytest.mark.skipif(not memory._CAN_KEEP, reason="the system cannot mark memory as free")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(memory, "LARGE", SIZE)
    monkeypatch.setattr(memory, "_kept", [])


@needs_keeping
def test_what_is_given_up_is_used_again():
    first = room(SIZE).fill_(1.0)
    place = first.data_ptr()
    del first
    assert room(SIZE).data_ptr() == place


@needs_keeping
@pytest.mark.parametrize(
    "hold", [lambda x: x[5:9], lambda x: x.view(64, 64).T, lambda x: x.numpy(), lambda x: view_raw(x).data]
)
def test_whoever_still_has_a_part_of_it_keeps_it(hold):
    first = room(SIZE).fill_(1.0)
    part = hold(first)
    before = bytes(part.contiguous().numpy() if isinstance(part, torch.Tensor) else part)
    del first
    room(SIZE).fill_(2.0)
    again = room(SIZE).fill_(3.0)
    assert bytes(part.contiguous().numpy() if isinstance(part, torch.Tensor) else part) == before
    assert bool((again == 3.0).all())


@needs_keeping
@pytest.mark.parametrize(
    ("size", "again"), [(2 * SIZE, False), (SIZE + 1, False), (SIZE // 2, False), (SIZE - 100, True)]
)
def test_a_piece_serves_what_is_about_as_large(monkeypatch, size, again):
    monkeypatch.setattr(memory, "LARGE", SIZE // 4)
    first = room(SIZE)
    place = first.data_ptr()
    del first
    second = room(size).fill_(1.0)
    assert len(second) == size
    assert (second.data_ptr() == place) == again
    assert (room(SIZE).data_ptr() == place) != again


@needs_keeping
def test_little_is_kept():
    for pieces in ([room(SIZE * k) for k in range(1, 6)], [room(SIZE) for _ in range(6)]):
        pieces.clear()
        assert len(memory._kept) == KEPT


@needs_keeping
@pytest.mark.parametrize("short", [1, 2])
def test_where_memory_is_short_what_is_kept_is_given_back_first(monkeypatch, short):
    room(SIZE)
    asked, genuine = [], memory.mmap.mmap

    def refuse(number, size, flags):
        asked.append(len(memory._kept))
        if len(asked) <= short:
            raise OSError(12, "Cannot allocate memory")
        return genuine(number, size, flags)

    monkeypatch.setattr(memory.mmap, "mmap", refuse)
    if short == 1:
        assert len(room(2 * SIZE)) == 2 * SIZE
    else:
        with pytest.raises(MemoryError, match=f"no {16 * SIZE} bytes"):
            room(2 * SIZE)
    assert asked == [1, 0]


def test_small_pieces_are_none_of_ours():
    room(SIZE - 1)
    assert memory._kept == []


@pytest.mark.parametrize("trouble", ["old kernel", "other system"])
def test_where_memory_cannot_be_marked_as_free_nothing_is_kept(monkeypatch, trouble):
    monkeypatch.setattr(memory, "_CAN_KEEP", trouble == "old kernel" and memory._CAN_KEEP)
    monkeypatch.setattr(memory.mmap, "MADV_FREE", -1, raising=False)
    assert bool((room(SIZE).fill_(2.0) == 2.0).all())
    assert memory._kept == []


def test_threads_do_not_share():
    def work(number):
        for _ in range(200):
            mine = room(SIZE).fill_(number)
            if not bool((mine == number).all()):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))

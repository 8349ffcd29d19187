import asyncio
import threading

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.errors import DataError, DripstoneError, ModelError
from dripstone.serve.batcher import WAITING_BATCHES, Batcher
from dripstone.serve.slot import Served, Slot
from dripstone.tasks.classification import Classification


@pytest.fixture
def slot(make_served) -> Slot:
    slot = Slot(keep=2)
    slot.swap(make_served(1))
    return slot


class Blocked(nn.Module):
    """Wraps a model; each forward pass waits until the test lets it go on."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def collate(self, inputs):
        return self.inner.collate(inputs)

    def forward(self, batch):
        self.entered.set()
        assert self.go_on.wait(10)
        return self.inner(batch)


def block(slot: Slot) -> Blocked:
    served = slot.current
    blocked = Blocked(served.model)
    slot.swap(Served(served.version, blocked, served.task, served.number))
    return blocked


async def entered(blocked: Blocked) -> None:
    assert await asyncio.to_thread(blocked.entered.wait, 10)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def running(test):
    """Run an async test with a batcher that is started before and stopped after it."""

    def wrapper(slot: Slot, row: np.ndarray, make_served) -> None:
        async def whole() -> None:
            batcher = Batcher(slot, max_batch=4, max_wait_ms=5)
            batcher.start()
            try:
                await test(batcher, slot, row, make_served)
            finally:
                await batcher.stop()

        asyncio.run(whole())

    return wrapper


@running
async def test_answers_a_request(batcher, slot, row, make_served) -> None:
    answer = await batcher.submit([row, row])
    assert answer.served is slot.current
    assert [r["prediction"] for r in answer.rows] == ["version-1", "version-1"]
    assert answer.rows[0]["scores"]["version-1"] == pytest.approx(1 / (1 + np.exp(-1)))


@running
async def test_waiting_requests_share_a_forward_pass(batcher, slot, row, make_served) -> None:
    answers = await asyncio.gather(*(batcher.submit([row]) for _ in range(6)))
    assert slot.current.model.batches == [4, 2]
    assert [len(answer.rows) for answer in answers] == [1] * 6


@running
async def test_a_full_batch_does_not_wait_for_more(batcher, slot, row, make_served) -> None:
    patient = Batcher(slot, max_batch=2, max_wait_ms=60_000)
    patient.start()
    async with asyncio.timeout(10):
        await asyncio.gather(patient.submit([row]), patient.submit([row]))
    await patient.stop()


@running
async def test_a_request_is_not_split_over_batches(batcher, slot, row, make_served) -> None:
    await asyncio.gather(batcher.submit([row] * 3), batcher.submit([row] * 3))
    assert slot.current.model.batches == [3, 3]


@running
async def test_every_request_gets_its_own_rows(batcher, slot, row, make_served) -> None:
    class Echo(nn.Module):
        def collate(self, inputs):
            return torch.from_numpy(np.stack(inputs))

        def forward(self, batch):
            return batch

    slot.swap(Served("echo", Echo(), Classification(("left", "right")), 9))
    left, right = row * [1, 0], row * [0, 1]
    first, second, third = await asyncio.gather(
        batcher.submit([left]), batcher.submit([right, left]), batcher.submit([right])
    )
    assert [r["prediction"] for r in first.rows] == ["left"]
    assert [r["prediction"] for r in second.rows] == ["right", "left"]
    assert [r["prediction"] for r in third.rows] == ["right"]


@running
async def test_a_large_request_is_answered_by_one_version(batcher, slot, row, make_served) -> None:
    blocked = block(slot)
    asked = asyncio.create_task(batcher.submit([row] * 10))
    await entered(blocked)
    slot.swap(make_served(2))
    blocked.go_on.set()
    answer = await asked
    assert blocked.inner.batches == [4, 4, 2]
    assert {r["prediction"] for r in answer.rows} == {"version-1"}
    assert answer.served.number == 1
    assert (await batcher.submit([row])).served.number == 2


@running
async def test_a_bad_input_fails_alone(batcher, slot, row, make_served) -> None:
    good, bad, also_good = await asyncio.gather(
        batcher.submit([row]), batcher.submit(["a text"]), batcher.submit([row]), return_exceptions=True
    )
    assert isinstance(bad, DataError)
    assert [len(good.rows), len(also_good.rows)] == [1, 1]


@running
async def test_an_unexpected_failure_stays_with_its_request(batcher, slot, row, make_served) -> None:
    good, bad = await asyncio.gather(batcher.submit([row]), batcher.submit([row * 0 + 13]), return_exceptions=True)
    assert isinstance(bad, RuntimeError)
    assert good.rows[0]["prediction"] == "version-1"
    assert (await batcher.submit([row])).rows


@running
async def test_an_answer_that_is_no_number_is_refused(batcher, slot, row, make_served) -> None:
    with np.errstate(invalid="ignore"):
        huge = row * np.float32("inf")
    good, bad = await asyncio.gather(batcher.submit([row]), batcher.submit([huge]), return_exceptions=True)
    assert isinstance(bad, DataError)
    assert bad.kind == "data.overflow"
    assert good.rows


@running
async def test_logits_of_a_wrong_shape_are_refused(batcher, slot, row, make_served) -> None:
    served = slot.current
    slot.swap(Served("wrong", served.model, Classification(("only one label",)), 2))
    with pytest.raises(ModelError, match="shape"):
        await batcher.submit([row])


@running
async def test_too_many_waiting_rows_are_refused_and_the_others_answered(batcher, slot, row, make_served) -> None:
    blocked = block(slot)
    asked = [asyncio.create_task(batcher.submit([row] * 4))]
    await entered(blocked)
    asked += [asyncio.create_task(batcher.submit([row] * 4)) for _ in range(WAITING_BATCHES)]
    await settle()
    with pytest.raises(DripstoneError, match="busy") as caught:
        await batcher.submit([row])
    assert caught.value.kind == "serve.overload"
    blocked.go_on.set()
    assert all(len(answer.rows) == 4 for answer in await asyncio.gather(*asked))
    assert (await batcher.submit([row])).rows


@running
async def test_a_cancelled_request_is_not_computed(batcher, slot, row, make_served) -> None:
    blocked = block(slot)
    first = asyncio.create_task(batcher.submit([row]))
    await entered(blocked)
    second, third = asyncio.create_task(batcher.submit([row] * 3)), asyncio.create_task(batcher.submit([row]))
    await settle()
    second.cancel()
    await settle()
    blocked.go_on.set()
    await asyncio.gather(first, third)
    assert second.cancelled()
    assert blocked.inner.batches == [1, 1]


@running
async def test_cancelling_during_the_forward_pass_hurts_nobody(batcher, slot, row, make_served) -> None:
    blocked = block(slot)
    first, second = asyncio.create_task(batcher.submit([row])), asyncio.create_task(batcher.submit([row]))
    await entered(blocked)
    first.cancel()
    await settle()
    blocked.go_on.set()
    assert (await second).rows
    assert (await batcher.submit([row])).rows


@running
async def test_cancelling_the_only_waiting_request_leaves_the_batcher_usable(batcher, slot, row, make_served) -> None:
    asked = asyncio.create_task(batcher.submit([row]))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.sleep(0.02)
    assert (await batcher.submit([row])).rows
    assert slot.current.model.batches == [1]


@running
async def test_stop_answers_what_waits_and_refuses_what_comes_later(batcher, slot, row, make_served) -> None:
    blocked = block(slot)
    asked = [asyncio.create_task(batcher.submit([row] * 3)) for _ in range(3)]
    await entered(blocked)
    stopping = asyncio.create_task(batcher.stop())
    await settle()
    with pytest.raises(DripstoneError, match="shutting down") as caught:
        await batcher.submit([row])
    assert caught.value.kind == "serve.stopped"
    blocked.go_on.set()
    await stopping
    assert [len((await answer).rows) for answer in asked] == [3, 3, 3]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dripstone-forward")]


@running
async def test_can_be_started_again(batcher, slot, row, make_served) -> None:
    await batcher.stop()
    await batcher.stop()
    batcher.start()
    assert (await batcher.submit([row])).rows


@running
async def test_without_a_version_or_labels_says_so(batcher, slot, row, make_served) -> None:
    slot.current = None
    with pytest.raises(DripstoneError, match="no version is loaded") as caught:
        await batcher.submit([row])
    assert caught.value.kind == "serve.empty"
    slot.swap(Served("f" * 64, nn.Identity(), Classification(()), 1))
    with pytest.raises(DripstoneError, match="knows no label yet; run an update") as caught:
        await batcher.submit([row])
    assert caught.value.kind == "serve.no_labels"


@running
async def test_answered_rows_are_remembered_for_the_next_warm_up(batcher, slot, row, make_served) -> None:
    await asyncio.gather(batcher.submit(["bad"]), batcher.submit([row, row]), return_exceptions=True)
    assert len(slot.sample) == 2

"""The batcher: rows that arrive together are answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from dripstone.core.errors import DripstoneError
from dripstone.core.examples import Inputs
from dripstone.serve.slot import Served, Slot

WAITING_BATCHES = 32
"""Full batches that may wait; whoever comes then is told to try again later."""

Rows = list[dict[str, Any]]


class Answer(NamedTuple):
    """The version that answered, and a prediction for every row of the request."""

    served: Served
    rows: Rows


@dataclass(slots=True, eq=False)
class _Request:
    inputs: list[Inputs]
    deadline: float
    reply: asyncio.Future[Answer | Exception]


class Batcher:
    """Gathers the rows of waiting requests into batches and answers them, one batch at a time.

    A batch leaves when it is full, or ``max_wait_ms`` after its first request came. The slot is read once a batch, so
    all rows of a request are answered by one version, also when the request is larger than a batch and is computed in
    pieces. Collating and the forward pass run in one thread of their own; the event loop stays free.

    A request that cannot be answered fails alone: when a batch fails, its requests are tried one by one.

    Parameters
    ----------
    slot : Slot
        Where the served version is.
    max_batch : int
        Rows of one forward pass.
    max_wait_ms : float
        How long the first row of a batch waits for company, in milliseconds.

    Examples
    --------
    >>> from dripstone.tasks.classification import Classification
    >>> import torch
    >>> class Sign(torch.nn.Module):
    ...     def collate(self, inputs):
    ...         return torch.tensor(inputs)
    ...     def forward(self, batch):
    ...         return torch.stack([-batch, batch], dim=1)
    >>> async def ask(slot, inputs):
    ...     batcher = Batcher(slot, max_batch=8, max_wait_ms=1)
    ...     batcher.start()
    ...     answer = await batcher.submit(inputs)
    ...     await batcher.stop()
    ...     return answer.served.version, [row["prediction"] for row in answer.rows]
    >>> slot = Slot(keep=1)
    >>> slot.swap(Served("ab12", Sign(), Classification(("minus", "plus")), 1))
    >>> asyncio.run(ask(slot, [3.0, -2.0]))
    ('ab12', ['plus', 'minus'])
    """

    def __init__(self, slot: Slot, max_batch: int, max_wait_ms: float) -> None:
        self._slot = slot
        self._max_batch = max_batch
        self._max_wait = max_wait_ms / 1000
        self._waiting: deque[_Request] = deque()
        self._waiting_rows = 0
        self._closing = False
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the worker in the running event loop."""
        self._closing = False
        self._arrival = asyncio.Event()
        self._worker = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Take no more requests, answer those that wait, and end the worker."""
        if self._worker is None:
            return
        self._closing = True
        self._arrival.set()
        await self._worker
        self._worker = None

    async def submit(self, inputs: Sequence[Inputs]) -> Answer:
        """Answer the rows of one request.

        Parameters
        ----------
        inputs : sequence of str or numpy.ndarray
            At least one row.

        Returns
        -------
        Answer
            One version, and a ``{"prediction", "scores"}`` for every row, in order.

        Raises
        ------
        DataError
            If the model does not take these inputs.
        DripstoneError
            With kind ``serve.overload`` if too much waits already, ``serve.stopped`` if the batcher does not run,
            ``serve.empty`` if no version is loaded, ``serve.no_labels`` if the version knows no label.
        """
        self._admit()
        loop = asyncio.get_running_loop()
        request = _Request(list(inputs), loop.time() + self._max_wait, loop.create_future())
        self._waiting.append(request)
        self._waiting_rows += len(request.inputs)
        self._arrival.set()
        try:
            outcome = await request.reply
        except asyncio.CancelledError:
            self._drop(request)
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _admit(self) -> None:
        if self._worker is None or self._closing:
            raise DripstoneError("the server is shutting down", remedy="try again later", kind="serve.stopped")
        if self._waiting_rows >= WAITING_BATCHES * self._max_batch:
            raise DripstoneError(
                f"the server is busy: {self._waiting_rows} rows wait",
                remedy="try again in a second, or send less at a time",
                kind="serve.overload",
            )

    def _drop(self, request: _Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
            self._waiting_rows -= len(request.inputs)

    async def _work(self) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="dripstone-forward") as executor:
            while requests := await self._collect():
                outcomes = await self._answer(executor, requests)
                for request, outcome in zip(requests, outcomes, strict=True):
                    if not request.reply.done():
                        request.reply.set_result(outcome)

    async def _collect(self) -> list[_Request]:
        """The next batch; nothing once the batcher closes and no request waits."""
        while not (self._closing or self._waiting_rows >= self._max_batch):
            self._arrival.clear()
            try:
                async with asyncio.timeout_at(self._waiting[0].deadline if self._waiting else None):
                    await self._arrival.wait()
            except TimeoutError:
                if self._waiting:
                    break
        return self._take()

    def _take(self) -> list[_Request]:
        taken: list[_Request] = []
        rows = 0
        while self._waiting and (not taken or rows + len(self._waiting[0].inputs) <= self._max_batch):
            request = self._waiting.popleft()
            rows += len(request.inputs)
            taken.append(request)
        self._waiting_rows -= rows
        return taken

    async def _answer(self, executor: ThreadPoolExecutor, requests: list[_Request]) -> list[Answer | Exception]:
        served = self._slot.current
        if served is None or not served.task.labels:
            return [_unable(served) for _ in requests]
        inputs = [request.inputs for request in requests]
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(executor, _answer_batch, served, inputs, self._max_batch)
        answered = [rows for rows, outcome in zip(inputs, outcomes, strict=True) if isinstance(outcome, Answer)]
        if answered:
            self._slot.remember(answered[0])
        return outcomes


def _unable(served: Served | None) -> Exception:
    if served is None:
        return DripstoneError("no version is loaded yet", remedy="try again in a second", kind="serve.empty")
    return DripstoneError(
        f"live version {served.version[:12]} knows no label yet", remedy="run an update", kind="serve.no_labels"
    )


def _answer_batch(served: Served, requests: list[list[Inputs]], max_batch: int) -> list[Answer | Exception]:
    """An answer or an error for every request. Runs in the forward thread."""
    try:
        rows = _predict(served, [row for inputs in requests for row in inputs], max_batch)
    except Exception as error:
        if len(requests) == 1:
            return [error]
        return [_answer_batch(served, [inputs], max_batch)[0] for inputs in requests]
    answers: list[Answer | Exception] = []
    for inputs in requests:
        answers.append(Answer(served, rows[: len(inputs)]))
        rows = rows[len(inputs) :]
    return answers


def _predict(served: Served, inputs: list[Inputs], max_batch: int) -> Rows:
    rows: Rows = []
    for start in range(0, len(inputs), max_batch):
        rows += served.task.predict(served.model, inputs[start : start + max_batch])
    return rows

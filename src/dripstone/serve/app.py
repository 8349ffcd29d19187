"""The HTTP app: ``POST /predict`` and ``GET /healthz``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import numpy as np
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dripstone.core.config import ServeConfig
from dripstone.core.errors import DataError, DripstoneError
from dripstone.core.examples import Inputs
from dripstone.serve.batcher import Batcher
from dripstone.serve.follow import Follower
from dripstone.serve.slot import Slot

VERSION_HEADER = "x-model-version"
NO_VERSION = "none"
LARGEST_REQUESTS = 8
"""How many requests of the largest size may be in memory at once; smaller ones share the same room."""

STATUS_BY_KIND = {
    "data.too_large": 413,
    "serve.no_labels": 409,
    "serve.overload": 503,
    "serve.stopped": 503,
    "serve.empty": 503,
}

logger = logging.getLogger("dripstone.serve")


def make_app(slot: Slot, batcher: Batcher, config: ServeConfig, follower: Follower | None = None) -> Starlette:
    """The app around a slot. Its lifespan starts and stops the batcher and the follower.

    Parameters
    ----------
    slot : Slot
        What is served.
    batcher : Batcher
        Answers from that slot; not started yet.
    config : ServeConfig
        Limits of a request.
    follower : Follower, optional
        Keeps the slot up to date; not started yet.

    Returns
    -------
    starlette.applications.Starlette
        ``POST /predict`` takes ``{"inputs": [...]}``, texts or (nested) lists of numbers, and answers ``{"version",
        "predictions": [{"prediction", "scores"}, ...]}``. ``GET /healthz`` answers ``{"status", "version", "number"}``.
        Every reply names the version in ``x-model-version``. An error is ``{"error": {"kind", "message", "remedy"}}``.

    Examples
    --------
    >>> from starlette.testclient import TestClient
    >>> slot = Slot(keep=1)
    >>> with TestClient(make_app(slot, Batcher(slot, 8, 1.0), ServeConfig())) as client:
    ...     reply = client.post("/predict", json={"inputs": ["hello"]})
    >>> reply.status_code, reply.json()["error"]["message"], reply.headers["x-model-version"]
    (503, 'no version is loaded yet', 'none')
    """
    intake = _Intake(config.max_bytes)

    async def predict(request: Request) -> Response:
        return await _predict(request, intake, batcher, config.max_rows)

    async def healthz(request: Request) -> Response:
        return _health(slot, follower)

    app = Starlette(
        routes=[Route("/predict", predict, methods=["POST"]), Route("/healthz", healthz, methods=["GET"])],
        middleware=[Middleware(_Envelope, slot=slot)],
        exception_handlers={HTTPException: _http_error, DripstoneError: _known_error},
        lifespan=lambda app: _lifespan(batcher, follower),
    )
    app.router.redirect_slashes = False
    return app


@contextlib.asynccontextmanager
async def _lifespan(batcher: Batcher, follower: Follower | None) -> AsyncIterator[None]:
    batcher.start()
    if follower is not None:
        follower.start()
    try:
        yield
    finally:
        if follower is not None:
            await asyncio.to_thread(follower.stop)
        await batcher.stop()


async def _predict(request: Request, intake: _Intake, batcher: Batcher, max_rows: int) -> Response:
    try:
        async with intake.body(request) as body:
            answer = await batcher.submit(_parse(body, max_rows))
    except ClientDisconnect:
        # Nobody is left to read the reply.
        return Response(status_code=400)
    version = answer.served.version
    reply = _json(200, {"version": version, "predictions": answer.rows})
    reply.headers[VERSION_HEADER] = version
    return reply


def _health(slot: Slot, follower: Follower | None) -> Response:
    served, error = slot.current, follower.error if follower is not None else None
    if served is None:
        return _json(503, {"status": "empty", "version": None, "number": None, "error": error})
    report: dict[str, Any] = {"status": "ok", "version": served.version, "number": served.number}
    if error is not None:
        report |= {"status": "degraded", "reason": "stale", "error": error}
    reply = _json(200, report)
    reply.headers[VERSION_HEADER] = served.version
    return reply


class _Intake:
    """Reads bodies, and holds back those that would take too much memory, alone or together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0

    @contextlib.asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                self._held += len(chunk)
                self._check(size)
                chunks.append(chunk)
            yield b"".join(chunks)
        finally:
            self._held -= size

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise DataError(
                f"the request is larger than {self._max_bytes} bytes",
                remedy="send fewer inputs at a time, or raise serve.max_bytes",
                kind="data.too_large",
            )
        if self._held > LARGEST_REQUESTS * self._max_bytes:
            raise DripstoneError(
                f"the server is busy: the requests it holds exceed {LARGEST_REQUESTS * self._max_bytes} bytes",
                remedy="try again in a second, or send less at a time",
                kind="serve.overload",
            )


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[str | list[Any]]


_decoder = msgspec.json.Decoder(_Body)


def _parse(body: bytes, max_rows: int) -> list[Inputs]:
    try:
        inputs = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"the request is not understood: {error}",
            remedy='send JSON like {"inputs": ["a text"]} or {"inputs": [[0.5, 1.0]]}',
            kind="data.request",
        ) from None
    rows = inputs.inputs
    if not rows:
        raise DataError("inputs is empty", remedy="send at least one row", kind="data.empty")
    if len(rows) > max_rows:
        raise DataError(
            f"the request has {len(rows)} rows, more than {max_rows}",
            remedy="send them in several requests, or raise serve.max_rows",
            kind="data.too_large",
        )
    return [row if isinstance(row, str) else _array(row, index) for index, row in enumerate(rows)]


def _array(row: list[Any], index: int) -> np.ndarray:
    try:
        given = np.asarray(row)
    except ValueError:
        raise _bad_array(index, "lists of different lengths") from None
    if given.size == 0 or given.dtype.kind not in "iuf":
        raise _bad_array(index, "no numbers" if given.size == 0 else "something that is not a number")
    with np.errstate(over="ignore"):
        array = given.astype(np.float32)
    if not np.isfinite(array).all():
        raise _bad_array(index, "a number that float32 cannot hold")
    return array


def _bad_array(index: int, what: str) -> DataError:
    return DataError(
        f"inputs[{index}] holds {what}",
        remedy="send every row as a text or as a rectangular list of numbers",
        kind="data.request",
    )


def _json(status: int, content: Any) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _error(status: int, kind: str, message: str, remedy: str) -> Response:
    return _json(status, {"error": {"kind": kind, "message": message, "remedy": remedy}})


async def _known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DripstoneError)
    status = STATUS_BY_KIND.get(error.kind, 400 if isinstance(error, DataError) else 500)
    if status == 500:
        logger.error("%s %s failed: %s", request.method, request.url.path, error)
    reply = _error(status, error.kind, error.message, error.remedy)
    if status == 503:
        reply.headers["retry-after"] = "1"
    return reply


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "usage.route", 405: "usage.method"}.get(error.status_code, "usage")
    reply = _error(
        error.status_code,
        kind,
        f"{request.method} {request.url.path}: {error.detail}",
        "use POST /predict or GET /healthz",
    )
    reply.headers.update(error.headers or {})
    return reply


class _Envelope:
    """What every reply has: the version, also on errors, and JSON also where the server itself is at fault."""

    def __init__(self, app: ASGIApp, slot: Slot) -> None:
        self._app = app
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def stamped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                served = self._slot.current
                MutableHeaders(scope=message).setdefault(VERSION_HEADER, served.version if served else NO_VERSION)
            await send(message)

        try:
            await self._app(scope, receive, stamped)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            reply = _error(500, "bug", "the server failed on this request", "look at the server's log, and report it")
            await reply(scope, receive, stamped)

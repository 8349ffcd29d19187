"""The server as a process, or in a thread."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

import uvicorn

from dripstone.core.config import Config, ServeConfig
from dripstone.core.errors import DripstoneError, UsageError
from dripstone.serve.app import make_app
from dripstone.serve.batcher import Batcher
from dripstone.serve.follow import Follower, load
from dripstone.serve.slot import Slot
from dripstone.store.repository import Repository

GRACE_SECONDS = 10
BACKLOG = 2048


@dataclass(slots=True)
class Server:
    """A server that listens and does not answer yet. Make one with ``bind``, then ``run`` or ``start`` it, once.

    As a context manager it stops at the end: ``with bind(project, config).start() as server: ...``

    Parameters
    ----------
    host : str
        Where it listens.
    port : int
        The port that it has.
    url : str
        ``http://HOST:PORT``.
    """

    host: str
    port: int
    url: str
    _listener: socket.socket
    _server: uvicorn.Server
    _thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM; requests that have begun are answered first. In the main thread only."""
        with self._listener, _stop_on_signals(self._server):
            self._server.run(sockets=[self._listener])

    def start(self) -> Server:
        """Serve in a thread, for tests and notebooks; returns once the server answers. Signals are left alone."""
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), name="dripstone-server", daemon=True
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                self._listener.close()
                raise DripstoneError("the server did not start", remedy="see its log on stderr", kind="serve.start")
            time.sleep(0.002)
        return self

    def stop(self) -> None:
        """Answer the requests that have begun, then end what ``start`` began. Stopping twice does nothing."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def bind(project: Path, config: Config) -> Server:
    """Load what is live and listen.

    Parameters
    ----------
    project : pathlib.Path
        The project's folder.
    config : Config
        ``store.path`` is relative to the project; port 0 of ``serve.port`` takes any free port.

    Raises
    ------
    StoreError, ModelError
        If the live version cannot be loaded.
    UsageError
        If the address cannot be listened on.

    Examples
    --------
    >>> bind(Path("no/such/project"), Config())
    Traceback (most recent call last):
    dripstone.core.errors.StoreError: no/such/project/store is no dripstone store...
    """
    server = _make_server(project, config)
    listener = _listen(config.serve)
    host, port = listener.getsockname()[:2]
    return Server(host, port, _address(listener), listener, server)


def _make_server(project: Path, config: Config) -> uvicorn.Server:
    repository = Repository.open(project / config.store.path)
    slot = Slot(config.serve.keep)
    slot.swap(load(repository, repository.log.head()))
    batcher = Batcher(slot, config.serve.max_batch, config.serve.max_wait_ms)
    follower = Follower(repository, slot, config.serve.poll_ms, warm=True)
    settings = uvicorn.Config(
        make_app(slot, batcher, config.serve, follower),
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(settings)


def _listen(config: ServeConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; else a reply waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror or error}",
            remedy="end what listens there, or choose another with --port",
            kind="usage.address",
        ) from None
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _stop_on_signals(server: uvicorn.Server) -> Iterator[None]:
    """SIGINT and SIGTERM end the server, and are done with.

    uvicorn raises the signal again once it has shut down, for the handlers that were there before; the default ones
    would turn a clean end into a failure.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

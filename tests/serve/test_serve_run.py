import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from certificate_samples import judged
from dripstone.core.bits import to_raw
from dripstone.core.config import Config, ServeConfig, dump_config
from dripstone.core.errors import ModelError, StoreError, UsageError
from dripstone.core.fork import named_tensors
from dripstone.core.records import LogEntry
from dripstone.models import mlp
from dripstone.serve.run import bind
from dripstone.store.repository import Repository

CONFIG = Config(serve=ServeConfig(port=0, poll_ms=5, max_wait_ms=1, keep=2))


class Project:
    """A project whose every version K answers ``right`` with logit K."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repository = Repository.create(path / "store")
        self.model = mlp(inputs=2, random_features=8)
        self.model.head.grow(2)
        self.values: dict[str, float] = {}

    def version(self, value: float, parent: str | None, task: str = "classification") -> str:
        self.model.head.bias.data = torch.tensor([0.0, value])
        tensors = {name: to_raw(tensor) for name, tensor in named_tensors(self.model).items()}
        stored = self.repository.write_version(
            spec=self.model.spec,
            assets=self.model.assets,
            task=task,
            labels=["left", "right"],
            parent=parent,
            selection="head@ridge" if parent else "full",
            data="",
            tensors={"head.bias": tensors["head.bias"]} if parent else tensors,
        )
        self.values[stored.version] = value
        return stored.version

    def move(self, version: str) -> int:
        return self.append(version, self.repository.write_certificate(judged(self.repository, version, version, 1)))

    def append(self, version: str, certificate: str | None) -> int:
        number, time = self.repository.log.last() + 1, "2026-01-01T00:00:00Z"
        entry = LogEntry(number, version, "revert", "", f"{number}", time, certificate=certificate)
        self.repository.log.append(entry)
        return number

    def check(self, headers: http.client.HTTPMessage, body: dict) -> None:
        """The weights that answered are those of the version that the reply names, for every row."""
        assert headers["x-model-version"] == body["version"]
        expected = 1 / (1 + math.exp(-self.values[body["version"]]))
        assert [row["scores"]["right"] for row in body["predictions"]] == pytest.approx([expected] * 3)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.move(project.version(1.0, None))
    return project


def ask(connection: http.client.HTTPConnection) -> tuple[int, http.client.HTTPMessage, dict]:
    connection.request("POST", "/predict", body=b'{"inputs": [[1, 2], [0, 0], [-1, 5]]}')
    reply = connection.getresponse()
    return reply.status, reply.headers, json.loads(reply.read())


def health(connection: http.client.HTTPConnection) -> dict:
    connection.request("GET", "/healthz")
    return json.loads(connection.getresponse().read())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_serves_what_is_live(project) -> None:
    with bind(project.path, CONFIG).start() as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        connection = http.client.HTTPConnection(server.host, server.port)
        status, headers, body = ask(connection)
        assert health(connection) == {"status": "ok", "version": body["version"], "number": 1}
        connection.close()
    assert status == 200
    project.check(headers, body)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert not [t for t in threading.enumerate() if t.name.startswith("dripstone")]


def hammer(project: Project, port: int, moved: threading.Event, replies: list[str], failures: list[str]) -> None:
    """Ask over one connection until ``live`` has stopped moving, 100 times at least."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.connect()
        kept_alive = connection.sock
        mine = 0
        while mine < 100 or not moved.is_set():
            status, headers, body = ask(connection)
            assert status == 200, body
            assert connection.sock is kept_alive
            project.check(headers, body)
            replies.append(body["version"])
            mine += 1
            time.sleep(0.001)
    except Exception as error:
        failures.append(repr(error))
    finally:
        connection.close()


def test_no_request_fails_or_is_torn_while_live_moves(project) -> None:
    first = project.repository.log.head().version
    versions = [first, project.version(-2.0, first), project.version(3.0, first), project.version(-4.0, first)]
    replies: list[str] = []
    failures: list[str] = []
    moved = threading.Event()
    with bind(project.path, CONFIG).start() as server:
        arguments = (project, server.port, moved, replies, failures)
        clients = [threading.Thread(target=hammer, args=arguments) for _ in range(2)]
        for client in clients:
            client.start()
        for step in range(1, 21):
            project.move(versions[step % len(versions)])
            time.sleep(0.03)
        moved.set()
        for client in clients:
            client.join()
        connection = http.client.HTTPConnection(server.host, server.port)
        wait_for(lambda: health(connection).get("number") == 21)
        project.check(*ask(connection)[1:])
        connection.close()
    assert failures == []
    assert len(replies) >= 200
    assert len(set(replies)) >= 3


def test_a_client_that_goes_away_hurts_nobody(project, caplog) -> None:
    with bind(project.path, CONFIG).start() as server:
        with socket.create_connection((server.host, server.port)) as gone:
            gone.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            time.sleep(0.05)
        connection = http.client.HTTPConnection(server.host, server.port)
        assert ask(connection)[0] == 200
        connection.close()
    assert caplog.text == ""


def test_a_large_upload_is_refused_and_the_connection_stays_usable(project) -> None:
    config = msgspec.structs.replace(CONFIG, serve=ServeConfig(port=0, max_bytes=1000))
    with bind(project.path, config).start() as server:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
        connection.request("POST", "/predict", body=b" " * 3_000_000)
        reply = connection.getresponse()
        assert reply.status == 413
        assert reply.headers["x-model-version"] == project.repository.log.head().version
        assert json.loads(reply.read())["error"]["kind"] == "data.too_large"
        assert ask(connection)[0] == 200
        connection.close()


def test_replies_are_sent_without_delay(project) -> None:
    with bind(project.path, CONFIG).start() as server:
        listener = server._server.servers[0].sockets[0]
        assert listener.proto == socket.IPPROTO_TCP


def test_a_damaged_version_is_never_served(project) -> None:
    first = project.repository.log.head().version
    damaged = project.version(7.0, first)
    place = project.repository.manifest(damaged).tensors["head.bias"].object
    file = next(path for path in (project.path / "store" / "objects").rglob("*") if place.endswith(path.name))
    sound = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with bind(project.path, CONFIG).start() as server:
        connection = http.client.HTTPConnection(server.host, server.port)
        project.move(damaged)
        wait_for(lambda: health(connection)["status"] == "degraded")
        report = health(connection)
        assert report["version"] == first
        assert report["reason"] == "stale"
        assert report["error"]
        status, headers, body = ask(connection)
        assert (status, headers["x-model-version"]) == (200, first)
        project.check(headers, body)
        file.write_bytes(sound)
        wait_for(lambda: health(connection)["status"] == "ok")
        project.check(*ask(connection)[1:])
        assert health(connection)["version"] == damaged
        connection.close()


def test_a_version_without_a_certificate_is_never_served(project) -> None:
    first = project.repository.log.head().version
    second = project.version(7.0, first)
    undecided = judged(project.repository, second, first, 2, verdict="undecided")
    names = [None, "ab" * 32, project.repository.write_certificate(undecided)]
    with bind(project.path, CONFIG).start() as server:
        connection = http.client.HTTPConnection(server.host, server.port)
        for name in names:
            project.append(second, name)
            wait_for(lambda: health(connection)["status"] == "degraded")
            report = health(connection)
            assert report["version"] == first
            assert f"no certificate vouches for version {second[:12]}" in report["error"]
            assert f"run 'dripstone verify', then vouch for it with 'dripstone promote {second[:12]}" in report["error"]
            assert ask(connection)[2]["version"] == first
            project.move(first)
            wait_for(lambda: health(connection)["status"] == "ok")
        project.move(second)
        wait_for(lambda: health(connection)["version"] == second)
        connection.close()


def test_requests_that_have_begun_are_answered_at_the_end(project) -> None:
    slow = msgspec.structs.replace(CONFIG, serve=ServeConfig(port=0, max_wait_ms=600))
    replies = []
    with bind(project.path, slow).start() as server:
        connection = http.client.HTTPConnection(server.host, server.port)
        client = threading.Thread(target=lambda: replies.append(ask(connection)))
        client.start()
        time.sleep(0.3)
        server.stop()
        client.join()
        connection.close()
    assert replies[0][0] == 200
    project.check(*replies[0][1:])


def test_a_taken_port_is_a_usage_error(project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1 port {port}"):
            bind(project.path, Config(serve=ServeConfig(port=port))).start()


def test_what_cannot_be_loaded_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        bind(tmp_path, CONFIG)
    project = Project(tmp_path)
    with pytest.raises(StoreError, match="no entry yet"):
        bind(tmp_path, CONFIG)
    project.move(project.version(1.0, None, task="ranking"))
    with pytest.raises(ModelError, match="there is no task"):
        bind(tmp_path, CONFIG)
    project.append(project.version(2.0, None), None)
    with pytest.raises(StoreError, match="no certificate vouches for version") as caught:
        bind(tmp_path, CONFIG)
    assert "--reason TEXT" in caught.value.remedy


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_exit_code_0(project, number: signal.Signals) -> None:
    config = msgspec.structs.replace(CONFIG, serve=ServeConfig(port=0, max_wait_ms=500))
    (project.path / "dripstone.toml").write_text(dump_config(config))
    code = (
        "import sys; from pathlib import Path; from dripstone.core.config import load_config; "
        "from dripstone.serve.run import bind; server = bind(Path(sys.argv[1]), load_config(Path(sys.argv[1]))); "
        "print('serving on', server.url, file=sys.stderr, flush=True); server.run()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(project.path)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        line = process.stderr.readline()
        assert line.startswith("serving on http://127.0.0.1:"), line + process.stderr.read()
        connection = http.client.HTTPConnection("127.0.0.1", int(line.rsplit(":", 1)[1]), timeout=10)
        assert health(connection)["status"] == "ok"
        connection.request("POST", "/predict", body=b'{"inputs": [[1, 2], [0, 0], [-1, 5]]}')
        time.sleep(0.2)
        process.send_signal(number)
        reply = connection.getresponse()
        project.check(reply.headers, json.loads(reply.read()))
        connection.close()
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()

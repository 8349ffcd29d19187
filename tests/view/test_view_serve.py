"""``dripstone serve`` as a process."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from view_samples import blobs, live, quietly, write_csv

pytest_plugins = ["view_fixtures"]


@pytest.fixture
def server(project):
    command = [
        sys.executable,
        "-m",
        "dripstone",
        "-C",
        str(project),
        "serve",
        "--port",
        "0",
        "--set",
        "serve.poll_ms=10",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    guard = threading.Timer(60, process.kill)
    guard.start()
    yield process
    guard.cancel()
    process.kill()
    process.communicate()


def ask(connection, method, path, body=None):
    connection.request(method, path, body)
    reply = connection.getresponse()
    return reply.status, reply.headers["x-model-version"], json.loads(reply.read())


def test_it_answers_follows_and_ends(project, server):
    line = server.stderr.readline()
    assert line.startswith("serving on http://127.0.0.1:"), line
    connection = http.client.HTTPConnection("127.0.0.1", int(line.rsplit(":", 1)[1]), timeout=30)
    first = live(project)
    status, version, body = ask(connection, "POST", "/predict", '{"inputs": [[0, 0], [0, 3], [3, 3]]}')
    assert (status, version) == (200, first)
    assert [row["prediction"] for row in body["predictions"]][:2] == ["a", "c"]
    assert ask(connection, "GET", "/healthz")[2]["version"] == first
    assert quietly("-C", project, "update", write_csv(project.parent / "d.csv", blobs(150, "d", 3))) == 0
    deadline = time.monotonic() + 20
    while ask(connection, "GET", "/healthz")[2]["version"] == first:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    _, version, body = ask(connection, "POST", "/predict", '{"inputs": [[3, 3]]}')
    assert version == live(project) != first
    assert body["predictions"][0]["prediction"] == "d"
    connection.close()
    server.send_signal(signal.SIGTERM)
    out, err = server.communicate(timeout=20)
    assert (server.returncode, out, err) == (0, "", "")


def test_a_taken_port_is_named(project, dripstone):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = dripstone("-C", project, "serve", "--port", port)
    assert (found.code, found.out) == (2, "")
    assert f"cannot listen on 127.0.0.1 port {port}" in found.err
    assert "--port" in found.err

"""A real server in a process of its own, and a client that never stops asking."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dripstone.core.errors import DripstoneError

START_SECONDS = 60


class Server:
    """``dripstone serve`` on a free loopback port; a context manager."""

    def __init__(self, project: Path) -> None:
        command = [sys.executable, "-m", "dripstone", "-C", str(project), "serve", "--port", "0"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.port = self._read_port()

    def _read_port(self) -> int:
        stderr = self._process.stderr
        assert stderr is not None
        guard = threading.Timer(START_SECONDS, self._process.kill)
        guard.start()
        said = []
        for line in stderr:
            said.append(line)
            if line.startswith("serving on "):
                guard.cancel()
                # A pipe that nobody reads would stop the server once it is full.
                self._reader = threading.Thread(target=stderr.read, daemon=True)
                self._reader.start()
                return int(line.rsplit(":", 1)[1])
        guard.cancel()
        self._process.wait()
        self._close()
        raise DripstoneError("the server did not start", remedy="".join(said[-3:]).strip(), kind="serve.start")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        self._reader.join()
        self._close()

    def _close(self) -> None:
        if self._process.stderr is not None:
            self._process.stderr.close()


class Client:
    """Asks over one kept connection, in a thread, until it is stopped; counts answers by version, and failures."""

    def __init__(self, port: int, inputs: Sequence[Any]) -> None:
        self._body = json.dumps({"inputs": list(inputs)})
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.versions: Counter[str] = Counter()
        self.failed = 0
        self._seen = threading.Condition()

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, version: str, timeout: float = 30.0) -> bool:
        """Block until a reply came from ``version``; False if none did in time."""
        with self._seen:
            before = self.versions[version]
            return self._seen.wait_for(lambda: self.versions[version] > before, timeout)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stop.is_set():
            version = self._ask(connection)
            with self._seen:
                if version is None:
                    self.failed += 1
                else:
                    self.versions[version] += 1
                self._seen.notify_all()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> str | None:
        try:
            connection.request("POST", "/predict", self._body, {"content-type": "application/json"})
            reply = connection.getresponse()
            content = json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            return None
        header = reply.getheader("x-model-version")
        return header if reply.status == 200 and content["version"] == header else None

"""Processes as torchrun starts them, without torchrun: it waits half a minute before it ends one that hangs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parents[1]


def start(commands: Sequence[Sequence[str]], **environment: str) -> list[subprocess.Popen[str]]:
    """A process a command, which may differ."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank, command in enumerate(commands):
        shared = {"WORLD_SIZE": str(len(commands)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        started.append(
            subprocess.Popen(
                [sys.executable, *command],
                env=os.environ | {"PYTHONPATH": str(TESTS)} | shared | own | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def finish(started: Sequence[subprocess.Popen[str]], timeout: float = 150) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each."""
    found = []
    for process in started:
        out, err = process.communicate(timeout=timeout)
        found.append((process.returncode, out, err))
    return found

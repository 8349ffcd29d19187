"""Small rows, files and projects that the tests of the command line share."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result as ClickResult

from dripstone.store.repository import Repository
from dripstone.view.cli import cli, main

PLACES = {"a": (0, 0), "b": (3, 0), "c": (0, 3), "d": (3, 3)}
INIT = ["--model", "dripstone.models:mlp", "--model-arg", "inputs=2", "--model-arg", "random_features=64"]


class Result(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> dict:
        """Stdout, which must be one JSON value."""
        return json.loads(self.out)


Dripstone = Callable[..., Result]


def quietly(*arguments: object) -> int:
    """Run a command in this process, and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def blobs(count: int, labels: str, seed: int) -> list[tuple[float, float, str]]:
    """``count`` points of each label around its place."""
    draw = np.random.default_rng(seed)
    return [(float(x), float(y), label) for label in labels for x, y in draw.normal(PLACES[label], 0.3, (count, 2))]


def write_csv(path: Path, rows: list[tuple]) -> Path:
    """Rows under the header x, y, kind."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y", "kind"])
        writer.writerows(rows)
    return path


def shuffled(rows: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """The same points under each other's labels."""
    order = np.random.default_rng(0).permutation(len(rows))
    return [(x, y, rows[other][2]) for (x, y, _), other in zip(rows, order, strict=True)]


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    """One object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def live(project: Path) -> str:
    """The version that is live."""
    return Repository.open(project / "store").log.head().version


def run(*arguments: object, code: int = 0) -> ClickResult:
    """A command, with what it printed on either stream together; it has to end with this exit code."""
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done

"""What a stage of the closed form computes on top of its forward pass, piece by piece, each beside its floor.

    python -m bench.closed_form [--rows 640] [--trusted 3200] [--classes 150] [--columns 4480] [--pause 3]

Each piece is timed five times in a row and five times after a pause as long as a forward pass; the medians stand in the
table. A virtual machine that hands free memory back to its host has to ask for it again after a pause. The floor of a
piece is its operations at the speed of a product of two large matrices, float64 or float32, on this machine. Random
features stand for an encoder's, since only their number counts.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bench.report import header
from dripstone.core.memory import room
from dripstone.core.records import Spec
from dripstone.models.classifier import Classifier
from dripstone.models.head import Head, RandomFourierFeatures
from dripstone.train.features import outputs_of
from dripstone.train.leave_one_out import CALIBRATION_ROWS, left_out_scores
from dripstone.train.solve import solve
from dripstone.train.statistics import add_rows, expand, no_rows, to_sums
from dripstone.view.output import table

FEATURES = 384
PENALTY = 0.05
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the work: the operations it cannot do without, in float64 and in float32, and the bytes it fills."""

    name: str
    run: Callable[[], object]
    double: float = 0.0
    single: float = 0.0
    bytes: float = 0.0


def main() -> None:
    """Time every piece and print it beside its floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 640), ("trusted", 3200), ("classes", 150), ("columns", 4480)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--pause", type=float, default=3.0, help="seconds, about those of a forward pass over 1,000 texts"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.closed_form"))
    speeds = {dtype: _speed(dtype, options.columns) for dtype in (torch.float64, torch.float32)}
    with tempfile.TemporaryDirectory() as folder:
        pieces = _pieces(options.rows, options.trusted, options.classes, options.columns, Path(folder))
        print(
            table(
                ["piece", "in a row", "after a pause", "floor", "GFLOP", "MB"],
                [_cells(piece, speeds, options.pause) for piece in pieces],
            )
        )
    double, single = speeds.values()
    print(f"\nCPU-s; products of matrices: {double:.0f} GFLOP/s in float64, {single:.0f} in float32")


def _pieces(rows: int, trusted: int, classes: int, columns: int, folder: Path) -> list[Piece]:
    draw = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(max(rows, trusted, columns), FEATURES, generator=draw), dim=1)
    targets = torch.randint(classes, (len(features),), generator=draw)
    ones = torch.ones(len(features), dtype=torch.float64)
    head = Head(RandomFourierFeatures(FEATURES, columns - FEATURES, seed=0), classes)
    head.fit(features)
    model = Classifier(torch.nn.Identity(), torch.nn.Identity(), head, Spec("bench.closed_form:head"), {})
    before = to_sums(add_rows(no_rows(), head, features, targets, ones), head)
    new = features[:rows], targets[:rows], ones[:rows]
    solution = solve(before, head, PENALTY)
    size, chosen = columns + 1, min(rows, CALIBRATION_ROWS)
    expanding = 2.0 * FEATURES * (columns - FEATURES)
    return [
        Piece("new rows, expanded", lambda: expand(head, new[0]), single=rows * expanding, bytes=8 * rows * size),
        Piece(
            "their sums, expanding included",
            lambda: add_rows(before, head, *new),
            rows * (size**2 + 2.0 * size),
            rows * expanding,
            4 * size**2 + 16 * rows * size,
        ),
        Piece(
            "factor and solution",
            lambda: solve(before, head, PENALTY),
            size**3 / 3 + 2.0 * size**2 * classes,
            bytes=8 * size**2,
        ),
        Piece(
            "leave-one-out",
            lambda: left_out_scores(before, solution, head, PENALTY, *new),
            chosen * (size**2 + 2.0 * size * classes),
            chosen * expanding,
            16 * chosen * size,
        ),
        Piece(
            "answers to trusted rows",
            lambda: outputs_of(model, features[:trusted]),
            single=trusted * (expanding + 2.0 * columns * classes),
        ),
        Piece("state, hashed and written", lambda: _store(before.gram, folder), bytes=4 * size**2),
        Piece("memory of the factor, kept", lambda: room(size**2).fill_(0), bytes=8 * size**2),
        Piece("memory of the factor, fresh", lambda: np.empty(size**2).fill(0), bytes=8 * size**2),
    ]


def _cells(piece: Piece, speeds: dict[torch.dtype, float], pause: float) -> list[str]:
    floor = piece.double / 1e9 / speeds[torch.float64] + piece.single / 1e9 / speeds[torch.float32]
    return [
        piece.name,
        *(f"{statistics.median(_seconds(piece.run, wait) for _ in range(ROUNDS)):.3f}" for wait in (0.0, pause)),
        f"{floor:.3f}",
        f"{(piece.double + piece.single) / 1e9:.1f}",
        f"{piece.bytes / 1e6:.0f}",
    ]


def _seconds(run: Callable[[], object], wait: float = 0.0) -> float:
    """CPU-s of a round; what it made is given back before the next."""
    time.sleep(wait)
    began = time.process_time()
    made = run()
    spent = time.process_time() - began
    del made
    return spent


def _speed(dtype: torch.dtype, size: int) -> float:
    """GFLOP a second of a product of two matrices of half that size."""
    side = size // 2
    left, right = torch.ones(side, side, dtype=dtype), torch.ones(side, side, dtype=dtype)
    return 2 * side**3 / 1e9 / min(_seconds(lambda: left @ right) for _ in range(ROUNDS))


def _store(values: torch.Tensor, folder: Path) -> None:
    content = values.numpy().data
    hashlib.sha256(content).hexdigest()
    (folder / "state").write_bytes(content)


if __name__ == "__main__":
    main()

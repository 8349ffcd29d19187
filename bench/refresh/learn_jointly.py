"""The reference: all rows at once, all of the encoder or a low-rank part of it, accuracy along the way."""

from __future__ import annotations

import time

import numpy as np

from bench.refresh.data import Rows, Stream
from bench.refresh.learn_network import adamw, moved_bytes
from bench.refresh.network import Network, ask, steps_of, train
from bench.refresh.pupil import Floor
from bench.refresh.results import Point, Result

POINTS = 6
"""Times that accuracy is measured on the way, evenly over the steps, without counting the time that takes."""


def learn_jointly(
    name: str, network: Network, stream: Stream, floor: Floor, measured: Rows, rate: float, epochs: int, seed: int
) -> Result:
    """Train once on every row that may be trained on, with AdamW."""
    everything = stream.everything()
    began = time.process_time()
    network.grow(len(stream.labels))
    optimizer = adamw(network, rate, 0)
    steps = steps_of(len(everything.learned), epochs)
    marks = [round(steps * (number + 1) / POINTS) for number in range(POINTS)]
    points, spent = [], 0.0
    for _ in train(network, optimizer, everything.learned, epochs, seed, marks):
        spent += time.process_time() - began
        points.append(Point(spent, accuracy(network, measured)))
        began = time.process_time()
    return Result(
        name,
        points=points,
        val=accuracy(network, stream.val),
        forward_seconds=floor.seconds(everything.sent),
        bytes=moved_bytes(network),
    )


def accuracy(network: Network, rows: Rows) -> float:
    """Share of right answers."""
    return float(np.mean(ask(network, rows.texts) == rows.targets))

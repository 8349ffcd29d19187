"""Learning rates, chosen on validation rows: the first stages with fewer rows, each learner with each rate.

    python -m bench.refresh.search --data FOLDER [--encoder minilm] [--stages 3] [--rows 40]
        [--only A,B] [--rates X,Y] [--seed 0]

prints a row a learner; the best rates stand in ``bench.refresh.settings``. Test rows are not read.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from bench.clinc import packaged_encoder
from bench.refresh.data import Scale, Stream, read_stream
from bench.refresh.learn_avalanche import import_torchvision
from bench.refresh.pupil import marks
from bench.refresh.roster import make_pupil
from bench.refresh.scores import seen_accuracy
from bench.refresh.settings import CANDIDATES, CHOSEN
from bench.report import header


def main() -> None:
    """Try them and print what each is worth."""
    options = _parse()
    os.environ["RAYON_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    print(header("bench.refresh.search"))
    names = options.only or list(CANDIDATES)
    if any(name.startswith("Avalanche ") for name in names):
        import_torchvision()
    encoder = packaged_encoder() if options.encoder == "minilm" else options.encoder
    scale = Scale(rows=options.rows, memory=20 * options.rows)
    stream = read_stream(options.data, options.stages, scale, options.seed)
    stream = replace(stream, test=stream.test.first(0))
    for name in names:
        found = []
        for rate in options.rates or CANDIDATES[name]:
            began = time.process_time()
            share = _worth(name, rate, encoder, stream, options.seed)
            found.append(f"{rate:g}: {100 * share:.2f} ({time.process_time() - began:.0f} CPU-s)")
        print(f"{name}: {', '.join(found)}", flush=True)


def _worth(name: str, rate: float, encoder: str, stream: Stream, seed: int) -> float:
    """Accuracy on the validation rows after the last stage."""
    setting = replace(CHOSEN[name], rate=rate)
    with tempfile.TemporaryDirectory() as folder:
        pupil = make_pupil(name, encoder, stream, setting, seed, Path(folder))
        for number, stage in enumerate(stream.stages):
            pupil.learn(stage, stream.known(number))
        known = len(stream.labels)
        return seen_accuracy(marks(pupil, stream.val, known), stream.val.targets, known)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--rows", type=int, default=40, help="of each class")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--rates", type=lambda text: [float(rate) for rate in text.split(",")], default=[])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
